"""Which genes made a model say what it says of a cell: integrated gradients, in AnnData.

B cells, T tokens, S special tokens in front, G = T - S genes' tokens, V genes, n_var columns of the
file, k groups.
"""

import warnings
from pathlib import Path

import anndata
import numpy as np
import scipy.sparse as sp

from jaxcell import config
from jaxcell.attribution import Attributor, pad_of
from jaxcell.data.checks import check_chunk
from jaxcell.data.genes import identify, read_gene_map
from jaxcell.data.matching import match
from jaxcell.data.sources import open_source
from jaxcell.data.types import Cells, StrPath
from jaxcell.embedder import Embedder
from jaxcell.outputs import output_of
from jaxcell.progress import bar
from jaxcell.results import (
    Found,
    check_call,
    check_copy,
    check_match,
    check_records,
    keep,
    without,
)
from jaxcell.training.checkpoint import load_model
from jaxcell.writing import check_fillable, filled_folder

ENOUGH = 0.01  # of the difference: a larger error of the integral is warned of
ROUNDING = 1e-3  # of the output: a smaller difference is not what the error is compared with
ALL = "all cells"


def attributions(
    data: Cells,
    checkpoint: StrPath,
    *,
    output: str = "cell_type",
    target: str | None = None,
    scale: str | None = None,
    group: str | None = None,
    steps: int = 32,
    baseline: str | None = None,
    unit: bool = False,
    fields: bool = False,
    out: StrPath | None = None,
    key: str = "attributions",
    figures: StrPath | None = None,
    genes: int | str | None = None,
    counts: str = "X",
    batch_size: int = 256,
    seed: int = 0,
    identifiers: str = "auto",
    gene_map: StrPath | None = None,
    duplicates: str = "error",
    measured_by: str = "",
    allow_non_integer: bool = False,
    min_matched: float = 0.05,
    progress: bool = True,
) -> anndata.AnnData | Path:
    """Attribute an output of a trained model to the genes that each cell shows.

    Integrated gradients along the straight path from a baseline to the vectors of the cell's own
    tokens, field by field, summed over channels (see ``jaxcell.attribution``). A cell's sum to its
    output less the output at the baseline; by how much they miss that, for lack of steps, is put
    into ``obs`` and warned of above 1 %. Special tokens keep their vectors, so that all is
    attributed to genes; a gene that a cell does not show has 0. Each cell shows what it shows when
    it is embedded, one draw of it, so that its attributions do not depend on the other cells.

    The published BMFM-RNA differs: it scales each cell's attributions to a norm of 1 (``unit``) and
    its baseline has the value +2 in place of the code of <pad>.

    Parameters
    ----------
    data : AnnData (changed in place), path of an h5ad file, or 'scanpy:pbmc68k_reduced'
    checkpoint : workdir of a training run, a step folder in its checkpoints, a model folder, or
        'hf://ORG/NAME[@REVISION]'
    output : a label's head; 'expression' or 'expression.is_zero' (of the gene that is the target);
        or 'cell', the vector itself
    target, scale : see ``jaxcell.outputs.output_of``; of a label each cell's predicted class by
        default, and its log probability
    group : obs column whose groups' means are put into ``varm`` and shown in the figures; of a cell
        of no group none is taken
    steps : nodes of the Gauss-Legendre quadrature; each costs about twice an embedding
    baseline : 'pad': each gene's token has the vectors of <pad>, in each of its fields; 'zero': its
        fields are zero vectors. By default 'pad' where the model has one
    unit : divide each cell's attributions by their Euclidean norm over genes
    fields : also a layer for each field, '<key>_gene' and '<key>_value', which add up to ``key``
    out : where to write the h5ad; needed when ``data`` is not an AnnData, must not exist
    key : name in ``layers``, ``varm`` and ``uns``
    figures : folder for top_genes.png and, of several groups, groups.png; made if absent
    genes : how many genes each cell shows, or 'all'; the checkpoint's ``embed.genes`` by default
    counts : where the raw counts are: 'X' or 'layers/NAME'
    batch_size : cells read and held at a time; does not change any attribution
    seed, identifiers, gene_map, duplicates, measured_by, allow_non_integer, min_matched, progress :
        as in ``embed``; of columns that are summed the first has the gene's attribution

    Returns
    -------
    AnnData or Path : ``data`` itself, or ``out``, with ``layers[key]`` CSR float32 [cells, n_var];
        ``obs['<key>_output']``, ``'<key>_baseline'`` (the output at either end), ``'<key>_error'``
        (of completeness, as a share of the difference) and, where each cell has a class of its own,
        ``'<key>_target'``; ``varm[key]`` float32 [n_var, k], means over the cells of each group, in
        the order of ``uns['jaxcell'][key]['groups']``; and the provenance there

    Raises
    ------
    ValueError
        For an unknown output, target, scale, group or baseline, and all that ``embed`` refuses.
        Nothing is written then.
    """
    in_memory = isinstance(data, anndata.AnnData)
    if not in_memory and out is None:
        raise ValueError("out: name the h5ad file to write")
    check_call(data if in_memory else None, out, key, batch_size, seed)
    if steps < 1:
        raise ValueError(f"steps: found {steps}, expected a number above 0")
    if counts == "raw":
        raise ValueError("counts: found 'raw', expected X or layers/NAME: a layer has X's columns")
    if figures is not None:
        _check_figures(figures)
    model = load_model(checkpoint)
    c = model.config
    if genes is not None:
        c.embed.genes = 0 if genes == "all" else genes
    c.embed.draws = 1
    config.check(c)
    what = output_of(model, output, target, scale)
    baseline, pad = pad_of(c.model, baseline)
    source = open_source(data, counts=counts, chunk_cells=batch_size)
    check_records(data, source.name)
    check_copy(data, out)
    names, codes = _groups(source, group)
    own_names = identify(source.var, identifiers, source.name)
    found = match(own_names, model.vocabulary, read_gene_map(gene_map), duplicates, source.name)
    check_match(found, source, min_matched)
    embedder = Embedder(model, source, found, seed, measured_by)
    attributor = Attributor(c, what, pad, steps, model.tables)
    layers, ends, looks = _layers(
        source, embedder, attributor, _columns(found), allow_non_integer, progress
    )
    chosen = ends.pop("chosen")
    whole = sum(layers.values())
    error = completeness(np.asarray(whole.sum(axis=1, dtype=np.float64)).ravel(), **ends)
    if not (np.isfinite(whole.data).all() and np.isfinite(error).all()):
        raise ValueError(
            f"{source.name}: some attributions are NaN or infinite; nothing is written"
        )
    if looks:
        warnings.warn(f"{source.name}: non-integer values taken as they are: {looks}", stacklevel=2)
    if (worse := int((error > ENOUGH).sum())) > 0:
        warnings.warn(
            f"the attributions of {worse} of {len(error)} cells miss the difference that they "
            f"should sum to by more than {ENOUGH:.0%} of it, at worst {error.max():.1%}: take more "
            f"steps than {steps}",
            stacklevel=2,
        )
    if unit:
        layers = {name: _scaled(layer, whole) for name, layer in layers.items()}
        whole = _scaled(whole, whole)
    means = group_means(whole, codes, len(names))
    obs = {f"{key}_{n}": a.astype(np.float32) for n, a in {**ends, "error": error}.items()}
    if what.classes and not what.target:
        targets = np.array(what.classes, object)[chosen.argmax(axis=1)]
        obs[f"{key}_target"] = without(targets, embedder.empty)
    cells = np.bincount(codes[codes >= 0], minlength=len(names))
    provenance = {
        **embedder.provenance(checkpoint, looks or "integer counts"),
        "output": what.name,
        "target": what.target or ("predicted" if what.classes else ""),
        "scale": what.scale,
        "baseline": baseline,
        "steps": steps,
        "completeness_error_mean": float(error.mean()),
        "completeness_error_max": float(error.max()),
        "norm": "l2" if unit else "none",
        "group": group or "",
        "groups": names,
        "cells_of_groups": cells,
    }
    arrays = {"layers": {key: whole}, "varm": {key: means.T.astype(np.float32)}}
    if fields:
        arrays["layers"] |= {f"{key}_{name}": layer for name, layer in layers.items()}
    stale = {"obs": [f"{key}_target"], "layers": [f"{key}_{name}" for name in layers]}
    kept = keep(data, out, source, Found(key, arrays, obs, provenance, stale))
    if figures is not None:
        own = [own_names.show([i])[0] for i in range(len(source.var))]
        _draw(Path(figures), str(what), provenance, means, own)
    return kept


def completeness(sums, output, baseline):
    """How far attributions miss the difference they should sum to, as a share of it: [B] each.

    Of a difference below a thousandth of the output, where float32's rounding would decide, as a
    share of that.
    """
    output, baseline = (np.asarray(a, np.float64) for a in (output, baseline))
    size = np.maximum(np.abs(output), np.abs(baseline))
    of = np.maximum(np.abs(output - baseline), ROUNDING * size)
    missed = np.abs(sums - (output - baseline))
    return np.divide(missed, of, out=np.zeros_like(missed), where=missed > 0)


def group_means(layer, codes, groups):
    """Means over the cells of each group, f64 [k, n_var]: layer [B, n_var], codes [B], -1: none."""
    known = np.flatnonzero(codes >= 0)
    cells = np.bincount(codes[known], minlength=groups)
    share = sp.csr_matrix(
        (1 / cells[codes[known]], (codes[known], known)), shape=(groups, len(codes))
    )
    return (share @ layer.astype(np.float64)).toarray()


def _groups(source, group):
    """Names of the groups [k], and each cell's number among them, -1 for none."""
    if group is None:
        return [ALL], np.zeros(source.n_cells, np.int64)
    if group not in source.obs:
        raise ValueError(
            f"group: {source.name} has no obs column {group!r}; it has {list(source.obs)}"
        )
    column = source.obs[group]
    known = column.notna().to_numpy()
    if not known.any():
        raise ValueError(
            f"group: no cell of {source.name} has a value in obs[{group!r}]; name another column "
            "(--group), or leave it out"
        )
    names, codes = np.unique(column[known].astype(str), return_inverse=True)
    found = np.full(source.n_cells, -1)
    found[known] = codes
    return names.tolist(), found


def _check_figures(figures):
    from jaxcell.evaluation.inputs import check_extra

    check_extra()
    check_fillable(figures, "explain", "--figure")


def _columns(found):
    """The first column of the file that is each gene, i64 [V]; -1 for none."""
    columns = np.full(found.n_genes, -1)
    own = np.flatnonzero(found.columns >= 0)[::-1]
    columns[found.columns[own]] = own
    return columns


def _layers(source, embedder, attributor, columns, allow_non_integer, progress):
    """{field: CSR [B, n_var]}, what else `integrate` returns, and what is odd about the values."""
    layers, rest, looks = [], [], ""
    with bar(source.n_cells, "explain", "cell", shown=progress) as shown:
        for chunk in source.chunks():
            looks = check_chunk(chunk, source, allow_non_integer, embedder.given) or looks
            for batch in embedder.batches(chunk):  # one draw
                part = attributor(embedder.variables, batch, shown.update)
                fields = part.pop("fields")
                layers.append(_of_columns(fields, batch, columns, len(source.var)))
                rest.append(part)
    return (
        {name: sp.vstack([one[name] for one in layers], "csr") for name in layers[0]},
        {name: np.concatenate([one[name] for one in rest]) for name in rest[0]},
        looks,
    )


def _of_columns(fields, batch, columns, width):
    """{field: CSR [B, n_var]} of the attributions of genes' tokens {field: [B, G]}."""
    front = batch["ids"].shape[1] - next(iter(fields.values())).shape[1]
    ids, length = batch["ids"][:, front:], batch["length"] - front
    cells, places = np.nonzero(np.arange(ids.shape[1])[None] < length[:, None])
    where = cells, columns[ids[cells, places]]
    return {
        name: sp.csr_matrix((a[cells, places], where), shape=(len(ids), width))
        for name, a in fields.items()
    }


def _scaled(layer, whole):
    """Rows of a layer over the norms of those of ``whole``; zeros stay."""
    norm = np.sqrt(np.asarray(whole.multiply(whole).sum(axis=1))).ravel()
    norm = np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0)
    return sp.csr_matrix(sp.diags_array(norm) @ layer)


def _draw(folder, title, said, means, genes):
    from jaxcell.evaluation.attribution_figures import groups_figure, top_genes_figure

    groups = [f"{n}  {k}" for n, k in zip(said["groups"], said["cells_of_groups"], strict=True)]
    caption = f"integrated gradients from {said['baseline']}, mean over cells"
    caption += ", each of norm 1" if said["norm"] == "l2" else ""
    caption += "; blue: for the output, orange: against it"
    with filled_folder(folder) as made:
        top_genes_figure(made / "top_genes.png", title, caption, groups, means, genes)
        if len(groups) > 1:
            groups_figure(made / "groups.png", title, caption, groups, means, genes)

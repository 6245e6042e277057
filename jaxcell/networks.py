"""Gene networks by a trained model: attention by condition, programs of gene vectors, AnnData in.

n cells, M chosen genes, k conditions, n_var columns of the file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np

from jaxcell import __version__
from jaxcell.data.genes import identify, read_gene_map
from jaxcell.data.sources import open_source
from jaxcell.data.types import Cells, StrPath
from jaxcell.evaluation.gene_sets import read_gmt
from jaxcell.evaluation.inputs import check_extra
from jaxcell.evaluation.networks import programs as gene_programs
from jaxcell.evaluation.networks.known import read_known
from jaxcell.evaluation.networks.ranks import MEASURES
from jaxcell.evaluation.networks.report import write_report
from jaxcell.evaluation.networks.routes import routes
from jaxcell.evaluation.networks.study import Study
from jaxcell.network_cells import Names, choose_genes, conditions_of, normalised_counts, types_of
from jaxcell.network_models import GeneFile, Models
from jaxcell.progress import bar
from jaxcell.results import Found, check_call, check_records, keep
from jaxcell.writing import check_fillable

ROUTES = ("both", "attention", "vectors")
VECTORS = ("codebook", "decoder")  # of a checkpoint; else a file
PROGRAMS = "X_programs"
KEPT = "cells.h5ad"  # the copy of the file, with the cells' scores


def network(
    data: Cells,
    checkpoint: StrPath | Sequence[StrPath] | None = None,
    *,
    condition: str,
    out: StrPath,
    tf: str | Sequence[str] = (),
    route: str = "both",
    known: StrPath | None = None,
    levels: str | None = None,
    sets: StrPath | None = None,
    genes: StrPath | Sequence[str] | None = None,
    number: int = 1200,
    cells: int | None = None,
    label: str | None = None,
    reference: str | None = None,
    layer: int | None = None,
    measure: str = "ranks",
    vectors: Cells = "codebook",
    resolution: float = gene_programs.RESOLUTION,
    counts: str = "X",
    batch_size: int = 64,
    seed: int = 0,
    identifiers: str = "auto",
    gene_map: StrPath | None = None,
    duplicates: str = "error",
    allow_non_integer: bool = False,
    min_matched: float = 0.05,
    progress: bool = True,
) -> dict[str, Any]:
    """Read gene networks from trained models, and compare them with what is known.

    Attention route: every cell of a condition shows the same genes, zeros too; the last block's
    attention between them as ranks (see ``evaluation.networks.ranks``), mean over the condition's
    cells, gives edges from the gene that is read to the one that reads it. Embedding route: gene
    vectors → neighbours → Leiden → programs of genes, with edges by cosine and a score in each
    cell. Of several checkpoints (training seeds) attention is averaged, and how stable edges are
    is told.

    Parameters
    ----------
    data : AnnData (changed in place), path of an h5ad file, or 'scanpy:pbmc68k_reduced'
    checkpoint : workdir of a training run, a step folder in its checkpoints, a model folder, or
        'hf://ORG/NAME[@REVISION]'; or several. None where ``vectors`` is a file and all there is
    condition : obs column whose values are compared; cells without one are left out
    out : folder of the report. A run with the same models, cells and genes takes what an earlier
        one left in its ``attention``
    tf : names of the factors whose edges are told; they are always among the genes. By default
        those with 5 known targets or more, without ``known`` the ten that receive most attention
    route : 'attention', 'vectors' or 'both'
    known : tab-separated file of factors and targets, see ``networks.known.read_known``
    levels : of its column confidence, such as 'ABC'
    sets : gmt file of gene sets, packed or not
    genes : names, or a file with a gene a line; by default the ``number`` most variable
    cells : at most so many of each condition, drawn; None: all
    label : obs column of cell types, whose markers are coloured on the map of gene vectors
    reference : the condition that others are compared with; the first by name by default
    layer : block of the encoder, from 1; the last by default
    measure : 'ranks', or 'weights': mean softmax weights
    vectors : 'codebook' or 'decoder', of each checkpoint; or genes' vectors of any kind: an AnnData
        of genes or its file, PATH.h5ad or PATH.h5ad:KEY (of obsm), as ``jaxcell genes`` writes it
    resolution : of Leiden
    counts, seed, identifiers, gene_map, duplicates, allow_non_integer, min_matched, progress : as
        in ``embed``
    batch_size : cells read at a time; does not change any result

    Returns
    -------
    dict, as in results.json. The cells' program scores are in ``obsm['X_programs']`` of ``data``,
    or of OUT/cells.h5ad, a copy of its file

    Raises
    ------
    ValueError, FileNotFoundError, ImportError
        About the input, before anything is written.
    """
    check_extra()
    out, tf = Path(out), [tf] if isinstance(tf, str) else list(tf)
    _check(data, out, route, measure, number, cells, resolution)
    check_call(data if isinstance(data, anndata.AnnData) else None, None, None, batch_size, seed)
    read = None if known is None else read_known(known, levels)
    gene_sets = None if sets is None else read_gmt(sets)
    source = open_source(data, counts=counts, chunk_cells=batch_size)
    check_records(data, source.name)
    conditions, codes = conditions_of(source, condition, cells, seed)
    if reference is not None and reference not in conditions:
        raise ValueError(f"reference: found {reference!r}, expected one of {', '.join(conditions)}")
    types = None if label is None else types_of(source, label)
    own = identify(source.var, identifiers, source.name)
    file = None if isinstance(vectors, str) and vectors in VECTORS else GeneFile(vectors, own)
    how = dict(seed=seed, gene_map=read_gene_map(gene_map), duplicates=duplicates)
    models = Models(
        _paths(checkpoint, route, file), source, own, {**how, "min_matched": min_matched},
        attention=route != "vectors", layer=layer,
    )  # fmt: skip
    usable = models.usable if file is None or route == "attention" else models.usable & file.usable
    names = Names(own, source.var, source.name)
    forced = names.factors(tf, usable)
    with bar(source.n_cells, "counts", "cell", shown=progress) as shown:
        x, looks = normalised_counts(source, codes >= 0, allow_non_integer, shown)
    chosen = choose_genes(names, usable, x, genes=genes, number=number, forced=forced)
    study = Study(
        genes=[names.shown[i] for i in chosen],
        sources=[names.shown[i] for i in forced],
        counts=x[:, chosen],
        codes=codes[codes >= 0],
        conditions=conditions,
        reference=reference or conditions[0],
        known=read,
        sets=gene_sets,
        seed=seed,
    )
    vectors = vectors if file is None else file.name
    seen = table = None
    if route != "attention":  # refused before hours of attention, if it must be
        table = models.vectors(vectors, chosen) if file is None else file.vectors(chosen)
    if route != "vectors":
        seen = models.attention(
            chosen, codes, len(conditions), measure, out / "attention", progress
        )
    study.settle(None if seen is None else seen[1])
    found, cell_scores, programs = routes(
        study, seen, table, x, names.unique, resolution=resolution, what=vectors,
        groups=None if types is None else types[codes >= 0],
    )  # fmt: skip
    meta = {
        "jaxcell": __version__,
        "data": source.name,
        "models": list(models.models),
        "hashes": models.hashes,
        "route": route,
        "condition": condition,
        "conditions": conditions,
        "reference": study.reference,
        "genes": len(study.genes),
        "sources": study.sources,
        "known": None if known is None else str(known),
        "levels": levels or "",
        "sets": None if sets is None else str(sets),
        "layer": layer,
        "measure": measure,
        "vectors": vectors,
        "resolution": float(resolution),
        "fewest": gene_programs.FEWEST,
        "generic": gene_programs.GENERIC,
        "values_seen": looks or "integer counts",
        "seed": seed,
    }
    results = write_report(out, meta, found)
    if table is not None:
        _keep(data, source, out, _of_all(cell_scores, codes), programs, meta)
    return results


def _check(data, out, route, measure, number, cells, resolution):
    """Refuse what no file needs to be read for."""
    for name, value, known in (("route", route, ROUTES), ("measure", measure, MEASURES)):
        if value not in known:
            raise ValueError(f"{name}: found {value!r}, expected one of {', '.join(known)}")
    check_fillable(out, "network")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"out: {out}: the folder it would be in does not exist; make it first")
    if isinstance(data, str | Path) and Path(data).resolve() == (out / KEPT).resolve():
        raise ValueError(f"{data}: network writes this file itself; name another folder (--out)")
    if number < 20:
        raise ValueError(f"number: found {number}, expected 20 genes or more")
    if cells is not None and cells < 1:
        raise ValueError(f"cells: found {cells}, expected a number above 0")
    if not resolution > 0:
        raise ValueError(f"resolution: found {resolution}, expected a number above 0")


def _paths(checkpoint, route, file):
    if checkpoint is None and (file is None or route != "vectors"):
        raise ValueError(
            "checkpoint: found none, expected one or more; only route 'vectors' with a file of "
            "gene vectors does without"
        )
    if isinstance(checkpoint, str | Path):
        return [checkpoint]
    return list(checkpoint or ())


def _of_all(scores, codes):
    """Scores of the cells that have a condition → of all cells of the file, NaN of the others."""
    found = np.full((len(codes), scores.shape[1]), np.nan, np.float32)
    found[codes >= 0] = scores
    return found


def _keep(data, source, out, scores, programs, meta):
    """Put the cells' scores into the AnnData, or into a copy of its file."""
    said = {k: meta[k] for k in ("jaxcell", "condition", "genes", "vectors", "resolution", "seed")}
    said |= {"programs": list(programs), "models": meta["models"], "hashes": meta["hashes"]}
    if isinstance(data, str | Path):
        (out / KEPT).unlink(missing_ok=True)  # of an earlier run with the same OUT
    keep(data, out / KEPT, source, Found(PROGRAMS, {"obsm": {PROGRAMS: scores}}, {}, said))

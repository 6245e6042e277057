"""Raw counts and gene names → vectors of cells, with the tokens that `jaxcell.embed` shows.

Genes are matched, counts checked and tokens made by the same code, `jaxcell.data`, which needs no
JAX. B cells, T tokens, D width, V genes.
"""

import warnings

import anndata
import numpy as np
import pandas as pd
import torch

from jaxcell.data.checks import check_chunk
from jaxcell.data.genes import identify, read_gene_map
from jaxcell.data.matching import match
from jaxcell.data.records import Rows
from jaxcell.data.shown import Shown, content_keys, plain
from jaxcell.data.sources import AnnDataSource
from jaxcell.data.statistics import of_tables
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.results import check_match

CHUNK = 1024  # cells whose tokens are made at a time


def embed(
    model,
    counts,
    genes,
    *,
    labels=None,
    seed=0,
    identifiers="auto",
    gene_map=None,
    duplicates="error",
    allow_non_integer=False,
    min_matched=0.05,
):
    """Vectors of cells, as `jaxcell.embed` gives them by default, to rounding.

    The drawn genes follow from the seed and the cell's own counts: the same cells have the same
    vectors in any order and company.

    Parameters
    ----------
    model : CellModel of `load`
    counts : raw counts [cells, genes], an array or a scipy sparse matrix
    genes : names of the columns, symbols or Ensembl ids [genes]
    labels : {label: class of each cell [cells]} of what the model shows of a cell beside its genes:
        metadata, the batch that normalises it, perturbed genes. Without them, and for classes that
        the model does not know, they are unknown, which is said
    seed : of the drawn genes
    identifiers, gene_map, duplicates, allow_non_integer, min_matched : as of `jaxcell.embed`

    Returns
    -------
    f32 [cells, D]

    Raises
    ------
    ValueError
        Values that are not counts, genes that do not match, labels of another number of cells, or
        classes of which the model has learned no 'unknown'.
    """
    c, v, name = plain(model.config), len(model.symbols), "counts"
    source = _source(counts, genes, name)
    vocabulary = Vocabulary(model.symbols, model.ensembl, c.model.specials)
    names = identify(source.var, identifiers, name)
    found = match(names, vocabulary, read_gene_map(gene_map), duplicates, name)
    check_match(found, source, min_matched)
    trained = model.tables.get("measured", np.ones((1, v), bool)).any(axis=0)[:v]
    kept = found.only(trained)
    if lost := len(set(found.columns) - set(kept.columns)):
        warnings.warn(
            f"{name}: {lost} matched genes were measured in no training cell of this model; they "
            "are left out",
            stacklevel=3,
        )
    labels = {label: _texts(label, given, source) for label, given in (labels or {}).items()}
    codes = _codes(model, c, labels, source)
    flagged, classes = _flagged(c, labels, source)
    measured = np.unique(kept.columns[kept.columns >= 0]).astype(np.int32)
    shown = Shown(c, len(measured), of_tables(model.tables, v), classes, vocabulary)
    draws, parts, start = shown.draws(c.embed.draws), [], 0
    given = c.data.normalise.get("given", "counts")
    for chunk in source.chunks():
        check_chunk(chunk, source, allow_non_integer, given)
        mine = slice(start, start := start + chunk.shape[0])
        rows = _rows(kept.apply(chunk), chunk, flagged[mine])
        keys, total = content_keys(rows, seed), 0
        for _ in range(draws):
            batch = shown.tokens(rows, [measured], rows.dataset, keys)
            batch["labels"] = {label: one[mine] for label, one in codes.items()}
            total = total + _vectors(model, batch, c.embed)
            keys[:, 0] += np.uint64(2**32)  # as in jaxcell.embed: seeds are below
        parts.append(total / draws)
    vectors = np.concatenate(parts).astype(np.float32)
    if not np.isfinite(vectors).all():
        raise ValueError(f"{name}: some vectors are NaN or infinite")
    return vectors


def _source(counts, genes, name):
    """The counts, checked and in chunks of CSR, as `jaxcell.data` reads them."""
    genes = list(map(str, genes))
    counts = counts if hasattr(counts, "tocsr") else np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] != len(genes):
        raise ValueError(
            f"{name}: found an array of shape {counts.shape} and {len(genes)} gene names, expected "
            "[cells, genes]"
        )
    counts = counts.tocsr() if hasattr(counts, "tocsr") else counts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that are not unique: match says it
        adata = anndata.AnnData(counts, var=pd.DataFrame(index=pd.Index(genes, dtype=object)))
    return AnnDataSource(adata, name, chunk_cells=CHUNK)


def _texts(label, given, source):
    """Classes of the cells as text [cells], '' where there is none."""
    found = np.array(["" if pd.isna(one) else str(one) for one in given], object)
    if len(found) != source.n_cells:
        raise ValueError(f"labels[{label!r}]: found {len(found)}, expected {source.n_cells} cells")
    return found


def _codes(model, c, labels, source):
    """{label: codes i32 [cells]} of metadata and domains; −1 where not known, which is said."""
    blocks, codes = {f"metadata.{name}": one for name, one in c.model.metadata.items()}, {}
    if c.model.norm == "domain":
        blocks["domain"] = c.model.domain
    for path, one in blocks.items():
        names, texts = model.labels[one.label], labels.get(one.label, [""] * source.n_cells)
        trained = model.tables.get("trained", {}).get(one.label, np.ones(len(names), bool))
        known = {text: k for k, text in enumerate(names) if trained[k]}
        found = codes[one.label] = np.array([known.get(t, -1) for t in texts], np.int32)
        if (found >= 0).all():
            continue
        lost = ", ".join(repr(t) for t in sorted(set(np.array(texts)[found < 0]))[:5])
        said = f"labels[{one.label!r}]: {(found < 0).sum()} cells have no class that the model "
        said += f"knows ({lost})"
        if path != "domain" and not one.get("dropout", 0.1):  # the default of metadata
            raise ValueError(f"{said}, and it never learned 'unknown' (model.{path}.dropout = 0)")
        as_what = "normalised by the statistics of all cells seen in training"
        as_what = as_what if path == "domain" else "shown as 'unknown'"
        warnings.warn(f"{said}; they are {as_what}", stacklevel=4)
    return codes


def _flagged(c, labels, source):
    """Codes i32 [cells, 1], −1: unknown, and {label: classes} of what names flagged genes."""
    if "flag_genes" not in c.data.transforms:
        return np.empty((source.n_cells, 0), np.int32), {}
    label = c.data.flag_genes.label
    texts = pd.Series(labels.get(label, [""] * source.n_cells), dtype=object)
    if lost := int((texts == "").sum()):
        warnings.warn(
            f"labels[{label!r}]: {lost} cells name no genes; none of theirs is flagged as "
            f"{c.data.flag_genes.flag}, as of a control",
            stacklevel=4,
        )
    codes, classes = pd.factorize(texts.mask(texts == ""))
    return codes[:, None].astype(np.int32), {label: [str(name) for name in classes]}


def _rows(matrix, chunk, flagged):
    """Cells in the model's genes, as a store's records are read."""
    if (np.diff(matrix.indptr) == 0).any():
        warnings.warn(
            "counts: holds cells without any count in the model's genes; their vectors carry "
            "nothing",
            stacklevel=4,
        )
    return Rows(
        indptr=matrix.indptr.astype(np.int64),
        ids=matrix.indices.astype(np.int32),
        counts=matrix.data.astype(np.float32),
        dataset=np.zeros(matrix.shape[0], np.int32),
        total=np.asarray(chunk.sum(axis=1, dtype=np.float64)).ravel().astype(np.float32),
        labels=flagged,
    )


def _vectors(model, batch, how):
    """Vectors of a batch, f32 [B, D]: a few cells of about the same length at a time."""
    order, found = np.argsort(batch["length"], kind="stable"), []
    for start in range(0, len(order), how.micro_batch):
        mine = order[start : start + how.micro_batch]
        width = max(int(batch["length"][mine].max()), 1)
        some = {name: batch[name][mine, :width] for name in ("ids", "values")}
        some |= {"length": batch["length"][mine], "flags": batch.get("flags", {})}
        some["flags"] = {name: one[mine, :width] for name, one in some["flags"].items()}
        some["labels"] = {name: one[mine] for name, one in batch["labels"].items()}
        with torch.inference_mode():
            cell = model(some, heads=False)["cell"].float()
            if how.unit:  # of a zero vector itself
                cell = torch.nn.functional.normalize(cell, eps=torch.finfo(cell.dtype).tiny)
        found.append(cell.cpu().numpy())
    vectors = np.empty((len(order), found[0].shape[1]), np.float32)
    vectors[order] = np.concatenate(found)
    return vectors

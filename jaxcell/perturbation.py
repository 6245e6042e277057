"""A checkpoint, control cells and genes to perturb → mean expression of what comes of them.

B control cells, n conditions, M genes of the file that the model predicts.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from jaxcell.data import draws
from jaxcell.data.checks import check_chunk
from jaxcell.data.draft import stream_keys
from jaxcell.data.genes import identify, read_gene_map
from jaxcell.data.matching import match
from jaxcell.data.records import Rows
from jaxcell.data.shown import content_keys
from jaxcell.data.sources import open_source
from jaxcell.data.types import Cells, StrPath
from jaxcell.embedder import Embedder
from jaxcell.evaluation.perturbation.names import JOINED
from jaxcell.evaluation.perturbation.splits import Split
from jaxcell.evaluation.perturbation.training_cells import check_unseen
from jaxcell.perturbed import Perturbed, perturbed_genes, prediction_of
from jaxcell.progress import bar
from jaxcell.results import check_call, check_match, save
from jaxcell.training.checkpoint import load_model

CHOICE = 32  # stream of a cell's draws, see Draft.keys_of


def perturb(
    data: Cells,
    checkpoint: StrPath,
    out: StrPath | None = None,
    *,
    genes: Sequence[str] | None = None,
    split: StrPath | None = None,
    control: tuple[str, str] | None = None,
    cells: int = 300,
    counts: str = "X",
    batch_size: int = 64,
    seed: int = 0,
    identifiers: str = "auto",
    gene_map: StrPath | None = None,
    duplicates: str = "error",
    allow_non_integer: bool = False,
    min_matched: float = 0.05,
    progress: bool = True,
) -> anndata.AnnData | Path:
    """Predict the mean expression of control cells in which genes are perturbed.

    Each condition is predicted from the same control cells, which are drawn by the seed and their
    own counts, and averaged. No result depends on the cells' order or the batch size.

    Parameters
    ----------
    data : AnnData (not changed), path of an h5ad file, or 'scanpy:pbmc68k_reduced', with raw counts
        (log-normalised values, of a model that was trained on these)
    checkpoint : workdir of a training run with pairs (``data.pair``), a step folder, a model
        folder, or 'hf://ORG/NAME[@REVISION]'
    out : h5ad to write; must not exist. None writes nothing
    genes : conditions, a list of 'A' or 'A+B' as the model's training named them
    split : instead, what ``jaxcell perturb split`` wrote: the conditions that it tests. A model
        that was trained with one of them is refused
    control : (column of obs, class): the control cells of ``data``; None: all cells are
    cells : of the control cells so many are drawn, or all that there are
    batch_size : cells computed at a time; does not change any result
    counts, seed, identifiers, gene_map, duplicates, allow_non_integer, min_matched, progress : as
        in ``embed``

    Returns
    -------
    AnnData [n, genes of the file] or Path
        ``out``, where one is named. X f32 is the mean predicted expression, log-normalised as in
        training; ``layers['delta']`` X minus the mean of the same control cells. Genes that the
        model does not predict keep that mean and have ``var['predicted']`` False.
        ``obs['condition']`` is what was asked for, ``uns['jaxcell']['perturbation']`` where it
        comes from.

    Raises
    ------
    ValueError
        A model that was not trained on pairs, perturbed genes that it or the file does not know,
        no control cells, or values that are not what the model reads. Nothing is written then.
    """
    check_call(None, out, None, batch_size, seed)
    if (split is None) == (genes is None):
        raise ValueError(
            f"genes, split: found {'neither' if genes is None else 'both'}, expected one"
        )
    tested = None if split is None else Split.read(split)
    conditions = _conditions(genes if tested is None else tested.test)
    if cells < 1:
        raise ValueError(f"cells: found {cells}, expected a number of control cells above 0")
    model = load_model(checkpoint)
    try:
        prediction_of(model.config)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from None
    if tested is not None:
        conditions = _held_out(tested, model, checkpoint)
    source = open_source(data, counts=counts)
    looks_like = model.config.data.normalise.given
    chosen, looks, there = _controls(source, control, cells, seed, allow_non_integer, looks_like)
    names = identify(source.var, identifiers, source.name)
    found = match(names, model.vocabulary, read_gene_map(gene_map), duplicates, source.name)
    check_match(found, source, min_matched)
    embedder = Embedder(model, chosen, found, seed, "", flags=False)
    (chunk,) = chosen.chunks()
    rows, keys = embedder.cells(chunk)
    run = Perturbed(model, embedder, rows, keys, embedder.labels(len(rows)))
    asked = perturbed_genes(model.config, model.vocabulary, conditions, run.measured)
    mean, parts = run.control(), []
    with bar(len(asked) * len(rows), "perturb", "cell", shown=progress) as shown:
        for flagged in asked:
            predicted = run(flagged[flagged >= 0], batch_size, shown.update)
            parts.append(predicted.mean(axis=0, dtype=np.float64))
    if not np.isfinite(parts).all():
        raise ValueError(f"{checkpoint}: some predictions are NaN or infinite; nothing is written")
    columns = _columns(embedder.matched, run.measured)
    adata = _table(source, conditions, columns, np.array(parts), mean)
    lost = columns < 0
    if lost.any():
        adata.X[:, lost] = _means(chunk, run, model.config)[lost]
        _say_lost(source, lost)
    provenance = {
        **embedder.provenance(checkpoint, looks or "integer counts"),
        "control": "=".join(control) if control else "",
        "control_cells": len(rows),
        "control_cells_of": there,
        "tokens": run.tokens,
        "passes": run.passes,
        "genes_of_control": [str(name) for name in source.var.index[lost]],
    }
    adata.uns["jaxcell"] = {"perturbation": provenance}
    return save(adata, out)


def _conditions(genes):
    names = [genes] if isinstance(genes, str) else [str(name) for name in genes]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"genes: found {names}, expected one condition or more, each once")
    return names


def _held_out(split, model, checkpoint):
    """The tested conditions of a split as the model's training would spell them."""
    if split.kind == "cells":
        raise ValueError("split: of cells, not of conditions; expected --genes, or another kind")
    c = model.config.data
    layout = {"control": c.flag_genes.control, "separator": c.flag_genes.separator}
    check_unseen(model.labels[c.pair.label], split, checkpoint, **layout)
    return [name.replace(JOINED, layout["separator"]) for name in split.test]


def _controls(source, control, cells, seed, allow_non_integer, values):
    """So many of a source's control cells, in an order that their own counts say.

    Returns
    -------
    a source of them in one chunk, what is odd about the values, how many control cells there are
    """
    is_control = np.ones(source.n_cells, bool)
    if control is not None:
        label, name = control
        if label not in source.obs:
            raise ValueError(
                f"control: {source.name}: obs has no column {label!r}; it has {list(source.obs)}"
            )
        is_control = (source.obs[label].astype(str) == str(name)).to_numpy()
        if not is_control.any():
            known = ", ".join(source.obs[label].astype(str).unique()[:8])
            raise ValueError(
                f"control: {source.name}: no cell has {label} = {name!r}; there are {known}"
            )
    kept, ranks = sp.csr_matrix((0, len(source.var)), dtype=np.float32), np.empty(0, np.uint64)
    places, looks, start = np.empty(0, np.int64), "", 0
    for chunk in source.chunks():
        looks = check_chunk(chunk, source, allow_non_integer, values) or looks
        mine = np.flatnonzero(is_control[start : start + chunk.shape[0]])
        some = chunk[mine].astype(np.float32)
        kept = sp.vstack([kept, some], format="csr")
        ranks = np.append(ranks, _ranks(some, seed))
        places, start = np.append(places, start + mine), start + chunk.shape[0]
        best = np.argsort(ranks, kind="stable")[:cells]
        kept, ranks, places = kept[best], ranks[best], places[best]
    adata = anndata.AnnData(kept, obs=source.obs.iloc[places], var=source.var)
    chosen = open_source(adata, chunk_cells=len(places))
    chosen.name = source.name
    return chosen, looks, int(is_control.sum())


def _ranks(matrix, seed):
    """A number of each cell by the seed and its own counts, u64 [cells]."""
    nothing = np.zeros(matrix.shape[0], np.int32)
    ids, counts = matrix.indices.astype(np.int32), matrix.data.astype(np.float32)
    rows = Rows(matrix.indptr, ids, counts, nothing, nothing, nothing[:, None])
    return draws.states(stream_keys(content_keys(rows, seed), CHOICE))


def _columns(found, measured):
    """Place among the predicted genes of each column of the file, i64 [n_var]; −1: none."""
    place = np.full(found.n_genes, -1)
    place[measured] = np.arange(len(measured))
    return np.where(found.columns >= 0, place[np.maximum(found.columns, 0)], -1)


def _table(source, conditions, columns, predicted, mean):
    """AnnData of the predictions [n, M] where the file has these genes, 0 elsewhere."""
    there, shape = columns >= 0, (len(conditions), len(columns))
    x, delta = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    x[:, there] = predicted[:, columns[there]]
    delta[:, there] = (predicted - mean[None])[:, columns[there]]
    obs = pd.DataFrame({"condition": pd.Categorical(conditions)}, index=conditions)
    var = source.var.assign(predicted=there)
    return anndata.AnnData(x, obs=obs, var=var, layers={"delta": delta})


def _means(matrix, run, c):
    """Mean normalised value of each column of the file, f64 [n_var], by the model's divisor."""
    how, matrix = c.data.normalise, sp.csr_matrix(matrix, dtype=np.float64)
    if how.given == "counts":
        scale = np.ones(len(run.total))
        if how.scale:
            np.divide(how.library_size, run.total, out=scale, where=run.total > 0)
        matrix.data = np.log1p(matrix.data * np.repeat(scale, np.diff(matrix.indptr)))
    return np.asarray(matrix.sum(axis=0)).ravel() / matrix.shape[0]


def _say_lost(source, lost):
    names = source.var.index[lost]
    some = ", ".join(map(str, names[:8])) + (" …" if len(names) > 8 else "")
    warnings.warn(
        f"{source.name}: the model does not predict {len(names)} of {len(lost)} genes: {some}; "
        "they keep the mean of the control cells (var['predicted'])",
        stacklevel=3,
    )

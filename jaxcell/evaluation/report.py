"""evaluate: embeddings beside the baselines, as results.json, report.md and pictures."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from jaxcell.data.types import Cells, StrPath
from jaxcell.files import about
from jaxcell.progress import bar
from jaxcell.writing import check_fillable, filled_folder

from . import inputs, methods, page, pictures, probes
from .measure import STEPS, mean_row, measure
from .protocols import PROTOCOLS, choose

PACKAGES = ("jaxcell", "numpy", "scikit-learn", "scib-metrics", "scanpy", "igraph", "umap-learn")
PACKAGES += ("jax", "optax")


def evaluate(
    data: Cells,
    keys: Sequence[str] = (),
    *,
    embeddings: Mapping[str, StrPath] | None = None,
    label: str,
    batch: str | None = None,
    out: StrPath,
    counts: str | None = "X",
    baselines: Sequence[str] = (),
    genes: StrPath | Sequence[str] | None = None,
    protocols: Sequence[str] = (),
    train: Cells | None = None,
    test_batches: Sequence[str] = (),
    seed: int = 0,
    seeds: int = 1,
    n_pcs: int = 50,
    ridge: float = 1.0,
    allow_non_integer: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure embeddings beside baselines on the same cells; write a report.

    Per method: a linear and a kNN probe with whole batches held out (one at a time up to 10
    batches, 10 groups of batches above; stratified 5-fold where there is no batch), clustering
    against the label, and batch mixing. A method is one matrix, or one per fold (an inductive
    baseline; an embedding by one model per held-out batch): then a fold's probes see its own
    matrix, and the other metrics, on all evaluated cells in each of them, are averaged.

    Full views are dense (float32, 4 bytes × cells × genes, twice or three times over), and
    neighbours are exact in all dimensions: time grows with the square of the cells, so thin an
    atlas to some 20 000 first. Baselines of more than 2 GiB are made only if named.

    Parameters
    ----------
    data : path or anndata.AnnData
        An h5ad file, or the object; it is not changed.
    keys : sequence of str
        Embeddings: entries of ``obsm``, each [cells, d]. With '{}' in it a key is one embedding
        per held-out batch: 'X_txfm_{}' is obsm['X_txfm_pbmc3k'] where pbmc3k is held out.
    embeddings : dict, optional
        {name: file} of embeddings made elsewhere: csv or tsv with the cells' names first, npz,
        h5ad; matched by ``obs_names`` (``embedding_files.read_embedding``).
    label, batch : str
        Columns of ``obs``. Cells whose label or batch is missing (NaN, '', 'unknown' …) are left
        out and counted. Without batches, the metrics of mixing are None.
    out : path
        Folder of the report; made if absent, only files of the report's own names are replaced.
    counts : str or None
        Where the raw counts are: 'X', 'raw' or 'layers/NAME'; None leaves out the baselines.
    baselines : sequence of str
        Some of raw, log, hvgN (any N), pca_inductive, pca, ridge_inductive, ridge, ae_inductive,
        ae, shuffled; () is all these, with 1024, 2000 and 5000 HVG. By name only: harmony and scvi
        (extras of these names; they see the batches), and pca, harmony and scvi of chosen genes:
        hvgN_pca, hvgN_harmony …, genes_pca …, and genes, the view itself.
    genes : path or sequence of str, optional
        What the baselines genes… are made of, a model's for example: a vocabulary.json, a store, a
        text file with a gene a line, or names.
    protocols : sequence of str
        Papers whose own metrics get a table each, with their definitions: 'scformer', 'bioformer'
        (also figures, and a UMAP of every method).
    train : path or anndata.AnnData, optional
        Counts, at the same place, of the cells to fit the inductive baselines on, with all genes of
        `data`; by default each fold's training cells.
    test_batches : sequence of str
        Hold out these batches together, and nothing else.
    seed, seeds : int
        Everything that draws is repeated for seed … seed + seeds − 1: stratified folds, Leiden,
        Louvain, the autoencoder, the permutation of labels. UMAP is drawn for the first.
    n_pcs : int
        Components of PCA and Ridge PCA, units of the autoencoder's code.
    ridge : float
        Ridge PCA's penalty, in units of the last component's s² (``baselines.Components.scores``).
    allow_non_integer : bool
        Accept counts that are not whole numbers.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        As in results.json: ``meta``; ``results`` {method: {metric: mean over seeds, or None}};
        ``seeds`` {method: [the same per seed]}; ``folds`` {method: [one dict per seed and fold]};
        ``views`` {method: [clustering and mixing per seed and matrix]}; ``leiden``, ``louvain``
        {method: {resolution: {nmi, ari}}}; with protocols also ``protocols`` {name: title,
        definition, groups (columns of its tables), figures, results, seeds and views, as above}.

    Raises
    ------
    ImportError
        If the extra ``eval`` is not installed, or that of a baseline.
    FileNotFoundError, ValueError
        About the input, before anything is computed or written.

    Examples
    --------
    >>> jaxcell.evaluate("cells.h5ad", ["X_txfm_b"], label="cell_type", batch="batch", out="report")

    Other suites need only the array: scib-metrics' ``Benchmarker(adata, batch_key="batch",
    label_key="cell_type", embedding_obsm_keys=["X_txfm_b"])`` takes the same AnnData, and
    cz-benchmarks' tasks take ``adata.obsm["X_txfm_b"]``.
    """
    inputs.check_extra()
    out = Path(out)
    check_fillable(out, "evaluate")
    _require_positive(seeds=seeds, n_pcs=n_pcs, ridge=ridge)
    adata = inputs.read(data)
    papers = choose(protocols)
    embeddings = embeddings or {}
    if not 0 <= seed < 2**32 - seeds:
        raise ValueError(f"seed: found {seed}, expected 0 or more, below 2**32")
    with about(_name(data) or "AnnData"):
        cells, splits, protocol, said = _load(
            adata, keys, embeddings, label, batch, counts, genes, train, test_batches,
            range(seed, seed + seeds), allow_non_integer,
        )  # fmt: skip
    chosen, notes = methods.choose(baselines, cells)
    compared = _methods(cells, chosen, n_pcs, ridge, splits)
    measured = _measure_all(compared, cells, splits, papers, progress)
    asked: dict[str, Any] = dict(
        label=label, batch=batch, counts=counts, seed=seed, seeds=seeds, n_pcs=n_pcs
    )
    asked |= dict(ridge=ridge, baselines=chosen, test_batches=[str(b) for b in test_batches])
    asked |= dict(data=_name(data), train=_name(train), protocol=protocol)
    asked |= dict(files={name: str(path) for name, path in embeddings.items()}, protocols=papers)
    results = {"meta": asked | _meta(cells, compared, chosen), **_results(measured)}
    if papers:
        results["protocols"] = {name: _protocol(name, measured) for name in papers}
    results["meta"]["notes"] = said + notes + page.notes(cells, splits, compared, results)
    with filled_folder(out) as made:
        pictures.draw(made, measured, compared, cells, results)
        text = json.dumps(results, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        (made / "results.json").write_text(text, encoding="utf-8")
        (made / "report.md").write_text(page.page(results), encoding="utf-8")
    return results


def _require_positive(**values):
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name}={value}: it has to be above 0")


def _load(
    adata, keys, files, label, batch, counts, genes, train, test_batches, seeds, allow_non_integer
):  # fmt: skip
    """Read and check all inputs: Cells, {seed: folds}, the protocol in words, and notes."""
    keys, notes = [keys] if isinstance(keys, str) else list(dict.fromkeys(keys)), []
    if not keys and not files and counts is None:
        raise ValueError(
            "nothing to evaluate: no embedding key, and counts=None leaves out the baselines"
        )
    if train is not None and counts is None:
        raise ValueError("train= is for the inductive baselines; counts=None leaves them out")
    if genes is not None and counts is None:
        raise ValueError("genes= is for the baselines genes…; counts=None leaves them out")
    cells = inputs.labelled(adata, label, batch)
    folds, protocol = probes.folds(cells.labels, cells.batch, test_batches, seeds[0])
    whole = probes.whole_batches(cells.batch, test_batches)
    splits = {
        seed: folds
        if whole or seed == seeds[0]
        else probes.folds(cells.labels, cells.batch, (), seed)[0]
        for seed in seeds
    }
    held_out = [fold.name for fold in folds] if whole else None
    cells.embeddings = inputs.embeddings(adata, keys, cells.keep, held_out)
    cells.embeddings |= inputs.files_of_embeddings(files, adata, cells.keep, cells.embeddings)
    if counts is not None:
        cells.counts, var = inputs.counts(adata, counts, allow_non_integer, cells.keep)
        if genes is not None:
            cells.chosen, n = inputs.gene_columns(genes, var)
            if cells.chosen.sum() < n:
                notes.append(f"Of the {n} genes given, {cells.chosen.sum()} are in the file.")
        if train is not None:
            columns = np.asarray(var.index.astype(str))
            cells.train, names = inputs.training_counts(train, counts, columns, allow_non_integer)
            cells.shared = sum(name in names for name in adata.obs_names[cells.keep])
    return cells, splits, protocol, notes


def _methods(cells, chosen, n_pcs, ridge, splits):
    """Embeddings, then baselines, in the order of the tables."""
    seeded_folds = len({id(folds) for folds in splits.values()}) > 1
    compared = methods.embeddings(cells.embeddings)
    if chosen:
        fits = methods.Fits(cells, n_pcs, ridge, seeded_folds)
        compared += [fits.method(short) for short in chosen]
    names = [method.name for method in compared]
    for name in cells.embeddings:
        if names.count(name) > 1:
            raise ValueError(f"obsm[{name!r}] has the name of a baseline; give it another key")
    return compared


def _measure_all(compared, cells, splits, papers, progress):
    """{method: Measured}."""
    found = {}
    total = len(compared) * len(splits) * (len(STEPS) + len(papers))
    total += sum(method.picture for method in compared)
    with bar(total, "evaluate", shown=progress) as shown:
        for method in compared:

            def step(what, name=method.name):
                shown.note(f"{name}: {what}")
                shown.update()

            found[method.name] = measure(method, cells, splits, step=step, protocols=papers)
    return found


def _results(measured):
    """{method: Measured} as the tables of results.json."""
    return {
        "results": {n: {"dimensions": m.dimensions, **m.mean()} for n, m in measured.items()},
        "seeds": {name: m.rows for name, m in measured.items()},
        "folds": {name: m.folds for name, m in measured.items()},
        "views": {name: m.views for name, m in measured.items()},
        "leiden": {name: m.sweep("leiden") for name, m in measured.items()},
        "louvain": {name: m.sweep("louvain") for name, m in measured.items()},
    }


def _protocol(name, measured):
    """A protocol's block of results.json, but for its figures."""
    paper, rows = PROTOCOLS[name], {m: one.protocol_rows(name) for m, one in measured.items()}
    return {
        "title": paper.title,
        "definition": paper.definition,
        "groups": paper.groups,
        "results": {method: mean_row(one) for method, one in rows.items()},
        "seeds": rows,
        "views": {method: one.protocols[name] for method, one in measured.items()},
    }


def _name(data):
    return str(data) if isinstance(data, str | Path) else None if data is None else "AnnData"


def _meta(cells, compared, chosen):
    extras = {methods.PACKAGE.get(methods.integrated(short)) for short in chosen} - {None}
    versions = {package: version(package) for package in (*PACKAGES, *sorted(extras))}
    return {
        "cells": len(cells.labels),
        "cells_in_file": len(cells.keep),
        "left_out": cells.left_out,
        "genes": None if cells.counts is None else cells.counts.shape[1],
        "classes": _frequencies(cells.labels),
        "batches": None if cells.batch is None else _frequencies(cells.batch),
        "embeddings": list(cells.embeddings),
        "fitted_on": {method.name: method.fitted for method in compared},
        "implementations": page.implementations(versions),
        "versions": versions,
    }


def _frequencies(values):
    names, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {str(names[i]): int(counts[i]) for i in order}

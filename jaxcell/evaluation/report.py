"""evaluate: embeddings beside the baselines, as results.json, report.md and pictures."""

import json
import re
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import baselines, clustering, figures, inputs, page, probes
from .tables import number

PACKAGES = ("jaxcell", "numpy", "scikit-learn", "scib-metrics", "scanpy", "igraph", "umap-learn")
STEPS = 5  # per method: probes, graph, clusters, scores, UMAP


def evaluate(
    data,
    keys,
    *,
    label,
    batch=None,
    out,
    counts="X",
    test_batches=(),
    seed=0,
    n_hvg=2000,
    n_pcs=50,
    allow_non_integer=False,
    progress=True,
):
    """Measure embeddings beside baselines on the same cells; write a report.

    Per representation: a linear and a kNN probe with whole batches held out (one at a time up to
    10 batches, 10 groups of batches above; stratified 5-fold where there is no batch), clustering
    against the label, and batch mixing. The baselines are (Lib+Log)Norm, its highly variable
    genes, its PCA, and PCA with permuted labels. Matrices are taken as they are, densely (float32,
    4 bytes × cells × genes, twice or three times over), and neighbours are exact in all their
    dimensions: time grows with the square of the cells, so thin an atlas first.

    Parameters
    ----------
    data : path or anndata.AnnData
        An h5ad file, or the object; it is not changed.
    keys : sequence of str
        Embeddings: entries of ``obsm``, each [cells, d].
    label, batch : str
        Columns of ``obs``. Cells whose label or batch is missing (NaN, '', 'unknown' …) are left
        out and counted. Without batches, the metrics of mixing are None.
    out : path
        Folder of the report; made if absent, only files of the report's own names are replaced.
    counts : str or None
        Where the raw counts are: 'X', 'raw' or 'layers/NAME'; None leaves out the baselines.
    test_batches : sequence of str
        Hold out these batches together, and nothing else.
    seed : int
        Of the stratified folds, PCA, Leiden, UMAP and the permutation of labels.
    n_hvg, n_pcs : int
        Highly variable genes and principal components of the baselines.
    allow_non_integer : bool
        Accept counts that are not whole numbers.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        As in results.json: ``meta``; ``results`` {method: {metric: value or None}}; ``folds``
        {method: [one dict per fold]}; ``leiden`` {method: {resolution: {nmi, ari}}}.

    Raises
    ------
    ImportError
        If the extra ``eval`` is not installed.
    FileNotFoundError, ValueError
        About the input, before anything is computed or written.
    """
    inputs.check_extra()
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"out={str(out)!r} is a file; evaluate writes a folder")
    cells = inputs.load(
        data, keys, label=label, batch=batch, counts=counts, allow_non_integer=allow_non_integer
    )
    taken = set(cells.embeddings) & set(baselines.BASELINES)
    if taken:
        raise ValueError(f"obsm[{taken.pop()!r}] has the name of a baseline; give it another key")
    folds, protocol = probes.folds(cells.labels, cells.batch, test_batches, seed)
    out.mkdir(parents=True, exist_ok=True)

    n_methods = len(cells.embeddings) + (0 if cells.counts is None else len(baselines.BASELINES))
    total = 1 + STEPS * n_methods
    with tqdm(total=total, disable=not progress, desc="evaluate", unit="step") as bar:
        bar.set_postfix_str("baselines")
        views = dict(cells.embeddings)
        if cells.counts is not None:
            views |= baselines.views(cells.counts, n_hvg=n_hvg, n_pcs=n_pcs, seed=seed)
        bar.update()
        results, layouts = _measure_all(views, cells, folds, seed, bar)
    meta = _meta(data, cells, label, batch, counts, test_batches, seed, protocol)
    results = {"meta": meta, **results}
    results["meta"]["notes"] = page.notes(cells, folds, results, n_hvg)
    results["meta"]["figures"] = _draw(out, layouts, cells, results, seed)
    text = json.dumps(results, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    (out / "results.json").write_text(text, encoding="utf-8")
    (out / "report.md").write_text(page.page(results), encoding="utf-8")
    return results


def _measure_all(views, cells, folds, seed, bar):
    """Every method's entries of the results, and {method: (UMAP layout, labels)}."""
    results = {"results": {}, "folds": {}, "leiden": {}}
    layouts, spaces, first = {}, {}, {}
    shuffled_labels = np.random.default_rng(seed).permutation(cells.labels)
    for name, x in views.items():
        shuffled = name == baselines.SHUFFLED
        labels = shuffled_labels if shuffled else cells.labels
        space = spaces.setdefault(id(x), clustering.Space(x, seed))  # the shuffled use PCA's
        twin = first.setdefault((id(x), shuffled), name)  # HVG may be all genes: measured once
        if twin == name:
            _measure(name, space, labels, cells.batch, folds, results, bar)
        else:
            for part in results.values():
                part[name] = deepcopy(part[twin])
            bar.update(STEPS - 1)
        bar.set_postfix_str(f"{name}: UMAP")
        layouts[name] = space.layout, labels
        bar.update()
    return results, layouts


def _measure(name, space, labels, batch, folds, results, bar):
    """One method's entries of the results: all steps but the UMAP."""

    def step(what):
        bar.set_postfix_str(f"{name}: {what}")

    step("probes")
    results["folds"][name] = [probes.probe(space.x, labels, fold) for fold in folds]
    row = {"dimensions": space.x.shape[1], **probes.averages(results["folds"][name])}
    bar.update()
    step("graph")
    neighbours, _ = space.neighbours, space.graph
    bar.update()
    step("clusters")
    found, sweep = clustering.best_clustering(space.clusterings, labels)
    row |= found
    results["leiden"][name] = {str(r): {"nmi": n, "ari": a} for r, (n, a) in sweep.items()}
    bar.update()
    step("scores")
    mixed = batch is not None and len(np.unique(batch)) > 1
    row["asw_label"] = clustering.asw_label(space.x, labels)
    row["asw_batch"] = clustering.asw_batch(space.x, labels, batch) if mixed else None
    row["graph_connectivity"] = clustering.graph_connectivity(neighbours, labels) if mixed else None
    row["ilisi"] = clustering.ilisi(neighbours, batch) if mixed else None
    results["results"][name] = row | clustering.aggregates(row)
    bar.update()


def _meta(data, cells, label, batch, counts, test_batches, seed, protocol):
    return {
        "data": str(data) if isinstance(data, str | Path) else "AnnData",
        "label": label,
        "batch": batch,
        "counts": counts,
        "test_batches": [str(b) for b in test_batches],
        "seed": seed,
        "protocol": protocol,
        "cells": len(cells.labels),
        "cells_in_file": cells.total,
        "left_out": cells.left_out,
        "genes": None if cells.counts is None else cells.counts.shape[1],
        "classes": _frequencies(cells.labels),
        "batches": None if cells.batch is None else _frequencies(cells.batch),
        "embeddings": list(cells.embeddings),
        "implementations": page.IMPLEMENTATIONS,
        "versions": {package: version(package) for package in PACKAGES},
    }


def _frequencies(values):
    names, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {str(names[i]): int(counts[i]) for i in order}


def _draw(out, layouts, cells, results, seed):
    """Write the pictures; return their file names: {what: name}."""
    meta = results["meta"]
    colours = figures.palette(cells.labels, figures.LABEL_COLOURS)
    batch = cells.batch
    batch_colours = None if batch is None else figures.palette(batch, figures.BATCH_COLOURS)
    files = {"comparison": "comparison.png"}
    figures.comparison_figure(out / files["comparison"], results)
    for name, (layout, labels) in layouts.items():
        stem = "umap_" + re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        while f"{stem}.png" in files.values():
            stem += "_"
        files[name] = f"{stem}.png"
        row = results["results"][name]
        shown = [("NMI", "nmi"), ("ARI", "ari"), ("ASW label", "asw_label"), ("iLISI", "ilisi")]
        panels = [(meta["label"], labels, colours, name != baselines.SHUFFLED)]
        if batch is not None:
            panels.append((meta["batch"], batch, batch_colours, False))
        caption = "   ".join(f"{t} {number(row[m])}" for t, m in shown if row[m] is not None)
        figures.umap_figure(out / files[name], name, layout, panels, caption=caption, seed=seed)
    return files

"""The text of report.md: tables, pictures, what was left out, how it was measured."""

import numpy as np

from . import baselines, clustering, probes, tables

IMPLEMENTATIONS = {
    "linear probe": (
        "sklearn.preprocessing.StandardScaler (fitted on the training cells) and"
        f" sklearn.linear_model.LogisticRegression (multinomial, L2, C = {probes.C}, L-BFGS)"
    ),
    "kNN probe": (
        f"sklearn.neighbors.KNeighborsClassifier (k = {probes.NEIGHBOURS}, Euclidean on the"
        " representation as it is, exact, majority)"
    ),
    "accuracy, macro-F1": (
        "sklearn.metrics.accuracy_score, sklearn.metrics.f1_score over the classes in the held-out"
        " cells; the mean over folds, ± the standard deviation over folds"
    ),
    "neighbour graph": (
        "sklearn.neighbors.NearestNeighbors (exact, Euclidean, on the representation as it is, all"
        " its dimensions) and scib_metrics NeighborsResults.knn_graph_connectivities"
        f" (k = {clustering.GRAPH_NEIGHBOURS} with the cell itself)"
    ),
    "NMI, ARI": (
        "igraph.Graph.community_leiden (modularity, 2 iterations), the resolution of best NMI among"
        " 0.1, 0.2 … 2.0; sklearn.metrics.normalized_mutual_info_score (arithmetic),"
        " sklearn.metrics.adjusted_rand_score"
    ),
    "ASW label, ASW batch": (
        "sklearn.metrics.silhouette_samples (Euclidean), put together as"
        " scib_metrics.silhouette_label and scib_metrics.silhouette_batch do (rescaled to 0 … 1)"
    ),
    "graph connectivity": (
        f"scib_metrics.graph_connectivity (k = {clustering.GRAPH_NEIGHBOURS}, strong components)"
    ),
    "iLISI": (
        f"scib_metrics.ilisi_knn (k = {clustering.LISI_NEIGHBOURS}, perplexity"
        f" {clustering.LISI_NEIGHBOURS // 3}, scaled); not comparable with scib's"
    ),
    "AvgBIO, AvgBATCH, Overall": (
        "jaxcell.evaluation.clustering.aggregates: mean(NMI, ARI, ASW label); mean(graph"
        " connectivity, ASW batch); 0.6 AvgBIO + 0.4 AvgBATCH (scFormer's definition)"
    ),
    "UMAP": (
        "scanpy.tl.umap (umap-learn) on the neighbour graph, started at two principal components"
    ),
}


def notes(cells, folds, results, n_hvg):
    """What a reader has to know to judge the figures, one sentence each."""
    found = []
    by_batch = cells.batch is not None and len(np.unique(cells.batch)) > 1
    few = [f"{name} ({n})" for name, n in results["meta"]["classes"].items() if n < probes.FOLDS]
    if few and not by_batch:
        found.append(
            f"Classes with fewer than {probes.FOLDS} cells are in the test set of some folds only,"
            f" and a class of one cell is never trained on when tested: {', '.join(few)}."
        )
    for fold in folds:
        absent = sorted(set(cells.labels[fold.test]) - set(cells.labels[fold.train]))
        if absent:
            n = int(np.isin(cells.labels[fold.test], absent).sum())
            found.append(
                f"Held out {fold.name}: {n} of {len(fold.test)} cells are of classes that no"
                f" training cell has ({', '.join(absent)}); they are scored, as errors."
            )
    if cells.counts is not None and cells.counts.shape[1] <= n_hvg:
        found.append(
            f"HVG: the file has {cells.counts.shape[1]} genes, not more than n_hvg = {n_hvg}, so"
            f" {baselines.HVG} is {baselines.LOG}."
        )
    if by_batch and any(row["asw_batch"] is None for row in results["results"].values()):
        found.append("No label is in two batches: ASW batch, AvgBATCH and Overall are undefined.")
    for name in results["results"]:
        open_ends = sum(not fold["converged"] for fold in results["folds"][name])
        if open_ends:
            found.append(
                f"{name}: the linear probe stopped at {probes.MAX_ITERATIONS} iterations in"
                f" {open_ends} of {len(folds)} folds."
            )
    return found


def page(results):
    """The whole report in Markdown, from what evaluate returns."""
    meta, files = results["meta"], results["meta"]["figures"]
    batches = meta["batches"]
    what = [f"{meta['cells']:,} cells".replace(",", " "), f"{len(meta['classes'])} classes"]
    if batches is not None:
        what.append(f"{len(batches)} batch{'es' if len(batches) > 1 else ''}")
    if meta["genes"] is not None:
        what.append(f"{meta['genes']:,} genes".replace(",", " "))
    where = f"label `{meta['label']}`" + (f", batch `{meta['batch']}`" if meta["batch"] else "")
    parts = [f"# Evaluation\n\n`{meta['data']}`: {', '.join(what)} ({where}).", "## Probes"]
    parts += [f"Protocol: {meta['protocol']}. Mean ± sd over folds; bold: the best of the column."]
    parts += [tables.metric_table(results, tables.PROBES, spread=True)]
    folds = next(iter(results["folds"].values()))
    if len(folds) > 1 and all(fold["held_out"] in (batches or ()) for fold in folds):
        parts += ["Linear accuracy by held-out batch:", tables.fold_table(results)]
    parts += ["## Clustering and batch mixing"]
    columns = tables.BIOLOGY | tables.MIXING
    parts += [tables.metric_table(results, columns)]
    parts += [
        "1 is best; chance gives NMI and ARI 0. AvgBIO = mean(NMI, ARI, ASW label); AvgBATCH ="
        " mean(graph connectivity, ASW batch); Overall = 0.6 AvgBIO + 0.4 AvgBATCH."
    ]
    if batches is None or len(batches) < 2:
        parts += ["There are no two batches, so nothing is said of mixing (–)."]
    parts += [f"![methods side by side]({files['comparison']})", "## UMAP"]
    parts += [f"![UMAP of {name}]({files[name]})" for name in results["results"]]
    parts += ["## Cells", _cells(meta)]
    if meta["notes"]:
        parts += ["## To be kept in mind", "\n".join(f"- {note}" for note in meta["notes"])]
    parts += ["## How it was measured"]
    parts += ["\n".join(f"- **{what}**: {how}." for what, how in meta["implementations"].items())]
    versions = ", ".join(f"{package} {v}" for package, v in meta["versions"].items())
    counts = f"counts from `{meta['counts']}`" if meta["counts"] else "no counts, no baselines"
    parts += [f"Seed {meta['seed']}; {counts}; {versions}."]
    return "\n\n".join(parts) + "\n"


def _cells(meta):
    left_out = "; ".join(f"{n} left out: {reason}" for reason, n in meta["left_out"].items())
    lines = [
        f"- evaluated: {meta['cells']} of {meta['cells_in_file']}; {left_out or 'none left out'}"
    ]
    for what in ("classes", "batches"):
        if meta[what]:
            counts = ", ".join(f"{name} {n}" for name, n in meta[what].items())
            lines.append(f"- {what}: {counts}")
    return "\n".join(lines)

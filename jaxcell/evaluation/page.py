"""The text of report.md: tables, pictures, what was left out, how it was measured."""

import numpy as np

from . import autoencoder, clustering, methods, probes, tables

# what -> how, and the packages whose code it is, besides jaxcell's own
HOW = {
    "linear probe": (
        "sklearn.preprocessing.StandardScaler (fitted on the training cells) and"
        f" sklearn.linear_model.LogisticRegression (multinomial, L2, C = {probes.C}, L-BFGS);"
        " C was chosen by the counts' and PCA's accuracy on five PBMC batches",
        ["scikit-learn"],
    ),
    "kNN probe": (
        f"jaxcell.evaluation.probes.nearest: majority of the {probes.NEIGHBOURS} nearest training"
        " cells (Euclidean on the representation as it is, exact) by"
        " sklearn.metrics.pairwise_distances (above 10 000 cells: sklearn.neighbors)",
        ["scikit-learn"],
    ),
    "accuracy, macro-F1": (
        "sklearn.metrics.accuracy_score, sklearn.metrics.f1_score over the classes in the held-out"
        " cells; the mean over folds, and pooled: over the held-out cells of all folds together",
        ["scikit-learn"],
    ),
    "neighbour graph": (
        "sklearn distances (exact, Euclidean, on the representation as it is, all its dimensions)"
        " and scib_metrics NeighborsResults.knn_graph_connectivities"
        f" (k = {clustering.GRAPH_NEIGHBOURS} with the cell itself)",
        ["scikit-learn", "scib-metrics", "umap-learn"],
    ),
    "NMI, ARI": (
        "igraph.Graph.community_leiden (modularity, 2 iterations), the resolution of best NMI among"
        " 0.1, 0.2 … 2.0; sklearn.metrics.normalized_mutual_info_score (arithmetic),"
        " sklearn.metrics.adjusted_rand_score",
        ["igraph", "scikit-learn"],
    ),
    "Louvain NMI, ARI": (
        "the same with igraph.Graph.community_multilevel, its own best resolution",
        ["igraph", "scikit-learn"],
    ),
    "ASW label, ASW batch": (
        "sklearn.metrics.silhouette_samples (Euclidean), put together as"
        " scib_metrics.silhouette_label and scib_metrics.silhouette_batch do (rescaled to 0 … 1)",
        ["scikit-learn"],
    ),
    "graph connectivity": (
        f"scib_metrics.graph_connectivity (k = {clustering.GRAPH_NEIGHBOURS}, strong components);"
        " scib's takes an undirected graph: not comparable",
        ["scib-metrics"],
    ),
    "iLISI": (
        f"scib_metrics.ilisi_knn (k = {clustering.LISI_NEIGHBOURS}, perplexity"
        f" {clustering.LISI_NEIGHBOURS // 3}, scaled); not comparable with scib's, whose"
        " neighbours come from a graph",
        ["scib-metrics"],
    ),
    "AvgBIO, AvgBATCH, Overall": (
        "jaxcell.evaluation.clustering.aggregates: mean(NMI, ARI, ASW label) with Leiden's NMI and"
        " ARI (Louvain's beside it); mean(graph connectivity, ASW batch); 0.6 AvgBIO + 0.4 AvgBATCH"
        " (scFormer's definition)",
        [],
    ),
    "UMAP": (
        "scanpy.tl.umap on the neighbour graph, started at two principal components; for the"
        f" embeddings, {methods.LOG}, {methods.PCA}, Harmony and scVI only",
        ["scanpy", "umap-learn"],
    ),
    "counts": (
        "jaxcell.evaluation.baselines.normalise: ln(1 + 10⁴ · count / total); HVG by"
        " scanpy.pp.highly_variable_genes (flavour seurat) on the evaluated cells",
        ["scanpy"],
    ),
    "PCA": ("sklearn.decomposition.PCA (ARPACK, exact) of (Lib+Log)Norm", ["scikit-learn"]),
    "Harmony": (
        "harmonypy.run_harmony with its defaults (theta 2, sigma 0.1, at most 10 rounds) on PCA's"
        " scores, over the batches",
        ["harmonypy"],
    ),
    "scVI": (
        "scvi.model.SCVI with scvi-tools' defaults (10 latent variables, one layer of 128, zero-"
        "inflated negative binomial, at most 400 epochs) on the raw counts, batches as covariate",
        ["scvi-tools"],
    ),
    "Ridge PCA": (
        "jaxcell.evaluation.baselines.Components: the rank-k linear encoder and decoder by"
        " reduced-rank ridge regression of (Lib+Log)Norm on itself (Mukherjee and Zhu 2011), PCA's"
        " scores times s² / (s² + λ), λ = ridge · s_k²; its linear probe is PCA's, because the"
        " probe standardises",
        ["scikit-learn"],
    ),
    "Linear AE": (
        "jaxcell.evaluation.autoencoder: linear encoder and decoder of standardised (Lib+Log)Norm,"
        f" mean squared error, optax.adam {autoencoder.LEARNING_RATE:g}, {autoencoder.STEPS} steps"
        f" of {autoencoder.BATCH} cells; the code is not orthogonalised",
        ["jax", "optax"],
    ),
}


def implementations(versions):
    """{what: how, with the versions of the packages behind it}; versions: {package: version}."""
    said = {}
    for what, (how, packages) in HOW.items():
        if not versions.keys() >= set(packages):
            continue  # of a baseline that was not asked for
        names = [f"{package} {versions[package]}" for package in packages or ["jaxcell"]]
        said[what] = f"{how} [{', '.join(names)}]"
    return said


def notes(cells, splits, compared, results):
    """What a reader has to know to judge the figures, one sentence each."""
    found, first = [], next(iter(splits.values()))
    whole = probes.whole_batches(cells.batch, results["meta"]["test_batches"])
    few = [f"{name} ({n})" for name, n in results["meta"]["classes"].items() if n < probes.FOLDS]
    if few and not whole:
        found.append(
            f"Classes with fewer than {probes.FOLDS} cells are in the test set of some folds only,"
            f" and a class of one cell is never trained on when tested: {', '.join(few)}."
        )
    for fold in first:
        absent = sorted(set(cells.labels[fold.test]) - set(cells.labels[fold.train]))
        if absent:
            n = int(np.isin(cells.labels[fold.test], absent).sum())
            found.append(
                f"Held out {fold.name}: {n} of {len(fold.test)} cells are of classes that no"
                f" training cell has ({', '.join(absent)}); they are scored, as errors."
            )
    per_fold = [method.name for method in compared if method.per_fold]
    if per_fold:
        found.append(
            f"One matrix per fold: {', '.join(per_fold)}. Clustering and mixing are measured on all"
            " evaluated cells, not on the held-out ones alone, in each of the matrices, and"
            " averaged."
        )
    if cells.shared:
        found.append(
            f"{cells.shared} of the evaluated cells have a name that is in train too: if they are"
            " the same cells, the inductive baselines have seen them."
        )
    rows = results["results"].values()
    mixed = cells.batch is not None and len(np.unique(cells.batch)) > 1
    if mixed and any(row["asw_batch"] is None for row in rows):
        found.append("No label is in two batches: ASW batch, AvgBATCH and Overall are undefined.")
    for name, folds in results["folds"].items():
        open_ends = sum(not fold["converged"] for fold in folds)
        if open_ends:
            found.append(
                f"{name}: the linear probe stopped at {probes.MAX_ITERATIONS} iterations in"
                f" {open_ends} of {len(folds)} folds."
            )
    return found


def page(results):
    """The whole report in Markdown, from what evaluate returns."""
    meta, files = results["meta"], results["meta"]["figures"]
    parts = [_title(meta), *_probes(results), *_clustering(results)]
    if meta["batches"] is None or len(meta["batches"]) < 2:
        parts += ["There are no two batches, so nothing is said of mixing (–)."]
    for block in results.get("protocols", {}).values():
        parts += _protocol(results, block)
    parts += [f"![methods side by side]({files['comparison']})", "## UMAP"]
    parts += [f"![UMAP of {n}]({file})" for n, file in files.items() if n != "comparison"]
    parts += ["## Cells", _cells(meta)]
    if meta["notes"]:
        parts += ["## To be kept in mind", "\n".join(f"- {note}" for note in meta["notes"])]
    parts += ["## How it was measured"]
    parts += ["\n".join(f"- **{what}**: {how}." for what, how in meta["implementations"].items())]
    versions = ", ".join(f"{package} {v}" for package, v in meta["versions"].items())
    counts = f"counts from `{meta['counts']}`" if meta["counts"] else "no counts, no baselines"
    first, n = meta["seed"], meta["seeds"]
    seeds = f"Seed {first}" if n == 1 else f"Seeds {first} … {first + n - 1}"
    parts += [f"{seeds}; {counts}; {versions}."]
    return "\n\n".join(parts) + "\n"


def _title(meta):
    what = [f"{meta['cells']:,} cells", f"{len(meta['classes'])} classes"]
    if meta["batches"] is not None:
        n = len(meta["batches"])
        what.append(f"{n} batch{'es' if n > 1 else ''}")
    if meta["genes"] is not None:
        what.append(f"{meta['genes']:,} genes")
    where = f"label `{meta['label']}`" + (f", batch `{meta['batch']}`" if meta["batch"] else "")
    return f"# Evaluation\n\n`{meta['data']}`: {', '.join(what)} ({where})."


def _probes(results):
    meta = results["meta"]
    over = "folds" if meta["seeds"] == 1 else f"{meta['seeds']} seeds (none: no seed changes it)"
    yield "## Probes"
    yield f"Protocol: {meta['protocol']}. Mean ± sd over {over}; bold: the best of the column."
    yield tables.metric_table(results, tables.PROBES, spread=True, fitted=True)
    folds = next(iter(results["folds"].values()))
    if len({fold["held_out"] for fold in folds}) < 2:
        return
    if all(fold["held_out"] in (meta["batches"] or ()) for fold in folds):
        yield "Linear macro-F1 by held-out batch:"
        yield tables.fold_table(results, "linear_macro_f1")
        yield "Linear accuracy by held-out batch:"
        yield tables.fold_table(results, "linear_accuracy")
    yield (
        "The mean over folds gives a small batch the weight of a large one. Over the held-out cells"
        " of all folds together:"
    )
    yield tables.metric_table(results, tables.POOLED, spread=meta["seeds"] > 1)


def _clustering(results):
    several = results["meta"]["seeds"] > 1
    yield "## Clustering and batch mixing"
    yield tables.metric_table(results, tables.BIOLOGY | tables.LOUVAIN, spread=several)
    if several:
        top = {n: max(r["avg_bio"] for r in rows) for n, rows in results["seeds"].items()}
        yield (
            "AvgBIO of the best seed: "
            + ", ".join(f"{name} {tables.number(value)}" for name, value in top.items())
            + "."
        )
    yield tables.metric_table(results, tables.MIXING, spread=several)
    yield (
        "All evaluated cells. 1 is best; chance gives NMI and ARI 0. NMI, ARI and AvgBIO are"
        " Leiden's but where Louvain is named, each at its best resolution. AvgBIO = mean(NMI, ARI,"
        " ASW label); AvgBATCH = mean(graph connectivity, ASW batch); Overall = 0.6 AvgBIO + 0.4"
        " AvgBATCH. What scib-metrics computes is not comparable with scib's values."
    )


def _protocol(results, block):
    """A paper's own metrics: tables, definitions, pictures."""
    yield f"## As {block['title']}"
    for title, columns in block["groups"].items():
        yield f"{title[0].upper()}{title[1:]}:"
        own, spread = tables.protocol_results(results, block), results["meta"]["seeds"] > 1
        yield tables.metric_table(own, columns, spread=spread)
    yield block["definition"]
    yield from (f"![{name} by study and type]({file})" for name, file in block["figures"].items())


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

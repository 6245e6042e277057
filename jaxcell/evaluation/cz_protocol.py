"""The scores of cz-benchmarks that BMFM-RNA's supplementary tables 9 to 13 print, per tissue.

n cells, d features. Source: chanzuckerberg/cz-benchmarks, tasks clustering, embedding and metadata
label prediction (RANDOM_SEED 42, N_FOLDS 5, MIN_CLASS_SIZE 10).
"""

import warnings

import numpy as np

from . import clustering
from .group_distances import group_distances

FOLDS, FEWEST = 5, 10  # cells of a class; smaller classes are left out of the prediction
RESOLUTION = 1.0  # of its Leiden, scanpy's default
METRICS = {
    "lr_macro_f1": "macro-F1", "lr_accuracy": "accuracy", "ari": "ARI", "nmi": "NMI",
    "silhouette": "silhouette", "knn_macro_f1": "kNN macro-F1", "knn_accuracy": "kNN accuracy",
}  # fmt: skip


def cz_scores(x, labels, *, seed=42):
    """Label prediction and clustering of one tissue (or of all cells where there is none).

    Prediction: five stratified folds; standardised features; scikit-learn's logistic regression
    and 5 nearest neighbours, each with its defaults; the mean over folds of accuracy and macro-F1
    (with two classes, F1 of the second, as there). Clustering: ARI and NMI of Leiden at
    resolution 1, two iterations, on 15 neighbours. silhouette = (s + 1) / 2 of the labels.

    Not as there: neighbours are exact, not approximate; its random forest is left out.

    Parameters
    ----------
    x : float32 [n, d]
    labels : str [n]
    seed : int
        Of the folds and of Leiden.

    Returns
    -------
    dict
        METRICS (prediction None where fewer than two classes have 10 cells), `cells` and `classes`.

    Raises
    ------
    ValueError
        One label only.
    """
    passed = group_distances(x, labels, neighbours=clustering.GRAPH_NEIGHBOURS - 1)
    near = clustering.Neighbours.of_others(passed.indices, passed.distances)
    clusters = near.clusterings("leiden", seed, (RESOLUTION,))
    best, _ = clustering.best_clustering(clusters, labels)
    found = _predicted(x, labels, seed) | {"ari": best["ari"], "nmi": best["nmi"]}
    found["silhouette"] = float((passed.label.mean() + 1) / 2)
    found = {name: found[name] for name in METRICS}
    return found | {"cells": len(labels), "classes": len(np.unique(labels))}


def _predicted(x, labels, seed):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _, code, size = np.unique(labels, return_inverse=True, return_counts=True)
    kept = np.flatnonzero((size >= FEWEST)[code])
    x, y = x[kept], np.unique(code[kept], return_inverse=True)[1]
    kinds = {"lr": LogisticRegression, "knn": KNeighborsClassifier}
    if len(np.unique(y)) < 2:
        return {f"{kind}_{m}": None for kind in kinds for m in ("accuracy", "macro_f1")}
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    found = {f"{kind}_{m}": [] for kind in kinds for m in ("accuracy", "macro_f1")}
    for train, test in folds.split(x, y):
        for kind, model in kinds.items():
            with warnings.catch_warnings():
                # After its default of 100 steps logistic regression stops, there as here.
                warnings.filterwarnings("ignore", message="lbfgs failed to converge")
                made = make_pipeline(StandardScaler(), model()).fit(x[train], y[train])
            accuracy, f1 = _scores(y[test], made.predict(x[test]))
            found[f"{kind}_accuracy"].append(accuracy)
            found[f"{kind}_macro_f1"].append(f1)
    return {name: float(np.mean(values)) for name, values in found.items()}


def _scores(truth, predicted):
    from sklearn.metrics import accuracy_score, f1_score

    average = "binary" if truth.max() == 1 else "macro"
    return accuracy_score(truth, predicted), f1_score(truth, predicted, average=average)

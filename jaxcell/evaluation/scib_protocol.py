"""TxFM's scIB protocol (appendix B.2): clustering and batch integration on subsamples of cells.

n cells, d features, m = min(n, 10 000) cells of a subsample.
"""

import numpy as np

from . import clustering
from .baselines import principal_components
from .group_distances import group_distances

CELLS = 10_000
# The paper tries ten and does not name them; these are every second one of scib's default twenty.
RESOLUTIONS = tuple(round(0.2 * i, 1) for i in range(1, 11))
COMPONENTS = 50  # of principal component regression
WIDE = 2000  # features: above, no covariance of theirs is made
CLUSTERS = ("nmi", "ari", "resolution", "clusters")
METRICS = {
    "nmi": "NMI", "ari": "ARI", "asw_label": "ASW label", "avg_bio": "AvgBIO",
    "graph_connectivity": "graph conn.", "asw_batch": "ASW batch", "avg_batch": "AvgBATCH",
    "overall": "Overall", "asw_within": "ASW within batches", "ilisi": "iLISI", "pcr": "PCR",
    "pcr_comparison": "PCR comparison", "leiden_nmi": "Leiden NMI", "leiden_ari": "Leiden ARI",
}  # fmt: skip


def subsample(n, cells=CELLS, seed=0):
    """Which cells are looked at: drawn without replacement and not stratified, as in the paper.

    -> int [min(n, cells)], ascending; all of them where there are not more
    """
    if n <= cells:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, cells, replace=False))


def scib_scores(x, labels, batch=None, *, cells=CELLS, seed=0, before=None):
    """All scores of a representation on one subsample.

    NMI and ARI are Louvain's on the exact graph of 15 neighbours, at the resolution of best NMI
    among ten (eqs. 20, 21); Leiden's stand beside them. ASW label (22), ASW batch (scib's, within
    labels), ASW within batches (23), graph connectivity, iLISI, PCR and PCR comparison (24).
    AvgBIO, AvgBATCH and Overall as `clustering.averages` has them: PCR is in none of them, because
    the paper declines it as unstable.

    Parameters
    ----------
    x : float32 [n, d]
    labels : str [n]
    batch : str [n], optional
        None, or one batch only: what is about batches is None.
    cells : int
    seed : int
        Of the subsample and of the clusterings.
    before : float, optional
        PCR of the log-normalised counts of the same subsample (`pcr`); None: no comparison.

    Returns
    -------
    dict
        METRICS, `resolution` and `clusters` of both algorithms, and `cells`.

    Raises
    ------
    ValueError
        The subsample has one label only.
    """
    own = subsample(len(x), cells, seed)
    x, labels = x[own], labels[own]
    batch = None if batch is None or len(np.unique(batch[own])) < 2 else batch[own]
    found = _clusterings(x, labels, batch, seed)
    after = None if batch is None else pcr(x, batch)
    compared = None if before is None or after is None else pcr_comparison(before, after)
    found |= {"pcr": after, "pcr_comparison": compared, "cells": len(own)}
    return found | clustering.averages(found)


def _clusterings(x, labels, batch, seed):
    others = min(clustering.LISI_NEIGHBOURS, len(x)) - 1
    passed = group_distances(x, labels, batch, neighbours=others)
    near = clustering.Neighbours.of_others(passed.indices, passed.distances)
    found = {}
    for algorithm, prefix in (("louvain", ""), ("leiden", "leiden_")):
        clusters = near.clusterings(algorithm, seed, RESOLUTIONS)
        best, _ = clustering.best_clustering(clusters, labels)
        found |= {prefix + name: best[name] for name in CLUSTERS}
    found["asw_label"] = _rescaled(passed.label)
    mixing = dict.fromkeys(("asw_batch", "asw_within", "graph_connectivity", "ilisi"))
    if batch is not None:
        mixing = {
            "asw_batch": asw_batch(passed.batch, labels, batch),
            "asw_within": _rescaled(passed.within),
            "graph_connectivity": clustering.graph_connectivity(near.neighbours, labels),
            "ilisi": clustering.ilisi(near.neighbours, batch),
        }
    return found | mixing


def _rescaled(widths):
    """(s + 1) / 2 of the mean of those that are defined; None where none is."""
    known = widths[~np.isnan(widths)]
    return float((known.mean() + 1) / 2) if len(known) else None


def asw_batch(widths, labels, batch):
    """`clustering.asw_batch` from the silhouettes of the batches within each label.

    widths float [n], labels, batch str [n] -> float in [0, 1]; None where no label counts
    """
    per_label = []
    for name in np.unique(labels):
        own = labels == name
        if 1 < len(np.unique(batch[own])) < own.sum():
            per_label.append(1 - np.abs(widths[own]).mean())
    return float(np.mean(per_label)) if per_label else None


def pcr(x, batch, components=COMPONENTS):
    """Share of the variance of the leading principal components that the batch explains.

    Σ R²_i var_i / Σ var_i, R²_i that of component i regressed on the batches. With batches as
    groups it is the sum of squares between their means over the whole. Source: Büttner et al.
    2019; as scib's pcr.

    x [n, d], dense or CSR; batch [n] -> float in [0, 1]
    """
    scores = _components(x, components)
    scores = scores - scores.mean(axis=0)
    code = np.unique(batch, return_inverse=True)[1]
    size = np.bincount(code)
    order = np.argsort(code, kind="stable")
    sums = np.add.reduceat(scores[order], np.r_[0, np.cumsum(size)[:-1]], axis=0)
    total = (scores**2).sum()
    return float((sums**2 / size[:, None]).sum() / total) if total > 0 else 0.0


def _components(x, k):
    """Coordinates on the leading principal components, float64 [n, min(k, n − 1, d)]; exact."""
    import scipy.sparse as sp
    from sklearn.decomposition import PCA

    if sp.issparse(x):
        return principal_components(x, k).scores(x).astype(np.float64)
    if (x == x[:1]).all():  # scikit-learn would divide by their variance
        return np.zeros((len(x), 1))
    n, d = x.shape
    solver = "covariance_eigh" if d <= WIDE else "arpack"
    k = min(k, n - 1, d)
    return PCA(k, svd_solver=solver, random_state=0).fit_transform(x.astype(np.float64))


def pcr_comparison(before, after):
    """How much of the counts' batch variance is gone: max(0, (before − after) / before); eq. 24.

    0 where there was none.
    """
    return max(0.0, (before - after) / before) if before > 0 else 0.0

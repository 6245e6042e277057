"""The clustering metrics of single papers, as their texts define them, beside the house's own.

n cells. A protocol adds a table of its own; nothing here changes the house's tables.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components

from .clustering import Space

STUDY_NEIGHBOURS = 50  # of BioFormer's graph connectivity; the cell itself counted, as in its code
RESOLUTION = 1.0  # of BioFormer's Leiden


@dataclass(frozen=True)
class Protocol:
    """A paper's metrics.

    fixed(space, labels, batch) -> {metric: value}: what no seed changes.
    drawn(space, labels, batch, seed, view, layout) -> {metric: value}: the rest; view holds the
    house's metrics of the same matrix and seed, and what `fixed` gave.
    layout(space, seed) -> the map [n, 2] that `drawn` and the figures look at; None: no map.
    """

    title: str
    groups: dict  # {title of a table: {metric: header}}
    definition: str  # of all of them, in words
    fixed: Callable
    drawn: Callable
    layout: Callable | None = None


def batch_silhouette(x, batch, metric="euclidean"):
    """1 − |mean silhouette of the batches over all cells|, whatever their types.

    Source: scFormer, A.1.1. `clustering.asw_batch` is scib's, within each type.

    x [n, d], or distances [n, n] where metric='precomputed'; batch [n] -> float in [0, 1]
    """
    from sklearn.metrics import silhouette_score

    return float(1 - abs(silhouette_score(x, batch, metric=metric)))


def component_share(graph, labels):
    """Share of each label's cells in the largest component of its own graph; mean over labels.

    On an undirected graph, as scib's graph_connectivity; that of scib-metrics is on the directed
    one. Source: Luecken et al. 2022; scFormer, A.1.1.

    graph [n, n] CSR, symmetric; labels [n] -> float in (0, 1]
    """
    shares = []
    for name in np.unique(labels):
        own = np.flatnonzero(labels == name)
        _, part = connected_components(graph[own][:, own], directed=False)
        shares.append(np.bincount(part).max() / len(own))
    return float(np.mean(shares))


def study_mixing(neighbours, labels, study, k=STUDY_NEIGHBOURS):
    """Neighbours of a cell's own type that come from another study.

    The mean share is BioFormer's equation (4.4); its code counts the cells with any such
    neighbour, which is far more lenient.

    Parameters
    ----------
    neighbours : int [n, at least min(k, n)]
        The cell itself first, nearest next.
    labels, study : str [n]
    k : int
        Neighbours looked at, with the cell itself: k − 1 others.

    Returns
    -------
    float, float
        Mean share of the neighbours, and share of the cells with one at least.
    """
    near = neighbours[:, 1:k]
    labels, study = (np.unique(names, return_inverse=True)[1] for names in (labels, study))
    hit = (labels[near] == labels[:, None]) & (study[near] != study[:, None])
    return float(hit.mean()), float(hit.any(axis=1).mean())


def _several(batch):
    return batch is not None and 1 < len(np.unique(batch)) < len(batch)


def _mean(*values):
    return None if None in values else float(np.mean(values))


def _weighted(bio, batch):
    return None if batch is None else 0.6 * bio + 0.4 * batch


def _scformer_fixed(space, labels, batch):
    if not _several(batch):
        return {"batch_all": None, "graph_conn": None}
    x, metric = space.far()
    return {
        "batch_all": batch_silhouette(x, batch, metric),
        "graph_conn": component_share(space.graph, labels),
    }


def _scformer_drawn(space, labels, batch, seed, view, layout):
    found = {"nmi": view["louvain_nmi"], "ari": view["louvain_ari"], "asw_cell": view["asw_label"]}
    bio = found["avg_bio"] = _mean(*found.values())
    connected, over_all, within = view["graph_conn"], view["batch_all"], view["asw_batch"]
    mixing, scib = _mean(over_all, connected), _mean(within, connected)
    found |= {"graph_conn": connected, "asw_batch": over_all, "avg_batch": mixing}
    found |= {"overall": _weighted(bio, mixing), "asw_batch_within": within}
    return found | {"avg_batch_within": scib, "overall_within": _weighted(bio, scib)}


def scformer_scores(x, labels, batch, seed=0):
    """The metrics of scFormer's protocol alone, of one embedding.

    x f32 [n, d]; labels, batch str [n]; seed starts Louvain -> {metric: value}, see PROTOCOLS
    """
    from .clustering import asw_batch, asw_label, best_clustering

    space = Space(np.asarray(x, np.float32))
    best, _ = best_clustering(space.clusterings("louvain", seed), labels)
    far, metric = space.far()
    view = {
        "louvain_nmi": best["nmi"],
        "louvain_ari": best["ari"],
        "asw_label": asw_label(far, labels, metric),
        "asw_batch": asw_batch(far, labels, batch, metric),
        **_scformer_fixed(space, labels, batch),
    }
    return _scformer_drawn(space, labels, batch, seed, view, None)


def _angles(space, labels, batch):
    """BioFormer's metrics that need no clusters, on a cosine space."""
    from .clustering import asw_label

    x, metric = space.far()
    mixing = (None, None)
    if _several(batch):
        mixing = study_mixing(space.neighbours.indices, labels, batch)
    found = {"silhouette": asw_label(x, labels, metric), "gc": mixing[0], "gc_any": mixing[1]}
    space.forget()
    return found


def _leiden(space, labels, seed):
    from .clustering import best_clustering

    best, _ = best_clustering(space.clusterings("leiden", seed, (RESOLUTION,)), labels)
    space.forget()
    return {"nmi": best["nmi"], "ari": best["ari"]}


def _with_mean(found):
    bio = _mean(found["nmi"], found["ari"], found["silhouette"])
    return {m: found[m] for m in ("nmi", "ari", "silhouette")} | {
        "avg_bio": bio, "gc": found["gc"], "gc_any": found["gc_any"]
    }  # fmt: skip


def _bioformer_drawn(space, labels, batch, seed, view, layout):
    own = _with_mean(view | _leiden(space.cosine, labels, seed))
    # A map has no origin of its own: its angles are seen from its mean.
    centred = Space((layout - layout.mean(axis=0)).astype(np.float32))
    mapped = _leiden(centred, labels, seed) | _angles(centred.cosine, labels, batch)
    return own | {f"map_{metric}": value for metric, value in _with_mean(mapped).items()}


_BIOFORMER = {
    "nmi": "NMI", "ari": "ARI", "silhouette": "silhouette", "avg_bio": "AvgBio",
    "gc": "AvgBatch = GC", "gc_any": "GC, any",
}  # fmt: skip

PROTOCOLS = {
    "scformer": Protocol(
        title="scFormer (Cui et al. 2022, A.1.1)",
        groups={
            "by its text": {
                "nmi": "NMI",
                "ari": "ARI",
                "asw_cell": "ASW_cell",
                "avg_bio": "AvgBIO",
                "graph_conn": "GraphConn",
                "asw_batch": "ASW_batch",
                "avg_batch": "AvgBATCH",
                "overall": "Overall",
            },
            "ASW_batch within types": {
                "asw_batch_within": "ASW_batch",
                "avg_batch_within": "AvgBATCH",
                "overall_within": "Overall",
            },
        },
        definition=(
            "NMI and ARI of Louvain (igraph's multilevel algorithm) on the graph of 15 Euclidean"
            " neighbours, at the resolution of best NMI among 0.1, 0.2 … 2.0. ASW_cell = (s + 1)"
            " / 2, s the mean silhouette of the types. ASW_batch = 1 − |s|, s the mean silhouette"
            " of the batches over all cells, as its text has it; within types: scib's, which the"
            " text cites (1 − |s| of each cell among those of its type, mean over a type's cells,"
            " then over types). GraphConn: the share of a type's cells in the largest component"
            " of its own part of the undirected graph, mean over types (scib's). AvgBIO ="
            " mean(NMI, ARI, ASW_cell), AvgBATCH = mean(ASW_batch, GraphConn), Overall = 0.6"
            " AvgBIO + 0.4 AvgBATCH."
        ),
        fixed=_scformer_fixed,
        drawn=_scformer_drawn,
    ),
    "bioformer": Protocol(
        title="BioFormer (Ho and Le 2025, section 4)",
        groups={
            "the embedding": _BIOFORMER,
            "its 2-D UMAP": {f"map_{metric}": header for metric, header in _BIOFORMER.items()},
        },
        definition=(
            "NMI and ARI of Leiden at resolution 1.0 (igraph, modularity, 2 iterations) on the"
            " graph of 15 cosine neighbours. silhouette = (1 + s) / 2, s the mean cosine"
            " silhouette of the types. GC: the mean share, among a cell's 49 nearest by cosine"
            " (50 with itself), of cells of its own type and another study; with S equally large"
            " studies, perfectly mixed, it is (S − 1) / S. GC, any: the share of cells with one"
            " such neighbour at least, as its code counts. AvgBio = mean(NMI, ARI, silhouette);"
            " AvgBatch = GC. UMAP: the map of the same graph, centred at its mean; there Leiden's"
            " neighbours are Euclidean, silhouette and GC by cosine as the text says, and so blind"
            " to the distance from the centre."
        ),
        fixed=lambda space, labels, batch: _angles(space.cosine, labels, batch),
        drawn=_bioformer_drawn,
        layout=lambda space, seed: space.cosine.layout(seed),
    ),
}


def choose(names):
    """The protocols named, each once, in this order.

    Raises
    ------
    ValueError
        A name that is not known.
    """
    for name in names:
        if name not in PROTOCOLS:
            raise ValueError(f"protocols: found {name!r}, expected some of {', '.join(PROTOCOLS)}")
    return list(dict.fromkeys(names))

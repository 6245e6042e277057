"""Clustering and batch mixing of a representation, on one exact neighbour graph.

n cells, d features, k neighbours (the cell itself counted, as in scanpy).
"""

import random
import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

GRAPH_NEIGHBOURS = 15
LISI_NEIGHBOURS = 90  # scib-metrics' Benchmarker takes 90 too: perplexity 30
MOST_DISTANCES = 10_000  # cells: 400 MB
RESOLUTIONS = tuple(round(0.1 * i, 1) for i in range(1, 21))


def scib():
    """scib_metrics, without what umap has to say when it is imported."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Tensorflow not install", category=ImportWarning)
        import scib_metrics
        import scib_metrics.nearest_neighbors
    return scib_metrics


class OnNeighbours:
    """What hangs on exact neighbours alone, `self.neighbours` of its heirs: graph, clusterings."""

    @cached_property
    def graph(self):
        """Fuzzy graph of the 15 nearest neighbours (UMAP, McInnes et al. 2018): CSR [n, n]."""
        return self.neighbours.subset_neighbors(GRAPH_NEIGHBOURS).knn_graph_connectivities.tocsr()

    def clusterings(self, algorithm, seed, resolutions=RESOLUTIONS):
        """Clusters of `graph` at each resolution: {resolution: int [n]}.

        'leiden': modularity, two iterations, as scanpy.tl.leiden does with flavor='igraph'.
        'louvain': the multilevel algorithm to its end (Blondel et al. 2008). Both by igraph, with
        the weights of the graph; `seed` starts them.
        """
        import igraph

        upper = sp.triu(self.graph, k=1, format="coo")
        edges = np.column_stack([upper.row, upper.col]).astype(np.int64)  # int32: ten times slower
        graph = igraph.Graph(n=self.graph.shape[0], edges=edges)
        weights = upper.data.tolist()

        def members(resolution):
            igraph.set_random_number_generator(random.Random(seed))
            if algorithm == "louvain":
                return graph.community_multilevel(weights, resolution=resolution)
            return graph.community_leiden(
                "modularity", weights=weights, resolution=resolution, n_iterations=2
            )

        found = {r: np.array(members(r).membership) for r in resolutions}
        igraph.set_random_number_generator(random)  # the default: Python's own
        return found


@dataclass
class Neighbours(OnNeighbours):
    """Exact neighbours found elsewhere: scib_metrics' NeighborsResults, the cell itself first."""

    neighbours: object

    @classmethod
    def of_others(cls, indices, distances):
        """From the other cells only, nearest first: int [n, k − 1], float [n, k − 1]."""
        n = len(indices)
        return cls(
            scib().nearest_neighbors.NeighborsResults(
                indices=np.hstack([np.arange(n)[:, None], indices]),
                distances=np.pad(distances, ((0, 0), (1, 0))).astype(np.float32),
            )
        )


@dataclass
class Space(OnNeighbours):
    """A representation and what hangs on it alone, computed once: distances, graph, clusterings.

    x float32 [n, d]; metric 'euclidean' or 'cosine' (1 − cosine of the angle)
    """

    x: np.ndarray
    metric: str = "euclidean"

    @cached_property
    def cosine(self):
        """The same representation, judged by the angle between cells."""
        return Space(self.x, "cosine")

    @cached_property
    def distances(self):
        """Distances [n, n] float32; None above 10 000 cells, where they would not fit."""
        from sklearn.metrics import pairwise_distances

        if len(self.x) > MOST_DISTANCES:
            return None
        return pairwise_distances(self.x, metric=self.metric)

    def far(self):
        """What a silhouette is computed from, and by which metric: distances, or the cells."""
        if self.distances is None:
            return self.x, self.metric
        return self.distances, "precomputed"

    def forget(self):
        """Free the distances; they come back when asked for."""
        self.__dict__.pop("distances", None)

    @cached_property
    def neighbours(self):
        """Exact neighbours [n, min(90, n)], the cell itself first, nearest next."""
        from sklearn.neighbors import NearestNeighbors

        others = min(LISI_NEIGHBOURS, len(self.x)) - 1
        if self.distances is None:
            search = NearestNeighbors(n_neighbors=others, algorithm="brute", metric=self.metric)
            distances, indices = search.fit(
                self.x
            ).kneighbors()  # of the cells themselves: excludes the cell
        else:
            np.fill_diagonal(self.distances, np.inf)
            indices = np.argpartition(self.distances, others - 1, axis=1)[:, :others]
            distances = np.take_along_axis(self.distances, indices, axis=1)
            order = np.argsort(distances, axis=1, kind="stable")
            indices = np.take_along_axis(indices, order, axis=1)
            distances = np.take_along_axis(distances, order, axis=1)
            np.fill_diagonal(self.distances, 0)
        return Neighbours.of_others(indices, distances).neighbours

    def layout(self, seed):
        """UMAP coordinates [n, 2] of `graph`, started at the first two principal components."""
        import anndata
        import scanpy
        from sklearn.decomposition import PCA

        n, d = self.x.shape
        start = np.zeros((n, 2))
        start[:, :d] = PCA(min(2, d), random_state=seed).fit_transform(self.x)
        noise = np.random.default_rng(seed).normal(size=(n, 2))  # one dimension, or twins
        start = start / start.std(axis=0).clip(1e-6) + 0.01 * noise
        cells = anndata.AnnData(np.zeros((len(self.x), 1), np.float32))
        cells.obsp["connectivities"] = self.graph
        cells.uns["neighbors"] = {
            "connectivities_key": "connectivities",
            "params": {"method": "umap", "n_neighbors": GRAPH_NEIGHBOURS},
        }
        scanpy.tl.umap(cells, init_pos=start.astype(np.float32), random_state=seed)
        return cells.obsm["X_umap"]


def best_clustering(clusterings, labels):
    """The resolution of highest NMI (the lowest of equals), and both scores at all of them.

    NMI with arithmetic normalisation; ARI. Source: Luecken et al. 2022; TxFM eqs. 20, 21.

    {resolution: int [n]}, str [n] -> dict (nmi, ari, resolution, clusters) and
    {resolution: (nmi, ari)}
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    sweep = {
        resolution: (
            float(normalized_mutual_info_score(labels, clusters)),
            float(adjusted_rand_score(labels, clusters)),
        )
        for resolution, clusters in clusterings.items()
    }
    best = max(sweep, key=lambda resolution: sweep[resolution][0])
    nmi, ari = sweep[best]
    n_clusters = len(np.unique(clusterings[best]))
    return {"nmi": nmi, "ari": ari, "resolution": best, "clusters": n_clusters}, sweep


def asw_label(x, labels, metric="euclidean"):
    """Average silhouette width of the labels, rescaled: (s + 1) / 2.

    Source: Luecken et al. 2022; TxFM eq. 22. Equal to scib_metrics.silhouette_label, by
    sklearn's silhouette, which multiplies matrices and so takes seconds at 5 000 × 7 000.

    x [n, d], or distances [n, n] where metric='precomputed'; labels [n] -> float in [0, 1]
    """
    from sklearn.metrics import silhouette_score

    return float((silhouette_score(x, labels, metric=metric) + 1) / 2)


def asw_batch(x, labels, batch, metric="euclidean"):
    """1 − |silhouette of the batches| within each label; mean over its cells, then over labels.

    Labels in one batch only, or with as many batches as cells, do not count. Source: Luecken et
    al. 2022; equal to scib_metrics.silhouette_batch.

    x [n, d], or distances [n, n] where metric='precomputed'; labels, batch [n] -> float in
    [0, 1], or None if no label counts
    """
    from sklearn.metrics import silhouette_samples

    per_label = []
    for name in np.unique(labels):
        mask = labels == name
        if 1 < len(np.unique(batch[mask])) < mask.sum():
            own = x[np.ix_(mask, mask)] if metric == "precomputed" else x[mask]
            per_label.append(1 - np.abs(silhouette_samples(own, batch[mask], metric=metric)).mean())
    return float(np.mean(per_label)) if per_label else None


def graph_connectivity(neighbours, labels):
    """Share of each label's cells in the largest component of its own graph; mean over labels.

    By scib_metrics, on the directed graph of 15 neighbours (strong components).
    """
    return float(scib().graph_connectivity(neighbours.subset_neighbors(GRAPH_NEIGHBOURS), labels))


def ilisi(neighbours, batch):
    """Integration LISI over 90 neighbours, scaled to [0, 1]: (median − 1) / (batches − 1).

    By scib_metrics; not comparable with scib's. Source: Korsunsky et al. 2019.
    """
    import jax

    # A caller may have set 'raise' or float64; scib-metrics' code takes neither.
    with jax.numpy_rank_promotion("allow"), jax.enable_x64(False):
        return float(scib().ilisi_knn(neighbours, batch))


def aggregates(scores):
    """AvgBIO, AvgBATCH and Overall of a method's scores; None where a part is None.

    NMI and ARI are Leiden's; `louvain_avg_bio` takes Louvain's.
    """
    found = averages(scores)
    louvain = {"nmi": scores["louvain_nmi"], "ari": scores["louvain_ari"]}
    bio = averages(scores | louvain)["avg_bio"]
    return {"avg_bio": found["avg_bio"], "louvain_avg_bio": bio} | {
        name: found[name] for name in ("avg_batch", "overall")
    }


def averages(scores):
    """AvgBIO = mean(NMI, ARI, ASW label), AvgBATCH = mean(graph connectivity, ASW batch).

    Overall = 0.6 AvgBIO + 0.4 AvgBATCH. Source: scFormer (Cui et al. 2022), as scGPT.

    {'nmi', 'ari', 'asw_label', 'graph_connectivity', 'asw_batch'} -> {'avg_bio', 'avg_batch',
    'overall'}; None where a part is None
    """
    bio = (scores["nmi"] + scores["ari"] + scores["asw_label"]) / 3
    mixing = scores["graph_connectivity"], scores["asw_batch"]
    both = None if None in mixing else sum(mixing) / 2
    overall = None if both is None else 0.6 * bio + 0.4 * both
    return {"avg_bio": bio, "avg_batch": both, "overall": overall}

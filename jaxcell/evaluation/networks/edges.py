"""What attention says of genes: edges of sources, key regulators, clusters.

M genes; in a map [M, M] a row is the gene that reads, a column the gene that is read. An edge goes
from the gene that is read, the regulator, to the gene that reads it.
"""

import numpy as np

from jaxcell.evaluation.clustering import Space

FEWEST_GENES = 20  # a graph of 15 neighbours has to say something
EDGE_COLUMNS = ("source", "target", "condition", "score", "z", "rank")


def contrasts(maps, reference=None):
    """The conditions and how they differ from one of them.

    Parameters
    ----------
    maps : {condition: array}
    reference : the condition that others are compared with; the first by default

    Returns
    -------
    {name: array}, the conditions as given, then 'B − A' for each other B than the reference A

    Raises
    ------
    ValueError
        No such condition.
    """
    reference = next(iter(maps)) if reference is None else reference
    if reference not in maps:
        raise ValueError(f"reference: found {reference!r}, expected one of {', '.join(maps)}")
    others = [name for name in maps if name != reference]
    return {**maps, **{f"{b} − {reference}": maps[b] - maps[reference] for b in others}}


def influence(scores, source):
    """Scores of the edges that leave a gene, as z over its targets: [M, M], place -> float64 [M].

    Mean 0 and deviation 1 over the other genes; the gene itself has NaN.
    """
    own = np.array(scores[:, source], np.float64)
    own[source] = np.nan
    spread = np.nanstd(own)
    return (own - np.nanmean(own)) / (spread if spread > 0 else 1.0)


def targets(scores, source, k):
    """Places of the k genes that a source influences most, strongest first."""
    own = np.array(scores[:, source], np.float64)
    own[source] = -np.inf
    return np.argsort(-own, kind="stable")[: min(k, len(own) - 1)]


def edge_rows(maps, genes, sources, most=100):
    """The strongest edges of each source in each condition, as a table.

    Parameters
    ----------
    maps : {condition: [M, M]}
    genes : names [M]
    sources : their places
    most : edges of a source in a condition

    Returns
    -------
    list of tuples as EDGE_COLUMNS name them: ``z`` over all targets of the source, ``rank`` from 1
    """
    rows = []
    for condition, scores in maps.items():
        for source in sources:
            z = influence(scores, source)
            for rank, target in enumerate(targets(scores, source, most), 1):
                score = float(scores[target, source])
                names = genes[source], genes[target], condition
                rows.append((*names, score, float(z[target]), rank))
    return rows


def regulators(received, genes, k=20):
    """Genes by the attention that they receive, most first.

    received [M] : of one condition, or a difference
    -> [(gene, attention received over the mean over genes, its place among all, from 1)], k of them
    """
    share = received / np.abs(received).mean()
    order = np.argsort(-share, kind="stable")[:k]
    return [(genes[i], float(share[i]), rank) for rank, i in enumerate(order, 1)]


def attention_clusters(scores, resolution=1.0, seed=0):
    """Genes that attend and are attended to alike: int [M].

    Leiden on the 15 nearest neighbours, by the cosine between genes' rows and columns of the map,
    joined and centred over genes.
    """
    both = np.concatenate([scores, scores.T], axis=1, dtype=np.float64)
    both -= both.mean(axis=0)
    space = Space(both.astype(np.float32), "cosine")
    return space.clusterings("leiden", seed, (resolution,))[resolution]


def cluster_difference(scores, clusters):
    """Mean of a map within clusters less that between them; the diagonal does not count."""
    same = clusters[:, None] == clusters
    other = ~same
    np.fill_diagonal(same, False)
    if not same.any() or not other.any():
        return None
    return float(scores[same].mean() - scores[other].mean())

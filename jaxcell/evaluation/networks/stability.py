"""Do models trained from other seeds tell the same edges? M genes; scores [M, M]."""

from itertools import combinations

import numpy as np


def edge_stability(scores, sources, tops=(20, 100)):
    """How alike the edges of several models are, pair by pair of models.

    Parameters
    ----------
    scores : list of [M, M], one of each model
    sources : places of the genes whose edges are compared: their columns
    tops : numbers k of the strongest edges of a source

    Returns
    -------
    dict : ``models``; ``spearman`` (of all edges of a source, mean over sources) and
        ``jaccard_<k>`` (of its k strongest targets), each {'mean', 'sd'} over pairs of models,
        ``jaccard_<k>`` also 'chance': that of two draws of k genes, at their expected overlap. Of k
        only those below half of the targets.

    Raises
    ------
    ValueError
        Fewer than two models.
    """
    from scipy.stats import rankdata

    if len(scores) < 2:
        raise ValueError(f"checkpoint: found {len(scores)}, expected two models or more to compare")
    m = len(scores[0])
    tops = [k for k in tops if k <= (m - 1) / 2]
    ranks = [[rankdata(np.delete(one[:, s], s)) for s in sources] for one in scores]
    found = {"spearman": [], **{f"jaccard_{k}": [] for k in tops}}
    for a, b in combinations(ranks, 2):
        found["spearman"].append(np.mean([_correlation(x, y) for x, y in zip(a, b, strict=True)]))
        for k in tops:
            shared = [len(_top(x, k) & _top(y, k)) for x, y in zip(a, b, strict=True)]
            found[f"jaccard_{k}"].append(np.mean([n / (2 * k - n) for n in shared]))
    said = {k: {"mean": float(np.mean(v)), "sd": float(np.std(v))} for k, v in found.items()}
    for k in tops:
        drawn = k * k / (m - 1)
        said[f"jaccard_{k}"]["chance"] = float(drawn / (2 * k - drawn))
    return {"models": len(scores), **said}


def _correlation(x, y):
    """Pearson's, of ranks; 0 where one of them has no spread."""
    x, y = x - x.mean(), y - y.mean()
    both = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / both) if both > 0 else 0.0


def _top(ranks, k):
    return set(np.argsort(-ranks, kind="stable")[:k].tolist())

"""Top-1 and top-5 accuracy from scores of the perturbations."""

import numpy as np

TOP = (1, 5)


def tops(classes):
    """Which top-k say something of so many perturbations: of five or fewer, top-5 is always 1."""
    return tuple(k for k in TOP if k < classes)


def hits(scores, own, ks):
    """Chance that a cell's own perturbation is among the k best, ties broken at random.

    A representation in which all cells coincide is thus at chance, not perfect.

    Parameters
    ----------
    scores : [n, classes], higher is nearer
    own : int [n]
    ks : sequence of int

    Returns
    -------
    float [n, len(ks)] in [0, 1]
    """
    mine = scores[np.arange(len(own)), own][:, None]
    better = (scores > mine).sum(axis=1)
    tied = (scores == mine).sum(axis=1)  # itself among them
    return np.stack([np.clip((k - better) / tied, 0, 1) for k in ks], axis=1)


def judged(scores, own):
    """Hits of each k of `TOP`, NaN where k is all the candidates or more: float [n, len(TOP)].

    The candidates are what a cell is judged against: the classes of a fold's training cells, or of
    the other batches. Of one alone every representation would be perfect. scores, own as in `hits`
    """
    found = np.full((len(own), len(TOP)), np.nan)
    ks = tops(scores.shape[1])
    found[:, : len(ks)] = hits(scores, own, ks) if ks else 0
    return found


def averages(found, own):
    """Mean of what `judged` gave: {'top1': float or None, 'top5': …, 'scored': cells}.

    found : list of [., len(TOP)]; own : list of their cells' perturbations, of which there must be
    two: where all scored cells are controls, whoever calls everything a control is perfect
    """
    found = np.concatenate([np.empty((0, len(TOP))), *found])
    if not len(found) or len(np.unique(np.concatenate(own))) < 2:
        found = found[:0]
    there = ~np.isnan(found)
    means = {
        f"top{k}": float(found[some, i].mean()) if some.any() else None
        for i, (k, some) in enumerate(zip(TOP, there.T, strict=True))
    }
    return {**means, "scored": int(there.any(axis=1).sum())}

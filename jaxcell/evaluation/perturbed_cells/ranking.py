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


def averages(found, ks):
    """Mean hits [n, len(ks)] of the scored cells -> {'top1': float or None, 'top5': …}."""
    means = dict(zip(ks, found.mean(axis=0).tolist(), strict=True)) if len(found) else {}
    return {f"top{k}": means.get(k) for k in TOP}

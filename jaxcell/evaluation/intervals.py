"""Bootstrap intervals of accuracy and macro-F1 over the cells of a test set.

n cells, k distinct pairs of true and predicted class, C classes, R resamples.
"""

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95


def bootstrap(truth, predicted, *, resamples=RESAMPLES, level=LEVEL, seed=0):
    """Percentile intervals of both scores, by resampling cells with replacement.

    Of a resample only the confusion matrix matters, which is multinomial: it is drawn as such, so
    the cost does not grow with the cells. It says how sure a score is on *these* batches: cells of
    one batch err together, so a new batch may well lie outside.

    Parameters
    ----------
    truth, predicted : str [n]
    resamples : int
    level : float
    seed : int

    Returns
    -------
    dict
        {'accuracy': (low, high), 'macro_f1': (low, high)}

    Raises
    ------
    ValueError
        No cell, or not as many predictions as cells; no resample; no share.
    """
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(
            f"level and resamples: found {level} and {resamples}, expected a share between 0 and 1 "
            "and one at least"
        )
    true, guessed, counts = pairs(truth, predicted)
    draws = np.random.default_rng(seed).multinomial(
        counts.sum(), counts / counts.sum(), size=resamples
    )
    ends = (1 - level) / 2, (1 + level) / 2
    scores = zip(("accuracy", "macro_f1"), of_pairs(true, guessed, draws), strict=True)
    return {name: tuple(np.quantile(values, ends).tolist()) for name, values in scores}


def pairs(truth, predicted):
    """The confusion matrix without its zeros: classes int [k], int [k], and cells int [k]."""
    truth, predicted = np.asarray(truth, str), np.asarray(predicted, str)
    if not len(truth) or truth.shape != predicted.shape:
        raise ValueError(
            f"found {len(truth)} true and {len(predicted)} predicted labels, expected as many of "
            "either, one at least"
        )
    names, code = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    true, guessed = code[: len(truth)], code[len(truth) :]
    both, counts = np.unique(true * len(names) + guessed, return_counts=True)
    return both // len(names), both % len(names), counts


def of_pairs(true, guessed, draws):
    """Accuracy, and F1 averaged over the classes that the truth of each resample has.

    As ``probes.score``: a class that is never predicted has an F1 of 0, one without a cell none.

    true, guessed int [k], draws int [R, k] -> float [R], float [R]
    """
    classes = max(true.max(), guessed.max()) + 1
    cells, named = (
        draws @ (place[:, None] == np.arange(classes)).astype(np.int64) for place in (true, guessed)
    )
    hit = true == guessed
    right = draws[:, hit] @ (true[hit, None] == np.arange(classes)).astype(np.int64)
    # 2 TP / (2 TP + FP + FN), whose denominator is cells + named; 0 / 0 where both are 0.
    f1 = 2 * right / np.maximum(cells + named, 1)
    there = cells > 0
    return right.sum(axis=1) / draws.sum(axis=1), (f1 * there).sum(axis=1) / there.sum(axis=1)

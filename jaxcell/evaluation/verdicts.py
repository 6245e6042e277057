"""Many data sets, one verdict: means, ranks, wins, paired tests, size against score.

D data sets, M methods, c cells. Scores are {data set: {method: number or None}}; more is better.
"""

import math
from itertools import combinations

import numpy as np
from scipy import stats

from .intervals import RESAMPLES, of_pairs
from .probes import score


def complete(scores):
    """The data sets on which every method has a score, and the methods, in the order given.

    Means and ranks over other data sets for one method than for another would not compare.

    -> {data set: {method: float}}, list of str
    """
    methods = list(dict.fromkeys(m for row in scores.values() for m in row))
    kept = {
        name: {m: float(row[m]) for m in methods}
        for name, row in scores.items()
        if all(row.get(m) is not None for m in methods)
    }
    return kept, methods


def ranks(row):
    """Rank of each method on one data set, 1 the best; equals share the mean of their ranks.

    {method: float} -> {method: float}
    """
    found = stats.rankdata([-value for value in row.values()])
    return {method: float(rank) for method, rank in zip(row, found, strict=True)}


def verdict(scores):
    """Mean, mean rank and wins of each method over the complete data sets.

    A win is the best score of a data set; methods that share it all win.

    Parameters
    ----------
    scores : {data set: {method: float or None}}

    Returns
    -------
    {method: {'mean', 'rank', 'wins', 'datasets'}}
        None and 0 where no data set is complete.
    """
    kept, methods = complete(scores)
    ranked = [ranks(row) for row in kept.values()]
    found = {}
    for method in methods:
        values = [row[method] for row in kept.values()]
        found[method] = {
            "mean": float(np.mean(values)) if kept else None,
            "rank": float(np.mean([row[method] for row in ranked])) if kept else None,
            "wins": sum(row[method] == max(row.values()) for row in kept.values()),
            "datasets": len(kept),
        }
    return found


def overall_rank(metrics):
    """Mean of a method's ranks over metrics and data sets, as the first column of TxFM's Table 8.

    {metric: {data set: {method: float or None}}} -> {method: float}, complete data sets only
    """
    collected = {}
    for scores in metrics.values():
        for row in complete(scores)[0].values():
            for method, rank in ranks(row).items():
                collected.setdefault(method, []).append(rank)
    return {method: float(np.mean(values)) for method, values in collected.items()}


def wilcoxon(a, b):
    """P of the two-sided signed-rank test that two methods' scores on D data sets are alike.

    Exact up to 50 differences (scipy); data sets of equal scores drop out. With D data sets no p
    is below 2 / 2^D: five cannot show anything at .05.

    a, b [D] -> float; 1 where all are equal
    """
    difference = np.asarray(a, float) - np.asarray(b, float)
    difference = difference[difference != 0]
    return float(stats.wilcoxon(difference).pvalue) if len(difference) else 1.0


def mcnemar(right_a, right_b):
    """P of the exact test that two methods are right about equally many of the same cells.

    Of the cells that one is right about and the other wrong, half would be each one's (binomial).
    Source: McNemar 1947. Cells of a batch are not independent: p is a lower bound.

    right_a, right_b bool [c] -> float; 1 where they never differ
    """
    a = int(np.sum(right_a & ~right_b))
    b = int(np.sum(right_b & ~right_a))
    return float(stats.binomtest(a, a + b, 0.5).pvalue) if a + b else 1.0


def holm(p):
    """Adjusted p of a family of tests, Holm 1979: {key: p} -> {key: p}."""
    order = sorted(p, key=p.get)
    found, largest = {}, 0.0
    for i, key in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - i) * p[key]))
        found[key] = largest
    return {key: found[key] for key in p}


def paired_tests(scores, right=None):
    """Every two methods compared, over data sets and where predictions are given over cells.

    Parameters
    ----------
    scores : {data set: {method: float or None}}
    right : {data set: {method: bool [c]}}, optional
        Whether each held-out cell's prediction is right, for the same cells of every method.

    Returns
    -------
    list of dict
        Per pair: `a`, `b` (names), `difference` (mean of a − b), `wins_a`, `wins_b`, `p` (Wilcoxon
        over the complete data sets) and `p_holm` over the pairs; with `right`, `mcnemar_holm`
        {data set: p}, Holm over all pairs and data sets.
    """
    kept, methods = complete(scores)
    if not kept:
        return []
    pairs, found = list(combinations(methods, 2)), []
    for a, b in pairs:
        of_a, of_b = (np.array([row[m] for row in kept.values()]) for m in (a, b))
        found.append(
            {
                "a": a,
                "b": b,
                "difference": float(np.mean(of_a - of_b)),
                "wins_a": int((of_a > of_b).sum()),
                "wins_b": int((of_b > of_a).sum()),
                "p": wilcoxon(of_a, of_b),
            }
        )
    adjusted = holm({(row["a"], row["b"]): row["p"] for row in found})
    by_cells = {} if right is None else _over_cells(right, pairs)
    for row, pair in zip(found, pairs, strict=True):
        row["p_holm"] = adjusted[pair]
        if right is not None:
            own = {name: p for (name, *of), p in by_cells.items() if tuple(of) == pair}
            row["mcnemar_holm"] = own
    return found


def _over_cells(right, pairs):
    return holm(
        {
            (name, a, b): mcnemar(row[a], row[b])
            for name, row in right.items()
            for a, b in pairs
            if a in row and b in row
        }
    )


def difference(cells, seed=0, resamples=RESAMPLES):
    """95 % bootstrap interval of the difference of two methods' macro-F1, mean over data sets.

    Both methods see the same draws of each data set's cells; predictions stay as they are, so
    what is uncertain is the test sets, not the training.

    Parameters
    ----------
    cells : list of (truth, a, b)
        Per data set str [c]: labels, and the predictions of the two methods.

    Returns
    -------
    dict
        `difference` of a − b, `low`, `high`, and `p`: twice the smaller share of resamples on one
        side of 0, at least 1 / resamples.
    """
    own = np.mean([score(truth, a)[1] - score(truth, b)[1] for truth, a, b in cells])
    drawn = np.zeros(resamples)
    for one in cells:
        of_a, of_b = _macro_f1(*one, seed, resamples)
        drawn += (of_a - of_b) / len(cells)
    side = min(np.mean(drawn <= 0), np.mean(drawn >= 0))
    low, high = np.percentile(drawn, [2.5, 97.5])
    p = min(1.0, max(2 * side, 1 / resamples))
    return {"difference": float(own), "low": float(low), "high": float(high), "p": float(p)}


def _macro_f1(truth, a, b, seed, resamples):
    """Macro-F1 [resamples] of two methods on the same resamples.

    Cells alike in truth and both predictions are drawn together, as in `intervals.bootstrap`.
    """
    _, codes = np.unique(np.concatenate([truth, a, b]), return_inverse=True)
    kinds, count = np.unique(codes.reshape(3, -1), axis=1, return_counts=True)
    n = count.sum()
    drawn = np.random.default_rng(seed).multinomial(n, count / n, resamples)
    return [of_pairs(kinds[0], said, drawn)[1] for said in kinds[1:]]


def pareto(sizes, scores):
    """The methods that none of at most their size beats, and none of their score undercuts.

    {method: int or None}, {method: float or None} -> list of str, by size; without a size or a
    score a method is left out
    """
    known = [m for m in sizes if sizes[m] is not None and scores.get(m) is not None]
    best, front = -math.inf, []
    for method in sorted(known, key=lambda m: (sizes[m], -scores[m])):
        if scores[method] > best:
            front.append(method)
            best = scores[method]
    return front

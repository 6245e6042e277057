"""Attention of single cells as ranks, and their means over cells.

H heads, M genes; in a matrix [M, M] a row is the gene that reads, a column the gene that is read.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

MEASURES = ("ranks", "weights")


def row_ranks(x):
    """Ranks within each row, from 0, ties sharing their mean, times 2: [n, m] -> i64 [n, m].

    Twice the rank is a whole number. Equal to 2 (scipy.stats.rankdata(x, axis=1) - 1).
    """
    n, m = x.shape
    order = np.argsort(x, axis=1)
    ranked = np.take_along_axis(x, order, axis=1)
    places = np.arange(m)
    first = np.ones((n, m), bool)
    first[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    if first.all():
        twice = np.broadcast_to(2 * places, (n, m))
    else:
        low = np.maximum.accumulate(np.where(first, places, 0), axis=1)
        last = np.ones((n, m), bool)
        last[:, :-1] = first[:, 1:]
        high = np.where(last, places, m - 1)[:, ::-1]
        twice = low + np.minimum.accumulate(high, axis=1)[:, ::-1]
    found = np.empty((n, m), np.int64)
    np.put_along_axis(found, order, twice, axis=1)
    return found


def column_ranks(x, values):
    """The same within each column of whole numbers below ``values``: i64 [n, m] -> i64 [n, m].

    By counting, since ranks of rows are few different numbers: several times faster than sorting.
    """
    m = x.shape[1]
    # Column by column in one line: place c · values + value.
    flat = x + np.arange(m) * values
    counts = np.bincount(flat.ravel(), minlength=m * values).reshape(m, values)
    below = np.cumsum(counts, axis=1) - counts
    return (2 * below + counts - 1).ravel()[flat]


def rank_normalised(attention):
    """Mean over heads of attention as ranks of its rows, then of its columns, each over M.

    A row's ranks say whom a gene reads most; a column's then, who reads a gene most among all.
    Ranks go from 0 to M - 1. Softmax and the scale keep the order within a row, so attention may be
    given as softmax weights or as the scores before (but for scores so low that their weights are
    both 0 in float32: these tie). Ties share the mean of their ranks, where the published code lets
    an unstable sort decide; so no gene gains by its place. Source: scGPT's attention tutorial.

    Parameters
    ----------
    attention : float [H, M, M] of one cell

    Returns
    -------
    float64 [M, M], in [0, 1)
    """
    attention = np.asarray(attention)
    m = attention.shape[-1]

    def one(head):
        return column_ranks(row_ranks(head), 2 * m)

    # Sorting lets go of the interpreter's lock; whole numbers add up to the same in any order.
    with ThreadPoolExecutor(min(len(attention), os.cpu_count() or 1)) as pool:
        total = sum(pool.map(one, attention))
    return total / (2.0 * m * len(attention))


def mean_weights(attention):
    """Mean over heads: [H, M, M] -> float64 [M, M]."""
    return np.mean(attention, axis=0, dtype=np.float64)


def received(attention):
    """Attention that each gene receives from the others, mean over heads; [H, M, M] -> f64 [M].

    Of softmax weights. (Columns of ranks cannot tell: each holds the same ranks, so all add up to
    the same.)
    """
    mean = mean_weights(attention)
    return mean.sum(axis=0) - np.diagonal(mean)


class Sums:
    """Sums over cells by condition, a cell at a time: k matrices [M, M] are all that is held.

    Every cell counts, the first of a condition too: the published code starts its sums with zeros
    in place of that cell.

    conditions : k; genes : M; measure : 'ranks' or 'weights'
    """

    def __init__(self, conditions, genes, measure="ranks"):
        if measure not in MEASURES:
            raise ValueError(f"measure: found {measure!r}, expected {' or '.join(MEASURES)}")
        self._of = {"ranks": rank_normalised, "weights": mean_weights}[measure]
        self._maps = np.zeros((conditions, genes, genes))
        self._received = np.zeros((conditions, genes))
        self.cells = np.zeros(conditions, np.int64)

    def add(self, attention, condition):
        """Count one cell: softmax weights [H, M, M], the number of its condition."""
        self._maps[condition] += self._of(attention)
        self._received[condition] += received(attention)
        self.cells[condition] += 1

    def means(self):
        """Means over the cells of each condition, NaN of one without any.

        float32 [k, M, M], and what each gene receives, float64 [k, M]
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            maps = (self._maps / self.cells[:, None, None]).astype(np.float32)
            return maps, self._received / self.cells[:, None]

"""Neighbours and silhouettes of a representation from one pass over its distances.

n cells, d features, g groups: the pairs (label, batch) that occur, L labels, B batches, k
neighbours. A chunk of rows [c, n] of the distances is made at a time; from the sums of distances
to each group, every silhouette of labels and batches follows exactly. Nothing is [n, n].
"""

from dataclasses import dataclass

import numpy as np

CHUNK_MB = 32  # of float64 distances: 419 rows of 10 000 cells


@dataclass(frozen=True)
class GroupDistances:
    """What one pass found; of cells in the order given.

    A silhouette is (b − a) / max(a, b) of a cell; one that is alone in its own group has 0, as in
    scikit-learn.
    """

    indices: np.ndarray  # int [n, k], the other cells, nearest first
    distances: np.ndarray  # float32 [n, k]
    label: np.ndarray  # float64 [n]: of the labels, whatever the batch
    batch: np.ndarray | None  # float64 [n]: of the batches among the cells of its label; nan: one
    within: np.ndarray | None  # float64 [n]: of the labels among the cells of its batch; nan: one


def group_distances(x, labels, batch=None, *, neighbours, metric="euclidean"):
    """One pass over the distances of some cells.

    `batch` is what scib's batch ASW averages (Luecken et al. 2022); `within` is what TxFM's eq. 23
    averages: a the mean distance to other cells of the same label and batch, b that to all cells
    of other labels in the same batch, taken together and not the nearest label's.

    Parameters
    ----------
    x : float [n, d]
    labels : str [n]
        Two different ones at least.
    batch : str [n], optional
        None: `batch` and `within` of the result are None.
    neighbours : int
        k; at most n − 1 are found.
    metric : str
        'euclidean' or 'cosine'.

    Returns
    -------
    GroupDistances

    Raises
    ------
    ValueError
        One label only.
    """
    groups = _Groups(labels, np.zeros(len(labels), int) if batch is None else batch)
    if len(groups.per_label) < 2:
        raise ValueError(f"labels: found one only, {str(labels[0])!r}; a silhouette needs two")
    n, order = len(labels), groups.order
    k = min(neighbours, n - 1)
    near, far = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    widths = np.empty((3, n))
    start = 0
    for distances in _chunks(_ready(x, metric)[order], metric):
        rows = slice(start, start + len(distances))
        sums = np.add.reduceat(distances, groups.starts, axis=1)  # [c, g]
        widths[:, rows] = groups.silhouettes(sums, rows)
        indices, far[rows] = _nearest(distances, k, start)
        near[rows] = order[indices]
        start += len(distances)
    back = np.argsort(order)
    label, of_batch, within = widths[:, back]
    given = (None, None) if batch is None else (of_batch, within)
    return GroupDistances(near[back], far[back], label, *given)


class _Groups:
    """Cells sorted by (label, batch), and the bookkeeping of their groups."""

    def __init__(self, labels, batch):
        label = np.unique(labels, return_inverse=True)[1]
        batch = np.unique(batch, return_inverse=True)[1]
        self.order = np.lexsort((batch, label))
        pairs = np.column_stack([label, batch])[self.order]
        new = np.any(pairs[1:] != pairs[:-1], axis=1)
        self.starts = np.r_[0, np.flatnonzero(new) + 1]
        self.own = np.r_[0, np.cumsum(new)]  # [n] group of each sorted cell
        self.label, self.batch = pairs[self.starts].T  # [g]
        self.sizes = np.diff(np.r_[self.starts, len(pairs)]).astype(float)  # [g]
        self.per_label = np.bincount(self.label, self.sizes)  # [L]
        self.per_batch = np.bincount(self.batch, self.sizes)  # [B]
        self.label_starts = np.r_[0, np.flatnonzero(np.diff(self.label)) + 1]

    def silhouettes(self, sums, rows):
        """By label, by batch within the label, by label within the batch: three of [c].

        sums [c, g]: distances of the sorted cells `rows` to all cells of each group.
        """
        own = self.own[rows]
        label, batch, cell = self.label[own], self.batch[own], np.arange(len(own))
        same = sums[cell, own]
        inside = _mean(same, self.sizes[own] - 1)  # of its label and batch, without itself

        by_label = np.add.reduceat(sums, self.label_starts, axis=1)  # [c, L]
        a = _mean(by_label[cell, label], self.per_label[label] - 1)
        others = by_label / self.per_label
        others[cell, label] = np.inf
        of_label = _width(a, others.min(axis=1))

        others = np.where(self.label == label[:, None], sums / self.sizes, np.inf)
        others[cell, own] = np.inf
        of_batch = _width(inside, others.min(axis=1))

        in_batch = np.where(self.batch == batch[:, None], sums, 0).sum(axis=1)
        within = _width(inside, _mean(in_batch - same, self.per_batch[batch] - self.sizes[own]))
        return of_label, of_batch, within


def _mean(total, count):
    """Where there is nothing to average, nan."""
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _width(a, b):
    """(b − a) / max(a, b); 0 where a cell is alone (a is nan), nan where no other group is."""
    others = np.isfinite(b)
    a, b = np.where(np.isnan(a), b, a), np.where(others, b, 0)  # alone: as far from its own
    largest = np.where(others, np.maximum(a, b), 0)
    found = np.divide(b - a, largest, out=np.zeros(len(a)), where=largest > 0)
    return np.where(others, found, np.nan)


def _ready(x, metric):
    """float64, centred or of length 1: then one product of matrices gives exact distances."""
    x = np.asarray(x, np.float64)
    if metric == "cosine":
        length = np.linalg.norm(x, axis=1, keepdims=True)
        return x / np.where(length > 0, length, 1)
    return x - x.mean(axis=0)


def _chunks(x, metric):
    """Distances [c, n] of the rows of x, from the first on; the caller may write on them."""
    square = np.einsum("ij,ij->i", x, x)
    size = max(1, int(CHUNK_MB * 2**20 / (8 * len(x))))
    for start in range(0, len(x), size):
        own = slice(start, start + size)
        found = x[own] @ x.T
        if metric == "cosine":
            np.subtract(1, found, out=found)
        else:
            found *= -2
            found += square[own, None]
            found += square
        np.maximum(found, 0, out=found)
        if metric != "cosine":
            np.sqrt(found, out=found)
        rows = np.arange(len(found))
        found[rows, start + rows] = 0
        yield found


def _nearest(distances, k, start):
    """The k nearest others of each row: places int [c, k], distances [c, k]; nearest first."""
    rows = np.arange(len(distances))
    distances[rows, start + rows] = np.inf
    near = np.argpartition(distances, k - 1, axis=1)[:, :k]
    far = np.take_along_axis(distances, near, axis=1)
    order = np.argsort(far, axis=1, kind="stable")
    return np.take_along_axis(near, order, axis=1), np.take_along_axis(far, order, axis=1)

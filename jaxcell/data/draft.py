"""A batch in the making, and what transforms ask of it. B cells, nnz non-zero counts of all.

Randomness comes from one key for each cell, so a cell's tokens never depend on the cells beside it.
"""

from dataclasses import dataclass, field

import numpy as np

from jaxcell.data import draws
from jaxcell.data.records import Rows


@dataclass
class Draft:
    """Sparse rows, the genes each cell measured, and one key for each cell.

    rows : Rows of B cells, the truth that losses compare with
    gene_sets : measured gene ids i32 [M_s], ascending, for every gene set s
    gene_set : i32 [B], which of them a cell's input has
    keys : u64 [B, 2], the seed of a cell's draws
    input : Rows that tokens are made of; ``rows`` but for transforms that thin counts, and but for
        pairs, whose tokens show a control cell
    values : f32 [nnz of input], its normalised counts, or their bins
    batch : what has been made so far
    """

    rows: Rows
    gene_sets: list
    gene_set: np.ndarray
    keys: np.ndarray
    values: np.ndarray | None = None
    batch: dict = field(default_factory=dict)
    input: Rows | None = None

    def __post_init__(self):
        if self.input is None:
            self.input = self.rows

    def keys_of(self, stream):
        """Keys of another stream of each cell's draws, so that transforms share none; u64 [B, 2].

        Stream 0 is the cell's own: the visible genes of TxFM.
        """
        return stream_keys(self.keys, stream)


def stream_keys(keys, stream):
    """Keys of another stream of each cell's draws: u64 [B, 2] -> u64 [B, 2]."""
    # Golden steps, since cells are numbered: cell 4's stream 2 must not be cell 5's stream 1.
    step = np.array([stream], np.uint64) * draws.GOLDEN
    return np.stack([keys[:, 0], draws.mix(keys[:, 1] + step)], axis=1)


def cell_keys(seed, epochs, cells):
    """The keys of cells in a run's epochs, i64 [B] both; u64 [B, 2]."""
    # Epoch and cell make the key: the same cell shows other genes in the next epoch.
    words = (epochs.astype(np.uint64) << np.uint64(40)) | cells.astype(np.uint64)
    return np.stack([np.full_like(words, seed), words], axis=1)


def segment_sums(values, indptr):
    """Sums of the segments of ``values`` that ``indptr`` [B+1] bounds, in float64; [B]."""
    # Each segment by itself: a running sum over the batch would let a cell's total feel its
    # neighbours in the last digit. reduceat has no empty segments, so they are left out.
    sums = np.zeros(len(indptr) - 1)
    filled = np.diff(indptr) > 0
    if filled.any():
        sums[filled] = np.add.reduceat(values.astype(np.float64), indptr[:-1][filled])
    return sums


def rectangle(values, indptr, width, empty):
    """The segments of ``values`` that ``indptr`` [B+1] bounds, as rows: [B, width], then ``empty``.

    No segment may be longer than ``width``.
    """
    found = np.full((len(indptr) - 1, width), empty, values.dtype)
    bounds = indptr.tolist()
    for row, a, b in zip(found, bounds[:-1], bounds[1:], strict=True):
        row[: b - a] = values[a:b]
    return found


def look_up(rows, values, ids, vocabulary, out=None):
    """What each cell has at some genes: ``values`` [nnz] of the rows at ids [B, K]; f32 [B, K].

    out : f32 [B, K], where to write it; None: a new array
    """
    found = np.empty(ids.shape, np.float32) if out is None else out
    bounds = rows.indptr.tolist()
    for b, wanted in enumerate(ids):  # one cell's genes, shown or not, stay in the cache
        mine, dense = slice(bounds[b], bounds[b + 1]), np.zeros(vocabulary, np.float32)
        dense[rows.ids[mine].astype(np.intp)] = values[mine]
        found[b] = dense.take(wanted)
    return found

"""Position of an endless stream → training cell, through groups that share it out.

b positions. G groups of cells ('leaves'), in strata, in nodes, in branches. Everything is computed
from the position and the seed; nothing is remembered, so any step on any process knows its cells.
"""

from dataclasses import dataclass

import numpy as np

from jaxcell.data.draws import shuffled
from jaxcell.data.mixture import SLOTS, Slots, keys


@dataclass
class Tree:
    """Who shares the stream with whom; leaves are sorted by branch, node and stratum.

    branch : i64 [G], numbered from 0; each has its share of the stream, by ``quotas``
    node : i64 [G], numbered from 0; the nodes of a branch take turns
    stratum : i64 [G], numbered from 0; strata are spread evenly over the stream of their node
    first : i64 [G], place on the line of each leaf's first cell
    sizes : i64 [G], cells of each leaf on the line
    kept : i64 [G], above 0, how many of them an epoch shows
    quotas : i64 [branches], slots of each, together SLOTS
    """

    branch: np.ndarray
    node: np.ndarray
    stratum: np.ndarray
    first: np.ndarray
    sizes: np.ndarray
    kept: np.ndarray
    quotas: np.ndarray

    def shares(self):
        """Share of the stream that each leaf has, f64 [G]."""
        node = np.bincount(self.node, self.kept)
        turns = np.bincount(_owner(self.node, self.branch))
        share = self.quotas[self.branch] / SLOTS / turns[self.branch]
        return share * self.kept / node[self.node]


class Stream:
    """Position p → (epoch, cell): p → branch → node → place in the node's epoch → leaf → cell.

    A branch owns `Slots`; in every turn of a branch each of its nodes comes once, in an order of
    that turn; a node shows the kept cells of its leaves once an epoch, mixed within their stratum.

    Parameters
    ----------
    tree : Tree
    line : Line
    seed : int
    window : positions over which the strata are spread; 0: only one stratum a node
    redraw : another stretch of each leaf's cells each epoch, rather than always the same
    """

    def __init__(self, tree, line, seed, *, window=0, redraw=False):
        self._line, self._seed, self._redraw = line, seed, redraw
        self._slots = Slots(tree.quotas, seed) if len(tree.quotas) > 1 else None
        branch_of = _owner(tree.node, tree.branch)
        self._turns = np.bincount(branch_of)
        self._node = _starts(self._turns)
        self._node_size = np.bincount(tree.node, tree.kept).astype(np.int64)
        self._node_begin = _starts(self._node_size)
        self._stratum_size = np.bincount(tree.stratum, tree.kept).astype(np.int64)
        self._stratum_begin = _starts(self._stratum_size)
        self._leaf_begin = _starts(tree.kept)
        self._first, self._sizes, self._kept = tree.first, tree.sizes, tree.kept
        self._drawn = (tree.kept < tree.sizes).any()
        # Numbers that tell the permutations of one seed apart; 0 is the slots'.
        counts = [1, len(self._stratum_size), len(self._turns), len(self._node_size)]
        self._streams = np.cumsum([*counts, len(self._node_size)])
        share = (tree.quotas / SLOTS / self._turns)[branch_of]
        self._lattice = _Lattice(self._node_size, window * share) if window else None

    def __call__(self, positions):
        """i64 [b] -> (epochs i64 [b] of the node, cells i64 [b])."""
        branch, rank = np.zeros_like(positions), positions
        if self._slots:
            branch, rank = self._slots(positions)
        node, rank = self._take_turns(branch, rank)
        epoch, place = np.divmod(rank, self._node_size[node])
        if self._lattice:
            place = self._lattice(node, self._mix_windows(node, epoch, rank))
        place = place + self._node_begin[node]
        stratum = np.searchsorted(self._stratum_begin, place, side="right") - 1
        begin, size = self._stratum_begin[stratum], self._stratum_size[stratum]
        place = begin + self._shuffle(place - begin, size, 0, stratum, epoch)
        leaf = np.searchsorted(self._leaf_begin, place, side="right") - 1
        place = place - self._leaf_begin[leaf]
        if self._drawn:
            place = self._draw(leaf, place, epoch)
        return epoch, self._line(self._first[leaf] + place)

    def _shuffle(self, places, sizes, kind, streams, epochs):
        """Permute places [b] < sizes [b]; 'kind' 0 strata, 1 turns, 2 and 3 windows, 4 draws."""
        key = keys(self._seed, self._streams[kind] + streams, epochs)
        return shuffled(places, sizes, key)

    def _take_turns(self, branch, rank):
        """Node of each position of a branch, and how many of the node stand before."""
        nodes = self._turns[branch]
        if not (nodes > 1).any():
            return self._node[branch], rank
        turn, place = np.divmod(rank, nodes)
        return self._node[branch] + self._shuffle(place, nodes, 1, branch, turn), turn

    def _draw(self, leaf, place, epoch):
        """Place among all cells of a leaf of one among its kept ones."""
        size = self._sizes[leaf]
        if self._redraw:
            # The next stretch of a circle through all cells: within an epoch none comes twice.
            place = (place + epoch * self._kept[leaf]) % size
        return self._shuffle(place, size, 4, leaf, 0)

    def _mix_windows(self, node, epoch, rank):
        """Whole windows of an epoch in mixed order, and positions within their window mixed.

        A lattice alone would show a rare stratum in windows one after the other, and each window's
        cells sorted by stratum. A window that reaches into the next epoch stays where it is.
        """
        size, window = self._node_size[node], self._lattice.windows[node]
        begin, end = epoch * size, (epoch + 1) * size
        number = rank // window
        first, last = -(-begin // window), end // window  # whole windows [first, last)
        whole = (number >= first) & (number < last)
        place, count = (number - first)[whole], (last - first)[whole]
        mixed = self._shuffle(place, count, 2, node[whole], epoch[whole])
        start, stop = np.maximum(begin, number * window), np.minimum(end, (number + 1) * window)
        within = self._shuffle(rank - start, stop - start, 3, node, number)
        start[whole] = (first[whole] + mixed) * window[whole]
        return start + within - begin


class _Lattice:
    """Place of an epoch → place on the line of a node's N cells, strata side by side.

    Any w places in a row that begin at a multiple of gcd(w, N), around the end of the epoch too,
    hold of n cells side by side on the line fewer than one more or less than n · w / N. So all
    strata are spread as evenly as whole cells allow: place q holds the cell x with x · w ≡ q
    (mod N), since then x and x + 1 lie w places apart, and of every w places a cell and its
    neighbours fall into one at a time. Systematic sampling (Madow & Madow 1944) for any w and N.
    """

    def __init__(self, sizes, windows):
        self._sizes = sizes
        self.windows = np.maximum(np.rint(windows), 1).astype(np.int64)
        step = self.windows % sizes
        self._gcd = np.gcd(step, sizes)  # N where w is a multiple of N
        rest = sizes // self._gcd
        pairs = zip((step // self._gcd).tolist(), rest.tolist(), strict=True)
        self._inverse = np.array([pow(s, -1, n) for s, n in pairs], np.uint64)

    def __call__(self, node, places):
        gcd, rest = self._gcd[node], self._sizes[node] // self._gcd[node]
        # Where w and N share a divisor, x, x + N / gcd, … would fall together: they follow on.
        whole, copy = np.divmod(places, gcd)
        product = whole.astype(np.uint64) * self._inverse[node]
        return (product % rest.astype(np.uint64)).astype(np.int64) + copy * rest


def _owner(children, parents):
    """Parent of each child, [children], from both of each leaf, sorted by child."""
    return parents[np.flatnonzero(np.diff(children, prepend=-1))]


def _starts(sizes):
    return np.cumsum(sizes) - sizes

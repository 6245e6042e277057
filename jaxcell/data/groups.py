"""A store's training cells, divided by columns of its index. G groups, R runs of cells.

Decided from the memory-mapped index, CHUNK cells at a time: no record is read. What is kept is a
line for each group and 8 bytes for each run of neighbours of one group, so at most 8 bytes a cell.
"""

import functools
import math

import numpy as np

CHUNK = 2**20  # cells of the index looked at together
UNKNOWN = "unknown"  # what messages and patterns call cells without a label


def columns_of(store):
    """{column: names of its classes} by which cells can be divided: 'dataset' and the labels."""
    return {**store.labels, "dataset": store.names}


@functools.lru_cache(maxsize=1)  # a run asks several times for the same
def divide(store, columns):
    """The `Groups` of a store's training cells by columns, a tuple of names."""
    return Groups(store, columns)


class Groups:
    """Training cells by their classes in some columns; the groups are sorted by these.

    Attributes
    ----------
    columns : tuple of str
    codes : i64 [G, columns]
        Class of a group in each column; −1 = unknown.
    sizes : i64 [G]
        Cells of each.
    """

    def __init__(self, store, columns):
        self.columns, self._store = columns, store
        known = columns_of(store)
        self._spans = [len(known[name]) + 1 for name in columns]  # and the unknown
        if math.prod(self._spans) >= 2**63:
            raise ValueError(
                f"config.data.sampling: {', '.join(columns)} have {math.prod(self._spans):.1e} "
                "combinations of classes, expected fewer than 2⁶³: leave a column out"
            )
        seen = [_tally(heads, lengths) for _, heads, lengths in self._chunks()]
        keys, sizes, runs = (np.concatenate(part) for part in zip(*seen, strict=True))
        self._keys, place = np.unique(keys, return_inverse=True)
        self.sizes, self._runs = (np.zeros(len(self._keys), np.int64) for _ in range(2))
        np.add.at(self.sizes, place, sizes)
        np.add.at(self._runs, place, runs)
        self.codes = np.empty((len(self._keys), len(columns)), np.int64)
        rest = self._keys
        for k in reversed(range(len(columns))):
            rest, self.codes[:, k] = np.divmod(rest, self._spans[k])
        self.codes -= 1

    def _chunks(self):
        """The runs of each chunk of the index: (first cells, keys, lengths)."""
        cells, store = self._store.sizes["train"], self._store
        sources = []
        for name in self.columns:
            if name == "dataset":
                sources.append(store.index("train", "dataset"))
            else:
                sources.append(store.index("train", "labels")[:, list(store.labels).index(name)])
        for begin in range(0, cells, CHUNK):
            key = np.zeros(min(CHUNK, cells - begin), np.int64)
            for source, span in zip(sources, self._spans, strict=True):
                key *= span
                key += source[begin : begin + CHUNK]
                key += 1
            heads = np.flatnonzero(np.diff(key, prepend=-1))
            yield begin + heads, key[heads], np.diff(heads, append=len(key))

    @functools.cached_property
    def line(self):
        """All cells, group after group, each group's in the order of the records; a `Line`."""
        kind = np.uint32 if self.sizes.sum() < 2**32 else np.uint64
        first, bounds = np.empty(self._runs.sum(), kind), np.zeros(self._runs.sum() + 1, kind)
        free = np.cumsum(self._runs) - self._runs  # the place of each group's next run
        for cells, keys, lengths in self._chunks():
            group = np.searchsorted(self._keys, keys)
            runs = np.argsort(group, kind="stable")
            count = np.bincount(group, minlength=len(free))
            places = np.arange(len(runs)) + np.repeat(free - (np.cumsum(count) - count), count)
            first[places], bounds[1:][places] = cells[runs], lengths[runs]
            free = free + count
        np.cumsum(bounds, out=bounds)
        return Line(first, bounds)

    @functools.cached_property
    def starts(self):
        """Place on the line of the first cell of each group, i64 [G]."""
        return np.cumsum(self.sizes) - self.sizes

    def merge(self, columns):
        """Group of each group where only some columns count: (i64 [G], number of them)."""
        return refine(np.zeros(len(self.sizes), np.int64), self.codes[:, self.places(columns)])

    def places(self, columns):
        """Where some columns stand among ``columns``."""
        return [self.columns.index(name) for name in columns]

    def unknown(self, columns):
        """Whether a group's cells lack a label in any of the columns, bool [G]."""
        return (self.codes[:, self.places(columns)] < 0).any(axis=1)

    def column(self, name):
        """Class of each group in a column, i64 [G]."""
        return self.codes[:, self.columns.index(name)]


class Line:
    """Place on a line of runs of cells → cell.

    first [R], the first cell of each run; bounds [R + 1], places where runs begin and end
    """

    def __init__(self, first, bounds):
        self._first, self._bounds = first, bounds

    def __call__(self, places):
        """i64 [b] -> i64 [b]."""
        # Of the bounds' own type: with another, searchsorted would copy all of them each time.
        runs = np.searchsorted(self._bounds, places.astype(self._bounds.dtype), side="right") - 1
        shift = places - self._bounds[runs].astype(np.int64)
        return self._first[runs].astype(np.int64) + shift


def _tally(keys, lengths):
    """Different keys of some runs, with the cells and the runs of each."""
    found, place = np.unique(keys, return_inverse=True)
    cells = np.bincount(place, lengths, minlength=len(found)).astype(np.int64)
    return found, cells, np.bincount(place, minlength=len(found))


def refine(parents, codes):
    """Children i64 [G] by parent [G] and codes [G, columns], numbered parent after parent; count.

    All cells of a parent are one child where there are no columns.
    """
    found, children = np.unique(parents, return_inverse=True)
    for column in codes.T:  # numbered anew each time, so that no product outgrows 64 bits
        keys = children * (column.max(initial=0) + 2) + column + 1
        found, children = np.unique(keys, return_inverse=True)
    return children, len(found)

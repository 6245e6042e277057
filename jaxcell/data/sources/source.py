"""What every input of `prepare` is: cells as CSR chunks, a few at a time."""

import functools
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from jaxcell.data.sources.sound import sound

CHUNK_CELLS = 2048
CHUNK_VALUES = 2**23  # of a chunk if it were dense, at most, however many genes: 32 MB of float32


class Source:
    """Cells of one input; a kind of input gives ``_read``, ``at`` and ``checksum``.

    Attributes
    ----------
    name : str, what errors and the store call it
    n_cells : int
    obs, var : pandas.DataFrame, [n_cells] and [n_var]
    places : list of str
        Where counts may be: X, raw, layers/NAME.
    counts : str
        Which of them these are.
    left_out : dict
        {type: number} of the features that are no genes and were left out.
    presence : Presence or None
        Which genes each value of an obs column measured, where the source itself says so.
    spec, options
        What `open_source` opens it by, in this process or another; None in memory.
    """

    left_out: ClassVar = {}
    options: ClassVar = {}
    presence = spec = None
    _chunk_cells = _settled = None

    def _choose(self, counts, chunk_cells):
        if counts not in self.places:
            raise ValueError(
                f"{self.name} has no counts at {counts!r}; it has "
                f"{', '.join(self.places) or 'no matrix at all'} (--counts)"
            )
        self.counts = counts
        self._chunk_cells = chunk_cells
        if self.n_cells == 0 or len(self.var) == 0:
            raise ValueError(
                f"{self.name} is empty: {self.n_cells} cells × {len(self.var)} genes at "
                f"{counts}; name another file, or another place (--counts)"
            )

    def chunks(self, start=0, stop=None):
        """Yield canonical CSR [cells, n_var] of cells [start, stop), every cell once, in order."""
        stop = self.n_cells if stop is None else stop
        most = max(1, min(CHUNK_CELLS, CHUNK_VALUES // len(self.var)))
        step = self._chunk_cells or most
        slices = [slice(a, min(a + step, stop)) for a in range(start, stop, step)]
        for matrix in self._read(slices):
            yield canonical(sound(matrix, len(self.var), f"{self.name}, {self.counts}"))

    def rows(self, positions):
        """Canonical CSR [b, n_var] of cells anywhere, integers [b], in that order."""
        cells, back = np.unique(positions, return_inverse=True)
        heads = np.flatnonzero(np.diff(cells, prepend=-2) != 1)
        ends = np.append(heads[1:], len(cells)) - 1
        runs = [slice(int(cells[a]), int(cells[b]) + 1) for a, b in zip(heads, ends, strict=True)]
        found = [sp.csr_matrix(matrix) for matrix in self._read(runs)]
        return canonical(sp.vstack(found, format="csr")[back])

    def _read(self, slices):
        """Yield the cells of each slice, sparse or dense [cells, n_var], in memory of its own."""
        raise NotImplementedError

    def at(self, counts):
        """The same cells with the counts of another place."""
        raise NotImplementedError

    def checksum(self):
        """sha256 of what was read."""
        raise NotImplementedError

    def cell_ids(self):
        """What tells each cell from all others of the same file or address, i64 [n_cells]."""
        return np.arange(self.n_cells)

    @functools.cached_property
    def content(self):
        """The checksum, found once."""
        return self.checksum()

    def stamp(self):
        """What changes when the content does; quicker than the checksum where that can be."""
        return self.content

    def settle(self, folder):
        """Make any range of cells quick to read, if need be by files in ``folder`` (not made yet).

        A second call, in this process or another, finds what the first has laid down there.
        """

    def __reduce__(self):
        if self.spec is None:
            raise ValueError(
                f"{self.name} is in the memory of this process and cannot be read by others: write "
                "it as h5ad and give the file"
            )
        how = {**self.options, "counts": self.counts, "chunk_cells": self._chunk_cells}
        return _reopened, (self.spec, how, self._settled)

    def __repr__(self):
        return f"{self.name}[{self.counts}]: {self.n_cells} cells × {len(self.var)} genes"


def _reopened(spec, how, settled):
    """A source that another process has opened, and settled in a folder."""
    from jaxcell.data.sources.opening import open_source

    source = open_source(spec, **how)
    if settled is not None:
        source.settle(settled)
    return source


def canonical(matrix):
    """CSR in memory, float32 where that is exact, without zeros or duplicate entries."""
    matrix = sp.csr_matrix(matrix)
    if matrix.dtype != np.float32:
        matrix.data = _narrowed(matrix.data)
    matrix.sum_duplicates()
    if np.count_nonzero(matrix.data) < matrix.nnz:
        matrix.eliminate_zeros()
    return matrix


def _narrowed(values):
    """Values as float32 where all of them are that exactly, otherwise as float64."""
    wide = values if values.dtype == np.float64 else values.astype(np.float64)
    top = np.abs(wide).max(initial=0)
    if values.dtype.itemsize <= 2 or (values.dtype.kind in "iu" and top <= 2**24):
        return values.astype(np.float32)
    # NaN stays what it is; beyond float32's range a cast would warn.
    if not top <= np.finfo(np.float32).max:
        return wide
    narrow = wide.astype(np.float32)
    return narrow if np.array_equal(narrow, wide) else wide

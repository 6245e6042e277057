"""Counts that come cell by cell, or in any order, as text: once into files, then CSR from there."""

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from jaxcell.data.sources.file import FileSource
from jaxcell.data.sources.turning import OnDisk

BLOCK = 2**21  # values moved at once
MARK = "done.txt"


class SpooledSource(FileSource):
    """A source that can only be read from end to end; a kind gives ``_blocks`` and ``_spool_as``.

    The first read copies it into files of nnz × (8 + the value's size) bytes, twice where its cells
    are not in order; later reads take any range from there. The files have no name, under TMPDIR,
    or lie in the folder that the source was settled in, where other processes find them.
    """

    _spooled = None

    def _blocks(self):
        """Yield cells, genes and values, arrays [n] of a bounded size, each value once."""
        raise NotImplementedError

    def _spool_as(self):
        """Number of values and their dtype."""
        raise NotImplementedError

    def settle(self, folder):
        """Lay the copy down in a folder, where this and other processes find it again."""
        folder, (size, dtype) = Path(folder), self._spool_as()
        self._spooled = kept(folder, self.stamp(), size, dtype)
        if self._spooled is None:
            folder.mkdir(parents=True, exist_ok=True)
            self._spooled = self._spool(folder)
            keep(folder, self.stamp(), *self._spooled)
        self._settled = folder

    def _spool(self, folder=None):
        spool = Spool(self.n_cells, *self._spool_as(), folder)
        try:
            for block in self._blocks():
                spool.append(*block)
        except BaseException:
            spool.close()
            raise
        return spool.finish()

    def _read(self, slices):
        if self._spooled is None:
            self._spooled = self._spool()
        indptr, genes, values = self._spooled
        for rows in slices:
            a, b = indptr[rows.start], indptr[rows.stop]
            pointers = indptr[rows.start : rows.stop + 1] - a
            shape = (len(pointers) - 1, len(self.var))
            yield sp.csr_matrix((values[a:b], genes[a:b], pointers), shape)


class Spool:
    """CSR in files, from values in any order of the cells.

    Parameters
    ----------
    n_cells, n_values : int
    dtype : of the values
    folder : Path, optional
        Where the genes and values lie under these names; by default in files without a name.
    """

    def __init__(self, n_cells, n_values, dtype, folder=None):
        self._per_cell = np.zeros(n_cells, np.int64)
        self._kinds = (np.int32, np.int32, dtype)
        self._arrays = [
            OnDisk.new(np.int32, n_values),
            OnDisk.new(np.int32, n_values, folder, "genes"),
            OnDisk.new(dtype, n_values, folder, "values"),
        ]
        self._done, self._last, self._in_order = 0, 0, True

    def append(self, cells, genes, values):
        """Add values [n] of cells [n] and genes [n]."""
        if not len(cells):
            return
        rows = slice(self._done, self._done + len(cells))
        for array, part in zip(self._arrays, (cells, genes, values), strict=True):
            array[rows] = part
        self._per_cell += np.bincount(cells, minlength=len(self._per_cell))
        self._in_order &= bool(cells[0] >= self._last and (np.diff(cells) >= 0).all())
        self._last, self._done = cells[-1], rows.stop

    def close(self):
        """Let go of the files."""
        for array in self._arrays:
            array.close()

    def finish(self):
        """Pointers i64 [n_cells + 1]; genes and values, to be sliced [nnz]."""
        indptr = np.concatenate([[0], np.cumsum(self._per_cell)])
        if not self._in_order:
            self._sort(indptr)
        return indptr, *self._arrays[1:]

    def _sort(self, indptr):
        """Put the values apart by runs of cells, each then sorted in memory."""
        # A run is of about BLOCK values, more where a single cell has more.
        run_of = (np.maximum(indptr[1:] - 1, 0) // BLOCK).astype(np.int64)
        first = np.flatnonzero(np.diff(run_of, prepend=-1))
        run_of = np.cumsum(np.diff(run_of, prepend=run_of[0]) > 0)  # numbered without gaps
        parted = [OnDisk.new(kind, self._done) for kind in self._kinds]
        free = indptr[first].copy()
        for start in range(0, self._done, BLOCK):
            block = [array[start : start + BLOCK] for array in self._arrays]
            run = run_of[block[0]]
            order = np.argsort(run, kind="stable")
            sizes = np.bincount(run, minlength=len(first))
            ends = np.cumsum(sizes)
            for i in np.flatnonzero(sizes):
                mine = order[ends[i] - sizes[i] : ends[i]]
                for array, part in zip(parted, block, strict=True):
                    array[free[i] : free[i] + sizes[i]] = part[mine]
            free += sizes
        for a, b in zip(indptr[first], [*indptr[first[1:]], self._done], strict=True):
            cells, genes, values = (array[a:b] for array in parted)
            order = np.argsort(cells, kind="stable")
            self._arrays[1][a:b], self._arrays[2][a:b] = genes[order], values[order]


def keep(folder, mark, indptr, genes, values):
    """Make what a spool finished in a folder known to `kept`.

    mark : str
        What the content depends on.
    """
    np.save(folder / "indptr.npy", indptr)
    genes.flush(), values.flush()
    (folder / MARK).write_text(mark, encoding="utf-8")


def kept(folder, mark, size, dtype):
    """What `keep` made known whole in a folder under this mark, as `Spool.finish`, or None."""
    try:
        if (folder / MARK).read_text(encoding="utf-8") != mark:
            return None
        indptr = np.load(folder / "indptr.npy")
        return (
            indptr,
            OnDisk.old(np.int32, size, folder, "genes"),
            OnDisk.old(dtype, size, folder, "values"),
        )
    except (OSError, ValueError):
        return None

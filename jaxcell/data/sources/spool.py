"""Counts that come cell by cell, or in any order, as text: once into temporary files, then CSR."""

import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from jaxcell.data.sources.file import FileSource

BLOCK = 2**21  # values moved at once
MARK = "done.txt"


class SpooledSource(FileSource):
    """A source that can only be read from end to end; a kind gives ``_blocks`` and ``_spool_as``.

    The first read copies it into unnamed temporary files of nnz × (4 + the value's size) bytes
    under TMPDIR, twice where its cells are not in order; later reads take any range from there.
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
        self._spooled = kept(Path(folder), self.stamp())
        if self._spooled is None:
            self._spooled = keep(Path(folder), self.stamp(), *self._spool())
        self._settled = folder

    def _spool(self):
        spool = Spool(self.n_cells, *self._spool_as())
        for block in self._blocks():
            spool.append(*block)
        return spool.finish()

    def _read(self, slices):
        if self._spooled is None:
            self._spooled = self._spool()
        indptr, columns, values = self._spooled
        for rows in slices:
            a, b = indptr[rows.start], indptr[rows.stop]
            pointers = indptr[rows.start : rows.stop + 1] - a
            shape = (len(pointers) - 1, len(self.var))
            part = np.array(values[a:b]), np.array(columns[a:b]), pointers
            yield sp.csr_matrix(part, shape)


class Spool:
    """CSR in temporary files, from values in any order of the cells."""

    def __init__(self, n_cells, n_values, dtype):
        self._per_cell = np.zeros(n_cells, np.int64)
        self._cells, self._genes = _temporary(n_values, np.int32), _temporary(n_values, np.int32)
        self._values = _temporary(n_values, dtype)
        self._done, self._last, self._in_order = 0, 0, True

    def append(self, cells, genes, values):
        """Add values [n] of cells [n] and genes [n]."""
        if not len(cells):
            return
        rows = slice(self._done, self._done + len(cells))
        self._cells[rows], self._genes[rows], self._values[rows] = cells, genes, values
        self._per_cell += np.bincount(cells, minlength=len(self._per_cell))
        self._in_order &= bool(cells[0] >= self._last and (np.diff(cells) >= 0).all())
        self._last, self._done = cells[-1], rows.stop

    def finish(self):
        """Pointers i64 [n_cells + 1], columns and values, memory-mapped [nnz]."""
        indptr = np.concatenate([[0], np.cumsum(self._per_cell)])
        if self._in_order:
            return indptr, self._genes, self._values
        genes, values = _temporary(self._done, np.int32), _temporary(self._done, self._values.dtype)
        free = indptr[:-1].copy()  # where the next value of each cell goes
        for start in range(0, self._done, BLOCK):
            block = slice(start, min(start + BLOCK, self._done))
            cells = self._cells[block]
            order = np.argsort(cells, kind="stable")
            present, first, times = np.unique(cells[order], return_index=True, return_counts=True)
            target = np.repeat(free[present] - first, times) + np.arange(len(order))
            genes[target], values[target] = self._genes[block][order], self._values[block][order]
            free[present] += times
        return indptr, genes, values


def keep(folder, mark, indptr, genes, values):
    """Copy what a spool finished into a folder; what the copy is, in the same order.

    mark : str
        What the content depends on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"indptr": indptr, "genes": genes, "values": values}
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        copy = np.lib.format.open_memmap(path, "w+", array.dtype, array.shape)
        for start in range(0, len(array), BLOCK):
            copy[start : start + BLOCK] = array[start : start + BLOCK]
        copy.flush()
    (folder / MARK).write_text(mark, encoding="utf-8")
    return kept(folder, mark)


def kept(folder, mark):
    """What `keep` laid down whole in a folder under this mark, memory-mapped, or None."""
    if not (folder / MARK).is_file() or (folder / MARK).read_text(encoding="utf-8") != mark:
        return None
    names = "indptr", "genes", "values"
    return tuple(np.load(folder / f"{name}.npy", mmap_mode="r") for name in names)


def _temporary(size, dtype):
    with tempfile.TemporaryFile(prefix="jaxcell-") as file:
        return np.memmap(file, dtype, "w+", shape=(max(size, 1),))

"""CSC → CSR with bounded memory."""

import itertools
import json
import os
import tempfile
import weakref
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from jaxcell.data.sources.sound import check_indices
from jaxcell.writing import writing

BLOCK = 2**22  # stored values moved at once
MOST = 2**16  # rows of a bucket, and buckets: what two bytes tell apart


def turned(indptr, indices, data, n_cells, folder=None, mark=None, where="the matrix"):
    """CSC on disk → CSR on disk, in two passes over blocks of stored values and one over buckets.

    A bucket is a run of rows. The values of a block are put apart by bucket, which a radix sort
    does, and appended to the place that their bucket will have; then each bucket is turned in
    memory. So every read and write is of long runs, and memory is that of a few blocks, whatever
    the number of cells.

    Parameters
    ----------
    indptr : i64 [genes + 1]
    indices, data : arrays on disk [nnz]
    n_cells : int
    folder : path, optional
        Where the files lie, and are found again whole by a later call with the same `mark`; by
        default unnamed files under TMPDIR, which the system frees when the arrays go.
    mark : str
        What the content depends on.
    where : str
        Name of the matrix, in the error of an index that is no cell's.

    Returns
    -------
    row pointers i64 [n_cells + 1], and columns and values to be sliced [nnz]
        Columns ascend within a row. Disk: nnz × (2 or 4 + the value's size) bytes, and for a while
        two more for each.
    """
    nnz, n_genes = data.shape[0], len(indptr) - 1  # a zarr array has no len
    kinds = {"columns": np.uint16 if n_genes <= MOST else np.int32, "values": data.dtype}
    done = folder and _finished(Path(folder), mark, kinds, nnz)
    if done:
        return done
    shift = _shift(nnz, n_cells)
    starts = _starts(indices, n_cells, where, shift)  # refuses before any file is made
    if folder:
        with writing(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)
    columns, values = (OnDisk.new(kind, nnz, folder, name) for name, kind in kinds.items())
    rows = OnDisk.new(np.uint16, nnz)
    _part_by_bucket(indptr, indices, data, starts, shift, (rows, columns, values))
    row_pointers = np.zeros(n_cells + 1, np.int64)
    for bucket, (a, b) in enumerate(itertools.pairwise(starts)):
        first = bucket << shift
        last = min(first + (1 << shift), n_cells)
        column = columns[a:b].astype(np.int64)
        pointers = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=n_genes))])
        shape = (last - first, n_genes)
        csr = sp.csc_matrix((values[a:b], rows[a:b].astype(np.int32), pointers), shape).tocsr()
        columns[a:b], values[a:b] = csr.indices, csr.data
        row_pointers[first + 1 : last + 1] = a + csr.indptr[1:]
    if folder:
        with writing(folder):
            np.save(Path(folder) / "pointers.npy", row_pointers)
            for array in (columns, values):
                array.flush()
            (Path(folder) / "done.json").write_text(json.dumps({"mark": mark}))
    return row_pointers, columns, values


def _shift(nnz, n_cells):
    """A bucket has 2^shift rows: about BLOCK values, within what two bytes tell apart."""
    shift = 0
    while (2 << shift) <= MOST and (2 << shift) * nnz <= BLOCK * n_cells:
        shift += 1
    while (n_cells - 1) >> shift >= MOST:
        shift += 1
    return shift


def _starts(indices, n_cells, where, shift):
    """Where the values of each bucket start, i64 [buckets + 1]."""
    sizes = np.zeros(((n_cells - 1) >> shift) + 1, np.int64)
    for block in _blocks(indices.shape[0]):
        rows = indices[block]
        check_indices(rows, n_cells, where, "cells")
        sizes += np.bincount(rows >> shift, minlength=len(sizes))
    return np.concatenate([[0], np.cumsum(sizes)])


def _blocks(nnz):
    return [slice(a, min(a + BLOCK, nnz)) for a in range(0, nnz, BLOCK)]


def _part_by_bucket(indptr, indices, data, starts, shift, parted):
    """Fill (rows within the bucket, columns, values), by `_starts`.

    Within a bucket the values keep their order: it is CSC.
    """
    free = starts[:-1].copy()  # where the next value of each bucket goes
    for block in _blocks(data.shape[0]):
        row, value = indices[block], data[block]
        bucket = (row >> shift).astype(np.uint16)
        order = np.argsort(bucket, kind="stable")  # a radix sort, for two bytes
        within = np.clip(indptr, block.start, block.stop)
        column = np.repeat(np.arange(len(indptr) - 1, dtype=parted[1].dtype), np.diff(within))
        row = (row & ((1 << shift) - 1)).astype(np.uint16)
        moved = row[order], column[order], value[order]
        counts = np.bincount(bucket, minlength=len(free))
        ends = np.cumsum(counts)
        for i in np.flatnonzero(counts):
            a, b, to = ends[i] - counts[i], ends[i], free[i]
            for array, part in zip(parted, moved, strict=True):
                array[to : to + counts[i]] = part[a:b]
        free += counts


def _finished(folder, mark, kinds, nnz):
    """What an earlier call left whole in a folder, or None."""
    try:
        if json.loads((folder / "done.json").read_text()) != {"mark": mark}:
            return None
        pointers = np.load(folder / "pointers.npy")
        return pointers, *(OnDisk.old(kind, nnz, folder, name) for name, kind in kinds.items())
    except (OSError, ValueError):
        return None


class OnDisk:
    """A one-dimensional array in a file, read and written by slices; not mapped.

    Mapped pages count as the process' memory for as long as the system likes.
    """

    def __init__(self, file, dtype, size):
        # A file without a name has a number in its place.
        self._name = file.name if isinstance(file.name, str) else tempfile.gettempdir()
        self._number = os.dup(file.fileno())
        self.dtype, self._size = np.dtype(dtype), size
        # Not the file object: of garbage in a circle nobody knows which part is finalised first.
        self._close = weakref.finalize(self, os.close, self._number)

    @classmethod
    def new(cls, dtype, size, folder=None, name=None):
        """An empty one; without a folder in an unnamed file."""
        with writing(folder or tempfile.gettempdir()):
            if folder:
                with Path(folder, name).open("w+b") as file:
                    return cls(file, dtype, size)
            with tempfile.TemporaryFile() as file:
                return cls(file, dtype, size)

    @classmethod
    def old(cls, dtype, size, folder, name):
        """One written before; ValueError where it is not whole."""
        path = Path(folder) / name
        if path.stat().st_size != size * np.dtype(dtype).itemsize:
            raise ValueError(f"{path} is truncated")
        with path.open("rb") as file:
            return cls(file, dtype, size)

    def __len__(self):
        return self._size

    def __getitem__(self, part):
        start, stop, _ = part.indices(self._size)
        found = np.empty(max(stop - start, 0), self.dtype)
        left, at = memoryview(found).cast("B"), start * self.dtype.itemsize
        while len(left):
            size = os.preadv(self._number, [left], at)
            if not size:
                raise OSError(f"{self._name} ends before value {stop}")
            left, at = left[size:], at + size
        return found

    def __setitem__(self, part, values):
        left = memoryview(np.ascontiguousarray(values, self.dtype)).cast("B")
        at = part.start * self.dtype.itemsize
        with writing(self._name):
            while len(left):
                size = os.pwrite(self._number, left, at)
                left, at = left[size:], at + size

    def close(self):
        """Let go of the file."""
        self._close()

    def flush(self):
        """Wait until the disk has it."""
        with writing(self._name):
            os.fsync(self._number)

"""CSC → CSR with bounded memory."""

import tempfile

import numpy as np

from jaxcell.data.sources.sound import check_indices

BLOCK = 2**21  # stored values moved at once


def turned(indptr, indices, data, n_cells, where):
    """CSC on disk → CSR in unnamed temporary files, in two passes over blocks of stored values.

    Memory: one block and O(cells + genes); disk: nnz × (4 + the value's size) bytes under TMPDIR.
    The system frees the files when the arrays go. ``where`` names the matrix in the error of an
    index that is no cell's.
    """
    nnz = len(data)
    blocks = [slice(a, min(a + BLOCK, nnz)) for a in range(0, nnz, BLOCK)]
    per_row = np.zeros(n_cells, np.int64)
    for block in blocks:
        rows = indices[block]
        check_indices(rows, n_cells, where, "cells")
        per_row += np.bincount(rows, minlength=n_cells)
    row_pointers = np.concatenate([[0], np.cumsum(per_row)])
    columns, values = _temporary(nnz, np.int32), _temporary(nnz, data.dtype)
    free = row_pointers[:-1].copy()  # where the next value of each row goes
    for block in blocks:
        rows = indices[block]
        column = np.searchsorted(indptr, np.arange(block.start, block.stop), side="right") - 1
        order = np.argsort(rows, kind="stable")
        present, first, times = np.unique(rows[order], return_index=True, return_counts=True)
        rank = np.arange(len(rows)) - np.repeat(first, times)
        target = np.repeat(free[present], times) + rank
        columns[target], values[target] = column[order], data[block][order]
        free[present] += times
    return row_pointers, columns, values


def _temporary(size, dtype):
    with tempfile.TemporaryFile(prefix="jaxcell-") as file:
        return np.memmap(file, dtype, "w+", shape=(max(size, 1),))

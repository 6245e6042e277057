"""Is this a matrix of numbers whose parts agree? Asked of every source before it is trusted.

scipy does not ask: an index out of range reads or writes beside the array.
"""

import numpy as np
import scipy.sparse as sp


def check_kind(dtype, where):
    """Refuse values that are not real numbers.

    Raises
    ------
    ValueError
        True and False, complex, text, objects or records.
    """
    if dtype.kind == "b":
        raise ValueError(
            f"{where}: the values are True and False (detected or not): these are not counts"
        )
    if dtype.kind not in "iuf":
        known = {"c": "complex numbers", "S": "text", "U": "text", "O": "text or objects"}
        what = known.get(dtype.kind, "records of several fields" if dtype.names else "no numbers")
        raise ValueError(f"{where}: the values are {what} ({dtype}), expected counts")


def check_pointers(indptr, major, indices, data, where):
    """Refuse the arrays of a sparse matrix that contradict each other.

    indptr : [rows + 1], of columns in CSC; major : rows (columns) of the matrix
    indices, data : arrays or h5py or zarr ones, one of each stored value

    Raises
    ------
    ValueError
        Other lengths, pointers that fall or do not span the values, indices that are no integers.
    """
    shapes = indptr.shape, indices.shape, data.shape
    if any(len(shape) != 1 for shape in shapes):
        raise ValueError(
            f"{where} is damaged: indptr, indices and data are of shapes "
            f"{', '.join(map(str, shapes))}, expected one dimension"
        )
    if len(indptr) != major + 1:
        raise ValueError(f"{where} is damaged: {len(indptr)} pointers, expected {major + 1}")
    n_indices, n_values = indices.shape[0], data.shape[0]  # a zarr array has no len
    stored = {int(indptr[-1]), n_indices, n_values}
    if len(stored) > 1 or indptr[0] != 0:
        raise ValueError(
            f"{where} is damaged: {n_indices} indices and {n_values} values, pointers "
            f"from {indptr[0]} to {indptr[-1]}; expected as many of each, and pointers from 0"
        )
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if len(falls):
        at = falls[0]
        raise ValueError(
            f"{where} is damaged: pointer {at + 1} falls from {indptr[at]} to {indptr[at + 1]}; "
            "expected pointers that never fall"
        )
    if indices.dtype.kind not in "iu":
        raise ValueError(f"{where} is damaged: its indices are {indices.dtype}, expected integers")


def check_indices(indices, size, where, what="genes"):
    """Refuse indices below 0 or beyond the last of ``size`` genes (or cells).

    Raises
    ------
    ValueError
    """
    if not len(indices):
        return
    low, high = indices.min(), indices.max()
    if low < 0 or high >= size:
        raise ValueError(
            f"{where} is damaged: an index {low if low < 0 else high} among {size} {what}; "
            f"expected 0 to {size - 1}"
        )


def sound(matrix, n_var, where):
    """The matrix itself, sparse or dense [n, n_var], if it is one of numbers.

    Raises
    ------
    ValueError
        As `check_kind` and `check_indices`.
    """
    if sp.issparse(matrix):
        check_kind(matrix.dtype, where)
        if matrix.format in ("csr", "csc"):
            size = n_var if matrix.format == "csr" else matrix.shape[0]
            check_indices(matrix.indices, size, where, "genes" if size == n_var else "cells")
        return matrix
    matrix = np.asarray(matrix)
    check_kind(matrix.dtype, where)
    return matrix

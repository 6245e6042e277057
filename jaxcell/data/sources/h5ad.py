"""An h5ad file as a source: dense, CSR or CSC, in X, raw or a layer; any compression."""

import contextlib
import hashlib
import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from jaxcell.data.sources import hdf5
from jaxcell.data.sources.sound import check_kind, check_pointers
from jaxcell.data.sources.source import Source
from jaxcell.data.sources.turning import turned

FORMATS = ("csr", "csc")


def read_h5ad(path):
    """All of an h5ad file as AnnData; refused as `open_source` refuses one.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file; it is empty, truncated, damaged or none.
    """
    with opened(Path(path)):
        return anndata.read_h5ad(path)


class H5adSource(Source):
    """An h5ad file, closed between two calls; X, a layer or raw; dense, CSR or CSC."""

    def __init__(self, path, counts="X", chunk_cells=None):
        self.path, self.name = Path(path), str(path)
        self._turned = None  # of CSC: row pointers, columns and values in files
        with self._opened() as file:
            self.obs = _table(file, "obs", self.path)
            self.n_cells = len(self.obs)
            self.places = ["X"] if "X" in file else []
            self.places += [f"layers/{layer}" for layer in file.get("layers", ())]
            self.places += ["raw"] if "raw/X" in file else []
            raw = counts == "raw" and "raw/X" in file
            self.var = _table(file, "raw/var" if raw else "var", self.path)
            self._choose(counts, chunk_cells)
            self._check_shape(file)

    def at(self, counts):
        """The same cells with the counts of another place."""
        return type(self)(self.path, counts, self._chunk_cells)

    def _opened(self):
        """Context with the root group; another file format of the same layout has its own."""
        return opened(self.path)

    def _matrix(self, file):
        return file["raw/X" if self.counts == "raw" else self.counts]

    def _check_shape(self, file):
        """That of the matrix, and its kind of values; of a sparse one that its arrays agree."""
        matrix, where = self._matrix(file), f"{self.path}, {self.counts}"
        shape, expected = _shape(matrix, where), (self.n_cells, len(self.var))
        if shape != expected:
            raise ValueError(
                f"{self.path} is damaged: {self.counts} is {' × '.join(map(str, shape))}, obs and "
                f"var are {expected[0]} × {expected[1]}"
            )
        if not _sparse(matrix):
            check_kind(matrix.dtype, where)
            return
        check_kind(matrix["data"].dtype, where)
        major = shape[0 if sparse_format(matrix, where) == "csr" else 1]
        check_pointers(matrix["indptr"][:], major, matrix["indices"], matrix["data"], where)

    def _read(self, slices):
        if not slices:
            return
        with self._opened() as file:
            matrix = self._matrix(file)
            if not _sparse(matrix):
                yield from (matrix[rows] for rows in slices)
                return
            first, indices, data = slices[0].start, matrix["indices"], matrix["data"]
            if sparse_format(matrix, self.name) == "csc":
                self._turn(matrix)
                indptr, indices, data = self._turned
                indptr = indptr[first : slices[-1].stop + 1]
            else:
                indptr = matrix["indptr"][first : slices[-1].stop + 1].astype(np.int64)
            for rows in slices:
                pointers = indptr[rows.start - first : rows.stop - first + 1]
                a, b = pointers[0], pointers[-1]
                shape = (len(pointers) - 1, len(self.var))
                yield sp.csr_matrix((data[a:b], indices[a:b], pointers - a), shape)

    def settle(self, folder):
        """Lay CSC down as CSR in a folder, once for all passes and all processes."""
        with self._opened() as file:
            matrix = self._matrix(file)
            if _sparse(matrix) and sparse_format(matrix, self.name) == "csc":
                self._turn(matrix, folder)
                self._settled = folder

    def _turn(self, matrix, folder=None):
        """Turn CSC, once in this object's life."""
        if self._turned is None:
            arrays = matrix["indptr"][:].astype(np.int64), matrix["indices"], matrix["data"]
            mark = f"{self.counts} of {self.stamp()}"
            where = f"{self.path}, {self.counts}"
            self._turned = turned(*arrays, self.n_cells, folder, mark, where)

    def stamp(self):
        """Size and time of the file."""
        stat = os.stat(self.path)
        return f"{stat.st_size} bytes, written at {stat.st_mtime_ns} ns"

    def checksum(self):
        """sha256 of the file."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def opened(path):
    """The HDF5 file of an h5ad."""
    with hdf5.opened(path, "an h5ad") as file:
        lacking = [name for name in ("obs", "var") if name not in file]
        if lacking:
            raise ValueError(
                f"{path} is HDF5 but not an h5ad: it has {list(file)}, not {' and '.join(lacking)}"
            )
        yield file


def _sparse(matrix):
    return hasattr(matrix, "keys")  # a group of data, indices and indptr, not an array


def _table(file, name, path):
    """Obs or var as a DataFrame."""
    try:
        table = anndata.io.read_elem(file[name])
    except Exception as error:  # anndata raises of any kind, and names no file
        raise ValueError(f"{path} is damaged: {name} cannot be read: {error}") from error
    if not isinstance(table, pd.DataFrame):
        raise ValueError(
            f"{path}: found {name} as {type(table).__name__}, expected a table: written by "
            "anndata before 0.7, or not by anndata; read it with anndata and write it again"
        )
    return table


def _shape(matrix, where):
    if not _sparse(matrix):
        return tuple(map(int, matrix.shape))
    lacking = [name for name in ("indptr", "indices", "data") if name not in matrix]
    shape = matrix.attrs.get("shape", matrix.attrs.get("h5sparse_shape"))
    if lacking or shape is None:
        raise ValueError(
            f"{where} is no matrix: a group with {sorted(matrix)}, expected indptr, indices and "
            "data and the attribute shape"
        )
    return tuple(map(int, shape))


def sparse_format(matrix, where):
    """'csr' or 'csc', of a group of a file.

    Raises
    ------
    ValueError
        It is neither.
    """
    kind = str(matrix.attrs.get("encoding-type", matrix.attrs.get("h5sparse_format", "csr")))
    if kind[:3] not in FORMATS:
        raise ValueError(f"{where}: found {kind!r}, expected csr_matrix or csc_matrix")
    return kind[:3]

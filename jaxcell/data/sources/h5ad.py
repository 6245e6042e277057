"""An h5ad file as a source: dense, CSR or CSC, in X, raw or a layer."""

import contextlib
import hashlib
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

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
        with opened(self.path) as file:
            self.obs = _table(file, "obs", self.path)
            self.n_cells = len(self.obs)
            self.places = ["X"] if "X" in file else []
            self.places += [f"layers/{layer}" for layer in file.get("layers", ())]
            self.places += ["raw"] if "raw/X" in file else []
            raw = counts == "raw" and "raw/X" in file
            self.var = _table(file, "raw/var" if raw else "var", self.path)
            self._choose(counts, chunk_cells)
            self._check_matrix(self._matrix(file))

    def at(self, counts):
        """The same cells with the counts of another place."""
        return H5adSource(self.path, counts, self._chunk_cells)

    def _matrix(self, file):
        return file["raw/X" if self.counts == "raw" else self.counts]

    def _check_matrix(self, matrix):
        """Its shape and kind of values; of a sparse one that its three arrays agree."""
        where, expected = f"{self.path}, {self.counts}", (self.n_cells, len(self.var))
        shape = _shape(matrix, where)
        if shape != expected:
            raise ValueError(
                f"{self.path} is damaged: {self.counts} is {' × '.join(map(str, shape))}, obs and "
                f"var are {expected[0]} × {expected[1]}"
            )
        if isinstance(matrix, h5py.Dataset):
            check_kind(matrix.dtype, where)
            return
        check_kind(matrix["data"].dtype, where)
        major = shape[0 if _format(matrix, where) == "csr" else 1]
        check_pointers(matrix["indptr"][:], major, matrix["indices"], matrix["data"], where)

    def _read(self, slices):
        with opened(self.path) as file:
            matrix = self._matrix(file)
            if isinstance(matrix, h5py.Dataset):
                yield from (matrix[rows] for rows in slices)
                return
            indptr, indices, data = matrix["indptr"], matrix["indices"], matrix["data"]
            indptr = indptr[:].astype(np.int64)
            if _format(matrix, self.name) == "csc":
                where = f"{self.path}, {self.counts}"
                indptr, indices, data = turned(indptr, indices, data, self.n_cells, where)
            for rows in slices:
                a, b = indptr[rows.start], indptr[rows.stop]
                pointers = indptr[rows.start : rows.stop + 1] - a
                shape = (len(pointers) - 1, len(self.var))
                yield sp.csr_matrix((data[a:b], indices[a:b], pointers), shape)

    def checksum(self):
        """sha256 of the file."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def opened(path):
    """The HDF5 file of an h5ad."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not an h5ad file")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes)")
    try:
        path.open("rb").close()
    except OSError as error:
        raise PermissionError(f"{path} cannot be read: {error.strerror or error}") from error
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is not an HDF5 file, so not an h5ad")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is truncated or damaged: {error}") from error
    with file:
        try:
            lacking = [name for name in ("obs", "var") if name not in file]
            if lacking:
                raise ValueError(
                    f"{path} is HDF5 but not an h5ad: it has {list(file)}, not "
                    f"{' and '.join(lacking)}"
                )
            yield file
        except (OSError, RuntimeError, KeyError) as error:  # what h5py raises inside a file
            raise ValueError(f"{path} is truncated or damaged: {error}") from error


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
    if isinstance(matrix, h5py.Dataset):
        return tuple(map(int, matrix.shape))
    lacking = [name for name in ("indptr", "indices", "data") if name not in matrix]
    shape = matrix.attrs.get("shape", matrix.attrs.get("h5sparse_shape"))
    if lacking or shape is None:
        raise ValueError(
            f"{where} is no matrix: a group with {list(matrix)}, expected indptr, indices and data "
            "and the attribute shape"
        )
    return tuple(map(int, shape))


def _format(matrix, where):
    kind = str(matrix.attrs.get("encoding-type", matrix.attrs.get("h5sparse_format", "csr")))
    if kind[:3] not in FORMATS:
        raise ValueError(f"{where}: found {kind!r}, expected csr_matrix or csc_matrix")
    return kind[:3]

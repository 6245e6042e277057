"""An input → chunks of its cells as CSR, with bounded memory.

A source has `name`, `n_cells`, `obs`, `var` (pandas), `places` (where counts may be: X, raw,
layers/NAME), `chunks()` and `checksum()`. n_var = its columns, nnz = its stored values.
"""

import contextlib
import hashlib
import tempfile
from pathlib import Path

import anndata
import h5py
import numpy as np
import scipy.sparse as sp

PBMC68K = "scanpy:pbmc68k_reduced"
KNOWN = f"FILE.h5ad, {PBMC68K}, or an AnnData"
CHUNK_CELLS = 2048
CHUNK_VALUES = 2**23  # of a chunk if it were dense, at most, however many genes: 32 MB of float32
BLOCK = 2**21  # stored values moved at once when a CSC matrix is turned


def open_source(spec, *, counts="X", chunk_cells=None, name="AnnData"):
    """Open an input of `prepare`.

    Parameters
    ----------
    spec : path, str or anndata.AnnData
        An h5ad file, ``scanpy:pbmc68k_reduced`` (700 real cells inside scanpy), or an AnnData.
    counts : str
        Where the counts are: 'X', 'raw' or 'layers/NAME'.
    chunk_cells : int, optional
        Cells of a chunk; by default 2048, fewer where there are more than 4096 genes.
    name : str
        What errors call an AnnData.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Not a known kind of input; empty, truncated or damaged; no such layer.
    ImportError
        scanpy is needed and absent.
    """
    if isinstance(spec, anndata.AnnData):
        return AnnDataSource(spec, name, counts, chunk_cells)
    if str(spec) == PBMC68K:
        return AnnDataSource(_pbmc68k_reduced(), PBMC68K, counts, chunk_cells)
    path = Path(spec)
    if path.suffix != ".h5ad":
        raise ValueError(f"{spec}: unknown kind of input {path.suffix!r}; known: {KNOWN}")
    return H5adSource(path, counts, chunk_cells)


def read_h5ad(path):
    """All of an h5ad file as AnnData; refused as `open_source` refuses one.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file; it is empty, truncated, damaged or none.
    """
    with _opened(Path(path)):
        return anndata.read_h5ad(path)


class _Source:
    """What the two kinds of sources share: the table of places, and the size of a chunk."""

    def _choose(self, counts, chunk_cells):
        if counts not in self.places:
            raise ValueError(
                f"{self.name} has no counts at {counts!r}; it has {', '.join(self.places)} "
                "(--counts)"
            )
        self.counts = counts
        self._chunk_cells = chunk_cells
        if self.n_cells == 0 or len(self.var) == 0:
            raise ValueError(
                f"{self.name} is empty: {self.n_cells} cells × {len(self.var)} genes at {counts}"
            )

    def _slices(self):
        most = max(1, min(CHUNK_CELLS, CHUNK_VALUES // len(self.var)))
        step = self._chunk_cells or most
        return [slice(a, min(a + step, self.n_cells)) for a in range(0, self.n_cells, step)]

    def __repr__(self):
        return f"{self.name}[{self.counts}]: {self.n_cells} cells × {len(self.var)} genes"


class AnnDataSource(_Source):
    """An AnnData in memory (or backed: read chunk by chunk)."""

    def __init__(self, adata, name, counts="X", chunk_cells=None):
        self.name, self._adata, self.obs, self.n_cells = name, adata, adata.obs, adata.n_obs
        self.places = ["X"] if adata.X is not None else []
        # anndata 0.13 lists X among the layers, under the name None.
        self.places += [f"layers/{layer}" for layer in adata.layers if layer is not None]
        self.places += ["raw"] if adata.raw is not None else []
        self.var = adata.raw.var if counts == "raw" and adata.raw is not None else adata.var
        self._choose(counts, chunk_cells)

    def at(self, counts):
        """The same cells with the counts of another place."""
        return AnnDataSource(self._adata, self.name, counts, self._chunk_cells)

    def chunks(self):
        """Yield CSR [cells, n_var], every cell once, in order."""
        place, _, layer = self.counts.partition("/")
        matrix = self._adata.raw.X if place == "raw" else self._adata.X
        matrix = self._adata.layers[layer] if layer else matrix
        if sp.issparse(matrix) and matrix.format != "csr":
            matrix = matrix.tocsr()
        for rows in self._slices():
            yield _canonical(matrix[rows].copy())  # a slice may be a view of the caller's data

    def checksum(self):
        """sha256 of the gene names and of the counts."""
        digest = hashlib.sha256("\n".join(map(str, self.var.index)).encode())
        for chunk in self.chunks():
            for part in (chunk.indptr, chunk.indices, chunk.data):
                digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


class H5adSource(_Source):
    """An h5ad file, closed between two calls; X, a layer or raw; dense, CSR or CSC."""

    def __init__(self, path, counts="X", chunk_cells=None):
        self.path, self.name = Path(path), str(path)
        with _opened(self.path) as file:
            self.obs = anndata.io.read_elem(file["obs"])
            self.n_cells = len(self.obs)
            self.places = ["X"] if "X" in file else []
            self.places += [f"layers/{layer}" for layer in file.get("layers", ())]
            self.places += ["raw"] if "raw/X" in file else []
            raw = counts == "raw" and "raw/X" in file
            self.var = anndata.io.read_elem(file["raw/var" if raw else "var"])
            self._choose(counts, chunk_cells)
            self._check_shape(file)

    def at(self, counts):
        """The same cells with the counts of another place."""
        return H5adSource(self.path, counts, self._chunk_cells)

    def _matrix(self, file):
        return file["raw/X" if self.counts == "raw" else self.counts]

    def _check_shape(self, file):
        matrix = self._matrix(file)
        expected = (self.n_cells, len(self.var))
        shape, stored = _shape(matrix), None
        if isinstance(matrix, h5py.Group):
            stored = matrix["indptr"][-1], len(matrix["indices"]), len(matrix["data"])
        if shape != expected or (stored and len(set(map(int, stored))) > 1):
            raise ValueError(
                f"{self.path} is damaged: {self.counts} is {shape[0]} × {shape[1]} with "
                f"{stored} stored values, obs and var are {expected[0]} × {expected[1]}"
            )

    def chunks(self):
        """Yield CSR [cells, n_var], every cell once, in order."""
        with _opened(self.path) as file:
            matrix = self._matrix(file)
            if isinstance(matrix, h5py.Dataset):
                for rows in self._slices():
                    yield _canonical(matrix[rows])
                return
            indptr, indices, data = matrix["indptr"], matrix["indices"], matrix["data"]
            indptr = indptr[:].astype(np.int64)
            if _format(matrix) == "csc":
                indptr, indices, data = _turned(indptr, indices, data, self.n_cells)
            for rows in self._slices():
                a, b = indptr[rows.start], indptr[rows.stop]
                pointers = indptr[rows.start : rows.stop + 1] - a
                shape = (len(pointers) - 1, len(self.var))
                yield _canonical(sp.csr_matrix((data[a:b], indices[a:b], pointers), shape))

    def checksum(self):
        """sha256 of the file."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _opened(path):
    """The HDF5 file of an h5ad."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes)")
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is not an HDF5 file, so not an h5ad")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is truncated or damaged: {error}") from error
    with file:
        lacking = [name for name in ("obs", "var") if name not in file]
        if lacking:
            raise ValueError(
                f"{path} is HDF5 but not an h5ad: it has {list(file)}, not {' and '.join(lacking)}"
            )
        try:
            yield file
        except (OSError, RuntimeError, KeyError) as error:  # what h5py raises inside a file
            raise ValueError(f"{path} is truncated or damaged: {error}") from error


def _shape(matrix):
    shape = matrix.shape if isinstance(matrix, h5py.Dataset) else matrix.attrs.get("shape")
    return tuple(map(int, matrix.attrs["h5sparse_shape"] if shape is None else shape))


def _format(matrix):
    kind = matrix.attrs.get("encoding-type", matrix.attrs.get("h5sparse_format", "csr"))
    return str(kind)[:3]


def _turned(indptr, indices, data, n_cells):
    """CSC on disk → CSR in unnamed temporary files, in two passes over blocks of stored values.

    Memory: one block and O(cells + genes); disk: nnz × (4 + the value's size) bytes under TMPDIR.
    The system frees the files when the arrays go.
    """
    nnz = len(data)
    blocks = [slice(a, min(a + BLOCK, nnz)) for a in range(0, nnz, BLOCK)]
    per_row = np.zeros(n_cells, np.int64)
    for block in blocks:
        per_row += np.bincount(indices[block], minlength=n_cells)
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


def _canonical(matrix):
    """CSR in memory, float32 where that is exact enough, without zeros or duplicate entries."""
    matrix = sp.csr_matrix(matrix)
    if matrix.dtype == bool:
        raise ValueError("the values are True and False (detected or not): these are not counts")
    if matrix.dtype not in (np.float32, np.float64):
        matrix = matrix.astype(np.float32 if matrix.dtype.itemsize <= 2 else np.float64)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def _pbmc68k_reduced():
    """Real cells with no network: counts recovered from scanpy's log-normalised copy."""
    try:
        import scanpy
    except ImportError as error:
        raise ImportError(f"{PBMC68K} lies inside scanpy: pip install 'jaxcell[eval]'") from error
    adata = scanpy.datasets.pbmc68k_reduced()
    normalised = adata.raw.X.tocsr().astype(np.float64)
    scaled = sp.diags(adata.obs["n_counts"].to_numpy() / 1e4) @ normalised.expm1()
    counts = scaled.tocsr()
    counts.data = np.rint(scaled.data)
    deviation = np.abs(counts.data - scaled.data).max()
    if deviation >= 0.1:
        raise ValueError(
            f"{PBMC68K}: the recovered counts are up to {deviation:.2g} away from integers "
            "(expected < 0.1): has scanpy changed this dataset?"
        )
    return anndata.AnnData(counts.astype(np.float32), adata.obs, adata.raw.var)

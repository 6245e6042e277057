"""A zarr store of an AnnData as a source: format 2 or 3, a folder or a zip, any compression."""

import contextlib
import zipfile
import zlib

import zarr

from jaxcell.data.sources.file import FileSource
from jaxcell.data.sources.h5ad import H5adSource, sparse_format
from jaxcell.files import near

# What zarr and its codecs raise inside a store.
DAMAGE = (OSError, KeyError, IndexError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
MARKERS = (".zgroup", ".zattrs", "zarr.json")  # of a group, in format 2 and 3


class ZarrSource(H5adSource, FileSource):
    """A zarr store, laid out as an h5ad; X, a layer or raw; dense, CSR or CSC."""

    def _opened(self):
        return opened(self.path)

    def _check_shape(self, file):
        super()._check_shape(file)
        matrix, where = self._matrix(file), f"{self.path}, {self.counts}"
        for part in ("data", "indices") if hasattr(matrix, "keys") else ():
            array = matrix[part]
            there, all_ = array.nchunks_initialized, array.nchunks
            # Zarr reads a lost chunk as zeros, and leaves out one that is all zeros. No part of a
            # sparse matrix is: that would be many cells of which only the first gene is counted.
            # Of a single gene (in CSC of a single cell) all indices are 0.
            minor = len(self.var) if sparse_format(matrix, where) == "csr" else self.n_cells
            if there < all_ and not (part == "indices" and minor == 1):
                raise ValueError(
                    f"{self.path} is damaged: {all_ - there} of the {all_} chunks of "
                    f"{self.counts}/{part} are missing"
                )

    def _paths(self):
        """All files of the folder, or the zip."""
        below = sorted(p for p in self.path.rglob("*") if p.is_file())
        return below or [self.path]

    def checksum(self):
        """sha256 of the zip, or of the paths and contents of all files."""
        return FileSource.checksum(self)

    def stamp(self):
        """Sizes and times of the files."""
        return FileSource.stamp(self)


def is_zarr(path):
    """Whether a folder is a zarr group."""
    return path.is_dir() and any((path / name).is_file() for name in MARKERS)


@contextlib.contextmanager
def opened(path):
    """The root group of a zarr store."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist{near(path)}")
    if path.is_dir() and not is_zarr(path):
        raise ValueError(f"{path} is not a zarr group: it has none of {', '.join(MARKERS)}")
    if path.is_file() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is neither a folder nor a zip, so not a zarr store")
    with contextlib.ExitStack() as stack:
        try:
            store = str(path)
            if path.is_file():
                store = stack.enter_context(
                    contextlib.closing(zarr.storage.ZipStore(path, mode="r"))
                )
            root = zarr.open_group(store, mode="r")
            lacking = [name for name in ("obs", "var") if name not in root]
            given = sorted(root)
        except (*DAMAGE, TypeError) as error:  # TypeError: metadata of other fields
            raise ValueError(f"{path} is damaged or not a zarr group: {error}") from error
        if lacking:
            raise ValueError(
                f"{path} is zarr but not an AnnData: it has {given}, not {' and '.join(lacking)}"
            )
        try:
            yield root
        except DAMAGE as error:
            if str(path) in str(error):
                raise
            raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from error

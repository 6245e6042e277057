"""A loom file as a source: HDF5 with genes × cells, dense, in matrix and layers/NAME."""

import contextlib
from pathlib import Path

import numpy as np
import pandas as pd

from jaxcell.data.sources import hdf5
from jaxcell.data.sources.file import FileSource

# loompy's conventions → names that `identify` knows
ROWS = {"Gene": "gene_symbols", "Accession": "gene_ids"}
CELLS = ("CellID", "obs_names", "cell_id", "cell_names")
PARTS = ("matrix", "row_attrs", "col_attrs")


class LoomSource(FileSource):
    """A loom file (loompy 2 and 3), closed between two calls; X is its matrix.

    It is chunked along both axes; cells are read as slices of its columns, so at most a chunk's
    width of cells is read twice at each seam.
    """

    def __init__(self, path, counts="X", chunk_cells=None):
        self.path, self.name = Path(path), str(path)
        with self._opened() as file:
            n_genes, self.n_cells = map(int, file["matrix"].shape)
            self.places = ["X", *(f"layers/{layer}" for layer in file.get("layers", ()))]
            self.obs = self._attributes(file["col_attrs"], self.n_cells)
            self.var = self._attributes(file["row_attrs"], n_genes).rename(columns=ROWS)
            self.obs.index = self._index(self.obs, CELLS)
            self.var.index = self._index(self.var, ROWS.values())
            self._choose(counts, chunk_cells)
            shape = self._matrix(file).shape
            if tuple(shape) != (n_genes, self.n_cells):
                raise ValueError(
                    f"{path} is damaged: {counts} is {shape[0]} × {shape[1]}, matrix is {n_genes} "
                    f"genes × {self.n_cells} cells"
                )

    def _opened(self):
        return _opened(self.path)

    def _attributes(self, group, size):
        """Those attributes that have one value each; a loom keeps embeddings among them too."""
        columns = {}
        for name, values in group.items():
            if getattr(values, "ndim", 0) != 1:
                continue
            if len(values) != size:
                raise ValueError(
                    f"{self.path} is damaged: {group.name}/{name} has {len(values)} values, matrix "
                    f"has {size} there"
                )
            columns[name] = hdf5.strings(values) if values.dtype.kind in "OS" else values[:]
        return pd.DataFrame(columns, index=range(size))

    def _index(self, table, names):
        found = next((name for name in names if name in table), None)
        values = table.index if found is None else table[found]
        return pd.Index(np.asarray(values).astype(str).astype(object))

    def _matrix(self, file):
        return file["matrix" if self.counts == "X" else self.counts]

    def at(self, counts):
        """The same cells with the counts of another place."""
        return LoomSource(self.path, counts, self._chunk_cells)

    def _read(self, slices):
        with self._opened() as file:
            matrix = self._matrix(file)
            for rows in slices:
                yield matrix[:, rows].T


@contextlib.contextmanager
def _opened(path):
    with hdf5.opened(path, "a loom file") as file:
        lacking = [name for name in PARTS if name not in file]
        if lacking:
            raise ValueError(
                f"{path} is HDF5 but not a loom file: it has {list(file)}, not {', '.join(lacking)}"
            )
        yield file

"""What 10x Genomics' Cell Ranger writes, as a source: a folder of mtx and tsv files, or an h5."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from jaxcell.data.sources import hdf5
from jaxcell.data.sources.features import COLUMN, GENES, types_of
from jaxcell.data.sources.file import FileSource
from jaxcell.data.sources.matrix_market import MatrixMarket, text
from jaxcell.data.sources.sound import check_pointers
from jaxcell.data.sources.spool import SpooledSource
from jaxcell.files import near

MATRIX = ("matrix.mtx", "matrix.mtx.gz")


class TenxFolder(SpooledSource):
    """A folder with matrix.mtx, barcodes.tsv and features.tsv (or genes.tsv), gzipped or not.

    The files may have a prefix in common, as in GEO; the matrix itself may be given instead of the
    folder. Genes × cells; the entries may come in any order.
    """

    def __init__(self, path, counts="X", chunk_cells=None):
        self.path, self.name, self.places = Path(path), str(path), ["X"]
        matrix = _only_matrix(self.path)
        prefix = matrix.name.removesuffix(".gz").removesuffix("matrix.mtx")
        barcodes = _beside(matrix, prefix, ("barcodes.tsv",))
        features = _beside(matrix, prefix, ("features.tsv", "genes.tsv"))
        self._files = [matrix, barcodes, features]
        self._matrix = MatrixMarket(matrix)
        self.obs = pd.DataFrame(index=pd.Index([row[0] for row in _table(barcodes)], dtype=object))
        self.var = _features(_table(features))
        self.n_cells = len(self.obs)
        found, expected = tuple(self._matrix.shape), (len(self.var), self.n_cells)
        if found != expected:
            raise ValueError(
                f"{matrix} is {found[0]} × {found[1]}; expected genes × cells, {expected[0]} "
                f"(lines of {features.name}) × {expected[1]} (lines of {barcodes.name})"
            )
        self._choose(counts, chunk_cells)

    def at(self, counts):
        """The same cells; there are no other counts."""
        return TenxFolder(self.path, counts, self._chunk_cells)

    def _spool_as(self):
        return self._matrix.n_values, self._matrix.dtype

    def _blocks(self):
        for genes, cells, values in self._matrix.blocks():
            yield cells, genes, values

    def _paths(self):
        return self._files


def matrices(folder):
    """The Matrix Market files of a folder that Cell Ranger may have written."""
    return sorted(p for p in folder.iterdir() if p.name.endswith(MATRIX))


def _only_matrix(path):
    if path.is_file():
        return path
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist{near(path)}")
    found = matrices(path)
    if len(found) != 1:
        shown = ", ".join(p.name for p in found) or "none"
        raise ValueError(f"{path}: expected one matrix.mtx or matrix.mtx.gz, found {shown}")
    return found[0]


def _beside(matrix, prefix, names):
    candidates = [matrix.parent / f"{prefix}{n}{end}" for n in names for end in ("", ".gz")]
    found = [path for path in candidates if path.is_file()]
    if len(found) != 1:
        shown = ", ".join(p.name for p in found) or "none"
        asked = " or ".join(f"{prefix}{name}(.gz)" for name in names)
        raise ValueError(f"{matrix.parent}: expected {asked} beside {matrix.name}, found {shown}")
    return found[0]


def _table(path):
    """Fields of each line."""
    with text(path) as file:
        try:
            lines = file.read().decode().splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    rows = [line.split("\t") for line in lines]
    if len({len(row) for row in rows}) != 1 or not all(row[0] for row in rows):
        raise ValueError(f"{path}: its lines have different numbers of fields, or no first one")
    return rows


def _features(rows):
    fields = list(zip(*rows, strict=True))[:3]  # id, name and type; later ones are positions
    columns = dict(zip(("gene_ids", "gene_symbols", COLUMN)[: len(fields)], fields, strict=True))
    return pd.DataFrame(columns, index=pd.Index(fields[0], dtype=object))


class TenxH5(FileSource):
    """Cell Ranger's h5: the group matrix (version 3 on), or one named after the genome (2)."""

    def __init__(self, path, counts="X", chunk_cells=None):
        self.path, self.name, self.places = Path(path), str(path), ["X"]
        with self._opened() as file:
            self._group = self._find(file)
            group = file[self._group]
            barcodes = hdf5.strings(group["barcodes"])
            self.obs = pd.DataFrame(index=pd.Index(barcodes, dtype=object))
            self.n_cells = len(self.obs)
            self.var = self._features(group)
            shape = tuple(map(int, group["shape"][:]))
            self._choose(counts, chunk_cells)
            if shape != (len(self.var), self.n_cells):
                raise ValueError(
                    f"{self.path} is damaged: shape {shape} (genes × cells), {len(self.var)} "
                    f"features, {self.n_cells} barcodes"
                )
            arrays = group["indices"], group["data"]
            where = f"{self.path}, {self.counts}"
            check_pointers(group["indptr"][:], self.n_cells, *arrays, where)

    def _opened(self):
        return hdf5.opened(self.path, "an h5 of Cell Ranger")

    def _find(self, file):
        groups = [k for k, v in file.items() if isinstance(v, h5py.Group) and "barcodes" in v]
        if len(groups) > 1:
            self._refuse_genomes(groups)
        if not groups:
            raise ValueError(
                f"{self.path} is HDF5 but not an h5 of Cell Ranger: it has {list(file)}, and none "
                "of these is a group with barcodes"
            )
        return groups[0]

    def _features(self, group):
        if "features" not in group:  # Cell Ranger 2
            ids, names = hdf5.strings(group["genes"]), hdf5.strings(group["gene_names"])
            columns = {"gene_ids": ids, "gene_symbols": names}
        else:
            of = {"id": "gene_ids", "name": "gene_symbols", "feature_type": COLUMN,
                  "genome": "genome"}  # fmt: skip
            given = group["features"]
            columns = {new: hdf5.strings(given[old]) for old, new in of.items() if old in given}
        var = pd.DataFrame(columns, index=pd.Index(columns["gene_ids"], dtype=object))
        types = types_of(var)
        if "genome" in var:
            genes = var if types is None else var[types == GENES]
            genomes = sorted(set(genes["genome"]) - {""})
            if len(genomes) > 1:
                self._refuse_genomes(genomes)
        return var

    def _refuse_genomes(self, genomes):
        raise ValueError(
            f"{self.path} has cells of several genomes, {', '.join(genomes)}; expected one: write "
            "a file for each (scanpy.read_10x_h5(path, genome=…))"
        )

    def at(self, counts):
        """The same cells; there are no other counts."""
        return TenxH5(self.path, counts, self._chunk_cells)

    def _read(self, slices):
        with self._opened() as file:
            group = file[self._group]
            indptr = group["indptr"][:].astype(np.int64)
            for rows in slices:
                a, b = indptr[rows.start], indptr[rows.stop]
                pointers = indptr[rows.start : rows.stop + 1] - a
                part = group["data"][a:b], group["indices"][a:b], pointers
                yield sp.csr_matrix(part, (len(pointers) - 1, len(self.var)))

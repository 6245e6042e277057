"""A SOMA experiment as a source, by tiledbsoma: a folder, a cloud address, the CELLxGENE Census."""

import contextlib
import hashlib
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import scipy.sparse as sp

from jaxcell.data.sources.presence import Presence
from jaxcell.data.sources.soma_obs import SomaObs, read_column
from jaxcell.data.sources.source import Source

EXTRA = "pip install 'jaxcell[soma]'"
CONFIG = {"soma.init_buffer_bytes": 2**26}  # of each column read at once; TileDB's own is 1 GB
PRESENCE = "feature_dataset_presence_matrix"
DATASETS = "dataset_id"  # obs column of the Census whose values its presence matrix is about
# Names of cells for SOMA and for the Census, of which no label is made.
INTERNAL = ("soma_joinid", "observation_joinid")
CELLS, GENES = "obs_id", ("var_id", "feature_id")  # columns with their names, where there are any
MARKERS = ("__tiledb_group.tdb", "__group")  # of a folder that TileDB calls a group


class SomaSource(Source):
    """A SOMA experiment, or one organism of a Census; opened anew by each read.

    ``obs`` reads a column when it is asked for: of a whole Census all of them are several GB.

    Parameters
    ----------
    path : str
        Folder or URI of an experiment. Of a Census (``census=True``) VERSION/ORGANISM, such as
        2025-01-30/homo_sapiens, or FOLDER/ORGANISM for a copy of it.
    counts : str
        'X', which is X/raw or else the only layer, or 'X/LAYER'.
    value_filter : str, optional
        Which cells: ``"tissue == 'lung' and is_primary_data == True"``, in TileDB's syntax.
    measurement : str
        Name of the measurement.
    """

    def __init__(
        self,
        path,
        counts="X",
        chunk_cells=None,
        value_filter=None,
        measurement="RNA",
        census=False,
    ):
        self.path, self.name = str(path), str(path)
        self._filter, self._measurement, self._census = value_filter, measurement, census
        # Cells of a pass so far and the state of its checksum; the checksum, once it is known.
        self._passed, self._digest = (-1, []), None
        with self._opened() as (root, experiment):
            self._cells, columns = self._chosen(experiment.obs)
            self._named = CELLS in columns
            self.obs = SomaObs(self._column, columns, len(self._cells), self._cell_names)
            part = _member(experiment.ms, measurement, f"{self.name} has no measurement")
            self.var, self._genes = self._genes_of(part.var)
            self.places = [f"X/{layer}" for layer in sorted(part.X)] if "X" in part else []
            self.n_cells = len(self.obs)
            if self.n_cells == 0 and value_filter:
                raise ValueError(f"{self.name}: no cell has {value_filter} (--soma-filter)")
            if counts == "X":
                counts = self.places[0] if len(self.places) == 1 else "X/raw"
            self._choose(counts, chunk_cells)
            if census and PRESENCE in part:
                self.presence = self._read_presence(root, part[PRESENCE])

    @contextlib.contextmanager
    def _opened(self):
        """The root (of a Census, else None) and the experiment; SOMA's errors as ValueError."""
        soma = import_soma()
        context = soma.SOMATileDBContext(tiledb_config=CONFIG)
        with contextlib.ExitStack() as stack:
            try:
                if not self._census:
                    root, experiment = None, stack.enter_context(_open(self.path, context))
                else:
                    where, _, organism = self.path.rpartition("/")
                    root = stack.enter_context(_open_census(where, context))
                    among = root["census_data"]
                    experiment = _member(among, organism, f"the Census {where} has no organism")
                if not isinstance(experiment, soma.Experiment):
                    raise ValueError(f"{self.name} is a SOMA {experiment.soma_type}, no experiment")
                yield root, experiment
            except soma.DoesNotExistError as error:
                raise FileNotFoundError(f"{self.name} is not a SOMA experiment: {error}") from error
            except soma.SOMAError as error:
                raise ValueError(f"{self.name}: {str(error).splitlines()[0]}") from error

    def _chosen(self, frame):
        """soma_joinid of the chosen cells, i64 [n_cells] ascending, and the columns of obs."""
        columns = [name for name in frame.schema.names if name not in INTERNAL]
        soma = import_soma()
        try:
            tables = frame.read(value_filter=self._filter, column_names=["soma_joinid"])
            ids = [table["soma_joinid"].to_numpy() for table in tables]
        except soma.SOMAError as error:
            said = str(error).splitlines()[0]
            raise ValueError(
                f"{self.name}: cells where {self._filter!r}: {said}; obs has "
                f"{', '.join(columns)} (--soma-filter)"
            ) from error
        return np.sort(np.concatenate([*ids, np.zeros(0, np.int64)])), columns

    def _column(self, name):
        """A column of obs, pandas.Series [n_cells]; texts as categories."""
        return self._arrow_column(name).to_pandas()

    def _arrow_column(self, name):
        with self._opened() as (_, experiment):
            names = ["soma_joinid", name]
            tables = experiment.obs.read(value_filter=self._filter, column_names=names)
            try:
                return read_column(tables, name, self._cells, _places)
            except ValueError as error:
                raise ValueError(f"{self.name} has changed since it was opened: {error}") from None

    def _cell_names(self):
        """What the experiment calls the chosen cells, pandas.Index [n_cells]."""
        if not self._named:
            return pd.Index(self._cells)
        return pd.Index(self._arrow_column(CELLS).cast("string"), dtype="string[pyarrow]")

    def _genes_of(self, frame):
        """var, and soma_joinid of its genes, in their order."""
        table = frame.read().concat().to_pandas()
        table = table.sort_values("soma_joinid", ignore_index=True)
        ids = table.pop("soma_joinid").to_numpy(np.int64)
        name = next((name for name in GENES if name in table), None)
        table.index = pd.Index(ids if name is None else table[name].to_numpy())
        return table, ids

    def _read_presence(self, root, matrix):
        """What the Census knows of the datasets of the chosen cells."""
        given = root["census_info"]["datasets"].read(column_names=["soma_joinid", DATASETS])
        rows = given.concat().to_pandas().set_index(DATASETS)["soma_joinid"]
        values = sorted(map(str, self.obs[DATASETS].unique()))
        unknown = [value for value in values if value not in rows.index]
        if unknown:
            raise ValueError(
                f"{self.name} is damaged: {len(unknown)} datasets of obs are not in "
                f"census_info/datasets: {', '.join(unknown[:3])}"
            )
        ids = rows[values].to_numpy()
        found = self._sparse(matrix, np.sort(ids)).astype(bool).toarray()
        return Presence(
            DATASETS, dict(zip(values, found[np.argsort(np.argsort(ids))], strict=True))
        )

    def at(self, counts):
        """The same cells with the counts of another layer."""
        options = self._filter, self._measurement, self._census
        return SomaSource(self.path, counts, self._chunk_cells, *options)

    def cell_ids(self):
        """soma_joinid of the chosen cells."""
        return self._cells

    def chunks(self, start=0, stop=None):
        """As of every source; a pass over all cells, in ranges or not, also takes the checksum."""
        if start == 0:
            self._passed = 0, [hashlib.sha256() for _ in range(3)]
        for chunk in super().chunks(start, stop):
            done, parts = self._passed
            if done == start:
                start += chunk.shape[0]
                self._passed = start, parts
                given = np.diff(chunk.indptr), chunk.indices, chunk.data
                for part, array, kind in zip(parts, given, ("<i8", "<i4", "<f8"), strict=True):
                    part.update(np.ascontiguousarray(array, kind))
            yield chunk
        done, parts = self._passed
        if done == self.n_cells:
            named = hashlib.sha256("\n".join(map(str, self.var.index)).encode())
            for part in parts:
                named.update(part.digest())
            self._digest = named.hexdigest()

    def _read(self, slices):
        soma = import_soma()
        with self._opened() as (_, experiment):
            matrix = self._layer(experiment)
            read = self._sparse if isinstance(matrix, soma.SparseNDArray) else self._dense
            for rows in slices:
                yield read(matrix, self._cells[rows])

    def _layer(self, experiment):
        return experiment.ms[self._measurement].X[self.counts.removeprefix("X/")]

    def _sparse(self, matrix, ids):
        """CSR [ids, n_var] of a sparse array; ids ascending."""
        row, column, value = [], [], []
        whole = ids[-1] - ids[0] == len(ids) - 1
        for table in matrix.read((slice(ids[0], ids[-1]) if whole else ids,)).tables():
            row.append(_places(ids, table["soma_dim_0"].to_numpy()))
            column.append(_places(self._genes, table["soma_dim_1"].to_numpy()))
            if (column[-1] < 0).any():
                raise ValueError(f"{self.name} is damaged: {matrix.uri} has genes that var has not")
            value.append(table["soma_data"].to_numpy())
        shape = (len(ids), len(self._genes))
        if not row:
            return sp.csr_matrix(shape, dtype=np.float32)
        ends = np.concatenate(row), np.concatenate(column)
        return sp.csr_matrix((np.concatenate(value), ends), shape)

    def _dense(self, matrix, ids):
        """Array [ids, n_var] of a dense array, by runs of neighbours."""
        runs = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1)
        parts = [matrix.read((slice(int(r[0]), int(r[-1])),)).to_numpy() for r in runs]
        return np.vstack(parts)[:, self._genes]

    def stamp(self):
        """Chosen cells, number of values in the whole layer and, on these disks, when written."""
        with self._opened() as (_, experiment):
            matrix = self._layer(experiment)
            n_values = getattr(matrix, "nnz", matrix.shape)
            written = _fragments(matrix.uri) + _fragments(experiment.obs.uri)
        cells = hashlib.sha256(np.ascontiguousarray(self._cells)).hexdigest()[:12]
        written = hashlib.sha256("".join(written).encode()).hexdigest()[:12]
        return f"{self.n_cells} cells {cells} of {n_values} values, written as {written}"

    def checksum(self):
        """sha256 of the gene names and of the counts of the chosen cells."""
        if self._digest is None:
            for _ in self.chunks():
                pass
        return self._digest


def _fragments(uri):
    """What was written to an array on these disks, each under a name with its time; else nothing.

    Of an array elsewhere nobody is asked: a release of the Census does not change.
    """
    kind, _, path = uri.rpartition("://")
    local = kind in ("", "file")
    return sorted(p.name for p in Path(unquote(path)).glob("__fragments/*")) if local else []


def is_soma(path):
    """Whether a folder is a group of TileDB, so maybe a SOMA experiment."""
    return path.is_dir() and any((path / name).exists() for name in MARKERS)


def import_soma():
    """Tiledbsoma."""
    try:
        import tiledbsoma
    except ImportError as error:
        raise ImportError(f"SOMA experiments are read by tiledbsoma: {EXTRA}") from error
    return tiledbsoma


def _open(uri, context):
    return import_soma().open(uri, context=context)


def _open_census(where, context):
    """A Census by its version, or by the address of a copy."""
    if "/" in where:
        return _open(where, context)
    try:
        import cellxgene_census
    except ImportError as error:
        raise ImportError(f"the Census {where} is read by cellxgene-census: {EXTRA}") from error
    return cellxgene_census.open_soma(census_version=where, tiledb_config=CONFIG)


def _member(collection, name, lacking):
    if name not in collection:
        raise ValueError(f"{lacking} {name!r}; it has {', '.join(sorted(collection))}")
    return collection[name]


def _places(ids, given):
    """Where each of some joinids stands among ascending ones, i32; -1 = nowhere."""
    if ids[-1] - ids[0] == len(ids) - 1:
        found = given - ids[0]
        return np.where((found >= 0) & (found < len(ids)), found, -1).astype(np.int32)
    found = np.minimum(np.searchsorted(ids, given), len(ids) - 1)
    return np.where(ids[found] == given, found, -1).astype(np.int32)

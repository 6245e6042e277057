"""A bulk matrix as a source: a table of counts, genes × samples or samples × genes, as text."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from jaxcell.data.genes import ENSEMBL_COLUMNS, SYMBOL_COLUMNS, strip_version
from jaxcell.data.sources.file import FileSource
from jaxcell.data.sources.matrix_market import text

ENDS = (".tsv", ".csv", ".txt", ".gct")
AXES = ("rows", "columns")
ROWS_AT_ONCE = 1000
# Genes that every tissue has, in the case of any species: names to know the axis of genes by.
COMMON = {"ACTB", "ACTG1", "B2M", "EEF1A1", "GAPDH", "HSP90AB1", "PPIA", "RPL13A", "RPLP0", "RPS18",
          "TBP", "TP53", "TRP53", "TUBB", "UBC", "YWHAZ"}  # fmt: skip
# Columns that describe genes by numbers (featureCounts: Length; StringTie: Start, End).
DESCRIBING = {"start", "end", "length", "strand", "chr", "entrezid", "entrez_id", "ncbi_id"}


class BulkSource(FileSource):
    """A table of counts by tab or comma; the samples are the cells.

    The first column names its lines, the first line its columns. Columns without numbers, and
    those called Length, Start, End …, describe: they go to var (or obs). The genes stand where the
    Ensembl ids are, or else the symbols of genes that every tissue has.

    Parameters
    ----------
    path : path
        .tsv, .csv, .txt or .gct, each also .gz.
    genes_in : {'rows', 'columns'}, optional
        Where the genes are, if their names do not say it.
    """

    def __init__(self, path, counts="X", chunk_cells=None, genes_in=None):
        self.path, self.name, self.places = Path(path), str(path), ["X"]
        if genes_in not in (None, *AXES):
            raise ValueError(f"genes_in is {genes_in!r}; known: {', '.join(AXES)}")
        matrix, lines, columns = self._table()
        self._genes_in = genes_in or self._axis_of_genes(lines, columns)
        if self._genes_in == "rows":
            self.var, self.obs, matrix = lines, columns, matrix.T
        else:
            self.var, self.obs = columns, lines
        self.n_cells, self._matrix = matrix.shape[0], matrix.tocsr()
        self._choose(counts, chunk_cells)

    def _table(self):
        """Numbers as CSR [lines, columns], and what describes lines and columns."""
        parts, described, words = [], [], None
        with text(self.path) as file:
            if self.path.name.removesuffix(".gz").endswith(".gct"):
                file.readline(), file.readline()  # version, and sizes
            head = _line(file)
            separator = "," if head.count(",") > head.count("\t") else "\t"
            names = next(csv.reader([head], delimiter=separator), [])
            try:
                frames = pd.read_csv(
                    file, sep=separator, header=None, chunksize=ROWS_AT_ONCE, index_col=0,
                    low_memory=False, dtype={0: str},
                )  # fmt: skip
                for frame in frames:
                    names = _fitting(names, frame)
                    if words is None:
                        words = np.array([_describes(frame[c], names[c]) for c in frame], bool)
                    numbers = frame.loc[:, ~words].to_numpy(np.float64)
                    parts.append(sp.csr_matrix(numbers))
                    described.append(frame.loc[:, words])
            except (ValueError, UnicodeDecodeError) as error:  # pandas' own among them
                raise ValueError(f"{self.path} is not a table of counts: {error}") from error
        if not parts or words.all():
            raise ValueError(f"{self.path} has no counts below and right of its first names")
        named = np.array(names[1:], dtype=object)
        lines = pd.concat(described).set_axis(named[words], axis=1)
        lines.index.name = None
        columns = pd.DataFrame(index=pd.Index(named[~words], dtype=object))
        return sp.vstack(parts, format="csr"), lines, columns

    def _axis_of_genes(self, lines, columns):
        for known in (_n_ensembl, _n_common):
            score = dict(zip(AXES, map(known, (lines, columns)), strict=True))
            if min(score.values()) == 0 < max(score.values()):
                return max(score, key=score.get)
        raise ValueError(
            f"{self.path}: are the genes its rows ({', '.join(map(str, lines.index[:3]))} …) or "
            f"its columns ({', '.join(map(str, columns.index[:3]))} …)? Their names do not say; "
            "give --genes-in rows or --genes-in columns"
        )

    def at(self, counts):
        """The same samples; there are no other counts."""
        return BulkSource(self.path, counts, self._chunk_cells, self._genes_in)

    def _read(self, slices):
        yield from (self._matrix[rows] for rows in slices)


def _line(file):
    """The first line that is no comment."""
    line = file.readline()
    while line.startswith(b"#"):
        line = file.readline()
    return line.decode(errors="replace").rstrip("\r\n")


def _fitting(names, frame):
    """Names of all fields, also where R has left the corner out."""
    names = ["", *names] if len(names) == frame.shape[1] else names
    if len(names) != frame.shape[1] + 1:
        raise ValueError(
            f"{len(names)} names in the first line, {frame.shape[1] + 1} fields in the following"
        )
    return names


def _describes(values, name):
    """Whether a column describes the lines: by its name, or because it has words alone."""
    if str(name).lower() in {*DESCRIBING, *SYMBOL_COLUMNS, *ENSEMBL_COLUMNS}:
        return True
    if values.dtype != object:
        return False
    if pd.to_numeric(values, errors="coerce").notna().any():
        raise ValueError(f"column {name!r} has numbers and words; expected counts alone")
    return True


def _n_ensembl(table):
    return sum(bool(strip_version(str(name))) for name in table.index)


def _n_common(table):
    given = [table.index, *(table[c] for c in table if str(c).lower() in SYMBOL_COLUMNS)]
    return sum(str(name).upper() in COMMON for names in given for name in names)

"""Matrix Market text, block by block: bounded memory, and every line accounted for."""

import contextlib
import gzip
import io
import warnings
import zlib

import numpy as np
import pandas as pd

from jaxcell.files import near

TABS = bytes.maketrans(b"\t", b" ")
BLOCK = 2**22  # bytes of text at once


@contextlib.contextmanager
def text(path):
    """A file, gzipped or not, as bytes; damage inside the ``with`` names it.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file; it is truncated or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist{near(path)}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); copy it again")
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        try:
            yield file
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is truncated or damaged: {error}; copy it again") from error


class MatrixMarket:
    """A coordinate matrix in Matrix Market's text; rows and columns are read from 0 on.

    Attributes
    ----------
    shape : (int, int)
    n_values : int
    dtype : numpy.dtype
        int32 or float64.
    """

    def __init__(self, path):
        self.path = path
        with text(path) as file:
            self._header(file)

    def _header(self, file):
        words = file.readline().decode(errors="replace").lower().split()
        if words[:3] != ["%%matrixmarket", "matrix", "coordinate"] or words[4:] != ["general"]:
            raise ValueError(
                f"{self.path}: begins {' '.join(words)[:80]!r}; expected '%%MatrixMarket matrix "
                "coordinate integer general' (or real)"
            )
        if words[3] not in ("integer", "real"):
            raise ValueError(
                f"{self.path}: holds {words[3]!r}, expected integer or real: it says which genes "
                "were detected, or is something else, but not counts"
            )
        self.dtype = np.dtype(np.int32 if words[3] == "integer" else np.float64)
        line = file.readline()
        while line.startswith(b"%") or (line and not line.strip()):
            line = file.readline()
        sizes = line.split()
        if len(sizes) != 3 or not all(s.isdigit() for s in sizes):
            raise ValueError(
                f"{self.path}: found {line[:80]!r} where the numbers of rows, columns and values "
                "are expected"
            )
        *self.shape, self.n_values = map(int, sizes)

    def blocks(self):
        """Yield rows, columns i64 [n] and values [n], in the order of the file."""
        done = 0
        with text(self.path) as file:
            self._header(file)
            rest = b""
            while True:
                piece = file.read(BLOCK)
                whole, _, rest = (rest + piece).rpartition(b"\n") if piece else (rest, b"", b"")
                if whole.strip():
                    found = self._parsed(whole, done)
                    done += len(found[0])
                    yield found
                if not piece:
                    break
        if done != self.n_values:
            raise ValueError(
                f"{self.path} is truncated or damaged: it has {done} values, its header says "
                f"{self.n_values}"
            )

    def _parsed(self, block, done):
        n_lines = block.strip().count(b"\n") + 1
        whole = self.dtype.kind == "i" and _in_threes(block.strip(), n_lines)
        numbers = _integers(block) if whole else np.empty(0)
        if len(numbers) != 3 * n_lines:
            numbers = _reals(block)
        where = f"{self.path}, among values {done + 1} to {done + n_lines}"
        if len(numbers) != 3 * n_lines:
            raise ValueError(f"{where}: a line is not three numbers: row, column and value")
        if done + n_lines > self.n_values:
            raise ValueError(f"{self.path} has more values than the {self.n_values} of its header")
        rows, columns, values = numbers.reshape(n_lines, 3).T
        for what, index, size in zip(("row", "column"), (rows, columns), self.shape, strict=True):
            wrong = (index < 1) | (index > size) | (index != np.rint(index))
            if wrong.any():
                raise ValueError(
                    f"{where}: {what} {index[wrong][0]:g}; expected a whole number from 1 to {size}"
                )
        if self.dtype.kind == "i":
            wrong = (np.abs(values) >= 2**31) | (values != np.rint(values))
            if wrong.any():
                raise ValueError(
                    f"{where}: value {values[wrong][0]:g}; the header says that they are integers"
                )
        return rows.astype(np.int64) - 1, columns.astype(np.int64) - 1, values.astype(self.dtype)


def _in_threes(block, n_lines):
    """Whether no line of whole numbers has more than three: 2 and 4 would pass for 3 and 3.

    False also where more than one blank stands between.
    """
    return block.translate(TABS, b"0123456789+-\r") == (b"  \n" * n_lines)[:-1]


def _integers(block):
    """All whole numbers of a text; not all where there is something else. Quickest by far."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy warns of text that is no such number
        try:
            return np.fromstring(block, np.int64, sep=" ")
        except (DeprecationWarning, ValueError):
            return np.empty(0)


def _reals(block):
    """All numbers of a text, f64; none where a line is not three."""
    try:
        table = pd.read_csv(io.BytesIO(block), sep=r"\s+", header=None, dtype=np.float64)
    except (ValueError, OverflowError):  # pandas' ParserError among them
        return np.empty(0)
    numbers = table.to_numpy()
    return np.empty(0) if numbers.shape[1] != 3 or np.isnan(numbers).any() else numbers.ravel()

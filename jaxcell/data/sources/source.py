"""What every input of `prepare` is: cells as CSR chunks, a few at a time."""

import numpy as np
import scipy.sparse as sp

from jaxcell.data.sources.sound import sound

CHUNK_CELLS = 2048
CHUNK_VALUES = 2**23  # of a chunk if it were dense, at most, however many genes: 32 MB of float32


class Source:
    """Cells of one input; a kind of input gives ``_read``, ``at`` and ``checksum``.

    Attributes
    ----------
    name : str, what errors and the store call it
    n_cells : int
    obs, var : pandas.DataFrame, [n_cells] and [n_var]
    places : list of str
        Where counts may be: X, raw, layers/NAME.
    counts : str
        Which of them these are.
    """

    def _choose(self, counts, chunk_cells):
        if counts not in self.places:
            raise ValueError(
                f"{self.name} has no counts at {counts!r}; it has "
                f"{', '.join(self.places) or 'no matrix at all'} (--counts)"
            )
        self.counts = counts
        self._chunk_cells = chunk_cells
        if self.n_cells == 0 or len(self.var) == 0:
            raise ValueError(
                f"{self.name} is empty: {self.n_cells} cells × {len(self.var)} genes at {counts}"
            )

    def chunks(self, start=0, stop=None):
        """Yield canonical CSR [cells, n_var] of cells [start, stop), every cell once, in order."""
        stop = self.n_cells if stop is None else stop
        most = max(1, min(CHUNK_CELLS, CHUNK_VALUES // len(self.var)))
        step = self._chunk_cells or most
        slices = [slice(a, min(a + step, stop)) for a in range(start, stop, step)]
        for matrix in self._read(slices):
            yield canonical(sound(matrix, len(self.var), f"{self.name}, {self.counts}"))

    def _read(self, slices):
        """Yield the cells of each slice, sparse or dense [cells, n_var], in memory of its own."""
        raise NotImplementedError

    def at(self, counts):
        """The same cells with the counts of another place."""
        raise NotImplementedError

    def checksum(self):
        """sha256 of what was read."""
        raise NotImplementedError

    def __repr__(self):
        return f"{self.name}[{self.counts}]: {self.n_cells} cells × {len(self.var)} genes"


def canonical(matrix):
    """CSR in memory, float32 where that is exact enough, without zeros or duplicate entries."""
    matrix = sp.csr_matrix(matrix)
    if matrix.dtype not in (np.float32, np.float64):
        matrix = matrix.astype(np.float32 if matrix.dtype.itemsize <= 2 else np.float64)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix

"""Sums over the training cells of opened sources, gene by gene and batch by batch, streamed.

Nothing is kept but arrays [G, V]. G batches, V genes of the vocabulary, n cells of a chunk.
"""

import numpy as np
import scipy.sparse as sp

from jaxcell.data.splits import TRAIN, classes, lacking


class TrainingCells:
    """The training cells of some sources and their batches; to be read as often as one likes.

    Parameters
    ----------
    surveys : list of Survey
        What the first pass found of each source.
    splits : list of i8 [cells of the source]
        TRAIN, VALID or DROPPED.
    key : str, optional
        obs column of the batches; a value is the same batch in every source. By default each
        dataset is a batch.
    bar : callable
        Sources → progress bar of a pass over them, a context manager.

    Attributes
    ----------
    names : list of str, the value or dataset of each batch
    sizes : i64 [G], training cells of each; none is 0
    undivided : whether there is one batch, and no key
    measured : bool [G, V], genes that one of its datasets measured
    cells : i64 [G, V], its training cells in which the gene was measured

    Raises
    ------
    ValueError
        A source or a training cell has no batch.
    """

    def __init__(self, surveys, splits, key, bar):
        read = [(v, s == TRAIN) for v, s in zip(surveys, splits, strict=True) if (s == TRAIN).any()]
        self._sources = read
        self._bar = bar
        codes, names = _of_column(read, key) if key else _of_datasets(read)
        self.cells = np.zeros((len(names), read[0][0].match.n_genes), np.int64)
        self.sizes = np.zeros(len(names), np.int64)
        for (v, train), batch in zip(read, codes, strict=True):
            pairs = np.zeros((len(names), len(v.values)), np.int64)
            np.add.at(pairs, (batch[train], v.dataset[train]), 1)
            self.cells += pairs @ v.measured.astype(np.int64)
            self.sizes += pairs.sum(axis=1)
        there = self.sizes > 0
        self.names = [name for name, t in zip(names, there, strict=True) if t]
        self.cells, self.sizes = self.cells[there], self.sizes[there]
        new = np.cumsum(there) - 1
        self._batch = [new[batch] for batch in codes]
        self.measured = self.cells > 0
        self.undivided = not key and len(self.names) == 1

    def chunks(self):
        """Yield (CSR float64 [n, V] of the sources' kept genes, batches i64 [n]): one pass."""
        with self._bar([v.source for v, _ in self._sources]) as bar:
            for (v, train), batch in zip(self._sources, self._batch, strict=True):
                match, start = v.match.only(v.filtered), 0
                for chunk in v.source.chunks():
                    rows = np.arange(start, start + chunk.shape[0])
                    start += chunk.shape[0]
                    mine = train[rows]
                    yield match.apply(chunk[mine]).astype(np.float64), batch[rows[mine]]
                    bar.update(chunk.shape[0])


def moments(training, value=None):
    """Sum and sum of squares of each gene in each batch: two f64 [G, V], in one pass.

    Parameters
    ----------
    training : TrainingCells
    value : callable, optional
        (CSR [n, V], batches [n]) → what stands in place of its counts, [nnz]; zeros stay zeros.
    """
    total, squares = (np.zeros(training.cells.shape) for _ in range(2))
    for counts, batch in training.chunks():
        if value:
            counts.data = value(counts, batch)
        present, row = np.unique(batch, return_inverse=True)
        shape = (len(present), len(batch))
        members = sp.csr_matrix((np.ones(len(batch)), (row, np.arange(len(batch)))), shape)
        total[present] += (members @ counts).toarray()
        squares[present] += (members @ counts.power(2)).toarray()
    return total, squares


def _of_datasets(read):
    """Batch i64 [cells] for each source, and the names of all: each dataset is one."""
    codes, names = [], []
    for v, _ in read:
        codes.append(v.dataset.astype(np.int64) + len(names))
        names += [f"{v.source.name} {value}".rstrip() for value in v.values]
    return codes, names


def _of_column(read, key):
    """The same by an obs column, whose values are the same batches in all sources."""
    for v, train in read:
        if key not in v.source.obs:
            raise ValueError(f"hvg_batch {key!r}: {lacking(v.source)} (--hvg-batch)")
        nameless = int((classes(v.source.obs[key])[0][train] < 0).sum())
        if nameless:
            raise ValueError(
                f"{v.source.name}: {key} is empty (NaN or '') for {nameless} of {train.sum()} "
                "training cells, so they are of no batch; give them a value of their own, or hold "
                "them out (--hvg-batch)"
            )
    found = [classes(v.source.obs[key]) for v, _ in read]
    names = sorted({name for _, own in found for name in own})
    place = {name: i for i, name in enumerate(names)}
    return [np.array([*map(place.get, own), -1])[codes] for codes, own in found], names

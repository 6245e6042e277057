"""Per-dataset sums over training cells, gene by gene: what `Store.stats` gives. V genes."""

import numpy as np

STATISTICS = ("nonzero", "sum", "sum_sq", "share", "share_source")


class GeneSums:
    """Sums of some datasets, in float64; those of blocks of cells add up to those of all."""

    def __init__(self, n_genes):
        self._n_genes = n_genes
        self._of = {}  # dataset → [cells, f64 [5, V]]

    def add(self, dataset, cells, total):
        """Add cells (canonical CSR [n, V]) of a dataset, with total f32 [n]."""
        one = self._of.setdefault(dataset, [0, np.zeros((len(STATISTICS), self._n_genes))])
        one[0] += cells.shape[0]
        weights = np.zeros((cells.shape[0], 3))
        weights[:, 0] = 1
        totals = row_sums(cells), total.astype(np.float64)
        for i, each in enumerate(totals, 1):
            np.divide(1, each, out=weights[:, i], where=each > 0)
        # One pass over the values for three sums.
        one[1][[1, 3, 4]] += (cells.T @ weights).T
        gene = cells.indices.astype(np.intp)  # what bincount would make of them each time
        squares = np.square(cells.data, dtype=np.float64)
        one[1][2] += np.bincount(gene, squares, minlength=self._n_genes)
        one[1][0] += np.bincount(gene, minlength=self._n_genes)

    def packed(self):
        """Arrays that `unpack` takes: only genes with a count."""
        genes = [np.flatnonzero(s[0]).astype(np.int32) for _, s in self._of.values()]
        ends = np.cumsum([0, *map(len, genes)])
        # One array from the first: of hundreds of datasets a copy of all is half a gigabyte.
        sums = np.empty((ends[-1], len(STATISTICS)))
        for (_, s), gene, end in zip(self._of.values(), genes, ends[1:], strict=True):
            sums[end - len(gene) : end] = s[:, gene].T
        return {
            "sums_dataset": np.array(list(self._of), np.int64),
            "sums_cells": np.array([cells for cells, _ in self._of.values()], np.int64),
            "sums_place": np.repeat(np.arange(len(genes), dtype=np.int32), np.diff(ends)),
            "sums_gene": np.concatenate([np.zeros(0, np.int32), *genes]),
            "sums": sums,
        }


def empty(datasets, n_genes):
    """The arrays of gene_stats.npz, all zero."""
    arrays = {name: np.zeros((datasets, n_genes)) for name in STATISTICS}
    arrays["nonzero"] = arrays["nonzero"].astype(np.int64)
    return arrays | {"cells": np.zeros(datasets, np.int64)}


def unpack(packed, arrays):
    """Add what `GeneSums.packed` gave to the arrays of `empty`, in place."""
    datasets = packed["sums_dataset"]
    arrays["cells"][datasets] += packed["sums_cells"]
    where = datasets[packed["sums_place"]], packed["sums_gene"]
    for name, values in zip(STATISTICS, packed["sums"].T, strict=True):
        arrays[name][where] += values.astype(arrays[name].dtype)


def row_sums(cells):
    """Sum of each row of CSR [n, V], f64 [n]."""
    found = np.zeros(cells.shape[0])
    filled = np.flatnonzero(np.diff(cells.indptr))  # reduceat has no empty runs
    if len(filled):
        found[filled] = np.add.reduceat(cells.data, cells.indptr[filled], dtype=np.float64)
    return found

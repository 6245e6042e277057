"""Merged files: did the batches measure the same genes?

A gene without any count in a batch may be absent from its panel, or rare. What tells is how many
counts it would have there if its share were that of the other batches: of EXPECTED, zero has a
chance of e^-10 (Poisson), cell types being equal. V = genes of the file.
"""

import numpy as np
import scipy.sparse as sp

COLUMNS = (
    "batch", "dataset", "dataset_id", "study", "study_id", "source", "assay", "technology", "tech",
    "platform", "library", "donor_id", "donor", "sample_id", "sample",
)  # fmt: skip
MOST = 100  # batches
EXPECTED = 10.0  # counts
ADVISED = 0.01  # share of the genes: if a batch lacks so many, its panel is another


def column(obs, asked=None):
    """The obs column of the batches: the one asked for, else the first of COLUMNS; None if none.

    Of two batches at least, and MOST at most.
    """
    if asked is not None:
        return asked if asked in obs else None
    lower = {str(name).lower(): name for name in obs.columns}
    for name in COLUMNS:
        if name in lower and 2 <= obs[lower[name]].nunique() <= MOST:
            return lower[name]
    return None


class Panels:
    """Counts of each gene in each batch, added up chunk by chunk.

    by : name of the obs column; values : names of the batches; codes : i32 [cells], -1 = none
    """

    def __init__(self, by, values, codes, n_genes):
        self.by, self._values, self._codes = by, values, codes
        self._sum = np.zeros((len(values), n_genes))
        self._cells = np.zeros(len(values), np.int64)

    def add(self, start, chunk):
        """Cells from ``start`` on, canonical CSR [n, V]."""
        codes = self._codes[start : start + chunk.shape[0]]
        rows = np.flatnonzero(codes >= 0)
        ones = np.ones(len(rows))
        shape = (len(self._values), chunk.shape[0])
        self._sum += (sp.csr_matrix((ones, (codes[rows], rows)), shape) @ chunk).toarray()
        self._cells += np.bincount(codes[rows], minlength=len(self._values))

    def facts(self):
        """{'by', 'batches': {value: {'cells', 'without_count', 'absent'}}, 'advised'}.

        without_count : genes without any count in the batch; absent : those of them of which
        EXPECTED counts or more would be there by their share in the other batches
        """
        total, all_ = self._sum.sum(axis=1), self._sum.sum(axis=0)
        found = {}
        for i, value in enumerate(self._values):
            others = max(total.sum() - total[i], 1.0)
            expected = (all_ - self._sum[i]) / others * total[i]
            none = self._sum[i] == 0
            found[value] = {
                "cells": int(self._cells[i]),
                "without_count": int(none.sum()),
                "absent": int((none & (expected >= EXPECTED)).sum()),
            }
        most = max((one["absent"] for one in found.values()), default=0)
        advised = len(found) > 1 and most >= ADVISED * self._sum.shape[1]
        return {"by": str(self.by), "batches": found, "advised": bool(advised)}

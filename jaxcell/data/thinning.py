"""Input counts as a shallower sequencing would have given them; targets keep the cell's own.

B cells, nnz non-zero counts of all cells together.
"""

from dataclasses import dataclass, replace

import numpy as np

from jaxcell.data import draws
from jaxcell.data.draft import segment_sums
from jaxcell.data.records import Rows

METHODS = ("binomial", "poisson")
STREAM = 5  # of a cell's draws, see Draft.keys_of


@dataclass
class Thin:
    """Thin the counts of some cells; comes before they are normalised.

    Adds depth f32 [B, 2], the totals of the input and of the cell itself, for the tokens '<s>' and
    '<t>' of a model that is told both.

    method : 'binomial' (RDA of scFoundation): a share b ~ Beta(2, 2) of a cell's counts stays, each
        by itself. 'poisson' (scPRINT): x − Poisson(r x), at least 0, then each gene goes with
        probability r
    probability : share of the cells that are thinned
    least_total : cells with fewer counts stay as they are
    rate : r of 'poisson'; 0.33 = 0.55 · 0.6 as published
    """

    method: str = "binomial"
    probability: float = 0.5
    least_total: float = 1000.0
    rate: float = 0.33

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(
                f"config.data.thin.method: found {self.method!r}, expected one of "
                f"{', '.join(METHODS)}"
            )
        if not self.least_total >= 0:
            raise ValueError(
                f"config.data.thin.least_total: found {self.least_total}, expected 0 or more"
            )
        for name in ("probability", "rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"config.data.thin.{name}: found {getattr(self, name)}, expected 0 to 1"
                )

    def __call__(self, draft):
        rows, keys = draft.rows, draft.keys_of(STREAM)
        total = segment_sums(rows.counts, rows.indptr)
        drawn = draws.words(keys, 1)[:, 0] < self.probability * 2.0**32
        counts, source = rows.counts.copy(), rows.total.copy()
        for b in np.flatnonzero(drawn & (total >= self.least_total)):
            own = slice(rows.indptr[b], rows.indptr[b + 1])
            random = np.random.Generator(np.random.Philox(key=keys[b]))
            counts[own] = self._thinned(rows.counts[own], random)
        left = segment_sums(counts, rows.indptr)
        source *= np.divide(left, total, out=np.ones_like(total), where=total > 0)
        draft.input = _without_zeros(replace(rows, counts=counts, total=source))
        draft.batch["depth"] = np.stack([left, total], axis=1).astype(np.float32)

    def _thinned(self, counts, random):
        whole = np.rint(counts).astype(np.int64)  # estimated counts are taken as integers here
        if self.method == "binomial":
            return random.binomial(whole, random.beta(2, 2))
        left = np.maximum(whole - random.poisson(self.rate * whole), 0)
        return np.where(random.random(len(left)) < self.rate, 0, left)


def _without_zeros(rows):
    """The rows without the entries whose counts have become 0."""
    left = rows.counts > 0
    indptr = np.concatenate([[0], np.cumsum(left)])[rows.indptr]
    return Rows(indptr, rows.ids[left], rows.counts[left], rows.dataset, rows.total, rows.labels)

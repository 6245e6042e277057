"""Expression as bin numbers, in the published ways. B cells, nnz non-zero counts of all of them.

A zero count is bin 0 everywhere. Per-cell bins look at all genes of the vocabulary that the cell
measured, not only at those that it shows.
"""

from dataclasses import dataclass

import numpy as np

from jaxcell.data import draws
from jaxcell.data.draft import rectangle, segment_sums

STREAM = 10  # of a cell's draws, see Draft.keys_of
# Which quantiles of a cell's (of 'gene': a gene's) non-zero values are edges, of n bins above zero.
EDGES = {
    "cell_high": lambda n: np.linspace(0, 1, n),
    "cell_low": lambda n: np.arange(1, n + 1) / n,
    "cell_random": lambda n: np.linspace(0, 1, n),
    "segment": lambda n: np.arange(n) / n,
    "gene": lambda n: np.arange(1, n + 1) / n,
}
METHODS = (*EDGES, "value", "clip")


@dataclass
class Bin:
    """Replace the normalised counts by bin numbers, f32 and whole ('clip': as whole as counts are).

    Of the methods by quantiles (np.quantile of float64, on raw counts but for 'gene') the n =
    number − 1 bins above zero divide

    - 'cell_high', 'cell_low', 'cell_random': a cell's values; those that tie with edges e go to the
      highest of the bins, #{e ≤ x}, to the lowest, 1 + #{e < x}, or to one of them, each equally
      likely by the cell's own draw. A cell whose values are all equal, or that has one alone, has
      them in bin n; 1; any. Source: scFormer; BioFormer; scGPT
    - 'segment': a cell's values; [b_k, b_{k+1}) is bin k, b_k the quantile (k − 1) / n, and the
      maximum, equal values too, bin n. Source: BioFormers, eq. 2
    - 'gene': a gene's normalised values in the training cells (``bin_edges``), ties to the lowest
      bin; what lies above all of them is in bin n, and a gene that no training cell expressed in
      bin 1. Source: BioFormer, section 3.1

    and without quantiles

    - 'value': bin 1 up to 1, the rounded count (half to even) up to c, and above that c + ⌈b log₂
      (x / c)⌉, at most n. Source: BioFormers, eq. 4 and 5
    - 'clip': counts up to c. Source: the released checkpoint of scFormer, c = 13

    A cell without counts has zeros alone.

    number : of the classes, that of zero among them
    b : of 'value', bins for each doubling above c
    c : of 'value', the highest count that has a bin of its own; of 'clip', the highest value
    normalised : of 'value', x = count · ``mean_total`` / the cell's total over its measured genes
    printed : of 'value', above c ⌈b (log₂ x − log₂ c)⌉ as the paper prints it, from 1 on again
    bin_edges : of 'gene', f32 [V, n], of the training cells
    mean_total : of 'value', the training cells' mean total
    """

    method: str = "cell_low"
    number: int = 51
    b: float = 3.0
    c: int = 8
    normalised: bool = False
    printed: bool = False
    bin_edges: np.ndarray | None = None
    mean_total: float | None = None

    def __post_init__(self):
        known = f"one of {', '.join(METHODS)}"
        self._require("method", self.method in METHODS, known)
        whole = self.number == int(self.number) and self.number >= 2
        self._require("number", whole, "a whole number of classes, 2 or more")
        if self.method in ("value", "clip"):
            last = self.number - 1
            whole = self.c == int(self.c) and 1 <= self.c <= last
            self._require("c", whole, f"a whole number from 1 to the last bin, {last}")
        self._require("b", 0 < self.b < np.inf, "a number above 0")

    def _require(self, name, ok, expected):
        if not ok:
            raise ValueError(
                f"config.data.bin.{name}: found {getattr(self, name)!r}, expected {expected}"
            )

    def __call__(self, draft):
        rows = draft.input
        how = {"gene": self._by_gene, "value": self._by_value, "clip": self._clipped}
        found = how.get(self.method, self._by_cell)(draft, np.diff(rows.indptr))
        draft.values = found.astype(np.float32)

    def _by_cell(self, draft, number):
        rows = draft.input
        edges = quantiles(rows.counts, rows.indptr, EDGES[self.method](self.number - 1))
        cells, x = np.repeat(np.arange(len(rows)), number), rows.counts.astype(np.float64)
        if self.method == "cell_low":
            return 1 + edges_below(edges, cells, x)
        highest = edges_below(edges, cells, x, equal=True)
        if self.method != "cell_random":
            return highest
        lowest = edges_below(edges, cells, x)
        words = draws.words(draft.keys_of(STREAM), int(number.max(initial=0)))
        words = words[np.arange(words.shape[1]) < number[:, None]]  # a cell's own, in order
        return np.ceil(highest - words * 2.0**-32 * (highest - lowest))

    def _by_gene(self, draft, _):
        edges = self._known("bin_edges", "edges of each gene")
        found = 1 + edges_below(edges, draft.input.ids, draft.values)
        return np.minimum(found, self.number - 1)

    def _by_value(self, draft, number):
        rows, last = draft.input, self.number - 1
        x = rows.counts.astype(np.float64)
        if self.normalised:
            mean = np.float64(self._known("mean_total", "mean total"))
            x = x * mean / np.repeat(segment_sums(rows.counts, rows.indptr), number)
        high = x > self.c
        found = np.maximum(np.rint(x), 1)
        found[high] = value_bins(x[high], self.b, self.c, self.printed)
        return np.minimum(found, last)

    def _clipped(self, draft, _):
        return np.minimum(draft.input.counts, self.c)

    def _known(self, name, what):
        found = getattr(self, name)
        if found is None:
            raise ValueError(
                f"config.data.bin.method: found {self.method!r}, which needs the training cells' "
                f"{what}; this model's tables.npz has no {name!r}"
            )
        return found


def value_bins(x, b, c, printed=False):
    """Bins of counts above c, f64: c + ⌈b log₂(x / c)⌉, or as ``printed``. Source: BioFormers."""
    if printed:
        return np.ceil(b * (np.log2(x) - np.log2(c)))
    return c + np.ceil(b * np.log2(x / c))


def quantiles(values, indptr, shares):
    """Quantiles of the segments of ``values`` that ``indptr`` [S+1] bounds: f64 [S, Q].

    Each is np.quantile(segment in float64, shares [Q]) bit for bit, whose rounding decides on which
    side of an edge a count lies that is the edge but for it; ∞ of an empty segment.
    """
    size = np.diff(indptr)
    found = np.full((len(size), len(shares)), np.inf)
    for part in draws.blocks(len(size), int(size.max(initial=0))):
        bounds, n = indptr[part.start : part.stop + 1], size[part, None]
        mine = values[bounds[0] : bounds[-1]].astype(np.float64)
        line = rectangle(mine, bounds, int(n.max(initial=0)), np.inf)
        line.sort(axis=1)
        filled = n[:, 0] > 0
        line, n = line[filled], n[filled]
        place = (n - 1) * shares[None]
        below = np.floor(place)
        t, low = place - below, below.astype(np.int64)
        a = np.take_along_axis(line, low, axis=1)
        b = np.take_along_axis(line, np.minimum(low + 1, n - 1), axis=1)
        # From the nearer end, as numpy does.
        found[part][filled] = np.where(t < 0.5, a + (b - a) * t, b - (b - a) * (1 - t))
    return found


def edges_below(edges, rows, x, equal=False):
    """How many of the edges [S, Q], ascending, of their row lie below x (or at it): i64 [nnz].

    rows [nnz], the row of each x. By halving, all of them at once.
    """
    flat, width = edges.ravel(), edges.shape[1]
    first, found = np.asarray(rows, np.int64) * width - 1, np.zeros(len(x), np.int64)
    step = 1 << (width.bit_length() - 1)
    while step:
        further = found + step
        edge = flat[first + np.minimum(further, width)]
        found += step * (((edge <= x) if equal else (edge < x)) & (further <= width))
        step >>= 1
    return found

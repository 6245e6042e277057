"""Bins of scFormer, scGPT, BioFormer and BioFormers in plain numpy, one value at a time.

`x` [V] are the values of one cell (counts or log-normalised), all >= 0; results are whole numbers
[V], 0 for 0. Quantiles are np.quantile's, of the values above 0 in float64, linear.

Where the descriptions are silent, this is what was chosen:

- A cell without a value above 0 is all zeros; scFormer's code fails there.
- `bins` counts the classes, the one for zero included: 51 gives 0 … 50. So it does in `segment`.
- Segments are intervals of an equal share of the cell's values above 0, closed below, so ties go up
  and only the maximum meets the upper end, which belongs to the last.
- Rounding of value bins is to even, as np.round; normalisation leaves a cell without counts zero.
"""

import math

import numpy as np


def each(x, rule, shares):
    """`rule`(value, edges) of the values above 0, edges being the quantiles at `shares`."""
    x = np.asarray(x, np.float64)
    if (x < 0).any():
        raise ValueError(f"values must be >= 0, got {x.min()}")
    above = x[x > 0]
    edges = np.quantile(above, shares) if len(above) else None
    return np.array([rule(value, edges) if value > 0 else 0 for value in x], np.int64)


def scformer(x, bins=51):
    """#{edges <= x}, bins − 1 edges from minimum to maximum: ties to the highest bin."""
    count = lambda value, edges: sum(edge <= value for edge in edges)
    return each(x, count, np.linspace(0, 1, bins - 1))


def scgpt(x, u, bins=51):
    """Ceil(l − u(l − r)), l = #{edges <= x}, r = #{edges < x}: ties anywhere in r + 1 … l.

    u [V] in [0, 1), one for each value of x (those of zeros are not used).
    """
    high, low = scformer(x, bins), each(x, _below, np.linspace(0, 1, bins - 1))
    pairs = zip(high, low, u, strict=True)
    return np.array([math.ceil(a - share * (a - b)) for a, b, share in pairs], np.int64)


def _below(value, edges):
    return sum(edge < value for edge in edges)


def bioformer(x, bins=51):
    """1 + #{thresholds < x}, thresholds at k/(bins − 1), k = 1 … bins − 1: ties to the lowest."""
    rule = lambda value, edges: 1 + _below(value, edges)
    return each(x, rule, np.arange(1, bins) / (bins - 1))


def by_gene(x, bins=51):
    """The BioFormer paper's text: the same per gene, over its values in all cells. x [cells, V]"""
    return np.stack([bioformer(column, bins) for column in np.transpose(x)], axis=1)


def segment(x, bins=51):
    """The interval, of bins − 1 with an equal share of the values each, that a value lies in."""
    rule = lambda value, edges: min(sum(edge <= value for edge in edges), bins - 1)
    return each(x, rule, np.arange(bins) / (bins - 1))


def value(x, b=3, c=8, printed=False):
    """BioFormers' value bins: 1 up to 1, rounded up to c, above b bins per doubling behind c.

    `printed` leaves the + c out, so that large values share bins with small ones, as in the paper.
    """

    def rule(v, _):
        if v <= 1:
            return 1
        if v <= c:
            return round(v)
        return math.ceil(b * (math.log2(v) - math.log2(c))) + (0 if printed else c)

    return each(x, rule, [0])


def normalised(x, mean_total):
    """x · (mean total of a cell) / (the cell's total). x [V] counts of one cell"""
    x = np.asarray(x, np.float64)
    return x * (mean_total / x.sum()) if x.sum() > 0 else x

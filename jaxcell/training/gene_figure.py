"""How well genes are predicted, by how many cells have them and by how much of them there is."""

import numpy as np

from jaxcell.drawing import TITLE, below_title, dress, legend_below, look, titled
from jaxcell.palette import FAINT, INK

ENOUGH = 10  # entries of a gene with a count and without, for it to count
BINS, FEW = 14, 10  # of a panel, with about as many genes each; genes of one at least
PANEL = (4.6, 3.6)  # inches
READING = (
    "held-out cells; lines: medians of genes alike, bands: the middle half of them; right, dotted: "
    "the mean of the cells that have the gene. The model is not told which have it, and may lie "
    "above"
)


def draw(tables, path):
    """A PNG of tables of `gene_errors.table`; dots are drawn where there is one.

    Lines are medians over genes of about the same x, the band holds half of them. Of genes without
    entries `enough` the numbers are noise: leave them out.

    tables : {name: DataFrame}
    """
    several = len(tables) > 1
    figure = below_title(3 * PANEL[0], PANEL[1] + TITLE + (0.3 if several else 0))
    for axes, panel in zip(figure.subplots(1, 3), (_auc, _ratio, _nonzero), strict=True):
        for i, found in enumerate(tables.values()):
            panel(axes, found, look(i), dots=not several)
        dress(axes)
    name = "" if several else f": {next(iter(tables))}"
    titled(figure, f"Errors per gene{name}", READING)
    if several:
        legend_below(figure, list(tables))
    figure.savefig(path, format="png", metadata={"Software": None})


def enough(found):
    """The rows of a `gene_errors.table` with entries enough of both kinds."""
    rare = np.minimum(found["n_detected"], found["n_cells"] - found["n_detected"])
    return found[rare >= ENOUGH]


def _share(found):
    """Percent of its entries in which a gene has a count."""
    return 100 * found["n_detected"] / found["n_cells"]


def _auc(axes, found, look, dots):
    axes.axhline(0.5, color=FAINT, lw=1, ls=(0, (1, 2)))
    _trend(axes, _share(found), found["auc"], look, dots)
    _by_share(axes, "Is it there? AUC of detection; .5: chance")


def _ratio(axes, found, look, dots):
    axes.axhline(1, color=FAINT, lw=1, ls=(0, (1, 2)))
    _trend(axes, _share(found), found["ratio"], look, dots)
    _by_share(axes, "Error over the mean predictor's (1)")


def _nonzero(axes, found, look, dots):
    null = {**look, "alpha": 0.6, "lw": 1.2, "ls": ":"}
    _trend(axes, found["mean_nonzero"], found["mae_nonzero"], look, dots)
    axes.plot(*medians(found["mean_nonzero"], found["null_nonzero"])[:2], **null)
    axes.set_ylim(bottom=0)
    axes.set_title("How much? Error where it is there", size=10, color=INK, loc="left")
    axes.set_xlabel("mean where it is there, log1p", size=9, color=INK)
    axes.set_ylabel("mean absolute error, log1p", size=9, color=INK)


def _by_share(axes, title):
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_title(title, size=10, color=INK, loc="left")
    axes.set_xlabel("held-out cells that have the gene, %", size=9, color=INK)


def _trend(axes, x, y, look, dots):
    if dots:
        size = float(np.clip(6_000 / max(len(x), 1), 1.0, 9.0))
        axes.scatter(x, y, s=size, color=look["color"], alpha=0.25, lw=0, rasterized=True)
        low, high = np.nanquantile(y, [0.002, 0.998]) if np.isfinite(y).any() else (0, 1)
        room = 0.05 * (high - low) or 0.05
        axes.set_ylim(low - room, high + room)
    middle, median, quarter, three = medians(x, y)
    axes.fill_between(middle, quarter, three, color=look["color"], alpha=0.12, lw=0)
    axes.plot(middle, median, **look, lw=2)


def medians(x, y):
    """Medians of x and y and quartiles of y of genes that are neighbours by x: four arrays [bins].

    x, y [genes]; NaN where not known
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    order = np.argsort(x, kind="stable")
    bins = np.array_split(order, max(1, min(BINS, len(order) // FEW)))
    rows = [
        (np.median(x[own]), *np.quantile(y[own], [0.5, 0.25, 0.75])) for own in bins if len(own)
    ]
    return np.array(rows).reshape(-1, 4).T

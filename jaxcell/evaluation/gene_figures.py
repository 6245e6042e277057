"""Pictures of gene vectors: recall while a model trains, and count statistics against shuffles."""

import numpy as np

from jaxcell.drawing import TITLE, below_title, label, titled
from jaxcell.palette import FAINT, GRID, INK, LINE, OTHER, PALETTE, VERMILION

PANEL = (3.3, 2.6)  # inches
READING = {
    "vectors": "statistics explain the vectors' components",
    "statistics": "components explain the statistics",
}


def epochs_figure(path, title, curves, levels, panels, faint=()):
    """Recall against training steps, a panel for each database (TxFM, figure 5).

    Parameters
    ----------
    path : path
        The picture to write.
    title : str
    curves : {name: {database: (steps [s], percent [s, seeds])}}
        Drawn as the mean over seeds and a band from the least to the greatest.
    levels : {name: {database: percent}}
        Of vectors without steps: lines across.
    panels : {database: title}
    faint : names in levels that are chance
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    names = [*curves, *levels]
    legend = 0.25 * -(-len(names) // 3) + 0.15
    figure = below_title(PANEL[0] * columns, PANEL[1] * rows + legend + TITLE)
    titled(figure, title, "mean over seeds, band: from the least to the greatest" if curves else "")
    handles = {}  # of the first panel
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (database, heading) in zip(grid, panels.items(), strict=False):
        for i, name in enumerate(names):
            colour = PALETTE[i % len(PALETTE)]
            if name in levels:
                style = dict(color=FAINT, ls=":") if name in faint else dict(color=colour, ls="--")
                line = axes.axhline(levels[name][database], lw=1.5, **style)
                handles.setdefault(name, line)
                continue
            steps, values = curves[name][database]
            values = np.asarray(values, np.float64)
            [line] = axes.plot(steps, values.mean(axis=1), "o-", color=colour, ms=3.5, lw=1.5)
            handles.setdefault(name, line)
            low, high = values.min(axis=1), values.max(axis=1)
            axes.fill_between(steps, low, high, color=colour, alpha=0.2, lw=0)
        _plain(axes, heading)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("training step", size=8.5, color=INK)
        axes.set_ylabel("recall, %", size=8.5, color=INK)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    texts = [label(name, 60) for name in handles]
    figure.legend(
        handles.values(), texts, loc="outside lower left", ncols=3, frameon=False, fontsize=8.5,
        labelcolor=INK,
    )  # fmt: skip
    figure.savefig(path, metadata={"Software": None})


def statistics_figure(path, title, found):
    """Explained variance against that of shuffled vectors, in grey (TxFM, figure 9).

    Parameters
    ----------
    path : path
        The picture to write.
    title : str
    found : dict
        As `count_statistics.explained` returns it.
    """
    readings = [reading for reading in READING if reading in found]
    columns = max(len(found[reading]) for reading in readings)
    figure = below_title(2.3 * columns, 2.2 * len(readings) + TITLE)
    titled(figure, title, "red: of the vectors, grey: shuffled")
    grid = figure.subplots(len(readings), columns, squeeze=False)
    for row, reading in zip(grid, readings, strict=True):
        for axes, (part, one) in zip(row, found[reading].items(), strict=False):
            _null(axes, one)
            _plain(axes, part)
            axes.set_xlabel("R²", size=8, color=INK)
        for axes in row[len(found[reading]) :]:
            axes.set_visible(False)
        row[0].set_ylabel(READING[reading].replace("the ", "the\n", 1), size=8, color=INK)
    figure.savefig(path, metadata={"Software": None})


def _null(axes, one):
    from matplotlib.ticker import MaxNLocator

    axes.hist(one["null"], bins=15, color=OTHER, label="shuffled")
    axes.axvline(one["r2"], color=VERMILION, lw=2)
    left = one["r2"] > np.mean(axes.get_xlim())
    axes.annotate(
        f"{one['r2']:.3g}\np = {one['p']:.2g}", (one["r2"], 0.97), (-4 if left else 4, 0),
        xycoords=("data", "axes fraction"), textcoords="offset points", va="top",
        ha="right" if left else "left", size=8, color=INK,
    )  # fmt: skip
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(left=min(0, *one["null"]))


def _plain(axes, title):
    axes.set_title(title, size=9.5, color=INK, loc="left")
    axes.tick_params(labelsize=8, color=LINE)
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)

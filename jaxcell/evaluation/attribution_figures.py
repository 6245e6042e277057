"""The genes that made a model say what it says of groups of cells.

k groups, V genes; means [k, V] of the attributions of each group's cells.
"""

import numpy as np

from jaxcell.drawing import titled, told_apart
from jaxcell.palette import BLUE, FAINT, GRID, INK, OTHER, VERMILION

from .annotation_flow import LETTER

UP, DOWN = BLUE, VERMILION  # for the output, and against it
BARS = 10  # genes of a group
BAR = 0.2  # inches of a row
PANEL = 2.55  # inches of a group's panel, names of genes included
COLUMNS = 4
MOST = 24  # groups of a figure; the first of them
OF_EACH = 5  # genes of each group in the map
CELL = 0.2  # inches of the map's squares


def top_genes(means, number):
    """Genes of the largest means by size, int [k, ≤ number], the most positive first.

    Those that are 0 are left out, which leaves rows of different lengths: a list of arrays.
    """
    found = []
    for row in means:
        genes = np.argsort(-np.abs(row), kind="stable")[:number]
        genes = genes[row[genes] != 0]
        found.append(genes[np.argsort(-row[genes], kind="stable")])
    return found


def top_genes_figure(path, title, caption, groups, means, genes):
    """A panel of bars for each group: its genes of the largest mean attributions, with their sign.

    groups : names [k]; means : [k, V]; genes : names [V]
    """
    groups, means, caption = _first(groups, means, caption)
    top = top_genes(means, BARS)
    texts = [told_apart([genes[g] for g in of], 16) for of in top]
    columns = min(COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    margin = 0.35 + LETTER * max((len(text) for of in texts for text in of), default=0)
    panel = PANEL + margin
    tall = BAR * max(map(len, top), default=1) + 0.05
    width = max(panel * columns + 0.15, 0.4 + 0.105 * len(title), 0.4 + LETTER * len(caption))
    height = rows * (tall + 0.7) + 0.6

    figure = _figure(width, height, title, caption)
    for i, (name, row, of, text) in enumerate(
        zip(told_apart(groups, 34), means, top, texts, strict=True)
    ):
        line, column = divmod(i, columns)
        bottom = height - 0.9 - line * (tall + 0.7) - tall
        box = [column * panel + margin, bottom, PANEL - 0.15, tall]
        axes = figure.add_axes([box[0] / width, box[1] / height, box[2] / width, box[3] / height])
        _bars(axes, row[of], text)
        axes.set_title(name, size=9.5, color=INK, loc="left", pad=4)
    figure.savefig(path, metadata={"Software": None})


def _first(groups, means, caption):
    """At most MOST groups; the caption says how many are not shown."""
    if len(groups) > MOST:
        caption += f"; {len(groups) - MOST} further groups are not shown"
    return groups[:MOST], means[:MOST], caption


def _bars(axes, values, texts):
    y = np.arange(len(values))[::-1]
    axes.barh(y, values, height=0.7, color=[UP if v > 0 else DOWN for v in values])
    axes.axvline(0, color=OTHER, lw=0.9)
    axes.set(ylim=(y.min(initial=0) - 0.55, y.max(initial=0) + 0.55))
    axes.set_yticks(y, texts, size=8.5, color=INK)
    axes.tick_params(length=0)
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(axis="x", labelsize=7.5, labelcolor=FAINT)
    axes.grid(axis="x", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def groups_figure(path, title, caption, groups, means, genes):
    """A map of groups by genes: those of the largest positive means of each group, in its order.

    Colours go to the largest size of the map's means, alike in both directions.

    groups : names [k]; means : [k, V]; genes : names [V]
    """
    groups, means, caption = _first(groups, means, caption)
    shown = list(dict.fromkeys(
        gene for row in means for gene in np.argsort(-row, kind="stable")[:OF_EACH].tolist()
        if row[gene] > 0
    ))  # fmt: skip
    if not shown:
        shown = list(dict.fromkeys(g for of in top_genes(means, OF_EACH) for g in of.tolist()))
    shown = shown or [0]
    names = told_apart(groups, 34)
    texts = told_apart([genes[g] for g in shown], 16)
    left = 0.3 + LETTER * max(map(len, names))
    above = 0.2 + LETTER * max(map(len, texts), default=0)
    wide, tall = CELL * max(len(shown), 1), CELL * len(groups)
    width = max(left + wide + 1.1, 0.4 + 0.105 * len(title), 0.4 + LETTER * len(caption))
    height = 0.6 + above + tall + 0.25

    figure = _figure(width, height, title, caption)
    box = [left / width, 0.2 / height, wide / width, tall / height]
    axes = figure.add_axes(box)
    values = means[:, shown]
    most = np.abs(values).max(initial=0) or 1.0
    image = axes.imshow(values, cmap=_colours(), vmin=-most, vmax=most, aspect="auto")
    axes.set_xticks(range(len(shown)), texts, size=8, color=INK, rotation=90)
    axes.set_yticks(range(len(groups)), names, size=8.5, color=INK)
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(shown) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(groups) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=1)
    axes.tick_params(which="minor", length=0)
    bar = min(max(tall, 0.8), 2.2)  # of few groups it stands up beside the names of genes
    where = [(left + wide + 0.2) / width, 0.2 / height, 0.12 / width, bar / height]
    scale = figure.colorbar(image, cax=figure.add_axes(where))
    scale.outline.set_visible(False)
    scale.ax.tick_params(labelsize=7.5, labelcolor=FAINT, length=0)
    scale.locator = _locator()
    scale.update_ticks()
    figure.savefig(path, metadata={"Software": None})


def _colours():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("attributions", [DOWN, "#F7F7F7", UP])


def _locator():
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4, symmetric=True)


def _figure(width, height, title, caption):
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=140, facecolor="white")
    titled(figure, title, caption)
    return figure

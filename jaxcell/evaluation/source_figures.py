"""Pictures of what lies in sources: depth, labels, genes. Every source has one colour in all."""

import numpy as np

from jaxcell.drawing import label, look, tick, titled, told_apart
from jaxcell.palette import FAINT, GRID, INK, LINE, PALETTE

MOST = 24  # sources in a picture, the largest
NAME = 44  # letters of a source
CLASS = 32  # and of a class
ROW, GAP = 0.2, 0.62  # inches of a class, and between two label columns
IN_A_BAR = 16  # sources that divide one


def shown(looks):
    """Numbers of the sources that are drawn: all, or the MOST largest, in their order."""
    if len(looks) <= MOST:
        return list(range(len(looks)))
    largest = sorted(range(len(looks)), key=lambda i: -looks[i]["cells"])[:MOST]
    return sorted(largest)


def colour(number):
    """Of the source with this number."""
    return PALETTE[number % len(PALETTE)]


def depth_figure(path, names, depth, n_genes):
    """Histograms of total counts and of genes per cell, a row for each source.

    names : list of str, D; depth, n_genes : lists of arrays [cells read], D
    """
    from matplotlib.figure import Figure

    rows = len(names)
    left, panel, row = room(names), 4.0, 0.42 if rows > 1 else 1.6
    width, height = left + 2 * panel + 0.55, row * rows + 1.25
    figure = Figure((width, height), dpi=140, facecolor="white")
    titled(figure, "Depth and genes per cell", "log scale; each source by itself; tick: the median")
    panels = (("total counts of a cell", depth), ("genes > 0 of a cell", n_genes))
    for i, (what, values) in enumerate(panels):
        box = [(left + i * (panel + 0.3)) / width, 0.5 / height, panel / width, row * rows / height]
        axes = figure.add_axes(box)
        _ridges(axes, values)
        axes.set_title(what, size=9.5, color=INK, loc="left", pad=4)
        texts = told_apart(names, NAME) if i == 0 else []
        axes.set_yticks(np.arange(rows)[::-1] + 0.04 if texts else [], texts, size=8.5, color=INK)
        plain(axes)
    figure.savefig(path, metadata={"Software": None})


def _ridges(axes, values):
    """A histogram of each array above the other, in log10; cells of 0 stand left of 1."""
    logs = [np.log10(np.maximum(v, 0.5)) for v in values]
    low, high = min(v.min() for v in logs), max(v.max() for v in logs)
    edges = np.linspace(low - 0.05, high + 0.05, 61)
    for i, own in enumerate(logs):
        base = len(logs) - 1 - i
        share = np.histogram(own, edges)[0] / len(own)
        top = base + 0.86 * share / share.max()
        axes.stairs(top, edges, baseline=base, fill=True, color=colour(i), alpha=0.85, lw=0)
        axes.plot([np.median(own)] * 2, [base, base + 0.86], color=INK, lw=1.2)
        axes.axhline(base, color=LINE, lw=0.8, zorder=0)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(-0.03, len(logs)))
    marks = _marks(edges[0], edges[-1])
    axes.set_xticks(np.log10(marks), [tick(mark) for mark in marks])


def _marks(low, high):
    """Values to mark between two powers of ten: round ones, in a narrow range finer ones."""
    from matplotlib.ticker import MaxNLocator

    powers = 10.0 ** np.arange(np.ceil(low), np.floor(high) + 1)
    rounder = np.outer(10.0 ** np.arange(-1, 10), (1, 2, 5)).ravel()
    for marks in (powers, rounder, MaxNLocator(4).tick_values(10**low, 10**high)):
        marks = marks[(marks >= 10**low) & (marks <= 10**high)]
        if len(marks) > 1:
            break
    return marks


def rank_figure(path, names, curves, sparsity):
    """Share of the cells that have a gene, genes from the most frequent on; a line per source.

    curves : list of [[rank, share], …]; sparsity : list of shares of zeros
    """
    from matplotlib.figure import Figure

    key = 0.21 * len(names)
    height = max(3.6, key + 1.5)
    figure = Figure((10.4, height), dpi=140, facecolor="white")
    titled(figure, "Genes by how many cells have them", "and zeros in cells × genes")
    axes = figure.add_axes([0.65 / 10.4, 0.55 / height, 4.6 / 10.4, (height - 1.25) / height])
    for i, curve in enumerate(curves):
        rank, share = np.array(curve).T
        axes.plot(rank, share, **look(i), lw=1.8)
    axes.set(xscale="log", ylim=(-0.02, 1.02))
    axes.xaxis.set_major_formatter(tick)
    axes.minorticks_off()
    axes.set_xlabel("gene, by rank", size=8.5, color=INK)
    axes.set_ylabel("share of the cells that have it", size=8.5, color=INK)
    plain(axes, both=True)
    named = zip(told_apart(names, NAME), sparsity, strict=True)
    texts = [f"{name}   {100 * zeros:.1f} % zeros" for name, zeros in named]
    _key(axes, texts)
    figure.savefig(path, metadata={"Software": None})


def _key(axes, texts):
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **look(i), lw=2.2) for i in range(len(texts))]
    axes.legend(
        handles, texts, loc="upper left", bbox_to_anchor=(1.03, 1.02), frameon=False, fontsize=8,
        labelcolor=INK, handlelength=2.6, borderaxespad=0.0,
    )  # fmt: skip


def label_figure(path, names, labels):
    """Cells of each class, a panel for each label column; bars are divided by source.

    labels : {column: {class: [cells in each source]}}, classes in order
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    one = len(names) > IN_A_BAR  # too many to tell apart: their sum
    if one:
        labels = {c: {k: [sum(n)] for k, n in kinds.items()} for c, kinds in labels.items()}
    sides = _in_two(labels) if len(labels) > 2 else [list(labels)]
    heights = [sum(ROW * len(labels[c]) + GAP for c in side) for side in sides]
    cut = {column: told_apart(classes, CLASS) for column, classes in labels.items()}
    left = 0.25 + 0.073 * max(len(text) for texts in cut.values() for text in texts)
    key = 0.2 * -(-len(names) // 2) + 0.25 if len(names) > 1 and not one else 0.0
    side_width = left + 3.9
    width, height = side_width * len(sides), 0.65 + max(heights) + key
    texts = told_apart(names, NAME)
    width = max(width, 2 * (0.5 + 0.068 * max(map(len, texts)))) if key else width
    figure = Figure((width, height), dpi=140, facecolor="white")
    titled(figure, "Cells of each class", "by source" if key else "of all sources together")
    for i, side in enumerate(sides):
        top = height - 0.45
        for column in side:
            tall = ROW * len(labels[column])
            top -= tall + GAP
            at = [(side_width * i + left) / width, (top + 0.25) / height]
            axes = figure.add_axes([*at, 3.35 / width, tall / height])
            _bars(axes, column, labels[column], cut[column])
    if key:
        patches = [Patch(color=colour(i), lw=0) for i in range(len(names))]
        figure.legend(
            patches, texts, ncols=2, loc="lower left",
            bbox_to_anchor=(0.15 / width, 0.0), frameon=False, fontsize=8, labelcolor=INK,
            handlelength=1.0, handleheight=0.9,
        )  # fmt: skip
    figure.savefig(path, metadata={"Software": None})


def _in_two(labels):
    """The columns on two sides that are about as high."""
    sides, tall = [[], []], [0, 0]
    for column, classes in labels.items():
        side = int(tall[1] < tall[0])
        sides[side].append(column)
        tall[side] += ROW * len(classes) + GAP
    return sides


def _bars(axes, column, classes, texts):
    from matplotlib.ticker import MaxNLocator

    y, before = np.arange(len(classes))[::-1], np.zeros(len(classes))
    for i, cells in enumerate(np.array(list(classes.values())).T):
        axes.barh(y, cells, 0.78, before, color=colour(i), lw=0)
        before += cells
    for place, number in zip(y, before, strict=True):
        axes.text(number, place, f"  {number:,.0f}", size=7.5, color=FAINT, va="center")
    axes.set_title(label(column), size=9.5, color=INK, loc="left", pad=4)
    axes.set_yticks(y, texts, size=8, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(tick)
    axes.set(xlim=(0, 1.2 * before.max()), ylim=(-0.6, len(classes) - 0.4))
    plain(axes)


def room(names):
    """Inches that the names need."""
    return 0.35 + 0.082 * max(map(len, told_apart(names, NAME)))


def plain(axes, both=False):
    """No frame, thin lines along the values."""
    axes.tick_params(length=0)
    axes.tick_params(axis="x", labelsize=8, labelcolor=FAINT)
    if both:
        axes.tick_params(axis="y", labelsize=8, labelcolor=FAINT)
    axes.grid(axis="both" if both else "x", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)

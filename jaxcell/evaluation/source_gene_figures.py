"""Pictures of the genes that several sources share."""

import numpy as np

from jaxcell.drawing import thousands, tick, titled, told_apart
from jaxcell.palette import BLUE, FAINT, GRID, INK, SEQUENTIAL

from .source_figures import NAME, room


def overlap_figure(path, names, shared):
    """Share of a source's genes (rows) that another has (columns); numbers of genes in it.

    shared : int [D, D], on the diagonal a source's own
    """
    from matplotlib.figure import Figure

    shared = np.array(shared)
    share = shared / np.maximum(np.diag(shared)[:, None], 1)
    d, cell = len(names), 0.62 if len(names) <= 12 else 0.42
    left = room(names)
    texts = told_apart(names, NAME)
    below = 0.075 * max(map(len, texts))
    width, height = max(left + cell * d + 1.0, 4.6), cell * d + 0.9 + below
    figure = Figure((width, height), dpi=140, facecolor="white")
    titled(figure, "Genes in common", "of the row's genes, the share that the column has")
    bottom = height - 0.75 - cell * d
    axes = figure.add_axes([left / width, bottom / height, cell * d / width, cell * d / height])
    image = axes.imshow(share, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
    for i in range(d):
        for j in range(d):
            text = thousands(shared[i, j])
            light = share[i, j] > 0.55
            axes.text(j, i, text, size=7 if d <= 12 else 5.5, ha="center", va="center",
                      color=INK if light else "white")  # fmt: skip
    axes.set_yticks(range(d), texts, size=8.5, color=INK)
    axes.set_xticks(range(d), texts, size=8.5, color=INK, rotation=90)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    right = left + cell * d + 0.15
    bar = figure.add_axes([right / width, bottom / height, 0.12 / width, cell * d / height])
    figure.colorbar(image, cax=bar)
    bar.tick_params(labelsize=8, labelcolor=FAINT, length=0)
    bar.spines[:].set_visible(False)
    figure.savefig(path, metadata={"Software": None})


def groups_figure(path, names, groups):
    """The largest groups of genes that the same sources have: their number above, who below.

    groups : [{'datasets': [numbers], 'genes': number}], the largest first
    """
    from matplotlib.figure import Figure

    d, left, step = len(names), room(names), 0.34
    width, dots = left + step * max(len(groups), 6) + 0.3, 0.25 * d
    height = dots + 2.75
    figure = Figure((width, height), dpi=140, facecolor="white")
    titled(figure, "Genes by the sources that have them", "the largest groups")
    x, numbers = np.arange(len(groups)), [group["genes"] for group in groups]
    box = [left / width, (dots + 0.3) / height, step * len(groups) / width, 1.6 / height]
    bars = figure.add_axes(box)
    bars.bar(x, numbers, 0.7, color=BLUE, lw=0)
    for place, number in zip(x, numbers, strict=True):
        bars.text(place, number, f"{number:,}", size=7, color=INK, ha="center", va="bottom",
                  rotation=0 if number < 1000 else 35)  # fmt: skip
    bars.yaxis.set_major_formatter(tick)
    bars.set(xticks=[], xlim=(-0.6, len(groups) - 0.4))
    bars.yaxis.grid(True, color=GRID, lw=0.8)
    bars.set_axisbelow(True)
    bars.spines[:].set_visible(False)
    bars.tick_params(length=0, labelsize=8, labelcolor=FAINT)
    grid = figure.add_axes([left / width, 0.15 / height, step * len(groups) / width, dots / height])
    for i in range(d):
        grid.scatter(x, [d - 1 - i] * len(x), s=26, color=GRID, lw=0)
    for place, group in enumerate(groups):
        rows = [d - 1 - i for i in group["datasets"]]
        grid.plot([place] * len(rows), rows, color=INK, lw=1.3, marker="o", ms=5, mew=0)
    grid.set(xticks=[], xlim=bars.get_xlim(), ylim=(-0.6, d - 0.4))
    grid.set_yticks(np.arange(d)[::-1], told_apart(names, NAME), size=8.5, color=INK)
    grid.tick_params(length=0)
    grid.spines[:].set_visible(False)
    figure.savefig(path, metadata={"Software": None})

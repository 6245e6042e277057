"""Pictures of attention: genes that receive most of it, and genes clustered by it."""

import numpy as np

from jaxcell.drawing import told_apart
from jaxcell.palette import BLUE, FAINT, FROM_WHITE, INK

from .figures import _figure, _save

SHOWN = 15  # regulators of a condition
LABELLED = 8  # genes: clusters of fewer have no room for a label


def regulator_bars(path, drivers, factors):
    """The genes that receive most attention, a panel for each condition.

    drivers : {condition: [(gene, over the mean, rank), …]}; factors : names, drawn in blue
    """
    rows = min(SHOWN, max(map(len, drivers.values())))
    figure = _figure(0.4 + 2.7 * len(drivers), 1.0 + 0.23 * rows)
    named = zip(told_apart(drivers, 24), drivers.values(), strict=True)
    for i, (name, all_rows) in enumerate(named, 1):
        axes = figure.add_subplot(1, len(drivers), i)
        shown = all_rows[:rows]
        y, x = np.arange(len(shown))[::-1], [row[1] for row in shown]
        colours = [BLUE if row[0] in factors else FAINT for row in shown]
        axes.barh(y, x, 0.66, color=colours, alpha=0.85)
        axes.set_yticks(y, told_apart([row[0] for row in shown], 14), size=8, color=INK)
        axes.set_title(name, size=9.5, color=INK, loc="left")
        axes.tick_params(length=0, labelsize=8, labelcolor=INK)
        axes.tick_params(axis="x", labelcolor=FAINT, labelsize=7.5)
        axes.axvline(0, color=INK, lw=0.8)
        axes.spines[:].set_visible(False)
    figure.supxlabel(
        "attention received, over the mean over genes (blue: factors with known targets)",
        size=8, color=INK,
    )  # fmt: skip
    _save(figure, path)


def cluster_map(path, scores, clusters, genes, received):
    """The map with genes ordered by cluster, clusters by size.

    scores [M, M]; clusters int [M]; genes : names [M]; received [M] : orders genes within a cluster
    """
    scores = np.array(scores, np.float64)
    np.fill_diagonal(scores, np.nan)
    sizes = np.bincount(clusters)
    ranked = np.argsort(-sizes, kind="stable")
    place = np.empty(len(sizes), int)
    place[ranked] = np.arange(len(sizes))
    order = np.lexsort((-received, place[clusters]))
    figure = _figure(9.8, 6.2, layout=None)  # a square, and room for names of clusters beside it
    axes = figure.add_axes([0.31, 0.09, 0.54, 0.85])
    low, high = np.nanpercentile(scores, [2, 98])
    image = axes.imshow(scores[np.ix_(order, order)], cmap=FROM_WHITE, vmin=low, vmax=high)
    ends = np.cumsum(sizes[ranked])
    for end in ends[:-1]:
        axes.axhline(end - 0.5, color=INK, lw=0.6)
        axes.axvline(end - 0.5, color=INK, lw=0.6)
    fewest = max(1, len(genes) * LABELLED // 300)
    spots, labels = [], []
    for cluster, end in zip(ranked, ends, strict=True):
        if sizes[cluster] >= fewest:
            own = [genes[g] for g in order[end - sizes[cluster] : end]]
            spots.append(end - sizes[cluster] / 2 - 0.5)
            more = " …" if len(own) > 3 else ""
            labels.append(f"A{cluster + 1} ({len(own)}): {', '.join(own[:3])}{more}")
    axes.set_yticks(spots, told_apart(labels, 44), size=7.5, color=INK)
    axes.set_xticks(spots, [text.split(" ")[0] for text in labels], size=7.5, color=INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("Genes clustered by attention", size=10, color=INK, loc="left")
    axes.set_xlabel("read by the genes of the rows", size=8, color=INK)
    bar = figure.colorbar(image, cax=figure.add_axes([0.88, 0.2, 0.018, 0.6]))
    bar.set_label("attention, mean over conditions", size=8, color=INK)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    _save(figure, path)

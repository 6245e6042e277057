"""Size against score, with the front of those that nothing of at most their size beats."""

import itertools

import numpy as np

from jaxcell.drawing import tick, told_apart
from jaxcell.palette import BLUE, FAINT, INK, LINE, VERMILION

from .names_in_figures import name_points
from .tables import number
from .verdicts import pareto

SIZES = {"dimensions": "dimensions of the vectors", "parameters": "parameters"}


def pareto_figure(path, rows, metrics, models):
    """A panel per metric and per size that two methods have.

    Parameters
    ----------
    path : path
        The picture to write.
    rows : {method: {'dimensions', 'parameters', metric: float or None}}
    metrics : {metric: header}
    models : set of str
        Drawn in blue; the others are baselines.
    """
    from matplotlib.figure import Figure

    known = {s: sum(row[s] is not None for row in rows.values()) for s in SIZES}
    sizes = [s for s, n in known.items() if n > 1 or s == "dimensions"]
    width, height = 4.9 * len(metrics), 3.7 * len(sizes)
    figure = Figure((width, height), dpi=140, facecolor="white")
    panels = figure.subplots(len(sizes), len(metrics), squeeze=False)
    inches = {"left": 0.6 / width, "right": 1 - 0.15 / width}
    inches |= {"bottom": 0.5 / height, "top": 1 - 0.3 / height}
    figure.subplots_adjust(**inches, hspace=0.3, wspace=0.15)
    for line, size in zip(panels, sizes, strict=True):
        for axes, (metric, header) in zip(line, metrics.items(), strict=True):
            _panel(axes, rows, size, metric, models)
            axes.set_xlabel(SIZES[size], size=9, color=INK)
            axes.set_title(f"mean {header}", size=10, color=INK, loc="left")
    figure.savefig(path, metadata={"Software": None})


def _panel(axes, rows, size, metric, models):
    from matplotlib.ticker import LogLocator, NullLocator

    known = {n: r for n, r in rows.items() if r[size] is not None and r[metric] is not None}
    place = {name: (row[size], row[metric]) for name, row in known.items()}
    front = pareto({n: p[0] for n, p in place.items()}, {n: p[1] for n, p in place.items()})
    if front:
        axes.step(*zip(*(place[n] for n in front), strict=True), where="post", color=VERMILION,
                  lw=1.2, zorder=1)  # fmt: skip
    for name, (x, y) in place.items():
        colour = BLUE if name in models else FAINT
        axes.scatter(x, y, s=34, color=colour, edgecolor="white", lw=0.6, zorder=3)
    axes.set_xscale("log")
    axes.margins(x=0.22, y=0.16)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(tick)
    axes.yaxis.set_major_formatter(lambda y, _: number(y))
    axes.tick_params(labelsize=8, labelcolor=FAINT, color=LINE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    taken = _segments(axes, [place[name] for name in front])
    everywhere = np.array(list(place.values())).T
    cut = dict(zip(place, told_apart(place, 24), strict=True))
    rest = [name for name in place if name not in front]
    for names, colour in ((front, INK), (rest, FAINT)):
        spots = np.array([place[name] for name in names]).reshape(-1, 2).T
        texts = [cut[name] for name in names]
        taken = name_points(axes, *spots, texts, colour, avoid=everywhere, taken=taken)


def _segments(axes, points):
    """Boxes in pixels of the steps through these points, which no name is to cover."""
    axes.get_xlim(), axes.get_ylim()  # settle what autoscale has put off
    spots = axes.transData.transform(np.reshape(points, (-1, 2)))
    boxes = []
    for (left, y), (right, end) in itertools.pairwise(spots.tolist()):
        boxes += [(left, y, right, y), (right, min(y, end), right, max(y, end))]
    return boxes

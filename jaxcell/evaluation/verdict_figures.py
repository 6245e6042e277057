"""Size against score, with the front of those that nothing of at most their size beats."""

from jaxcell.palette import BLUE, FAINT, INK, LINE, VERMILION

from .figures import short
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
    figure = Figure((width, height), dpi=140, facecolor="white", layout="constrained")
    panels = figure.subplots(len(sizes), len(metrics), squeeze=False)
    for line, size in zip(panels, sizes, strict=True):
        for axes, (metric, header) in zip(line, metrics.items(), strict=True):
            _panel(axes, rows, size, metric, models)
            axes.set_xlabel(SIZES[size], size=9, color=INK)
            axes.set_title(f"mean {header}", size=10, color=INK, loc="left")
    figure.savefig(path, metadata={"Software": None})


def _panel(axes, rows, size, metric, models):
    from matplotlib.patheffects import withStroke

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
    axes.margins(x=0.18, y=0.12)
    for name, level in zip(place, _apart(axes, list(place.values())), strict=True):
        axes.annotate(
            short(name, 24), place[name], (4, level), textcoords="offset points", size=6.5,
            va="center", color=INK if name in front else FAINT, zorder=4,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip
    axes.yaxis.set_major_formatter(lambda y, _: number(y))
    axes.tick_params(labelsize=8, labelcolor=FAINT, color=LINE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)


def _apart(axes, places, height=8.0, near=0.25):
    """Points by which each name is moved up so that names beside each other do not overlap.

    places [(x, y)] in data; height: of a name, points; near: of the panel's width.
    """
    axes.autoscale_view()
    points = axes.transData.transform(places) * 72 / axes.figure.dpi
    reach = near * (axes.get_window_extent().width * 72 / axes.figure.dpi)
    moved, found = [], {}
    for i in sorted(range(len(points)), key=lambda i: points[i][1]):
        x, y = points[i]
        level = y
        for other_x, other in moved:
            if abs(other_x - x) < reach and level < other + height:
                level = other + height
        moved.append((x, level))
        found[i] = level - y
    return [found[i] for i in range(len(points))]

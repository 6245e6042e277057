"""The curves of training runs, several over each other: losses, their parts, rates."""

import numpy as np

from jaxcell.drawing import TITLE, below_title, dress, label, legend_below, look, tick, titled
from jaxcell.palette import FAINT, INK

COLUMNS, PANEL = 3, (4.6, 3.1)  # inches
NAMED = 2  # runs without a metric that its panel names
ENDS = {"mean_predictor": "mean predictor", "perfect": "perfect prediction"}
ENOUGH, INLIERS = 20, 0.97  # from so many values on, a panel may leave out the rest of them


def draw(records, path):
    """A PNG of some `report.Record`.

    The loss by step, validation by cells seen, each part of the loss where there are several, the
    learning rate, cells/s and the gradient's norm. Validation is shown by the metric by which the
    first run kept its best model; the panel names the runs that have none of it.
    """
    metric = records[0].info["config"]["best"][0]
    panels = [
        (_loss, "loss", "loss"),
        (_by_cells, f"validation {metric.removeprefix('val/')} by data seen", metric),
        *((_part, f"part: {part.replace('_', ' ')}", part) for part in parts(records)),
        (_journal, "learning rate", "learning_rate"),
        (_journal, "speed, without compiling and validation", "cells_per_s"),
        (_journal, "norm of the gradient, before clipping", "train/grad_norm"),
    ]
    rows = -(-len(panels) // COLUMNS)
    names = [record.name for record in records]
    below = 0.3 * -(-len(names) // COLUMNS) if len(names) > 1 else 0
    figure = below_title(COLUMNS * PANEL[0], rows * PANEL[1] + TITLE + below)
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, (kind, heading, key) in zip(grid, panels, strict=False):
        kind(axes, records, key)
        _dress(axes, heading)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    titled(figure, names[0] if len(names) == 1 else f"{len(names)} training runs", _caption(grid))
    if len(names) > 1:
        legend_below(figure, names)
    figure.savefig(path, format="png", metadata={"Software": None})


def _caption(grid):
    """How to read what was drawn, and nothing else."""
    marked = any(line.get_marker() == "o" and line.get_xdata().size for line in grid[0].lines)
    said = ["thin: training, thick: validation" if marked else "training"]
    if any(axes.texts for axes in grid):  # the names of the lines across
        said.append("dotted: to compare with, by its name")
    return "; ".join(said)


def parts(records):
    """Names of the loss's parts in the runs' journals; none where there is one alone.

    What has no weight is a line to compare with, not a part.
    """
    specs = [r.info["config"].get("losses", {}) for r in records]
    known = [name for spec in specs for name in spec if spec[name]["weight"]]
    written = {key for r in records for line in r.lines for key in line}
    found = [n for n in dict.fromkeys(known) if f"train/{n}" in written or f"val/{n}" in written]
    return found if len(found) > 1 else []


def _pair(axes, records, name, end):
    """Training thin, validation thick; the first steps are not to press all others flat.

    name : of what is drawn; end : of the line that is in sight too, where there is one
    """
    shown = []
    for i, record in enumerate(records):
        trained, validated = (record.series(f"{of}/{name}") for of in ("train", "val"))
        axes.plot(*trained, **look(i), lw=0.8, alpha=0.55)
        axes.plot(*validated, **look(i), marker="o", ms=3, lw=1.8)
        shown += [trained[1], validated[1]]
    axes.set_xlabel("step", size=9, color=INK)
    values = np.concatenate(shown)
    values = values[np.isfinite(values)]
    if len(values) >= ENOUGH:
        low, high = axes.get_ylim()
        ends = [r.last(f"val/{end}") for r in records]
        top = max([np.quantile(values, INLIERS), *(e for e in ends if e is not None)])
        axes.set_ylim(low, min(high, top + 0.08 * (top - low)))


def _loss(axes, records, name):
    _ends(axes, records, ("mean_predictor", "perfect"))
    _pair(axes, records, name, "mean_predictor")


def _part(axes, records, name):
    _ends(axes, records, (f"{name}_at_means",))
    _pair(axes, records, name, f"{name}_at_means")


def _by_cells(axes, records, metric):
    without = []
    for i, record in enumerate(records):
        steps, values = record.series(metric)
        axes.plot(steps * record.batch_size, values, **look(i), marker="o", ms=3, lw=1.8)
        if not len(values):
            without.append(label(record.name, 24))
    if metric == "val/loss":  # what needs no model has a loss, and nothing else
        _ends(axes, records, ("mean_predictor",))
    more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
    said = f"\nwithout {metric}: {', '.join(without[:NAMED])}{more}" if without else ""
    axes.set_xlabel(f"cells seen{said}", size=9, color=INK)


def _journal(axes, records, key):
    from matplotlib.ticker import LogLocator, NullLocator

    for i, record in enumerate(records):
        axes.plot(*record.series(key), **look(i), lw=1.5)
    axes.set_xlabel("step", size=9, color=INK)
    if key == "cells_per_s":
        axes.set_ylabel("cells/s", size=9, color=INK)
    if key == "train/grad_norm" and any((r.series(key)[1] > 0).any() for r in records):
        axes.set_yscale("log", nonpositive="mask")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)


def _ends(axes, records, names):
    """Horizontal lines at the losses to compare with, as the mean predictor's.

    Runs on the same held-out cells share them; else each has its own, in its colour.
    """
    shared = len({r.info["data"]["content_hash"] for r in records}) == 1
    for name in names:
        found = [(i, r.last(f"val/{name}")) for i, r in enumerate(records)]
        found = [(i, value) for i, value in found if value is not None]
        for i, value in found[:1] if shared else found:
            colour = FAINT if shared else look(i)["color"]
            axes.axhline(value, color=colour, lw=1, ls=(0, (1, 2)))
            text = "at the means" if name.endswith("_at_means") else ENDS[name]
            axes.annotate(
                text, (1, value), xycoords=("axes fraction", "data"), xytext=(-2, 2),
                textcoords="offset points", ha="right", size=8, color=colour,
            )  # fmt: skip


def _dress(axes, heading):
    axes.set_title(heading, size=10, color=INK, loc="left")
    dress(axes)
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(tick)
    axes.yaxis.set_major_formatter(tick)

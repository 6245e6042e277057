"""Tasks by method, and each task behind each block of a model (TxFM, Figure 6)."""

import numpy as np

from jaxcell.drawing import told_apart
from jaxcell.palette import FAINT, GRID, INK, LINE, PALETTE

from ..html import value_of
from .tasks import TASKS

WIDTH, HEIGHT = 8.6, 4.4  # inches
MARKERS = ("o", "^", "s", "D", "v", "P")  # told apart without colour
LINES = 4  # other methods, the best


def task_figure(path, title, rows):
    """Every task of every method, a line of dots for each, the best average first.

    Parameters
    ----------
    path : the picture to write
    title : str
    rows : list of {'name', 'kind' ('model' in bold), task or 'avg': number, (mean, sd) or None},
        in percent
    """
    from matplotlib.figure import Figure

    rows = sorted(rows, key=lambda row: -(value_of(row["avg"]) or 0))
    height = 0.28 * len(rows) + 1.3
    figure = Figure((WIDTH, height), dpi=140, facecolor="white")
    axes = figure.add_axes([0.3, 0.6 / height, 0.56, 1 - 1.15 / height])
    marks = [*zip(TASKS, MARKERS, PALETTE, strict=False), ("avg", "|", INK)]
    for task, marker, colour in marks:
        there = [(value_of(row[task]), y) for y, row in enumerate(rows) if row[task] is not None]
        if there:
            x, y = zip(*there, strict=True)
            size = dict(ms=13, mew=2.4) if task == "avg" else dict(ms=6, mec="white", mew=0.5)
            axes.plot(x, y, marker=marker, ls="", color=colour, label=task, **size)
    axes.set_yticks(range(len(rows)), told_apart([row["name"] for row in rows], 40), size=8.5)
    for text, row in zip(axes.get_yticklabels(), rows, strict=True):
        text.set(color=INK, weight="bold" if row["kind"] == "model" else "normal")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("× 100", color=INK)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.text(0.02, 1 - 0.3 / height, title, size=11, weight="bold", color=INK)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Software": None})


def layer_figure(path, title, points, others):
    """Tasks and their average over the blocks of a model, and other methods' averages.

    Parameters
    ----------
    path : the picture to write
    title : str
    points : list of {'number': int, 'where': 'encoder' or 'decoder', task or 'avg': number,
        (mean, sd) or None}, in percent
    others : {method: avg}; the four best are drawn
    """
    from matplotlib.figure import Figure

    figure = Figure((WIDTH, HEIGHT), dpi=140, facecolor="white")
    axes = figure.add_axes([0.08, 0.12, 0.6, 0.76])
    points = sorted(points, key=lambda point: point["number"])
    x = [point["number"] for point in points]
    for task, marker, colour in zip(TASKS, MARKERS, PALETTE, strict=False):
        y = [value_of(point[task]) for point in points]
        if None not in y:
            axes.plot(x, y, marker=marker, ms=4, lw=1, color=colour, label=task)
    y = [value_of(point["avg"]) for point in points]
    sd = [p["avg"][1] if isinstance(p["avg"], tuple | list) else 0 for p in points]
    axes.errorbar(x, y, sd, color=INK, lw=2.2, marker="o", ms=5, label="avg")
    ranked = sorted(
        (item for item in others.items() if value_of(item[1]) is not None),
        key=lambda item: -value_of(item[1]),
    )
    for (name, value), style in zip(ranked[:LINES], ("--", "-.", ":", (0, (1, 3))), strict=False):
        axes.axhline(value_of(value), color=FAINT, lw=1, ls=style, label=f"avg of {name}")
    last = max((p["number"] for p in points if p["where"] == "encoder"), default=0)
    if last < max(x):
        axes.axvline(last + 0.5, color=LINE, lw=1)
        axes.text(last + 0.55, 1.0, "decoder", size=8, color=FAINT, va="bottom",
                  transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set_xticks(np.unique(x))
    axes.set_xlabel("block", color=INK)
    axes.set_ylabel("× 100", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    figure.text(0.08, 0.94, title, size=11, weight="bold", color=INK)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Software": None})

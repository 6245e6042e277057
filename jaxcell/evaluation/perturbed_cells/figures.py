"""The layerwise picture: each task behind each block of a model (TxFM, Figure 6)."""

import numpy as np

from ..figures import FAINT, INK, LABEL_COLOURS
from ..html import value_of
from .tasks import TASKS

WIDTH, HEIGHT = 8.6, 4.4  # inches
MARKERS = ("o", "^", "s", "D", "v", "P")  # told apart without colour
LINES = 4  # other methods, the best


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
    for task, marker, colour in zip(TASKS, MARKERS, LABEL_COLOURS, strict=False):
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
        axes.axvline(last + 0.5, color="#DDDDDD", lw=1)
        axes.text(last + 0.55, 1.0, "decoder", size=8, color=FAINT, va="bottom",
                  transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set_xticks(np.unique(x))
    axes.set_xlabel("block", color=INK)
    axes.set_ylabel("× 100", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    figure.text(0.08, 0.94, title, size=11, weight="bold", color=INK)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Software": None})

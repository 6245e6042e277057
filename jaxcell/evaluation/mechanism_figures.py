"""Pictures of the benchmark of drug mechanisms: methods side by side, and by mechanism."""

import numpy as np

from jaxcell.drawing import told_apart
from jaxcell.palette import BLUE, FAINT, GRID, INK, SEQUENTIAL

from .tables import number

CHANCE = {"AUC": 0.5}


def scores_figure(path, methods):
    """A panel per metric, a dot per method's mean, a tick per value.

    methods : {name: {'kind': 'model' | 'baseline' | 'reference', metric: [values]}}
    """
    from matplotlib.figure import Figure

    names = list(methods)
    metrics = [m for m in methods[names[0]] if m != "kind"]
    texts = told_apart(names, 40)
    left = 0.4 + 0.085 * max(map(len, texts))
    height = 0.3 * len(names) + 1.15
    width = max(left + 2.5 * len(metrics) + 0.1, 6.2)
    panel = (width - left - 0.1) / len(metrics)
    figure = Figure((width, height), dpi=140, facecolor="white")
    figure.text(
        0.15 / width, 1 - 0.12 / height, size=9, color=FAINT, va="top",
        s="right is better; blue: models, grey: baselines, hollow: chance; bold: the best",
    )  # fmt: skip
    y = np.arange(len(names))[::-1]
    for i, metric in enumerate(metrics):
        box = [(left + panel * i) / width, 0.42 / height, (panel - 0.3) / width,
               (height - 1.0) / height]  # fmt: skip
        axes = figure.add_axes(box)
        _dots(axes, y, metric, methods)
        axes.set_title(metric, size=10, color=INK, loc="left", pad=4)
        axes.set(yticks=y, ylim=(-0.6, len(names) - 0.4))
        axes.set_yticklabels(texts if i == 0 else [], size=9, color=INK)
        axes.tick_params(length=0)
        axes.tick_params(axis="x", labelsize=8, labelcolor=FAINT)
        axes.grid(axis="x", color=GRID, lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
    figure.savefig(path, metadata={"Software": None})


def _dots(axes, y, metric, methods):
    means = {name: float(np.mean(one[metric])) for name, one in methods.items()}
    rated = [v for name, v in means.items() if methods[name]["kind"] != "reference"]
    top = number(max(rated)) if rated else None
    values = np.concatenate([one[metric] for one in methods.values()])
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 0.05)
    if metric in CHANCE:
        axes.axvline(CHANCE[metric], color=FAINT, lw=0.9, ls=":")
    for place, (name, one) in zip(y, methods.items(), strict=True):
        kind = one["kind"]
        colour = BLUE if kind == "model" else FAINT
        axes.axhline(place, color=GRID, lw=0.8, zorder=0)
        axes.plot(one[metric], [place] * len(one[metric]), "|", ms=7, color=colour, alpha=0.55)
        fill = "white" if kind == "reference" else colour
        axes.scatter([means[name]], [place], s=42, color=fill, edgecolor=colour, lw=1.3, zorder=3)
        won = kind != "reference" and number(means[name]) == top
        axes.text(
            high + 0.3 * span, place, number(means[name]), size=8, ha="right", va="center",
            color=INK if won else FAINT, weight="bold" if won else "normal",
        )  # fmt: skip
    axes.set_xlim(low - 0.08 * span, high + 0.32 * span)


def mechanism_figure(path, rows):
    """A grid of AUC: methods by mechanisms, the number in each field.

    rows : of the table, {'name': …, mechanism: (mean, sd)}
    """
    from matplotlib.figure import Figure

    kinds = [key for key in rows[0] if key not in ("name", "reference")]
    values = np.array([[row[kind][0] for kind in kinds] for row in rows])
    names, heads = told_apart([row["name"] for row in rows], 40), told_apart(kinds)
    left, above = 0.4 + 0.085 * max(map(len, names)), 0.3 + 0.045 * max(map(len, heads))
    width, height = left + 0.62 * len(kinds) + 1.5, 0.34 * len(rows) + above + 0.2
    figure = Figure((width, height), dpi=140, facecolor="white")
    box = [left / width, 0.15 / height, 0.62 * len(kinds) / width, 0.34 * len(rows) / height]
    axes = figure.add_axes(box)
    axes.imshow(values, cmap=SEQUENTIAL, vmin=0.5, vmax=1, aspect="auto")
    for i, j in np.ndindex(*values.shape):
        shade = "white" if values[i, j] < 0.8 else INK
        axes.text(j, i, number(values[i, j]), size=8, ha="center", va="center", color=shade)
    axes.set_xticks(range(len(kinds)), heads, rotation=40, size=8.5, ha="left")
    axes.set_yticks(range(len(rows)), names, size=9)
    axes.tick_params(length=0, labelcolor=INK, top=True, labeltop=True, bottom=False,
                     labelbottom=False)  # fmt: skip
    axes.spines[:].set_visible(False)
    figure.savefig(path, metadata={"Software": None})

"""Pictures of predicted perturbations: methods side by side, and single conditions gene by gene."""

import numpy as np

from jaxcell.drawing import label, short, titled, told_apart
from jaxcell.evaluation.names_in_figures import name_points
from jaxcell.palette import BLUE, FAINT, GRID, INK, OTHER

from .metrics import MAIN, METRICS

SHOWN = 3  # conditions of the best, and of the worst
NAMED = 5  # genes with their names, in a panel
LONGEST = 40  # characters of a method's name


def scores_figure(path, methods, groups):
    """Bars of corr(Δ): a panel for each group, a bar for each method, a dot for each condition.

    methods : {name: {'kind', 'conditions'}}; groups : {group: conditions}
    """
    from matplotlib.figure import Figure

    names = list(methods)
    shown = told_apart(names, LONGEST)
    left, tall = 0.4 + 0.085 * max(map(len, shown)), 0.3 * len(names) + 0.25
    width, height = max(left + 2.35 * len(groups) + 0.2, 5.6), tall + 1.25
    panel = (width - left - 0.2) / len(groups)
    figure = Figure((width, height), dpi=140, facecolor="white")
    titled(figure, f"{METRICS[MAIN]} on held-out conditions",
           "blue: predictions, grey: baselines, hollow: shuffled; dots: conditions")  # fmt: skip
    y = np.arange(len(names))[::-1]
    low = min(one[MAIN] for own in methods.values() for one in own["conditions"].values())
    for i, (group, conditions) in enumerate(groups.items()):
        box = [(left + panel * i) / width, 0.4 / height, (panel - 0.25) / width, tall / height]
        axes = figure.add_axes(box)
        for place, name in zip(y, names, strict=True):
            own = methods[name]
            values = [own["conditions"][c][MAIN] for c in conditions]
            colour = BLUE if own["kind"] == "prediction" else FAINT
            fill = "white" if own["kind"] == "reference" else colour
            axes.barh(place, np.mean(values), 0.62, color=fill, edgecolor=colour, alpha=0.75)
            apart = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else [0]
            axes.scatter(values, place + np.array(apart), s=7, color=INK, lw=0, alpha=0.6, zorder=3)
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_title(f"{group} ({len(conditions)})", size=9.5, color=INK, loc="left", pad=4)
        axes.set(yticks=y, ylim=(-0.6, len(names) - 0.4))
        axes.set_yticklabels(shown if i == 0 else [], size=9, color=INK)
        axes.set_xlim(min(0, low) - 0.05, 1.05)
        _plain(axes)
        axes.grid(axis="x", color=GRID, lw=0.8)
    figure.savefig(path, metadata={"Software": None})


def conditions_figure(path, method, scores, deltas, genes):
    """Predicted against true Δ of the top DE genes, of the best and the worst conditions.

    Parameters
    ----------
    path : path
    method : str
    scores : {condition: scores}
    deltas : {condition: (true [20], predicted [20], int [20] columns)}
    genes : str [G]
    """
    from matplotlib.figure import Figure

    order = sorted(scores, key=lambda c: -scores[c][MAIN])
    few = len(order) <= 2 * SHOWN
    rows = [order[i : i + SHOWN] for i in range(0, len(order), SHOWN)] if few else []
    rows = rows or [order[:SHOWN], order[-SHOWN:]]
    side, gap = 2.6, 0.55
    width, height = SHOWN * (side + gap) + 0.5, len(rows) * (side + gap + 0.15) + 0.85
    figure = Figure((width, height), dpi=140, facecolor="white")
    titled(figure, f"{short(method)}: Δ of the top DE genes",
           "best and worst conditions by corr(Δ); across: true, up: predicted")  # fmt: skip
    for i, row in enumerate(rows):
        for j, condition in enumerate(row):
            left, bottom = 0.55 + j * (side + gap), height - 0.95 - (i + 1) * (side + gap) + 0.3
            box = [left / width, bottom / height, side / width, side / height]
            _scatter(figure.add_axes(box), condition, scores[condition], deltas[condition], genes)
    figure.savefig(path, metadata={"Software": None})


def _scatter(axes, condition, scores, delta, genes):
    true, predicted, columns = delta
    both = np.concatenate([true, predicted, [0.0]])
    low, high = both.min(), both.max()
    edge = 0.08 * max(high - low, 1e-6)
    span = (low - edge, high + edge)
    axes.plot(span, span, color=OTHER, lw=0.9)
    axes.axhline(0, color=GRID, lw=0.8)
    axes.axvline(0, color=GRID, lw=0.8)
    axes.scatter(true, predicted, s=16, color=BLUE, lw=0, alpha=0.85, zorder=3)
    title = f"{label(condition, 22)}   {METRICS[MAIN]} {scores[MAIN]:.2f}"
    axes.set_title(title, size=9, color=INK, loc="left", pad=4)
    axes.set(xlim=span, ylim=span)
    _plain(axes)
    top = np.argsort(-np.abs(true))[:NAMED]
    names = told_apart([str(genes[columns[i]]) for i in top], 12)
    name_points(axes, true[top], predicted[top], names, INK, (true, predicted))


def _plain(axes):
    axes.tick_params(length=0, labelsize=8, labelcolor=FAINT)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)

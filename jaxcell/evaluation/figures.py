"""The pictures of a report: UMAP per method, and the methods side by side.

Colours are the same in every figure of a report, see `jaxcell.palette`; classes are numbered in the
map as well, since of forty colours no eye finds each again.
"""

import numpy as np

from jaxcell.palette import BLUE, FAINT, GRID, INK, LINE, OTHER

from .methods import SHUFFLED
from .tables import BIOLOGY, MIXING, PROBES, best, number

LEGEND_ROW = 0.21  # inches


def umap_figure(path, name, layout, panels, *, caption="", seed=0):
    """UMAP of one method, a panel per colouring, legends below.

    layout [n, 2]; panels: [(title, values str [n], {value: colour}, number the classes or not)].
    """
    from matplotlib.figure import Figure

    legends = [_legend_entries(colours) for _, _, colours, _ in panels]
    columns = [_legend_columns(entries) for entries in legends]
    rows = max(-(-len(e) // k) for e, k in zip(legends, columns, strict=True))
    width, map_height, legend_height = 5.6 * len(panels), 4.75, LEGEND_ROW * rows + 0.2
    height = 1.0 + map_height + legend_height

    figure = Figure((width, height), dpi=140, facecolor="white")
    figure.text(0.32 / width, 1 - 0.18 / height, name, size=14, weight="bold", color=INK, va="top")
    figure.text(0.32 / width, 1 - 0.46 / height, caption, size=9, color=FAINT, va="top")
    order = np.random.default_rng(seed).permutation(len(layout))  # no group hides another
    size = float(np.clip(12_000 / len(layout), 2.0, 16.0))
    for i, (title, values, colours, numbered) in enumerate(panels):
        left, bottom = (5.6 * i + 0.3) / width, legend_height / height
        axes = figure.add_axes([left, bottom, 5.0 / width, map_height / height])
        shade = [colours[value] for value in values[order]]
        axes.scatter(*layout[order].T, s=size, c=shade, lw=0, alpha=0.85)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"UMAP by {title}", size=10, color=INK, loc="left")
        axes.spines[:].set_color(LINE)
        axes.margins(0.04)
        if numbered:
            _number_classes(axes, layout, values, colours)
        _legend(axes, legends[i], columns[i], numbered)
    figure.savefig(path, metadata={"Software": None})


def _legend_entries(colours):
    """[(text, colour)]: the coloured values in order, then one entry for all the grey ones."""
    named = [(short(name), c) for name, c in colours.items() if c != OTHER]
    rest = len(colours) - len(named)
    return named + ([(f"{rest} others", OTHER)] if rest else [])


def short(name, most=30):
    """A name of at most so many letters: of a long one its two ends, which tell it apart."""
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}…{name[-end:]}"


def thousands(number):
    """1, 1k, 2.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def _legend_columns(entries):
    longest = max(len(text) for text, _ in entries) + 6
    return max(1, min(4, 76 // longest, len(entries)))


def _legend(axes, entries, columns, numbered):
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], marker="o", ls="", ms=6.5, mew=0, color=c) for _, c in entries]
    texts = [
        f"{i}  {text}" if numbered and c != OTHER else text
        for i, (text, c) in enumerate(entries, 1)
    ]
    axes.legend(
        handles, texts, ncols=columns, loc="upper left", bbox_to_anchor=(-0.02, -0.01),
        frameon=False, fontsize=8.5, handletextpad=0.2, columnspacing=1.2, labelspacing=0.45,
        labelcolor=INK, borderaxespad=0.2,
    )  # fmt: skip


def _number_classes(axes, layout, labels, colours):
    """Each coloured class's number where most of its cells are, moved off the others."""
    from matplotlib.patheffects import withStroke

    names = [name for name, colour in colours.items() if colour != OTHER]
    low, span = layout.min(axis=0), np.ptp(layout, axis=0)
    places = []
    for name in names:
        own = (layout[labels == name] - low) / span
        box = np.minimum((own * 12).astype(int), 11) @ [12, 1]  # a grid of 12 × 12
        places.append(own[box == np.bincount(box).argmax()].mean(axis=0))
    for i, place in enumerate(_apart(np.array(places)), 1):
        axes.annotate(  # beside the place: a small class is not to be hidden by its number
            str(i), low + place * span, (5, 5), textcoords="offset points", size=9, weight="bold",
            color=INK, ha="center", va="center",
            path_effects=[withStroke(linewidth=2.6, foreground="white")],
        )  # fmt: skip


def _apart(places, least=0.035):
    """Push points [m, 2] of the unit square apart until no two are nearer than `least`."""
    places = places.astype(np.float64) + 1e-6 * np.arange(len(places))[:, None]  # none coincide
    for _ in range(60):
        gap = places[:, None] - places[None]
        distance = np.linalg.norm(gap, axis=-1, keepdims=True) + np.eye(len(places))[..., None]
        push = np.where(distance < least, (least - distance) * gap / distance, 0.0)
        places += 0.5 * push.sum(axis=1)
    return places


def comparison_figure(path, results):
    """All methods on all metrics: a panel per metric, a dot per method, a tick per fold."""
    from matplotlib.figure import Figure

    table, own = results["results"], results["meta"]["embeddings"]
    methods = list(table)
    shown = {**PROBES, **BIOLOGY, **MIXING}
    shown = {m: h for m, h in shown.items() if any(row[m] is not None for row in table.values())}
    columns = 4 if len(shown) <= 8 else 5
    rows = -(-len(shown) // columns)
    left = 0.35 + 0.082 * max(len(short(name)) for name in methods)
    width = left + 2.05 * columns + 0.2
    panel = 0.27 * len(methods) + 0.2
    height = rows * (panel + 0.72) + 0.62

    figure = Figure((width, height), dpi=140, facecolor="white")
    figure.text(0.15 / width, 1 - 0.15 / height, "Methods side by side", size=14, weight="bold",
                color=INK, va="top")  # fmt: skip
    figure.text(
        0.15 / width, 1 - 0.42 / height, size=9, color=FAINT, va="top",
        s="right is better; blue: embeddings, grey: baselines, hollow: shuffled labels; ticks:"
        " held-out folds; bold: the best",
    )  # fmt: skip
    y = np.arange(len(methods))[::-1]
    for i, (metric, title) in enumerate(shown.items()):
        row, column = divmod(i, columns)
        bottom = height - 0.62 - (row + 1) * (panel + 0.72) + 0.36
        box = [(left + 2.05 * column) / width, bottom / height, 1.85 / width, panel / height]
        axes = figure.add_axes(box)
        _dots(axes, y, metric, results, own)
        axes.set_title(title, size=9.5, color=INK, loc="left", pad=4)
        axes.set(yticks=y, ylim=(-0.6, len(methods) - 0.4))
        axes.set_yticklabels([short(m) for m in methods] if column == 0 else [], size=9, color=INK)
        axes.tick_params(length=0, labelsize=9)
        axes.tick_params(axis="x", labelsize=8, labelcolor=FAINT)
        axes.grid(axis="x", color=GRID, lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
    figure.savefig(path, metadata={"Software": None})


def _dots(axes, y, metric, results, own):
    table, top = results["results"], best(results, metric)
    axes.axvspan(1.04, 1.4, color="white", zorder=1)
    for position, (method, row) in zip(y, table.items(), strict=True):
        axes.axhline(position, color=GRID, lw=0.8, zorder=0)
        value = row[metric]
        if value is None:
            continue
        colour = BLUE if method in own else FAINT
        folds = [fold[metric] for fold in results["folds"][method] if metric in fold]
        if len(folds) > 1:
            axes.plot(folds, [position] * len(folds), "|", ms=7, color=colour, alpha=0.6, zorder=2)
        fill = "white" if method == SHUFFLED else colour
        axes.scatter([value], [position], s=44, color=fill, edgecolor=colour, lw=1.3, zorder=3)
        won = method != SHUFFLED and number(value) == top
        axes.text(1.25, position, number(value), size=8, ha="right", va="center", zorder=3,
                  color=INK if won else FAINT, weight="bold" if won else "normal")  # fmt: skip
    axes.set_xlim(min(-0.07, *(row[metric] or 0 for row in table.values())), 1.26)
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])

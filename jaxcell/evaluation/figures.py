"""The pictures of a report: UMAP per method, and the methods side by side.

Colours are the same in every figure of a report, see `jaxcell.palette`; classes are numbered in the
map as well, since of forty colours no eye finds each again.
"""

import numpy as np

from jaxcell.drawing import label, short, titled, told_apart
from jaxcell.palette import BLUE, FAINT, GRID, INK, LINE, OTHER

from .methods import SHUFFLED
from .tables import BIOLOGY, MIXING, PROBES, best, number

LEGEND_ROW = 0.21  # inches
BOXES = 12  # of a side of the map, in which cells of each class are counted
LEAST = 0.25  # of the cells of its box are a class's own, where its number stands


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
    titled(figure, short(name, 60), caption, left=0.32)
    order = np.random.default_rng(seed).permutation(len(layout))  # no group hides another
    size = float(np.clip(12_000 / len(layout), 2.0, 16.0))
    for i, (title, values, colours, numbered) in enumerate(panels):
        left, bottom = (5.6 * i + 0.3) / width, legend_height / height
        axes = figure.add_axes([left, bottom, 5.0 / width, map_height / height])
        shade = [colours[value] for value in values[order]]
        axes.scatter(*layout[order].T, s=size, c=shade, lw=0, alpha=0.85)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(LINE)
        axes.margins(0.04)
        places = _places(layout, values, colours) if numbered else {}
        _number_classes(axes, layout, places)
        marks = [
            (str(k) if k in places else "–") if numbered and colour != OTHER else ""
            for k, (_, colour) in enumerate(legends[i], 1)
        ]
        more = "; –: among others everywhere" if "–" in marks else ""
        axes.set_title(f"UMAP by {label(title)}{more}", size=10, color=INK, loc="left")
        _legend(axes, legends[i], columns[i], marks)
    figure.savefig(path, metadata={"Software": None})


def _legend_entries(colours):
    """[(text, colour)]: the coloured values in order, then one entry for all the grey ones."""
    own = {name: colour for name, colour in colours.items() if colour != OTHER}
    named = list(zip(told_apart(own), own.values(), strict=True))
    rest = len(colours) - len(named)
    return named + ([(f"{rest} others", OTHER)] if rest else [])


def _legend_columns(entries):
    longest = max(len(text) for text, _ in entries) + 6
    return max(1, min(4, 76 // longest, len(entries)))


def _legend(axes, entries, columns, marks):
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], marker="o", ls="", ms=6.5, mew=0, color=c) for _, c in entries]
    texts = [
        f"{mark}  {text}" if mark else text for (text, _), mark in zip(entries, marks, strict=True)
    ]
    axes.legend(
        handles, texts, ncols=columns, loc="upper left", bbox_to_anchor=(-0.02, -0.01),
        frameon=False, fontsize=8.5, handletextpad=0.2, columnspacing=1.2, labelspacing=0.45,
        labelcolor=INK, borderaxespad=0.2,
    )  # fmt: skip


def _places(layout, labels, colours):
    """{number: place in the unit square} of the coloured classes.

    Where most of a class's cells are that lie among their own, in a box of the map: of n cells of
    m in a box n · n / m count. A class that has no quarter of any box has no place.
    """
    low, span = layout.min(axis=0), np.ptp(layout, axis=0)
    unit = (layout - low) / np.where(span > 0, span, 1)
    box = np.minimum((unit * BOXES).astype(int), BOXES - 1) @ [BOXES, 1]
    cells, places = np.bincount(box), {}
    for i, name in enumerate((n for n, colour in colours.items() if colour != OTHER), 1):
        mine = labels == name
        own = np.bincount(box[mine], minlength=len(cells))
        share = own / np.maximum(cells, 1)
        best = np.argmax(np.where(share >= LEAST, own * share, 0))
        if share[best] >= LEAST:
            places[i] = unit[mine & (box == best)].mean(axis=0)
    return dict(zip(places, _apart(np.array(list(places.values()))), strict=True)) if places else {}


def _number_classes(axes, layout, places):
    from matplotlib.patheffects import withStroke

    low, span = layout.min(axis=0), np.ptp(layout, axis=0)
    for i, place in places.items():
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
    names = told_apart(methods)
    left = 0.35 + 0.082 * max(map(len, names))
    width = left + 2.05 * columns + 0.2
    panel = 0.27 * len(methods) + 0.2
    height = rows * (panel + 0.72) + 0.62

    figure = Figure((width, height), dpi=140, facecolor="white")
    said = "right is better; blue: embeddings, grey: baselines, hollow: shuffled labels; ticks:"
    titled(figure, "Methods side by side", f"{said} held-out folds; bold: the best")
    y = np.arange(len(methods))[::-1]
    for i, (metric, title) in enumerate(shown.items()):
        row, column = divmod(i, columns)
        bottom = height - 0.62 - (row + 1) * (panel + 0.72) + 0.36
        box = [(left + 2.05 * column) / width, bottom / height, 1.85 / width, panel / height]
        axes = figure.add_axes(box)
        _dots(axes, y, metric, results, own)
        axes.set_title(title, size=9.5, color=INK, loc="left", pad=4)
        axes.set(yticks=y, ylim=(-0.6, len(methods) - 0.4))
        axes.set_yticklabels(names if column == 0 else [], size=9, color=INK)
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

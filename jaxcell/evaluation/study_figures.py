"""A map of cells by study and by type at once: one by colour, the other by the marker's shape.

Source: BioFormer (Ho and Le 2025), figures 2 and 3.
"""

import numpy as np

from jaxcell.drawing import label, short, titled, told_apart
from jaxcell.palette import FAINT, INK, LINE, OTHER, colours

SHAPES = ("o", "^", "s", "D", "v", "P", "X", "*")  # told apart at the size of a cell
SCALE = dict(zip(SHAPES, (1.0, 1.1, 0.85, 0.75, 1.1, 1.2, 1.1, 1.5), strict=True))  # of one weight
MAP, LEGEND, HEIGHT, ROW = 4.9, 2.75, 4.9, 0.185  # inches
STACKS = 12  # of cells, drawn one upon another, so that no shape hides another


def shapes(values):
    """Shape per value, by frequency: {value: marker}; from the ninth on they begin again.

    values: str [n]
    """
    names, counts = np.unique(values, return_counts=True)
    names = names[np.argsort(-counts, kind="stable")].tolist()
    return {name: SHAPES[i % len(SHAPES)] for i, name in enumerate(names)}


def study_figure(path, name, layout, types, studies, titles, *, caption="", seed=0):
    """Two panels of one map: colour by study and shape by type, and the reverse.

    Parameters
    ----------
    path : path
        The picture to write.
    name : str
        Of the representation.
    layout : [n, 2]
    types, studies : str [n]
    titles : (str, str)
        What the types and the studies are called.
    caption : str
    seed : int
        Of the order in which cells are drawn.
    """
    from matplotlib.figure import Figure

    by_type, by_study = titles
    panels = [
        (by_study, studies, colours(studies), by_type, types),
        (by_type, types, colours(types), by_study, studies),
    ]
    rows = max(len(_legend(*panel)[0]) for panel in panels)
    tall = max(HEIGHT, ROW * rows + 0.2)
    width, height = 2 * (MAP + LEGEND + 0.2) + 0.1, tall + 0.95
    figure = Figure((width, height), dpi=140, facecolor="white")
    titled(figure, short(name, 60), caption, left=0.3)
    for i, panel in enumerate(panels):
        left = 0.3 + i * (MAP + LEGEND + 0.2)
        box = [left / width, (tall - HEIGHT + 0.12) / height, MAP / width, HEIGHT / height]
        axes = figure.add_axes(box)
        _cells(axes, layout, *panel[1:3], panel[4], seed)
        said = f"colour: {label(panel[0])}, shape: {label(panel[3])}"
        axes.set_title(said, size=10, color=INK, loc="left")
        _draw_legend(axes, *_legend(*panel))
    figure.savefig(path, metadata={"Software": None})


def _cells(axes, layout, coloured, colours, shaped, seed):
    size = float(np.clip(16_000 / len(layout), 5.0, 26.0))
    shade = np.array([colours[value] for value in coloured])
    marker = shapes(shaped)
    marker = np.array([marker[value] for value in shaped])
    for stack in np.array_split(np.random.default_rng(seed).permutation(len(layout)), STACKS):
        for shape in SHAPES:
            own = stack[marker[stack] == shape]
            axes.scatter(*layout[own].T, s=size * SCALE[shape], c=shade[own], marker=shape,
                         lw=0.25, edgecolor="white", alpha=0.9)  # fmt: skip
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(LINE)
    axes.margins(0.04)


def _legend(coloured, values, colours, shaped, others):
    """The handles' (marker, colour) or None for a heading, and the texts, from top to bottom."""
    named = {name: colour for name, colour in colours.items() if colour != OTHER}
    marks = [None, *(("o", colour) for colour in named.values())]
    texts = [label(coloured), *told_apart(named)]
    if len(colours) > len(named):
        marks.append(("o", OTHER))
        texts.append(f"{len(colours) - len(named)} others")
    marks += [None, None]
    texts += ["", label(shaped)]
    assigned = shapes(others)
    most = 30 if len(assigned) <= len(SHAPES) else 16  # else two of them share a line
    cut = dict(zip(assigned, told_apart(assigned, most), strict=True))
    for shape in SHAPES:
        own = [cut[name] for name, marker in assigned.items() if marker == shape]
        if own:
            marks.append((shape, FAINT))
            texts.append(_several(own))
    if len(assigned) > len(SHAPES):
        marks.append(None)
        texts.append(f"{len(assigned)} values, {len(SHAPES)} shapes: they repeat")
    return marks, texts


def _several(names):
    more = f" +{len(names) - 2}" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more


def _draw_legend(axes, marks, texts):
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ls="", mew=0, marker="", color=INK)
        if mark is None
        else Line2D([], [], ls="", mew=0, ms=6.5, marker=mark[0], color=mark[1])
        for mark in marks
    ]
    legend = axes.legend(
        handles, texts, loc="upper left", bbox_to_anchor=(1.0, 1.01), frameon=False, fontsize=8,
        handletextpad=0.2, labelspacing=0.35, labelcolor=INK, borderaxespad=0.2,
    )  # fmt: skip
    for mark, text in zip(marks, legend.get_texts(), strict=True):
        if mark is None:
            text.set_weight("bold")
            text.set_x(-22)

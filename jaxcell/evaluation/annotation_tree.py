"""The true types in their tree, and at which step down predictions leave it.

n cells, N nodes of the ontology, k nodes that are drawn.
"""

import textwrap

import numpy as np

from .annotation_flow import LETTER
from .figures import FAINT, INK
from .tables import number

ROW = 0.42  # inches between two leaves
GAP = 0.42  # inches between a column's longest name and the next column
LETTERS = 32  # of a line of a name
MOST = 30  # types that are drawn, the most frequent
DOT = 260.0  # points² of the dot of all cells
LEAST = 14.0
LINE = "#BBBBBB"


def tree_figure(path, ontology, truth, predicted, name):
    """Terms from left to right, a dot for each: its size is how many cells are truly of it.

    Its colour, and the number beside it, is the share of these cells that are predicted as it or
    as something below it. Terms that neither are a true type nor have several branches are left
    out, and each hangs under its deepest ancestor that is drawn.

    truth, predicted : int [n], nodes; name : of the decoding
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    nodes, parent = branches(ontology, _frequent(truth))
    y, column = _places(nodes, parent)
    true, right = _cells(ontology, nodes, truth, predicted)
    share = right / np.maximum(true, 1)
    texts = [_text(ontology.names[i], s) for i, s in zip(nodes, share, strict=True)]
    x, right_end = _columns(column, texts)
    tall = ROW * (y.max() + 1.6)
    width, height = max(right_end + 0.2, 6.6), tall + 1.3

    figure = Figure((width, height), dpi=140, facecolor="white")
    figure.text(0.2 / width, 1 - 0.15 / height, "Down the tree of cell types", size=14,
                weight="bold", color=INK, va="top")  # fmt: skip
    said = f"{name}; {len(truth)} cells. Number and colour: share of a term's true cells that are"
    figure.text(0.2 / width, 1 - 0.43 / height, f"{said} predicted as it or below it; size: cells",
                size=9, color=FAINT, va="top")  # fmt: skip
    box = [0, 0.55 / height, 1, tall / height]
    axes = figure.add_axes(box, xlim=(0, width), ylim=(y.max() + 0.8, -0.8))
    axes.axis("off")
    for i, above in enumerate(parent):
        if above >= 0:
            bend = x[i] - 0.18
            axes.plot([x[above], bend, bend, x[i]], [y[above], y[above], y[i], y[i]], color=LINE,
                      lw=1.1, zorder=1)  # fmt: skip
    colours = ScalarMappable(Normalize(0, 1), "viridis")
    sizes = np.maximum(DOT * true / len(truth), LEAST)
    axes.scatter(x, y, s=sizes, c=colours.to_rgba(share), zorder=2, lw=0.6, edgecolor=INK)
    for i, text in enumerate(texts):
        inner = i in parent  # its branches leave to the right, below its name
        axes.text(x[i] + 0.17, y[i] - 0.06 * inner, text, size=8.5, color=INK, linespacing=1.0,
                  va="bottom" if inner else "center")  # fmt: skip
    bar = figure.add_axes([0.25 / width, 0.36 / height, 1.9 / width, 0.1 / height])
    figure.colorbar(colours, cax=bar, orientation="horizontal", ticks=[0, 0.5, 1])
    bar.set_xticklabels(["0", ".5", "1"], size=8, color=FAINT)
    bar.tick_params(length=0, pad=2)
    bar.spines[:].set_visible(False)
    figure.savefig(path, metadata={"Software": None})


def _text(name, share):
    """The name in two lines at most, and the share."""
    return "\n".join(textwrap.wrap(f"{name}  {number(share)}", LETTERS, max_lines=3))


def _frequent(truth):
    found, cells = np.unique(truth, return_counts=True)
    return found[np.argsort(-cells, kind="stable")][:MOST].tolist()


def branches(ontology, types):
    """The tree that some types span.

    types : list of int, nodes

    Returns
    -------
    nodes int [k], each behind its parent; parent int [k], places among ``nodes``, -1 of a root
    """
    every = np.flatnonzero(ontology.above[types].any(axis=0))
    order = every[np.argsort(ontology.depth[every], kind="stable")]
    drawn = set(types)
    under = ontology.above[np.ix_(types, order)]  # [types, ancestors]
    # An inner term is drawn where no single term below it has all of its types.
    for j, node in enumerate(order.tolist()):
        below = [i for i in range(len(order)) if i != j and ontology.above[order[i], node]]
        same = any((under[:, i] == under[:, j]).all() for i in below)
        if not same and under[:, j].sum() > 1:
            drawn.add(node)
    while True:
        nodes = [node for node in order.tolist() if node in drawn]
        parent = [_under(ontology, nodes[:i], node) for i, node in enumerate(nodes)]
        # Whose branches hang under other, deeper terms.
        bare = {n for i, n in enumerate(nodes) if parent.count(i) < 2} - set(types)
        if not bare:
            return np.array(nodes), np.array(parent)
        drawn -= bare


def _under(ontology, before, node):
    """Place of the deepest ancestor among the nodes that stand before; -1: none."""
    above = [i for i, other in enumerate(before) if ontology.above[node, other]]
    return max(above, key=lambda i: ontology.depth[before[i]], default=-1)


def _places(nodes, parent):
    """Row (float) and column (int) of each node: leaves a row each, others amid their branches."""
    y, column, rows = np.zeros(len(nodes)), np.zeros(len(nodes), int), 0
    for i, above in enumerate(parent):
        column[i] = column[above] + 1 if above >= 0 else 0

    def place(i):
        nonlocal rows
        own = np.flatnonzero(parent == i)
        if not len(own):
            y[i], rows = rows, rows + 1
            return
        for child in own:
            place(child)
        y[i] = (y[own[0]] + y[own[-1]]) / 2

    for root in np.flatnonzero(parent < 0):
        place(root)
    return y, column


def _cells(ontology, nodes, truth, predicted):
    """Cells truly of each node or of what is below, and those also predicted there: int [k]."""
    truly, said = ontology.above[truth][:, nodes], ontology.above[predicted][:, nodes]
    return truly.sum(axis=0), (truly & said).sum(axis=0)


def _columns(column, texts):
    """Inches of each node from the left, and where the rightmost name ends."""
    wide = [
        GAP + LETTER * max(len(line) for text in of for line in text.splitlines())
        for of in (
            [t for t, c in zip(texts, column, strict=True) if c == k]
            for k in range(column.max() + 1)
        )
    ]
    left = 0.35 + np.concatenate([[0], np.cumsum(wide)])
    return left[column], left[-1]

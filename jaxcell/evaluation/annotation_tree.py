"""Where in the tree cells are, and where their predictions stop. N nodes, n cells, r rows."""

import numpy as np

from jaxcell.data.ontology import RELATIONS
from jaxcell.drawing import short, titled, told_apart
from jaxcell.palette import FAINT, INK, LINE, OTHER

from .annotation_flow import COLOURS, LETTER

MOST = 44  # rows; the rarest types are told with the one above them
ROW, STEP = 0.21, 0.17  # inches of a row, and of a level
BARS = 2.1  # inches
LONGEST = 44  # letters of a name


def tree_figure(path, ontology, truth, predicted, name):
    """The types and what is above them, with the cells that are there and those predicted there.

    Predictions are coloured by their relation to their own cell's truth. A type with several
    parents stands below the deepest of them; a type without cells and with one branch is left out.

    truth, predicted: int [n], nodes; name: of the decoding
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    size = len(ontology)
    cells = np.bincount(truth, minlength=size) + np.bincount(predicted, minlength=size)
    rows, where = branches(ontology, cells, MOST)
    relation = np.array([RELATIONS.index(r) for r in ontology.relation(predicted, truth)])
    there = np.bincount(where[truth], minlength=len(rows))
    stops = np.zeros((len(rows), len(RELATIONS)), int)
    np.add.at(stops, (where[predicted], relation), 1)
    names = told_apart([ontology.names[node] for node, _, _ in rows], LONGEST)
    texts = [
        name + (f"  +{more} rarer" if more else "")
        for name, (_, _, more) in zip(names, rows, strict=True)
    ]
    left = 0.3 + max(
        STEP * level + LETTER * len(text)
        for (_, level, _), text in zip(rows, texts, strict=True)
    )  # fmt: skip
    width, tall = left + 2 * (BARS + 0.55) + 0.1, ROW * len(rows)
    height = tall + 1.35
    figure = Figure((width, height), dpi=140, facecolor="white")
    titled(figure, "Where predictions stop", f"{short(name, 60)}; {len(truth):,} cells")
    bottom = 0.12 / height
    tree = figure.add_axes([0, bottom, left / width, tall / height], xlim=(0, left))
    _names(tree, rows, texts)
    shades = list(COLOURS.values())
    parts = (("true", there[:, None], [OTHER]), ("predicted", stops, shades))
    for i, (title, values, colours) in enumerate(parts):
        at = (left + i * (BARS + 0.55)) / width
        axes = figure.add_axes([at, bottom, (BARS + 0.5) / width, tall / height])
        _bars(axes, values, colours, max(there.max(), stops.sum(axis=1).max()))
        axes.set_title(f"{title}, cells", size=9.5, color=INK, loc="left", pad=4)
    for axes in figure.axes:
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.axis("off")
    shares = np.bincount(relation, minlength=len(RELATIONS)) / len(truth)
    figure.legend(
        [Patch(fc=shade, lw=0) for shade in shades],
        [f"{r} {share:.1%}" for r, share in zip(RELATIONS, shares, strict=True)],
        ncols=4, loc="upper left", bbox_to_anchor=(0.1 / width, 1 - 0.6 / height), frameon=False,
        fontsize=8.5, labelcolor=INK, handlelength=1.2, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip
    figure.savefig(path, metadata={"Software": None})


def branches(ontology, cells, most=None):
    """The tree that is drawn, from the top: rows, and the row int [N] of each node with cells.

    Parameters
    ----------
    ontology : Ontology
    cells : int [N]
    most : rows; the rarest leaves join the node above them. None draws all.

    Returns
    -------
    rows : list of (node, level, how many types have joined it); where : int [N], -1 without cells
    """
    above = {
        node: max(parents, key=lambda p: (ontology.depth[p], -p)) if parents else None
        for node, parents in enumerate(ontology.parents)
    }
    parent = {}
    for node in np.flatnonzero(cells).tolist():
        while node is not None and node not in parent:
            parent[node] = above[node]
            node = above[node]
    children = _children(parent)
    # Deepest first, so that a chain without cells shrinks to its end.
    for node in sorted(parent, key=lambda i: -ontology.depth[i]):
        if not cells[node] and len(children[node]) == 1:
            [child] = children[node]
            parent[child] = parent.pop(node)
            children = _children(parent)
    joined, own = {node: node for node in parent}, {node: int(cells[node]) for node in parent}
    while most is not None and len(parent) > most:
        leaves = [node for node in parent if not children[node] and parent[node] is not None]
        if not leaves:
            break
        leaf = min(leaves, key=lambda i: (own[i], -i))
        own[parent[leaf]] += own.pop(leaf)
        joined |= {node: parent[leaf] for node, to in joined.items() if to == leaf}
        del parent[leaf]
        children = _children(parent)
    rows = _from_the_top(parent, children, own)
    place = {node: i for i, (node, _) in enumerate(rows)}
    where = np.full(len(ontology), -1)
    for node, to in joined.items():
        where[node] = place[to]
    more = [sum(to == node != i and cells[i] > 0 for i, to in joined.items()) for node, _ in rows]
    return [(*row, int(k)) for row, k in zip(rows, more, strict=True)], where


def _children(parent):
    found = {node: [] for node in [*parent, None]}
    for node in sorted(parent):
        found[parent[node]].append(node)
    return found


def _from_the_top(parent, children, own):
    """Nodes with their levels, depth first; of siblings the branch with most cells first."""
    total = dict(own)
    for node in own:
        up = parent[node]
        while up is not None:
            total[up] += own[node]
            up = parent[up]
    rows, left = [], [(node, 0) for node in sorted(children[None], key=lambda i: total[i])]
    while left:
        node, level = left.pop()
        rows.append((node, level))
        left += [(child, level + 1) for child in sorted(children[node], key=lambda i: total[i])]
    return rows


def _names(axes, rows, texts):
    """Names behind lines that lead to each from the row above it."""
    last = {}
    for i, ((_, level, _), text) in enumerate(zip(rows, texts, strict=True)):
        x = 0.2 + STEP * level
        axes.text(x, i, text, size=8.5, color=INK, va="center")
        if level:
            start, up = 0.2 + STEP * (level - 1) + 0.05, last[level - 1]
            axes.plot([start, start, x - 0.03], [up + 0.45, i, i], color=LINE, lw=1, zorder=0)
        last[level] = i


def _bars(axes, values, colours, most):
    """Stacked bars [r, parts] with their sums."""
    before = np.zeros(len(values))
    y = np.arange(len(values))
    for part, colour in zip(values.T, colours, strict=True):
        axes.barh(y, part, 0.72, before, color=colour, lw=0)
        before += part
    for place, number in zip(y, before, strict=True):
        if number:
            axes.text(number, place, f" {number:,.0f}", size=8, color=FAINT, va="center")
    axes.set_xlim(0, most * (BARS + 0.5) / BARS)

"""The flow from true to predicted cell types as ribbons. Source: BMFM-RNA, Figure 3A.

n cells, k classes of a side, inches from the top of the drawing.
"""

import numpy as np

from jaxcell.data.ontology import RELATIONS
from jaxcell.drawing import short, titled, told_apart
from jaxcell.palette import BLUE, GREEN, INK, ORANGE, VERMILION

COLOURS = dict(zip(RELATIONS, (GREEN, BLUE, ORANGE, VERMILION), strict=True))
MOST = 24  # classes of a side; the rarer ones are drawn as one
ROW = 0.2  # inches between two lines of text
LETTER = 0.068  # inches of a letter of size 8.5
BETWEEN = 3.4  # inches between the two sides
LONGEST = 54  # letters of a name


def flow_figure(path, ontology, truth, predicted, name):
    """True classes on the left, predicted on the right; ribbons coloured by their relation.

    truth, predicted: int [n], nodes; name: of the decoding
    """
    from matplotlib.figure import Figure

    left, right = Side(ontology, truth), Side(ontology, predicted)
    relation = np.array([RELATIONS.index(r) for r in ontology.relation(predicted, truth)])
    codes = np.stack([left.code, right.code, relation])
    flows, cells = np.unique(codes, axis=1, return_counts=True)
    right.sort_by([np.average(flows[0], weights=cells * (flows[1] == k)) for k in right.order])
    inches = max(3.0, 1.6 * ROW * max(len(left.cells), len(right.cells)))
    scale = min(left.scale(inches), right.scale(inches))
    margins = [0.4 + LETTER * max(map(len, side.names)) for side in (left, right)]
    width, height = max(margins[0] + BETWEEN + margins[1], 6.6), inches + 1.2

    figure = Figure((width, height), dpi=140, facecolor="white")
    said = f"{short(name, 60)}; {len(truth):,} cells"
    titled(figure, "From true to predicted types", said)
    box = [margins[0] / width, 0.12 / height, BETWEEN / width, inches / height]
    axes = figure.add_axes(box, xlim=(0, 1), ylim=(inches, 0))
    axes.axis("off")
    starts = [side.starts(scale, inches) for side in (left, right)]
    _ribbons(axes, flows, cells * scale, starts, (left.order, right.order))
    for x, side, start in zip((0, 1), (left, right), starts, strict=True):
        for y, k, text in zip(start, side.cells * scale, side.names, strict=True):
            axes.fill_between([x - 0.012, x + 0.012], y, y + k, color=INK, lw=0, clip_on=False)
            axes.text(x + (0.03 if x else -0.03), y + k / 2, text, size=8.5, color=INK,
                      ha="left" if x else "right", va="center")  # fmt: skip
    _legend(figure, np.bincount(relation, minlength=len(RELATIONS)) / len(truth), width, height)
    figure.savefig(path, metadata={"Software": None})


class Side:
    """The classes of one side: names with cells [k], cells int [k], code int [n], order int [k]."""

    def __init__(self, ontology, nodes):
        found, code, cells = np.unique(nodes, return_inverse=True, return_counts=True)
        rank = np.argsort(np.argsort(-cells, kind="stable"))
        kept = len(found) if len(found) <= MOST else MOST - 1
        self.code = np.minimum(rank[code], kept)  # the most frequent is 0; the rare share the last
        self.cells = np.bincount(self.code)
        most = found[np.argsort(rank)][:kept]
        names = told_apart([ontology.names[i] for i in most], LONGEST)
        if kept < len(found):
            names.append(f"{len(found) - kept} other types")
        self.names = [f"{name}  {k}" for name, k in zip(names, self.cells, strict=True)]
        self.order = np.arange(len(names))

    def sort_by(self, values):
        """From the top to the bottom by ascending values [k]."""
        self.order = np.argsort(values, kind="stable")

    def scale(self, inches):
        """Inches per cell at which every class has the height of its bar, or of a line of text."""
        low, high = 0.0, inches / self.cells.sum()
        for _ in range(50):
            middle = (low + high) / 2
            fits = np.maximum(self.cells * middle + ROW / 3, ROW).sum() <= inches
            low, high = (middle, high) if fits else (low, middle)
        return low

    def starts(self, scale, inches):
        """The upper edge of each class's bar [k], in the middle of its room, all spread evenly."""
        room = np.maximum(self.cells * scale + ROW / 3, ROW)
        room += (inches - room.sum()) / len(room)
        found = np.empty(len(room))
        found[self.order] = np.cumsum(room[self.order]) - room[self.order]
        return found + (room - self.cells * scale) / 2


def _ribbons(axes, flows, thick, starts, orders):
    """One per column of flows int [3, f]: left class, right class, relation; thick [f], inches."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    place = [np.argsort(order) for order in orders]
    first, second = place[0][flows[0]], place[1][flows[1]]
    edges = []
    for start, side, keys in ((starts[0], 0, (second, first)), (starts[1], 1, (first, second))):
        edge, at = np.empty(len(thick)), start.copy()
        for j in np.lexsort((flows[2], *keys)):
            edge[j] = at[flows[side, j]]
            at[flows[side, j]] += thick[j]
        edges.append(edge)
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    colours = list(COLOURS.values())
    for a, b, k, kind in zip(*edges, thick, flows[2], strict=True):
        points = [(0, a), (0.5, a), (0.5, b), (1, b)]
        points += [(1, b + k), (0.5, b + k), (0.5, a + k), (0, a + k), (0, a)]
        axes.add_patch(PathPatch(Path(points, codes), fc=colours[kind], lw=0, alpha=0.62))


def _legend(figure, shares, width, height):
    from matplotlib.patches import Patch

    handles = [Patch(fc=colour, alpha=0.75, lw=0) for colour in COLOURS.values()]
    texts = [f"{name} {share:.1%}" for name, share in zip(COLOURS, shares, strict=True)]
    figure.legend(
        handles, texts, ncols=4, loc="upper left", bbox_to_anchor=(0.1 / width, 1 - 0.6 / height),
        frameon=False, fontsize=8.5, labelcolor=INK, handlelength=1.2, columnspacing=1.4,
        borderaxespad=0.2,
    )  # fmt: skip

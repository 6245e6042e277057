"""One group's probabilities, and the greedy path through them. Source: BMFM-RNA, Figure 3B and C.

N nodes, L leaves; the group's distribution is the mean of its cells' leaf probabilities [L].
"""

import numpy as np

from jaxcell.data.decoding import greedy
from jaxcell.drawing import label, short, titled, told_apart
from jaxcell.palette import FAINT, INK, LINE, OTHER

from .annotation_flow import COLOURS, LETTER, LONGEST
from .tables import number

BAR = 0.21  # inches of a row
BARS = 10  # of a panel
CHILDREN = 4  # shown of a step


def group_figure(path, ontology, mean, truth, name, cells):
    """3B: the leaves and the inner nodes of the highest mean probability, two bar charts.

    Inner nodes over the same leaves have the same probability: the deepest of them is shown.

    Parameters
    ----------
    ontology : Ontology
    mean : [L]
    truth : node of the group's true label, or None where the ontology has no such term
    name, cells : of the group
    """
    mass = ontology.node_probabilities(mean[None])[0]
    panels = {
        "leaves": _highest(mass, ontology.leaves),
        "ancestors": _highest(mass, _inner(ontology)),
    }
    texts = {title: _texts(ontology, nodes) for title, nodes in panels.items()}
    margins = [0.25 + LETTER * max(map(len, text)) for text in texts.values()]
    rows = max(map(len, panels.values()))
    chart = 1.9
    width, height = sum(margins) + 2 * (chart + 0.5), BAR * rows + 1.35

    figure, x = _figure(width, height), 0.0
    for (title, nodes), margin in zip(panels.items(), margins, strict=True):
        x += margin
        tall = BAR * len(nodes)
        box = [x / width, (height - 0.95 - tall) / height, chart / width, tall / height]
        axes = figure.add_axes(box)
        colours = [_colour(ontology, node, truth) for node in nodes]
        _bars(axes, mass[nodes], texts[title], colours)
        axes.set_title(title, size=9.5, color=INK, loc="left", pad=4)
        x += chart + 0.5
    said = f"mean probability of {cells} cells"
    if truth is not None:
        said += "; green: the true label and what is below it, blue: above it"
    titled(figure, short(name, 60), said)
    figure.savefig(path, metadata={"Software": None})


def _inner(ontology):
    """The inner nodes [.], of those over the same leaves the deepest."""
    kept = {}
    for node in np.argsort(ontology.depth, kind="stable").tolist():
        if ontology.children[node]:
            kept[ontology.under[node].tobytes()] = node
    return np.array(sorted(kept.values()), int)


def _highest(mass, nodes):
    return nodes[np.argsort(-mass[nodes], kind="stable")][:BARS]


def _colour(ontology, node, truth):
    if truth is None:
        return COLOURS["descendant"]
    if ontology.above[node, truth]:
        return COLOURS["exact"]
    return COLOURS["descendant"] if ontology.above[truth, node] else OTHER


def greedy_figure(path, ontology, mean, name, cells):
    """3C: from the root down, each step's children with their probabilities, the chosen in colour.

    mean [L]; name, cells: of the group
    """
    mass = ontology.node_probabilities(mean[None])[0]
    line = list(dict.fromkeys(greedy(ontology, mean[None])[0].tolist()))
    choices = [("start", np.flatnonzero(ontology.depth == 0))]
    choices += [
        (f"under {label(ontology.names[node], LONGEST)}", np.array(ontology.children[node]))
        for node in line[:-1]
    ]
    shown = [of[np.argsort(-mass[of], kind="stable")][:CHILDREN] for _, of in choices]
    texts = [_texts(ontology, nodes) for nodes in shown]
    margin = 0.45 + LETTER * max(len(text) for of_step in texts for text in of_step)
    chart, head = 2.3, 0.3
    height = sum(head + BAR * len(nodes) for nodes in shown) + 0.95
    width = max(margin + chart + 0.7, 6.4)

    figure, y = _figure(width, height), height - 0.72
    for (title, of), nodes, text, chosen in zip(choices, shown, texts, line, strict=True):
        more = f"   ({len(of) - len(nodes)} more)" if len(of) > len(nodes) else ""
        figure.text(0.2 / width, (y - 0.12) / height, title + more, size=8.5, color=FAINT, va="top")
        tall = BAR * len(nodes)
        y -= head + tall
        axes = figure.add_axes([margin / width, y / height, chart / width, tall / height])
        colours = [COLOURS["exact"] if node == chosen else OTHER for node in nodes]
        _bars(axes, mass[nodes], text, colours)
    titled(figure, "Greedy decoding, step by step", f"{short(name, 60)}: mean of {cells} cells")
    figure.savefig(path, metadata={"Software": None})


def _figure(width, height):
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=140, facecolor="white")


def _texts(ontology, nodes):
    return told_apart([ontology.names[i] for i in nodes], LONGEST)


def _bars(axes, values, texts, colours):
    """Horizontal bars of probabilities, the first on top, each with its number."""
    y = np.arange(len(values))[::-1]
    axes.barh(y, values, height=0.72, color=colours)
    for at, value in zip(y, values, strict=True):
        axes.text(value + 0.02, at, number(value), size=8, color=INK, va="center")
    axes.set(xlim=(0, 1), ylim=(-0.5, len(values) - 0.5), xticks=[])
    axes.set_yticks(y, texts, size=8.5, color=INK)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(LINE)

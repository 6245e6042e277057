"""The colours of every picture, told apart under the common colour blindnesses too.

Six of Okabe and Ito 2008 (their black is text here, their yellow is lost on white paper), then 34
that were chosen one after the other, each the farthest from those before it in the view (normal, or
protan, deutan, tritan by Machado and others 2009) in which it comes nearest to one of them.
tests/test_palette.py holds the distances, in Oklab: between any two of the first eight at least
.076, as between Okabe's and Ito's own eight; of the first 20 .06, of all 40 .04.
"""

import numpy as np

PALETTE = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#873C2D", "#003C87"),
    *("#5A2D4B", "#785A78", "#87E178", "#9678E1", "#A5B487", "#B44B2D", "#3C4BB4", "#780F00"),
    *("#F0C31E", "#5A4B87", "#00E1FF", "#D296C3", "#5A785A", "#8796FF", "#966987", "#E1783C"),
    *("#694B5A", "#4B2D69", "#7869D2", "#69A55A", "#87C35A", "#B478C3", "#A53C00", "#78C3FF"),
    *("#A54BA5", "#5A3C69", "#96A587", "#B469A5", "#4B5AC3", "#E1A5C3", "#782D3C", "#A587E1"),
)
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION = PALETTE[:6]
OTHER = "#C8C8C8"  # what has no colour of its own
INK, FAINT = "#222222", "#6E6E6E"  # text; 15.9 and 5.1 times brighter paper (WCAG asks for 4.5)
LINE, GRID = "#DDDDDD", "#ECECEC"  # axes, and what leads the eye
# Of values, by matplotlib's names; the last where most are 0.
SEQUENTIAL, DIVERGING, FROM_WHITE = "cividis", "RdBu_r", "Blues"
STYLES = ("-", "--", "-.", ":")  # of lines, beside their colours


def colours(values):
    """Colour per value, the most frequent first: {value: colour}; beyond them all share grey.

    values : str [n]; of equal frequency in the order of the alphabet
    """
    names, counts = np.unique(values, return_counts=True)
    names = names[np.argsort(-counts, kind="stable")].tolist()
    return {name: PALETTE[i] if i < len(PALETTE) else OTHER for i, name in enumerate(names)}

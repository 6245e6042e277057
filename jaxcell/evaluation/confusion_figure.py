"""Which classes are taken for which: the shares of each true class, with the number in each field.

n cells, k classes of a side.
"""

import numpy as np

from jaxcell.drawing import titled, told_apart
from jaxcell.palette import FAINT, FROM_WHITE, INK, LINE

ROWS, COLUMNS = 40, 50  # at most; the rarer classes are one
FIELD = 0.27  # inches
LETTER = 0.066  # inches of a letter of size 8
LONGEST = 44  # letters of a class


def confusion_figure(path, truth, predicted, caption="", order=None):
    """A row for each true class, a column for each predicted one, percent of the row's cells.

    Parameters
    ----------
    path : path
        The picture to write.
    truth, predicted : str [n]
    caption : str
    order : names of classes, in which rows and columns stand; None puts those together that are
        taken for each other. Classes that it does not have come last.
    """
    from matplotlib.figure import Figure

    rows, columns, cells = confusion(truth, predicted, order)
    share = 100 * cells / cells.sum(axis=1, keepdims=True)
    cut = told_apart([*rows, *columns], LONGEST)
    named = zip(cut[: len(rows)], cells.sum(axis=1), strict=True)
    texts, above = [f"{name}  {k:,}" for name, k in named], cut[len(rows) :]
    left, top = 0.45 + LETTER * max(map(len, texts)), 1.0 + LETTER * max(map(len, above))
    wide, tall = FIELD * len(columns), FIELD * len(rows)
    width = max(left + wide + 1.0, 0.4 + LETTER * 1.1 * len(caption), 5.0)
    height = top + max(tall, 0.6) + 0.3

    figure = Figure((width, height), dpi=140, facecolor="white")
    titled(figure, "True against predicted classes", caption)
    box = [left / width, (height - top - tall) / height, wide / width, tall / height]
    axes = figure.add_axes(box)
    image = axes.imshow(share, cmap=FROM_WHITE, vmin=0, vmax=100, aspect="auto")
    for i, j in zip(*np.nonzero(np.rint(share)), strict=True):
        axes.text(j, i, f"{share[i, j]:.0f}", size=7, ha="center", va="center",
                  color="white" if share[i, j] > 60 else INK)  # fmt: skip
    axes.set_xticks(range(len(columns)), above, size=8, color=INK, rotation=90)
    axes.set_yticks(range(len(rows)), texts, size=8, color=INK)
    axes.set_ylabel("true, and its cells", size=9, color=FAINT)
    axes.set_xlabel("predicted", size=9, color=FAINT)
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_color(LINE)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=LINE, lw=0.5)
    axes.tick_params(which="minor", length=0, top=False, bottom=False, left=False)
    where = [(left + wide + 0.15) / width, box[1] + box[3] - min(tall, 1.6) / height]
    scale = figure.add_axes([*where, 0.12 / width, min(tall, 1.6) / height])
    figure.colorbar(image, cax=scale)
    scale.set_title("%", size=8, color=FAINT)
    scale.tick_params(labelsize=7.5, labelcolor=FAINT, length=0)
    scale.spines[:].set_visible(False)
    figure.savefig(path, metadata={"Software": None})


def confusion(truth, predicted, order=None):
    """Names of the rows and of the columns, and cells int [rows, columns].

    Of more than ROWS true classes the rarest are one, and of further predicted ones beyond COLUMNS;
    they come last.

    truth, predicted, order : as in `confusion_figure`
    """
    names, code = np.unique(np.stack([truth, predicted]), return_inverse=True)
    code = code.reshape(2, -1)
    cells = np.zeros((len(names), len(names)), np.int64)
    np.add.at(cells, (code[0], code[1]), 1)
    place = _alike(cells) if order is None else _given(names, list(order))
    true, guessed = cells.sum(axis=1), cells.sum(axis=0)
    rows = _most(true, ROWS)
    # A true class has its column wherever it can be, so that what is right stands on the diagonal.
    first = np.where(np.isin(np.arange(len(names)), rows), guessed + guessed.max() + 1, guessed)
    columns = _most(np.where(guessed, first, 0), COLUMNS)
    rows, columns = (place[np.isin(place, kept)] for kept in (rows, columns))
    table, sides = cells, []
    for axis, kept, number in ((0, rows, true), (1, columns, guessed)):
        rest = np.setdiff1d(np.flatnonzero(number), kept)
        shown = names[kept].tolist()
        parts = [table.take(kept, axis)]
        if len(rest):
            shown.append(f"{len(rest)} rarer classes")
            parts.append(table.take(rest, axis).sum(axis=axis, keepdims=True))
        table = np.concatenate(parts, axis)
        sides.append(shown)
    return *sides, table


def _most(cells, most):
    """Places of the classes with most cells, one fewer where the rest has to be one."""
    there = np.argsort(-cells, kind="stable")[: np.count_nonzero(cells)]
    return there if len(there) <= most else there[: most - 1]


def _given(names, order):
    """Places of the names int [k] in a given order."""
    known = {name: i for i, name in enumerate(order)}
    return np.array(sorted(range(len(names)), key=lambda i: known.get(names[i], len(known))))


def _alike(cells):
    """An order int [k] in which classes that are taken for each other are neighbours."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(cells) < 3:
        return np.argsort(-cells.sum(axis=1), kind="stable")
    share = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    apart = 1 - (share + share.T) / 2
    np.fill_diagonal(apart, 0)
    return leaves_list(linkage(squareform(apart), "average", optimal_ordering=True))

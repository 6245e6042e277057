"""What the values of a matrix look like, in a few words."""

import numpy as np

from jaxcell.data.checks import BINARY_FROM, ESTIMATED, looks_like

COUNTS = "counts"
_SAYS = ("this looks ", "these look ")


def described(matrix):
    """Words for canonical CSR [n, n_var]: 'counts' or what they are instead."""
    values = matrix.data
    if not len(values):
        return "nothing but zeros"
    if not np.isfinite(values).all():
        return "NaN or infinite values among them"
    if values.min() < 0:
        return f"scaled or centred (least {values.min():.4g})"
    if (values == np.rint(values)).all():
        binary = len(values) >= BINARY_FROM and values.min() == values.max() == 1
        return "binarised (0 and 1)" if binary else COUNTS
    looks = looks_like(matrix)
    if looks == ESTIMATED:
        return "estimated or corrected counts"
    return looks.removeprefix(_SAYS[0]).removeprefix(_SAYS[1])


def of_places(source):
    """{place: words} for every place of a source where counts may be, from its first chunk.

    Besides, what is wrong with a place that cannot be read.
    """
    found = {}
    for place in source.places:
        try:
            there = source if place == source.counts else source.at(place)
            found[place] = described(next(there.chunks()))
        except ValueError as error:
            found[place] = f"unreadable: {error}"
    return found


def best(places, default):
    """The place of the counts: the default one if they are there, else the first that has them."""
    having = [place for place, words in places.items() if words == COUNTS]
    return default if default in having or not having else having[0]

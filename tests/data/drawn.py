"""Cells and names as hypothesis draws them."""

import numpy as np
from hypothesis import strategies as some

from jaxcell.data.records import Rows

WIDE = 50  # genes, V
COUNTS = some.one_of(
    some.integers(1, 40),
    some.integers(2**16 - 2, 2**16 + 2),
    # Float32 holds whole numbers up to here.
    some.integers(2**16, 2**24),
    some.floats(2.0**-100, 2.0**100, width=32),
)


@some.composite
def cells(draw, wide=WIDE, counts=COUNTS):
    """(ids ascending, counts above 0) of a cell."""
    ids = sorted(draw(some.sets(some.integers(0, wide - 1), max_size=8)))
    kind = draw(some.sampled_from([some.integers(1, 40), counts]))
    return ids, [draw(kind) for _ in ids]


@some.composite
def batches(draw, least=0, wide=WIDE, counts=COUNTS):
    """(`Rows` of some cells, number of label columns)."""
    each = draw(some.lists(cells(wide, counts), min_size=least, max_size=5))
    n_labels = draw(some.integers(0, 3))
    n = len(each)

    def column(of):
        return draw(some.lists(of, min_size=n, max_size=n))

    label = some.lists(some.integers(-1, 2**31 - 1), min_size=n_labels, max_size=n_labels)
    rows = Rows(
        indptr=np.cumsum([0, *(len(ids) for ids, _ in each)]),
        ids=np.array([i for ids, _ in each for i in ids], np.int32),
        counts=np.array([c for _, values in each for c in values], np.float32),
        dataset=np.array(column(some.integers(0, 2**16 - 1)), np.int32),
        total=np.array(column(some.floats(0, 2.0**60, width=32)), np.float32),
        labels=np.array(column(label), np.int32).reshape(n, n_labels),
    )
    return rows, n_labels


SYMBOLS = some.sampled_from([f"G{i}" for i in range(12)])
ENSEMBL = some.sampled_from([f"ENSG{i:011}" for i in range(12)])


@some.composite
def genes(draw, most=12):
    """[(symbol, Ensembl id)] of different genes, '' where a name is not known; not both."""
    numbers = draw(some.lists(some.integers(0, 11), unique=True, min_size=1, max_size=most))
    known = some.sampled_from(["both", "symbol", "id"])
    named = [(i, draw(known)) for i in numbers]
    return [
        (f"G{i}" if k != "id" else "", f"ENSG{i:011}" if k != "symbol" else "") for i, k in named
    ]

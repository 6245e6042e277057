"""The HTML of a report: numbers as tables show them, the best marked, figures inside."""

import base64
from html.parser import HTMLParser

import pytest

from jaxcell.evaluation.html import (
    Column,
    Figure,
    Heading,
    Table,
    Text,
    best_rows,
    markdown_table,
    page,
    plain_table,
    shown,
)

TABLE = Table(
    "Methods",
    [Column("acc", "accuracy"), Column("mse", "10³ MSE", "low", 2), Column("n", "cells", None)],
    [
        {"name": "model <1>", "acc": (0.8124, 0.01), "mse": 3.5, "n": 12000},
        {"name": "PCA", "acc": 0.8119, "mse": 3.25, "n": 5},
        {"name": "shuffled", "acc": 0.99, "mse": None, "n": None, "reference": True},
    ],
    note="**Bold** is best.",
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (0.8124, ".812"),
        (-0.5, "-.500"),
        (1.0, "1.000"),
        (None, "–"),
        (12000, "12 000"),
        ("word", "word"),
        ((0.5, 0.25), ".500 ± .250"),
        ((0.5, None), ".500"),
    ],
)
def test_cells_are_shown_as_in_the_other_tables(cell, text):
    assert shown(cell) == text


def test_the_best_are_marked_as_printed_and_references_never():
    accuracy, mse, n = TABLE.columns
    assert best_rows(TABLE, accuracy) == {0, 1}  # both are .812
    assert best_rows(TABLE, mse) == {1}
    assert best_rows(TABLE, n) == set()
    assert "| PCA | **.812** | **3.25** | 5 |" in markdown_table(TABLE)
    assert "| model <1> | **.812** ± .010 | 3.50 | 12 000 |" in markdown_table(TABLE)
    assert ".990*" not in plain_table(TABLE)
    assert ".812*" in plain_table(TABLE)


@pytest.mark.parametrize("better", ["high", "low"])
def test_of_equal_values_none_is_best(better):
    column = Column("acc", "accuracy", better)

    def best(*values):
        rows = [{"name": str(i), "acc": value} for i, value in enumerate(values)]
        return best_rows(Table("t", [column], rows), column)

    assert best(0, 0.0, (0.0, 0.1)) == set()
    assert best(0.3, 0.1 + 0.2, None) == set()
    assert best(0.5) == best(0.5, None) == {0}  # nothing to be equal to
    assert best() == best(None, "word") == set()
    assert best(0.0, 0.0, 1.0) == ({2} if better == "high" else {0, 1})


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network(tmp_path):
    def draw(path):
        path.write_bytes(b"\x89PNG picture")

    text = page(
        "A & B", [Heading("H"), Text("a `b` **c** <d>"), TABLE, Figure("f", draw, "g")], tmp_path
    )
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    inside = base64.b64encode(b"\x89PNG picture").decode()
    assert tags.links == [f"data:image/png;base64,{inside}"]
    assert "http" not in text
    assert "<title>A &amp; B</title>" in text
    assert "model &lt;1&gt;" in text
    assert "a <code>b</code> <strong>c</strong> &lt;d&gt;" in text
    assert 'data-value="0.8124"' in text
    assert (tmp_path / "figures" / "f.png").read_bytes() == b"\x89PNG picture"

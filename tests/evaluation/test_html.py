"""The HTML of a report: numbers as tables show them, the best marked, figures inside."""

import base64
import hashlib
import re
import struct
from html.parser import HTMLParser

import pytest

from jaxcell.evaluation.html import (
    Code,
    Column,
    Figure,
    Heading,
    Table,
    Text,
    best_rows,
    markdown_table,
    plain_table,
    shown,
)
from jaxcell.evaluation.html_page import page

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
        (12000, "12,000"),
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
    assert "| model <1> | **.812** ± .010 | 3.50 | 12,000 |" in markdown_table(TABLE)
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
        if tag not in ("meta", "img", "input", "link"):
            self.open.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network(tmp_path):
    picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 1400, 700) + b"picture"

    def draw(path):
        path.write_bytes(picture)

    blocks = [Heading("H"), Text("a `b` **c** <d>"), Code("a && b"), TABLE, Figure("f", draw, "g")]
    text = page("A & B $title", blocks, tmp_path)
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    inside = base64.b64encode(picture).decode()
    assert tags.links == ["data:,", f"data:image/png;base64,{inside}"]
    assert '<img width="960" height="480" alt="g"' in text  # ten inches of a screen
    assert "<pre><code>a &amp;&amp; b</code></pre>" in text
    assert "http" not in text.replace("http-equiv", "")
    assert "<title>A &amp; B $title</title>" in text
    assert "model &lt;1&gt;" in text
    assert "a <code>b</code> <strong>c</strong> &lt;d&gt;" in text
    assert 'data-value="0.8124"' in text
    assert (tmp_path / "figures" / "f.png").read_bytes() == picture


def test_the_policy_knows_the_script(tmp_path):
    text = page("A", [TABLE], tmp_path)
    own = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src " in text
    assert f"script-src 'sha256-{digest}'" in text
    assert text.count("<script") == 1


@pytest.mark.parametrize(
    ("cells", "shown_as"),
    [
        (["4e-55", ".005", "< 1e-300"], ['data-value="4e-55"', 'data-value="0.005"', "1e-300"]),
        (["0.2–0.4", "7"], ['data-value="0.3', 'data-value="7.0"']),
        ([".2 … .4", "-.4 – .2"], ['data-value="0.3', 'data-value="-0.1']),
        (["1,149–2,300", "−5"], ['data-value="1724.5"', 'data-value="-5.0"']),
        ([".3 (.1–.4)", "3–"], ['data-value="0.3"', "<td>3–</td>"]),
        (["one", None], ['<td class="words"><div style="min-width: 3ch">one</div></td>', "–"]),
    ],
)
def test_numbers_in_words_sort_as_numbers(cells, shown_as, tmp_path):
    rows = [{"name": str(i), "p": cell} for i, cell in enumerate(cells)]
    text = page("A", [Table("T", [Column("p", "p", None)], rows)], tmp_path)
    assert all(one in text for one in shown_as)


def test_tables_are_below_the_heading_before_them(tmp_path):
    text = page("A", [TABLE, Heading("H"), TABLE], tmp_path)
    assert re.findall(r"<(h\d)", text) == ["h1", "h2", "h2", "h3"]
    assert "<nav" not in text
    assert page("A", [Heading(h) for h in "abc"], tmp_path).count('<li><a href="#part-') == 3

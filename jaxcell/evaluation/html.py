"""What a report is made of, and its tables as text; `html_page.page` makes it one HTML file."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from .tables import number


@dataclass(frozen=True)
class Heading:
    """A heading, of level 2 or 3."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph; **bold** and `code` are the marks it knows."""

    text: str


@dataclass(frozen=True)
class Code:
    """Commands as they are typed, a line each."""

    text: str


@dataclass(frozen=True)
class Column:
    """A column: better 'high', 'low' or None (not rated: nothing is bold)."""

    key: str
    header: str
    better: str | None = "high"
    digits: int = 3


@dataclass(frozen=True)
class Table:
    """Rows {'name': …, column's key: number, text, None or (mean, sd)}, sorted by a click.

    A row with 'reference' true (chance, shuffled labels) is never the best of a column.
    """

    title: str
    columns: list
    rows: list
    note: str = ""
    name: str = "method"  # header of the first column


@dataclass(frozen=True)
class Figure:
    """draw(path) writes a PNG, figures/NAME.png beside the report; alt says what it shows."""

    name: str
    draw: Callable = field(repr=False)
    alt: str


def value_of(cell):
    """The number that a cell is sorted and rated by; None for text and for what is not known."""
    cell = cell[0] if isinstance(cell, tuple | list) else cell
    return cell if isinstance(cell, int | float) and not isinstance(cell, bool) else None


def shown(cell, digits=3):
    """A cell's text: .812, .812 ± .010, 12 or –."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, tuple | list):
        mean, sd = (shown(one, digits) for one in cell)
        return mean if cell[1] is None else f"{mean} ± {sd}"
    if isinstance(cell, int):
        return f"{cell:,}"
    return number(cell) if digits == 3 or cell is None else f"{cell:.{digits}f}"


def best_rows(table, column):
    """Indices of the rows that are the best of a column, as printed; references are none.

    Of two or more rows that all have one value, such as 0, none is the best.
    """
    if column.better is None:
        return set()
    rated = {
        i: value_of(row.get(column.key))
        for i, row in enumerate(table.rows)
        if not row.get("reference") and value_of(row.get(column.key)) is not None
    }
    if not rated:
        return set()
    low, high = min(rated.values()), max(rated.values())
    if len(rated) > 1 and math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-12):
        return set()
    top = high if column.better == "high" else low
    return {i for i, v in rated.items() if shown(v, column.digits) == shown(top, column.digits)}


def markdown_table(table):
    """The table as Markdown, the best of each column in bold."""
    best = [best_rows(table, column) for column in table.columns]
    lines = [f"| {table.name} | " + " | ".join(c.header for c in table.columns) + " |"]
    lines.append("|:--" + "|--:" * len(table.columns) + "|")
    for i, row in enumerate(table.rows):
        texts = []
        for column, top in zip(table.columns, best, strict=True):
            text = shown(row.get(column.key), column.digits)
            if i in top:
                head, pm, sd = text.partition(" ± ")
                text = f"**{head}**{pm}{sd}"
            texts.append(text)
        lines.append(f"| {row['name']} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def plain_table(table):
    """The table as lines of text, a star at the best of each column."""
    best = [best_rows(table, column) for column in table.columns]
    lines = [[table.title, *(c.header for c in table.columns)]]
    for i, row in enumerate(table.rows):
        cells = zip(table.columns, best, strict=True)
        texts = [shown(row.get(c.key), c.digits) + ("*" if i in top else "") for c, top in cells]
        lines.append([row["name"], *texts])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    drawn = ["  ".join(t.ljust(w) for t, w in zip(r, widths, strict=True)).rstrip() for r in lines]
    return "\n".join([drawn[0], "─" * max(map(len, drawn)), *drawn[1:]])

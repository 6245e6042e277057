"""A report as one HTML file: tables that sort and filter, figures inside, no network needed."""

import base64
import html
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .tables import number

FILTERED = 8  # rows: from so many on a table has a field to filter by


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
        return f"{cell:,}".replace(",", " ")
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


def page(title, blocks, folder):
    """The report as HTML; its figures are drawn into folder/figures too.

    title : str; blocks : of the kinds above, in order; folder : path -> str
    """
    body = "\n".join(_block(block, Path(folder)) for block in blocks)
    return _PAGE.format(title=html.escape(title), style=_STYLE, body=body, script=_SCRIPT)


def _block(block, folder):
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{_marks(block.text)}</p>"
    if isinstance(block, Figure):
        return _figure(block, folder)
    return _table(block)


def _marks(text):
    text = html.escape(text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)


def _figure(block, folder):
    file = folder / "figures" / f"{block.name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    block.draw(file)
    data = base64.b64encode(file.read_bytes()).decode()
    alt = html.escape(block.alt, quote=True)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{alt}">'
        f"<figcaption>{html.escape(block.alt)}</figcaption></figure>"
    )


def _table(table):
    best = [best_rows(table, column) for column in table.columns]
    heads = "".join(
        f'<th><button type="button">{html.escape(c.header)}</button></th>' for c in table.columns
    )
    rows = []
    for i, row in enumerate(table.rows):
        cells = "".join(
            _cell(row.get(c.key), c.digits, i in top)
            for c, top in zip(table.columns, best, strict=True)
        )
        kind = ' class="reference"' if row.get("reference") else ""
        rows.append(f'<tr{kind}><th scope="row">{html.escape(row["name"])}</th>{cells}</tr>')
    many = len(rows) >= FILTERED
    field_ = '<input type="search" placeholder="filter rows" aria-label="filter rows">'
    note = f'<p class="note">{_marks(table.note)}</p>' if table.note else ""
    return (
        f'<section class="table"><h3>{html.escape(table.title)}</h3>{field_ if many else ""}'
        f'<div class="scroll"><table><thead><tr><th><button type="button">'
        f"{html.escape(table.name)}</button></th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>{note}</section>"
    )


def _cell(cell, digits, best):
    value, text = value_of(cell), html.escape(shown(cell, digits))
    sorts = "" if value is None else f' data-value="{value!r}"'
    return f"<td{sorts}>{f'<strong>{text}</strong>' if best else text}</td>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style></head>
<body><main><h1>{title}</h1>
{body}
</main><script>{script}</script></body></html>
"""

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
h3 { margin: 1.5rem 0 .5rem; font-size: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
td, th { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th:first-child { text-align: left; position: sticky; left: 0; background: Canvas;
  white-space: normal; min-width: 6rem; max-width: 40vw; overflow-wrap: anywhere; }
thead button { all: unset; cursor: pointer; font-weight: 600; }
thead button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " ↑"; }
th[aria-sort=descending] button::after { content: " ↓"; }
tr.reference { opacity: .65; font-style: italic; }
figure { margin: 1rem 0; overflow-x: auto; } figcaption { position: sticky; left: 0; }
img { max-width: 100%; height: auto; background: white; }
@media (max-width: 45rem) { img { max-width: none; width: 50rem; } }
figcaption, .note { font-size: .85rem; opacity: .8; }
input { font: inherit; padding: .2rem .5rem; margin-bottom: .4rem; max-width: 100%; }
p { overflow-wrap: anywhere; }
"""

_SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, i) => head.firstChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[i].dataset.value;
    const order = (a, b) => {
      const x = key(a), y = key(b);
      if (x === undefined && y === undefined)
        return a.cells[i].textContent.localeCompare(b.cells[i].textContent) * (up ? 1 : -1);
      if (x === undefined) return 1;
      if (y === undefined) return -1;
      return (Number(x) - Number(y)) * (up ? 1 : -1);
    };
    body.append(...[...body.rows].sort(order));
  }));
}
for (const input of document.querySelectorAll("input[type=search]")) {
  input.addEventListener("input", () => {
    const text = input.value.toLowerCase();
    for (const row of input.parentElement.querySelectorAll("tbody tr"))
      row.hidden = !row.textContent.toLowerCase().includes(text);
  });
}
"""

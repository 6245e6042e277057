"""A report as one HTML file: tables that sort and filter, figures inside, no network needed.

The frame, its style and its script are report.html beside this file.
"""

import base64
import hashlib
import html
import re
import struct
from importlib import resources
from pathlib import Path
from string import Template

from .html import Code, Figure, Heading, Text, best_rows, shown, value_of

FILTERED = 8  # rows: from so many on a table has a field to filter by
CONTENTS = 3  # headings: from so many on the page begins with links to them
LETTERS = 16  # of a text that a column has room for at least, however many columns there are
NUMBER = r"[<+−-]? *[\d.,]*\d(?:e[+-]?\d+)?"
DOTS = 96 / 140  # a screen's pixels for one of a picture, whose text then has the size it is given


def page(title, blocks, folder):
    """The report as HTML; its figures are drawn into folder/figures too.

    Its policy forbids the browser every request, and every script but the template's own.

    title : str; blocks : of the kinds above, in order; folder : path -> str
    """
    template = resources.files("jaxcell.evaluation").joinpath("report.html").read_text("utf-8")
    script = re.search(r"<script>(.*?)</script>", template, re.DOTALL)[1]
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    own = f"style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{known}'"
    anchors, made = {}, []
    for block in blocks:
        if isinstance(block, Heading) and block.level == 2:
            anchors[f"part-{len(anchors) + 1}"] = block.text
        made.append(_block(block, Path(folder), anchors))
    return Template(template).substitute(
        title=html.escape(title),
        policy=f"default-src 'none'; {own}",
        contents=_contents(anchors),
        body="\n".join(made),
    )


def _contents(anchors):
    if len(anchors) < CONTENTS:
        return ""
    links = (f'<li><a href="#{a}">{html.escape(text)}</a></li>' for a, text in anchors.items())
    return f'<nav aria-label="On this page"><ul>{"".join(links)}</ul></nav>'


def _block(block, folder, anchors):
    if isinstance(block, Heading):
        anchor = f' id="{list(anchors)[-1]}"' if block.level == 2 else ""
        return f"<h{block.level}{anchor}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{_marks(block.text)}</p>"
    if isinstance(block, Code):
        return f"<pre><code>{html.escape(block.text)}</code></pre>"
    if isinstance(block, Figure):
        return _figure(block, folder)
    # No level is left out: a table before any heading is one itself.
    return _table(block, "h3" if anchors else "h2")


def _marks(text):
    text = html.escape(text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)


def _figure(block, folder):
    file = folder / "figures" / f"{block.name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    block.draw(file)
    data = file.read_bytes()
    width, height = (round(DOTS * size) for size in struct.unpack(">II", data[16:24]))
    alt = html.escape(block.alt, quote=True)
    # The words below are for those who see: the picture's own are read out.
    return (
        f'<figure><div class="scroll" tabindex="0" role="region" aria-label="figure">'
        f'<img width="{width}" height="{height}" alt="{alt}" '
        f'src="data:image/png;base64,{base64.b64encode(data).decode()}"></div>'
        f'<button type="button" aria-pressed="false" hidden>full size</button>'
        f'<figcaption aria-hidden="true">{html.escape(block.alt)}</figcaption></figure>'
    )


def _table(table, heading):
    best = [best_rows(table, column) for column in table.columns]
    words = [_is_words(table, column) for column in table.columns]
    heads = [_head(table.name, "ascending", ' class="words"')]
    for column, of_words in zip(table.columns, words, strict=True):
        first = "ascending" if of_words or column.better == "low" else "descending"
        heads.append(_head(column.header, first, ' class="words"' if of_words else ""))
    rows = []
    for i, row in enumerate(table.rows):
        cells = "".join(
            _cell(row.get(c.key), c.digits, i in top, of_words)
            for c, top, of_words in zip(table.columns, best, words, strict=True)
        )
        kind = ' class="reference"' if row.get("reference") else ""
        name = html.escape(row["name"])
        rows.append(f'<tr{kind}><th scope="row"><div>{name}</div></th>{cells}</tr>')
    title = html.escape(table.title, quote=True)
    search = (
        f'<div class="filter"><input type="search" placeholder="filter rows" '
        f'aria-label="filter rows of {title}"><output></output></div>'
    )
    note = f'<p class="note">{_marks(table.note)}</p>' if table.note else ""
    return (
        f'<section><{heading} class="table">{title}</{heading}>'
        f"{search if len(rows) >= FILTERED else ''}"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f'<table aria-label="{title}"><thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{note}</section>"
    )


def _is_words(table, column):
    """Whether a column holds text alone, which is read from the left."""
    cells = [row.get(column.key) for row in table.rows]
    return any(isinstance(c, str) for c in cells) and all(_sorted_by(c) is None for c in cells)


def _sorted_by(cell):
    """The number of a cell; of a text that is one, as 4e-05 or < 1e-300, or an interval's middle.

    Intervals are .2–.4, .2 … .4 and, behind what they are of, .3 (.2–.4): that is the number.
    """
    if not isinstance(cell, str):
        return value_of(cell)
    found = re.fullmatch(f"({NUMBER})(?: *[–…] *({NUMBER})| \\({NUMBER}–{NUMBER}\\))?", cell)
    ends = [_number(text) for text in found.groups() if text] if found else []
    return sum(ends) / len(ends) if ends else None


def _number(text):
    return float(text.replace(",", "").replace("−", "-").lstrip("< "))


def _head(text, first, kind):
    return (
        f'<th scope="col" data-first="{first}"{kind}>'
        f'<button type="button">{html.escape(text)}</button></th>'
    )


def _cell(cell, digits, best, words):
    value, text = _sorted_by(cell), html.escape(shown(cell, digits))
    if words:
        room = min(len(shown(cell, digits)), LETTERS)
        return f'<td class="words"><div style="min-width: {room}ch">{text}</div></td>'
    sorts = "" if value is None else f' data-value="{value!r}"'
    return f"<td{sorts}>{f'<strong>{text}</strong>' if best else text}</td>"

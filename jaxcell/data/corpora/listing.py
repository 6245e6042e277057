"""What a manifest needs, what of it is there, and where the rest is to be had: a table."""

import textwrap
from pathlib import Path

from jaxcell.data.corpora.files import shipped
from jaxcell.data.corpora.manifest import read_manifest
from jaxcell.data.corpora.places import beside, matches
from jaxcell.data.types import StrPath


def manifest(
    name: StrPath | None = None,
    data: StrPath | None = None,
) -> str:
    """The shipped manifests or, of one, the sources and where they are to be had: text.

    Parameters
    ----------
    name : path of a YAML file or name of a shipped one, optional
    data : path, optional
        Folder in which the sources are looked up; without one nothing is.
    """
    if name is None:
        rows = [[one, read_manifest(one).name] for one in shipped()]
        return _table([["manifest", "corpus"], *rows])
    found = read_manifest(name)
    rows = [["source", "path", "there", "cells", "genes", "where"]]
    for entry in found.sources:
        expect = (str(entry.expect.get(what, "")) for what in ("cells", "genes"))
        cells, genes = expect
        for path in entry.path:
            rows.append([entry.name, path, _there(path, data), cells, genes, entry.where])
    vocabulary = found.vocabulary
    if vocabulary:
        path = vocabulary["file"]
        there = "" if data is None else "yes" if Path(beside(path, found, data)).exists() else "no"
        genes, where = str(vocabulary.get("genes", "")), vocabulary.get("where", "")
        rows.append(["vocabulary", path, there, "", genes, where])
    said = [f"{found.name}: {found.paper}".removesuffix(": "), found.about.strip()]
    text = [line for one in said if one for line in textwrap.wrap(one, 100)]
    numbers = [f"{number} {what}" for what, number in found.expect.items() if what != "classes"]
    if numbers:
        text.append(f"expected in all: {', '.join(numbers)}")
    return "\n".join([*text, "", _table(rows)])


def _there(path, data):
    if data is None:
        return ""
    found = matches(path, data)
    if found == [path]:  # an address
        return ""
    return f"yes, {len(found):,}" if len(found) > 1 else "yes" if found else "no"


def _table(rows):
    rows = [[" ".join(str(cell).split()) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    rule = "  ".join("-" * min(width, 60) for width in widths)
    return "\n".join([lines[0], rule, *lines[1:]])

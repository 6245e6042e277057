"""The page of ``jaxcell inspect``: its tables, and a picture beside each."""

import os
import shlex

from jaxcell import __version__

from . import source_figures, source_gene_figures
from .html import Code, Figure, Heading, Text
from .source_page import blocks, said

CLASSES = 15  # of a label that are drawn
SHOWS = {
    "depth": "Total counts and genes per cell.",
    "sparsity": "Genes by the share of cells that have them.",
    "labels": "Cells of the most frequent classes.",
    "overlap": "Genes that two sources share.",
    "groups": "Genes by the sources that have them.",
}
COLUMNS = 6  # label columns that are drawn


def page_blocks(results, looks):
    """Blocks of the page.

    results : as `jaxcell.inspect` returns them; looks : list of Look, the same sources
    """
    tables = {table.title: table for table in blocks(results)}
    drawn = source_figures.shown(results["sources"])
    names = [results["sources"][i]["name"] for i in drawn]
    facts, own = [results["sources"][i] for i in drawn], [looks[i] for i in drawn]
    left = len(looks) - len(drawn)
    note = f" The {len(drawn)} largest sources of {len(looks)}." if left else ""
    page = [Heading("What prepare would say"), *map(Text, said(results)), Heading("Cells")]
    depth, n_genes = [one.depth for one in own], [one.n_genes for one in own]
    page.append(tables.pop("Cells"))
    page.append(_figure("depth", note, source_figures.depth_figure, names, depth, n_genes))
    curves = [one["share_of_cells_by_gene_rank"] for one in facts]
    zeros = [one["sparsity"] for one in facts]
    page.append(_figure("sparsity", note, source_figures.rank_figure, names, curves, zeros))
    if "Labels" in tables:
        page += [Heading("Labels"), tables.pop("Labels")]
        columns = _classes(facts)
        if columns:
            page.append(_figure("labels", note, source_figures.label_figure, names, columns))
    page += [Heading("Genes"), *tables.values()]
    if results["overlap"]:
        shared = [[results["overlap"]["shared"][i][j] for j in drawn] for i in drawn]
        groups = [
            {**group, "datasets": [drawn.index(i) for i in group["datasets"] if i in drawn]}
            for group in results["overlap"]["groups"]
        ]
        page.append(_figure("overlap", note, source_gene_figures.overlap_figure, names, shared))
        page.append(_figure("groups", note, source_gene_figures.groups_figure, names, groups))
    return page


def _figure(name, note, draw, *values):
    return Figure(name, lambda path: draw(path, *values), SHOWS[name] + note)


def _classes(facts):
    """{column: {class: [cells in each source]}}: the columns that most sources have come first."""
    columns = {}
    for one in facts:
        for column in one["labels"]:
            columns[column] = columns.get(column, 0) + 1
    found = {}
    for column in sorted(columns, key=columns.get, reverse=True)[:COLUMNS]:
        cells = [one["labels"].get(column, {"cells": {}})["cells"] for one in facts]
        total = {}
        for own in cells:
            for name, number in own.items():
                total[name] = total.get(name, 0) + number
        first = sorted(total, key=total.get, reverse=True)
        found[column] = {name: [own.get(name, 0) for own in cells] for name in first[:CLASSES]}
        rest = first[CLASSES:]
        if rest:
            others = [sum(own.get(name, 0) for name in rest) for own in cells]
            found[column][f"{len(rest)} others"] = others
    return {column: classes for column, classes in found.items() if classes}


def how_made(sources, asked):
    """The end of the page: the command, and the version.

    sources : list of paths or AnnData; asked : {option's name: value}, without those left out
    """
    words = [s if isinstance(s, str | os.PathLike) else "(AnnData in memory)" for s in sources]
    for name, value in asked.items():
        given = value if isinstance(value, list | tuple) else [value]
        words += [f"--{name.replace('_', '-')}", *given] if given else []
    command = shlex.join(map(str, ["jaxcell", "inspect", *words]))
    return [Heading("How it was made"), Code(command), Text(f"jaxcell {__version__}.")]

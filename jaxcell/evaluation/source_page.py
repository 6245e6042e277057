"""The tables of ``jaxcell inspect``, for the terminal and for the page."""

from jaxcell.data.inspection.identifiers import kind
from jaxcell.drawing import short

from .html import Column, Table, plain_table, shown

GENES, LABELS = "Genes", "Labels"
PANELS, OVERLAP = "Panels of the batches", "Genes in common"
TOP, CLASS = 3, 24  # classes of a label that its row names, and letters of each
NAME = 40  # letters of a source on the terminal
BATCHES = 6  # of a source on the terminal, those that lack most
ROWS = 40  # sources of a table on the terminal
MATRIX = 12  # sources of a table of pairs on the terminal


def blocks(results):
    """Tables of a results dict, in order; on the page figures stand between them."""
    looks = results["sources"]
    tables = [_cells(looks), _genes(looks)]
    if any(look["labels"] for look in looks):
        tables.append(_labels(looks, results["labels_asked"]))
    panels = [look for look in looks if look["panels"]]
    if panels:
        tables.append(_panels(panels))
    if results["overlap"]:
        tables.append(_overlap(results))
    return tables


def format_inspection(results):
    """All of it as aligned text for a terminal."""
    parts = [_on_terminal(table, results) for table in blocks(results)]
    return "\n\n".join([*parts, "\n".join(said(results))])


def _on_terminal(table, results):
    """A table with fewer rows and columns, and what is left out."""
    rows, columns, note = table.rows, table.columns, table.note.replace("`", "")
    if table.title == OVERLAP and len(rows) > MATRIX:
        return f"{OVERLAP}: {note} The table is in the report (--out DIR)."
    if table.title == PANELS:
        rows = _worst(rows)
        if not rows:
            return f"{PANELS}: each gene has a count in each batch."
    if table.title == LABELS:
        rows = [row for row in rows if row["classes"] > 1]
    if table.title == GENES:
        columns = [column for column in columns if column.key != "why"]
    cut = [row | {"name": short(row["name"], NAME)} for row in rows[:ROWS]]
    text = plain_table(Table(table.title, columns, cut, name=table.name))
    left = len(table.rows) - len(cut)
    more = f"… and {left:,} more rows in the report (--out DIR)\n" if left else ""
    return f"{text}\n{more}{note}"


def _worst(rows):
    """Of each source the batches that lack most, if any lacks a gene."""
    kept = []
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name and row["without"]]
        kept += sorted(own, key=lambda row: -row["absent"])[:BATCHES]
    return kept


def said(results):
    """What prepare would refuse or warn of, and what else is to be known; a line each."""
    lines = [f"refused: {one['error']}" for one in results["unreadable"]]
    for look in results["sources"]:
        lines += [f"refused: {text}" for text in look["refused"]]
        lines += [f"warning: {text}" for text in look["warned"]]
        if look["panels"] and look["panels"]["advised"]:
            lines.append(_advice(look))
    lines += [f"refused: {text}" for text in results["refused"]]
    lines += [f"warning: {text}" for text in results["warned"]]
    if not lines:
        lines = ["nothing that prepare would refuse or warn of"]
    lines += _same_names(results)
    counts = sorted({look["counts"] for look in results["sources"]} - {"X"})
    lines += [f"counts are in {place}: --counts {place}" for place in counts]
    read = sum(look["cells_read"] for look in results["sources"])
    cells = sum(look["cells"] for look in results["sources"])
    if read < cells:
        lines.append(
            f"{read:,} of {cells:,} cells were read, spread evenly (--cells): what is said of "
            "values, depth and genes is of these"
        )
    return lines


def _same_names(results):
    """Pairs of sources that share the names of half of the smaller one's cells."""
    names = [look["name"] for look in results["sources"]]
    shared = results["shared_cells"] or []
    return [
        f"note: {number:,} cell names of {names[i]} are in {names[j]} too: the same cells?"
        for i, row in enumerate(shared)
        for j, number in enumerate(row[:i])
        if number and number >= 0.5 * min(shared[i][i], shared[j][j])
    ]


def _advice(look):
    batches = look["panels"]["batches"]
    worst = max(batches, key=lambda value: batches[value]["absent"])
    by, absent = look["panels"]["by"], batches[worst]["absent"]
    return (
        f"advice: {look['name']}: {absent:,} genes have no count in {by}={worst}, where the other "
        f"batches let expect 10 or more each: another panel? Then: --measured-by {by}"
    )


def _cells(looks):
    columns = [
        Column("cells", "cells", None), Column("depth", "depth", None),
        Column("depth_range", "5–95 %", None), Column("genes_per_cell", "genes/cell", None),
        Column("genes_range", "5–95 %", None), Column("zeros", "zeros %", None, 1),
        Column("mito", "mito. %", None, 1), Column("values", "values", None),
        Column("twice", "same names", None),
    ]  # fmt: skip
    rows = []
    for look in looks:
        mito = look["mitochondrial"]
        rows.append(
            {
                "name": look["name"],
                "cells": look["cells"],
                "depth": round(look["depth"]["median"]),
                "depth_range": _range(look["depth"]),
                "genes_per_cell": round(look["genes_per_cell"]["median"]),
                "genes_range": _range(look["genes_per_cell"]),
                "zeros": 100 * look["sparsity"],
                "mito": mito and mito["mean"],
                "values": f"{look['counts']}: {look['values']}",
                "twice": look["duplicate_barcodes"],
            }
        )
    note = (
        "depth: total counts of a cell, and genes/cell: median; mito.: mean share of a cell's "
        "counts; same names: cells whose name another one has."
    )
    return Table("Cells", columns, rows, note, "source")


def _range(found):
    return f"{shown(round(found['5 %']))}–{shown(round(found['95 %']))}"


def _genes(looks):
    columns = [
        Column("genes", "genes", None), Column("without", "no count", None),
        Column("named", "named by", None), Column("duplicates", "twice", None),
        Column("unnamed", "unnamed", None), Column("spike_ins", "spike-ins", None),
        Column("species", "species", None), Column("why", "species told by", None),
    ]  # fmt: skip
    rows = []
    for look in looks:
        found = look["identifiers"]
        rows.append(
            {
                "name": look["name"], "genes": look["genes"],
                "without": look["genes_without_count"],
                "named": kind(found), "duplicates": found["duplicates"],
                "unnamed": found["unnamed"], "spike_ins": found["spike_ins"],
                "species": found["species"], "why": found["why"],
            }
        )  # fmt: skip
    return Table(GENES, columns, rows, "species: a guess from the names.", "source")


def _labels(looks, asked):
    columns = [
        Column("column", "obs", None), Column("classes", "classes", None),
        Column("unknown", "unknown", None), Column("largest", "largest %", None, 1),
        Column("smallest", "smallest", None), Column("evenness", "evenness", None, 2),
        Column("top", "most frequent", None),
    ]  # fmt: skip
    rows = []
    for look in looks:
        for column, found in look["labels"].items():
            top = list(found["cells"].items())[:TOP]
            rows.append(
                {
                    "name": look["name"], "column": column, "classes": found["classes"],
                    "unknown": found["unknown"], "largest": 100 * found["largest"],
                    "smallest": found["smallest"], "evenness": found["evenness"],
                    "top": ", ".join(f"{short(name, CLASS)} {shown(cells)}" for name, cells in top),
                }
            )  # fmt: skip
    note = (
        "unknown: cells without a class; largest: its share of the known ones; smallest: its "
        "cells; evenness: perplexity of the shares / classes, 1 = all alike."
    )
    note += " Columns as asked for." if asked else " Columns chosen by their number of classes."
    left = {c: why for look in looks for c, why in look["other_columns"].items()}
    if left:
        note += " Not taken for labels (`--labels` takes them): "
        note += ", ".join(f"{column} ({why})" for column, why in left.items()) + "."
    return Table(LABELS, columns, rows, note, "source")


def _panels(looks):
    columns = [
        Column("batch", "batch", None), Column("cells", "cells read", None),
        Column("without", "no count", None), Column("absent", "absent", None),
    ]  # fmt: skip
    rows = [
        {
            "name": look["name"], "batch": f"{look['panels']['by']}={value}",
            "cells": found["cells"], "without": found["without_count"], "absent": found["absent"],
        }
        for look in looks
        for value, found in look["panels"]["batches"].items()
    ]  # fmt: skip
    note = (
        "no count: genes without any in the batch; absent: those of them that should have 10 or "
        "more by their share in the other batches (not measured there, or another cell type's): "
        "see `--measured-by`."
    )
    return Table(PANELS, columns, rows, note, "source")


def _overlap(results):
    looks, found = results["sources"], results["overlap"]
    columns = [Column(str(i), f"({i + 1})", None) for i in range(len(looks))]
    rows = [
        {"name": f"({i + 1}) {look['name']}"} | {str(j): n for j, n in enumerate(shared)}
        for i, (look, shared) in enumerate(zip(looks, found["shared"], strict=True))
    ]
    return Table(OVERLAP, columns, rows, _in_common(found), "source")


def _in_common(found):
    return (
        f"{found['all']:,} genes are in all sources, {found['any']:,} in any; told apart "
        f"{found['how']}."
    )


def _overlap_in_words(results):
    return f"{OVERLAP}: {_in_common(results['overlap'])} The table is in --out DIR."

"""What a store kept and dropped of each dataset, as text."""

TABLE_ROWS = 40  # datasets that the table shows
TABLE = {  # heading of each of the facts of a dataset
    "source": "source",
    "cells": "cells",
    "below_min_genes": "few genes",
    "train": "train",
    "valid": "valid",
    "genes": "genes",
    "unmatched": "unmatched",
    "below_min_cells": "few cells",
    "undetected": "no count",
    "not_chosen": "not chosen",
    "measured": "measured",
    "kind": "counts",
}


def table(store):
    """Aligned text; of many datasets the first 40."""
    divided = any(facts.get("value") for facts in store.datasets)
    asked = {"undetected": divided, "not_chosen": bool(store._hvg.get("hvg"))}
    columns = [c for c in TABLE if asked.get(c, True)]
    rows = [[TABLE[c] for c in columns]]
    for name, facts in zip(store.names[:TABLE_ROWS], store.datasets, strict=False):
        kind = "NOT integer" if facts["non_integer"] else "integer"
        shown = {**facts, "source": name, "kind": f"{facts['counts']}, {kind}"}
        rows.append([f"{v:,}" if isinstance(v := shown[c], int) else v for c in columns])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = {0, len(widths) - 1}
    lines = [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    rest = store.datasets[TABLE_ROWS:]
    if rest:
        cells = ", ".join(f"{sum(d[c] for d in rest):,} {c}" for c in ("cells", *store.sizes))
        lines.append(f"… and {len(rest):,} more datasets: {cells}")
    lines.append(
        "left out: cells with few genes (--min-genes), columns unmatched to a gene of the "
        "vocabulary, genes in few cells (--min-cells)"
    )
    if divided:
        lines.append("no count: not measured in that dataset (--measured-by)")
    if asked["not_chosen"]:
        lines.append(_chosen(store._hvg))
    sources = {facts["source"]: facts for facts in store.datasets}
    for source, facts in sources.items():
        if divided and not facts["value"]:
            lines.append(f"{source} has no column for --measured-by: it is one dataset")
        for column in facts["without_labels"]:
            lines.append(f"{source} has no {column}: unknown for all its cells")
        for column, found in facts.get("missing_values", {}).items():
            each = ", ".join(f"{value!r} {cells:,}" for value, cells in found.items())
            cells = sum(found.values())
            lines.append(f"{source}: {column} unknown for {cells:,} cells ({each})")
    classes = ", ".join(
        f"{column} ({len(names)} classes)" for column, names in store.labels.items()
    )
    lines.append(f"labels: {classes or 'none'}")
    lines.append(
        f"store {store.path}: {sum(store.sizes.values()):,} cells × {len(store.vocabulary):,} "
        f"genes, at most {store.max_nonzero:,} genes > 0 in a cell"
    )
    return "\n".join(lines)


def _chosen(hvg):
    flavor, batch = hvg["hvg_flavor"], hvg["hvg_batch"]
    how = f"batches by {batch or 'dataset'}"
    if flavor == "bioformer":
        how = "over all cells, of genes measured in 9 of 10 datasets"
    return (
        f"not chosen: genes beyond the {hvg['hvg']:,} most variable of the training "
        f"cells (--hvg), flavour {flavor}, {how}"
    )

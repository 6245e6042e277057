"""annotation.md: the tables of predicted cell types, and how they were measured."""

from jaxcell.data.ontology import RELATIONS

from .annotation import CORRECT
from .tables import markdown, number

FIGURES = {
    "tree": "where in the tree predictions stop",
    "flow": "from true to predicted types",
    "confusion": "true against predicted types",
    "group": "probabilities of one group",
    "greedy": "the greedy path of one group",
}


def page(results):
    """annotation.md."""
    meta, decoded = results["meta"], results["decodings"]
    first = next(iter(decoded))
    left_out = "; ".join(f"{n} left out: {reason}" for reason, n in meta["left_out"].items())
    parts = [
        f"# Annotation\n\n{meta['cells']} cells by obs[{meta['truth']!r}]"
        f"{'; ' + left_out if left_out else ''}. Ontology: {meta['ontology']}. Compared in"
        f" {meta['compared_in']}.",
        markdown(*overview(results)),
        "Share of cells; correct: exact or descendant, with its 95 % interval; macro: the mean over"
        " true classes of their correct share; then correct at each level.",
        f"## By true class: {first}",
        markdown(*_classes(decoded[first])),
    ]
    parts += [f"![{FIGURES[what]}]({file})" for what, file in meta["figures"].items()]
    return "\n\n".join([*parts, "## How it was measured", _how(meta)]) + "\n"


def format_annotation(results):
    """The overview as aligned text for a terminal."""
    header, rows = overview(results)
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )


def overview(results):
    """Header and rows, one per decoding."""
    levels = list(results["meta"]["levels"])
    header = ["decoding", *RELATIONS, CORRECT, "macro", *levels]
    rows = []
    for name, row in results["decodings"].items():
        shares = [number(row[relation]["share"]) for relation in RELATIONS]
        coarse = [row["levels"][level] for level in levels]
        shares += [_interval(row[CORRECT]), number(row["macro_correct"])]
        rows.append([name, *shares, *("–" if c is None else number(c["share"]) for c in coarse)])
    return header, rows


def _interval(one):
    return f"{number(one['share'])} ({number(one['low'])}–{number(one['high'])})"


def _classes(decoded):
    header = ["true class", "cells", *RELATIONS, CORRECT, "predicted most"]
    rows = []
    for row in decoded["classes"].values():
        most = "; ".join(f"{name} {k}" for name, k in row["predicted"][:2])
        shares = [number(row[relation]["share"]) for relation in RELATIONS]
        rows.append([row["name"], str(row["cells"]), *shares, _interval(row[CORRECT]), most])
    return header, rows


def _how(meta):
    depths = {n: k for n, k in meta["levels"].items() if isinstance(k, int)}
    lists = {n: k for n, k in meta["levels"].items() if not isinstance(k, int)}
    said = [
        "Exact: the prediction is the true term; descendant: it descends from it (the truth may be"
        " coarser than the cell); ancestor: it lies above it; off-lineage: neither. Intervals:"
        " Wilson, as if cells were independent; those of one donor or batch are not.",
        "leaf argmax: the most probable leaf; greedy: from the root to the most probable child;"
        " reliable, p ≥ q: of the nodes whose probability is at least q the one over the fewest"
        " leaves.",
        "Where a leaf has several parents, siblings share it: their probabilities can sum to more"
        " than their parent's, and going down by them is a heuristic.",
    ]
    if meta["sigmoids"]:
        said.append(
            "The model was trained with a sigmoid for each leaf, whose sums over leaves mean"
            " nothing: the other decodings, and pictures of probabilities, are left out."
        )
    if depths:
        said.append(
            "Levels by depth, the longest path from the root: "
            + ", ".join(f"{name} {depth}" for name, depth in depths.items())
            + ". Right is a prediction that is, or lies below, all of the truth's lineage that is"
            " no deeper than that; at the deepest level this is the column correct."
        )
    for name, labels in lists.items():
        said.append(
            f"Level {name}: {'; '.join(labels)}. Right is a prediction that is, or lies below, all"
            " of these that the truth is or descends from; cells of none of them are not scored."
        )
    return "\n".join(f"- {text}" for text in said)

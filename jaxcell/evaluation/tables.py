"""The results as tables: Markdown for the report, plain text for the terminal."""

import textwrap

import numpy as np

from .methods import SHUFFLED
from .probes import POOLED_METRICS, PROBE_METRICS

WIDTH = 140  # columns of a terminal
NAME = 25  # of a method, there

# metric -> what a reader calls it
PROBES = {
    "linear_accuracy": "linear accuracy",
    "linear_macro_f1": "linear macro-F1",
    "knn_accuracy": "kNN accuracy",
    "knn_macro_f1": "kNN macro-F1",
}
POOLED = {
    "linear_pooled_accuracy": "linear accuracy",
    "linear_pooled_macro_f1": "linear macro-F1",
    "knn_pooled_accuracy": "kNN accuracy",
    "knn_pooled_macro_f1": "kNN macro-F1",
}
BIOLOGY = {"nmi": "NMI", "ari": "ARI", "asw_label": "ASW label", "avg_bio": "AvgBIO"}
LOUVAIN = {
    "louvain_nmi": "Louvain NMI",
    "louvain_ari": "Louvain ARI",
    "louvain_avg_bio": "Louvain AvgBIO",
}
MIXING = {
    "graph_connectivity": "graph conn.",
    "asw_batch": "ASW batch",
    "ilisi": "iLISI",
    "avg_batch": "AvgBATCH",
    "overall": "Overall",
}


def number(value):
    """Three decimals, as in .812; – where there is no value."""
    if value is None:
        return "–"
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def best(results, metric):
    """The largest value of a metric as printed, shuffled labels excluded; None if there is none."""
    values = [
        row[metric]
        for name, row in results["results"].items()
        if name != SHUFFLED and row[metric] is not None
    ]
    return number(max(values)) if values else None


def markdown(header, rows):
    """A Markdown table; header and rows are lists of strings, the first column is the name."""
    lines = ["| " + " | ".join(header) + " |", "|:--" + "|--:" * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def spread_over(results, name, metric):
    """Standard deviation of a metric, as shown: over seeds, or with one seed over folds.

    None where there is nothing to spread over, or where no seed changes the value.
    """
    seeds = [row[metric] for row in results["seeds"][name]]
    if len(seeds) > 1:
        return None if None in seeds or len(set(seeds)) == 1 else np.std(seeds, ddof=1)
    folds = [fold[metric] for fold in results["folds"][name] if metric in fold]
    return np.std(folds, ddof=1) if len(folds) > 1 else None


def metric_table(results, columns, spread=False, fitted=False):
    """One row per method; the best of each column in bold.

    columns: {metric: header}; spread: add ± the standard deviation (`spread_over`); fitted: say
    what each method was fitted on.
    """
    rows = []
    for name, row in results["results"].items():
        cells = [results["meta"]["fitted_on"][name]] if fitted else []
        for metric in columns:
            text = number(row[metric])
            sd = spread_over(results, name, metric) if spread else None
            bold = name != SHUFFLED and text != "–" and text == best(results, metric)
            cells.append((f"**{text}**" if bold else text) + ("" if sd is None else _pm(sd)))
        rows.append([name, *cells])
    return markdown(["method", *(["fitted on"] if fitted else []), *columns.values()], rows)


def _pm(sd):
    return f" ± {number(sd)}"


def fold_table(results, metric):
    """One row per method, one column per held-out fold; the best of each column in bold."""
    names = list(dict.fromkeys(fold["held_out"] for fold in next(iter(results["folds"].values()))))
    means = {
        method: [
            number(np.mean([fold[metric] for fold in folds if fold["held_out"] == name]))
            for name in names
        ]
        for method, folds in results["folds"].items()
    }
    own = [row for method, row in means.items() if method != SHUFFLED] or list(means.values())
    top = [max(column) for column in zip(*own, strict=True)]
    rows = []
    for method, row in means.items():
        bold = [method != SHUFFLED and text == most for text, most in zip(row, top, strict=True)]
        rows.append([method, *(f"**{t}**" if b else t for t, b in zip(row, bold, strict=True))])
    return markdown(["method", *names], rows)


def format_table(results):
    """The comparison as plain text, for the end of a run.

    Parameters
    ----------
    results : dict
        What evaluate returns (or results.json holds).

    Returns
    -------
    str
        One line per method; * marks the best of a column, shuffled labels excluded. The columns
        of batch mixing are there only where there are batches. With several seeds ± is the
        standard deviation over them, and the groups of columns stand below each other where they
        would be wider than 140.
    """
    groups = [("linear probe", {"linear_accuracy": "acc", "linear_macro_f1": "F1"})]
    groups += [("kNN probe", {"knn_accuracy": "acc", "knn_macro_f1": "F1"})]
    groups += [("clustering", {**BIOLOGY, "asw_label": "ASW"})]
    if any(row["avg_batch"] is not None for row in results["results"].values()):
        short = {"graph_connectivity": "conn", "asw_batch": "ASW"}
        groups += [("batch mixing", {m: short.get(m, MIXING[m]) for m in MIXING})]
    lines = _side_by_side(results, groups)
    meta = results["meta"]
    lines += [
        f"{meta['cells']} cells, {len(meta['classes'])} classes of {meta['label']!r}; probes:"
        f" {meta['protocol']}; * best of the column"
        + (f"; ± over {meta['seeds']} seeds" if meta["seeds"] > 1 else "")
    ]
    for block in results.get("protocols", {}).values():
        lines += ["", f"As {block['title']}:", ""]
        lines += _side_by_side(protocol_results(results, block), block["groups"].items())
        lines += textwrap.wrap(block["definition"], WIDTH - 20)
    return "\n".join(lines)


def protocol_results(results, block):
    """A protocol's block as results of their own, for the functions here."""
    return {**block, "meta": results["meta"], "folds": {name: [] for name in block["results"]}}


def _side_by_side(results, groups):
    """Lines of groups of columns, below each other where they would be too wide."""
    parts = [[title, *_column_texts(results, columns)] for title, columns in groups]
    names = [_cut(name) for name in results["results"]]
    left = max(len(name) for name in [*names, "method"])
    stacked, width = [[]], left
    for part in parts:
        if stacked[-1] and width + 3 + len(part[1]) > WIDTH:
            stacked, width = [*stacked, []], left
        stacked[-1].append(part)
        width += 3 + len(part[1])
    lines = []
    for block in stacked:
        rows = zip(*[[part[0].ljust(len(part[1])), *part[1:]] for part in block], strict=True)
        texts = ["   ".join(row) for row in rows]
        heads = ["", "method", *names]
        block = [f"{h.ljust(left)}   {t}".rstrip() for h, t in zip(heads, texts, strict=True)]
        lines += [*block[:2], "─" * max(map(len, block)), *block[2:], ""]
    return lines


def _cut(name):
    return name if len(name) <= NAME else name[: NAME - 1] + "…"


def _column_texts(results, columns):
    """Some columns side by side: the header and one text per method, all of one width."""
    several, drawn = results["meta"]["seeds"] > 1, []
    for metric, header in columns.items():
        texts = []
        for name, row in results["results"].items():
            text = number(row[metric])
            star = name != SHUFFLED and text != "–" and text == best(results, metric)
            sd = spread_over(results, name, metric) if several else None
            pm = "" if sd is None else "±" + number(sd)
            texts.append(text + ("*" if star else " ") + (pm.ljust(5) if several else ""))
        width = max(len(header) + 1, 6, *map(len, texts))
        head = header.rjust(5).ljust(width) if several else f"{header} ".rjust(width)
        drawn.append([head, *(text.rjust(width) for text in texts)])
    return [" ".join(row) for row in zip(*drawn, strict=True)]


assert set(PROBES) == set(PROBE_METRICS)
assert set(POOLED) == set(POOLED_METRICS)

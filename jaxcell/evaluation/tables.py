"""The results as tables: Markdown for the report, plain text for the terminal."""

import numpy as np

from .baselines import SHUFFLED
from .probes import PROBE_METRICS

# metric -> what a reader calls it
PROBES = {
    "linear_accuracy": "linear accuracy",
    "linear_macro_f1": "linear macro-F1",
    "knn_accuracy": "kNN accuracy",
    "knn_macro_f1": "kNN macro-F1",
}
BIOLOGY = {"nmi": "NMI", "ari": "ARI", "asw_label": "ASW label", "avg_bio": "AvgBIO"}
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


def metric_table(results, columns, spread=False):
    """One row per method; the best of each column in bold.

    columns: {metric: header}; spread: add ± the standard deviation over folds.
    """
    rows = []
    for name, row in results["results"].items():
        cells = []
        for metric in columns:
            text = number(row[metric])
            if spread and len(results["folds"][name]) > 1:
                sd = np.std([fold[metric] for fold in results["folds"][name]], ddof=1)
                shown = f" ± {number(sd)}"
            else:
                shown = ""
            bold = name != SHUFFLED and text != "–" and text == best(results, metric)
            cells.append((f"**{text}**" if bold else text) + shown)
        rows.append([name, *cells])
    return markdown(["method", *columns.values()], rows)


def fold_table(results, metric="linear_accuracy"):
    """One row per method, one column per held-out fold; the best of each column in bold."""
    folds = results["folds"]
    names = [fold["held_out"] for fold in next(iter(folds.values()))]
    top = [
        max(
            number(row[i][metric])
            for name, row in folds.items()
            if name != SHUFFLED or len(folds) == 1
        )
        for i in range(len(names))
    ]
    rows = []
    for name, row in folds.items():
        texts = [number(fold[metric]) for fold in row]
        bold = [name != SHUFFLED and text == most for text, most in zip(texts, top, strict=True)]
        rows.append([name, *(f"**{t}**" if b else t for t, b in zip(texts, bold, strict=True))])
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
        of batch mixing are there only where there are batches.
    """
    groups = [("linear probe", {"linear_accuracy": "acc", "linear_macro_f1": "F1"})]
    groups += [("kNN probe", {"knn_accuracy": "acc", "knn_macro_f1": "F1"})]
    groups += [("clustering", {**BIOLOGY, "asw_label": "ASW"})]
    if any(row["avg_batch"] is not None for row in results["results"].values()):
        short = {"graph_connectivity": "conn", "asw_batch": "ASW"}
        groups += [("batch mixing", {m: short.get(m, MIXING[m]) for m in MIXING})]

    names = list(results["results"])
    left = max(len(name) for name in [*names, "method"])
    width = {m: max(len(h), 5) for _, columns in groups for m, h in columns.items()}
    top = " " * left + "".join(
        "   " + title.ljust(sum(width[m] + 2 for m in columns)) for title, columns in groups
    )
    head = "method".ljust(left) + "".join(
        "   " + "".join(h.rjust(width[m]) + "  " for m, h in columns.items())
        for _, columns in groups
    )
    lines = [top.rstrip(), head.rstrip(), "─" * len(head.rstrip())]
    for name in names:
        line = name.ljust(left)
        for _, columns in groups:
            line += "   "
            for m in columns:
                text = number(results["results"][name][m])
                star = name != SHUFFLED and text != "–" and text == best(results, m)
                line += text.rjust(width[m]) + ("* " if star else "  ")
        lines.append(line.rstrip())
    meta = results["meta"]
    lines += [
        "",
        f"{meta['cells']} cells, {len(meta['classes'])} classes of {meta['label']!r}; probes:"
        f" {meta['protocol']}; * best of the column",
    ]
    return "\n".join(lines)


assert set(PROBES) == set(PROBE_METRICS)

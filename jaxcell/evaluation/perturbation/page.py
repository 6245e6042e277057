"""The text of a report on predicted perturbations: tables, verdict, how it was measured."""

import numpy as np
from scipy import stats

from jaxcell.evaluation.tables import markdown, number

from .baselines import BASELINES, REFERENCE
from .metrics import LOWER, MAIN, METRICS
from .splits import HELD_OUT
from .task import ALL

FEWEST = 6  # conditions: with fewer no paired test reaches .05
SHOWN = ("pearson_delta", "pearson_delta_de", "pearson_delta_nd", "direction_de", "mse")
SHOWN += ("discrimination", "pearson")
CELLS = {"mean": "mean", "median": "median", "sd": "sd"}

HOW = {
    "conditions": "each is the mean over its cells of log-normalised expression; Δ is the"
    " difference from the mean control; tables are means over conditions ± their sd",
    "DE": "the 20 genes of the highest |score| by scanpy.tl.rank_genes_groups (t-test) against the"
    " control, over all cells of the condition; without dropouts: among the genes that have some"
    " count under the condition, or none in the control either",
    "corr": "Pearson's correlation over genes (jaxcell); 0 where it is undefined, as in GEARS",
    "direction": "share of the DE genes whose Δ is predicted with the right sign",
    "discrimination": "1 - rank / conditions, rank: how many other conditions' true means are"
    " closer (L1, without the perturbed genes) to a prediction than its own",
}


def verdicts(methods, groups):
    """Who wins by corr(Δ), in each group.

    methods : {name: {'kind', 'conditions': {condition: scores}}}; groups {group: conditions}

    Returns
    -------
    {group: {'n', 'best', 'baseline', 'prediction' (or None), 'p' (or None), 'baseline_wins'}}
    """
    found = {}
    for group, names in groups.items():
        values = {
            method: np.array([one["conditions"][name][MAIN] for name in names])
            for method, one in methods.items()
            if one["kind"] != "reference"
        }
        best = {}
        for kind in ("baseline", "prediction"):
            own = [m for m in values if methods[m]["kind"] == kind]
            best[kind] = max(own, key=lambda m: values[m].mean(), default=None)
        p, wins = None, None
        if None not in best.values():
            a, b = values[best["prediction"]], values[best["baseline"]]
            wins = bool(b.mean() >= a.mean())
            if len(names) >= FEWEST and (a != b).any():
                p = float(stats.wilcoxon(a, b).pvalue)
        of_both = [m for m in best.values() if m is not None]
        top = max(of_both, key=lambda m: values[m].mean()) if of_both else None
        found[group] = {"n": len(names), "best": top, **best, "p": p, "baseline_wins": wins}
    return found


def sentences(results):
    """The verdicts in words, one for each group."""
    for group, one in results["verdict"].items():
        where = f"{_title(group)} ({_number(one)})"

        def of(method, group=group):
            value = results["methods"][method]["groups"][group][MAIN]["mean"]
            return f"{method}, corr(Δ) {number(value)}"

        if one["prediction"] is None or one["baseline"] is None:
            if one["best"]:
                yield f"{where}: best is {of(one['best'])}."
            continue
        p = "" if one["p"] is None else f"; Wilcoxon over conditions p = {one['p']:.2g}"
        if one["baseline_wins"]:
            yield (
                f"**{where}: a simple baseline wins**: {of(one['baseline'])}, against"
                f" {of(one['prediction'])}{p}."
            )
        else:
            yield (
                f"{where}: {of(one['prediction'])}, against the best baseline"
                f" {of(one['baseline'])}{p}."
            )


def _number(one):
    return f"{one['n']} condition{'s' if one['n'] > 1 else ''}"


def _title(group):
    return "all" if group == ALL else group.replace("_", " ")


def table(results, group, columns, spread=True, mark="**{}**"):
    """Rows of texts, one for each method: [name, a cell for each metric]; the best are marked."""
    methods = results["methods"]
    rows = [[name] for name in methods]
    for metric in columns:
        scale = 1000 if metric in LOWER else 1
        cells = [one["groups"][group][metric] for one in methods.values()]
        means = [None if cell["mean"] is None else scale * cell["mean"] for cell in cells]
        able = [one["kind"] != "reference" for one in methods.values()]
        rated = [m for m, good in zip(means, able, strict=True) if good and m is not None]
        top = number((min if metric in LOWER else max)(rated)) if rated else None
        for row, cell, mean, good in zip(rows, cells, means, able, strict=True):
            shown = number(mean)
            sd = f" ± {number(scale * cell['sd'])}" if spread and cell["sd"] is not None else ""
            row.append((mark.format(shown) if good and shown == top else shown) + sd)
    return rows


def headers(columns):
    """What the columns are called; squared errors are shown in thousandths."""
    return [("10³ " if metric in LOWER else "") + METRICS[metric] for metric in columns]


def text(results):
    """The main table and the verdict as plain text, for the end of a run."""
    columns, lines = SHOWN[:-1], []
    for group in results["verdict"]:
        first = f"{_title(group)} ({_number(results['verdict'][group])})"
        rows = [[first, *headers(columns)]]
        rows += table(results, group, columns, spread=False, mark="{}*")
        lines += [*_aligned(rows), ""]
    if results["cells"]:
        lines += [*_aligned([_CELL_HEAD, *_cell_rows(results)]), ""]
    lines += [sentence.replace("**", "") for sentence in sentences(results)]
    return "\n".join([*lines, "* best, the shuffled reference excluded"])


_CELL_HEAD = ["per cell, genes above 0", *CELLS]


def _cell_rows(results):
    return [[name, *(number(one[m]) for m in CELLS)] for name, one in results["cells"].items()]


def _aligned(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)) for row in rows]
    return [lines[0].rstrip(), "─" * len(lines[0]), *(line.rstrip() for line in lines[1:])]


def page(results):
    """report.md."""
    meta, split = results["meta"], results["meta"]["split"]
    parts = ["# Predicted perturbations", _about(meta, split), "## Verdict"]
    parts += ["\n".join(f"- {sentence}" for sentence in sentences(results))]
    for group, one in results["verdict"].items():
        parts += [f"## {_title(group).capitalize()} ({_number(one)})"]
        parts += [markdown(["method", *headers(METRICS)], table(results, group, METRICS))]
    if results["cells"]:
        parts += ["## BioFormer's measure: each cell against its prediction"]
        parts += [markdown(_CELL_HEAD, _cell_rows(results))]
        parts += [
            "Pearson's correlation over the genes that the cell expresses, of absolute values: what"
            " does not depend on the perturbation has most of it."
        ]
    parts += [f"![{what}]({file})" for what, file in meta["figures"].items()]
    parts += ["## To be kept in mind", "\n".join(f"- {note}" for note in meta["notes"])]
    parts += ["## How it was measured"]
    parts += ["\n".join(f"- **{what}**: {how}." for what, how in HOW.items())]
    own = [n for n, one in results["methods"].items() if n in BASELINES]
    parts += ["\n".join(f"- baseline **{name}**: {BASELINES[name]}." for name in own)]
    versions = ", ".join(f"{package} {v}" for package, v in meta["versions"].items())
    return "\n\n".join([*parts, f"Bold: the best ({REFERENCE} excluded). {versions}."]) + "\n"


def _about(meta, split):
    how = {
        "simulation": "GEARS' simulation split",
        "single": "genes held out alone",
        "combo": "doubles held out",
        "list": "a list of conditions held out",
        "cells": f"BioFormer's split: {HELD_OUT:.0%} of the cells of each condition held out",
    }[split["kind"]]
    return (
        f"`{meta['data']}`: {meta['cells']:,} cells, {meta['control_cells']:,} of them control;"
        f" {meta['genes']:,} genes. {how} (seed {split['seed']}): {split['train']} conditions to"
        f" train on, {split['val']} for validation, {split['test']} to test."
    )

"""Methods of several training seeds as one row each, and who wins; the blocks of their report.

A result of a run: {'case', 'method', 'kind' (prediction, baseline or reference), 'seed', 'scores'
{condition: {metric: float}}, 'cells' (`Task.cell_scores`, or None), 'deltas', 'facts'}.
"""

import functools
import re
from dataclasses import replace

import numpy as np

from jaxcell.evaluation import html
from jaxcell.evaluation.seed_tables import mean as mean_of

from . import figures, metrics, page
from .baselines import BASELINES
from .metrics import LOWER, METRICS
from .task import ALL

SHOWN = ("pearson_delta", "pearson_delta_de", "direction_de", "mse", "discrimination", "pearson",
         "pearson_de", "pearson_delta_nd", "mse_de")  # fmt: skip
PRINTED = 6  # columns of the tables of text


def methods_of(runs, groups):
    """One entry for each method, in the order of its first run.

    Parameters
    ----------
    runs : results of runs, all of one case
    groups : {group: its conditions}

    Returns
    -------
    {method: {'kind', 'seeds', 'conditions' {condition: {metric: mean over seeds}}, 'groups'
        {group: {metric: {'mean', 'sd'}}}, 'cells', 'deltas', 'facts' of
        the first seed}}; sd: of the seeds' means over conditions, None of one seed
    """
    found = {}
    for name in dict.fromkeys(run["method"] for run in runs):
        own = [run for run in runs if run["method"] == name]
        each = [metrics.summary(run["scores"], groups) for run in own]
        found[name] = {
            "kind": own[0]["kind"],
            "seeds": len(own),
            "conditions": _mean_scores([run["scores"] for run in own]),
            "groups": {
                group: {metric: _of_seeds([one[group][metric]["mean"] for one in each])
                        for metric in METRICS}
                for group in groups
            },
            "cells": _cells(own),
            "deltas": _mean_deltas([run["deltas"] for run in own]),
            "facts": own[0]["facts"],
        }  # fmt: skip
    return found


def _mean_scores(runs):
    return {
        condition: {metric: mean_of([run[condition][metric] for run in runs]) for metric in scores}
        for condition, scores in runs[0].items()
    }


def _mean_deltas(runs):
    """{condition: (true, predicted by the mean of the seeds, genes)}."""
    return {
        condition: (true, np.mean([run[condition][1] for run in runs], axis=0), genes)
        for condition, (true, _, genes) in runs[0].items()
    }


def _of_seeds(values):
    mean = mean_of(values)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 and mean is not None else None
    return {"mean": mean, "sd": sd}


def _cells(runs):
    if runs[0]["cells"] is None:
        return None
    return {key: mean_of([run["cells"][key] for run in runs]) for key in ("mean", "median", "sd")}


def case_blocks(case, runs):
    """The report's blocks of one data set.

    Parameters
    ----------
    case : {'name', 'about', 'groups' {group: conditions}, 'notes'}
    runs : results of runs of it
    """
    name, groups = case["name"], case["groups"]
    methods, verdict, said = _judged(case, runs)
    blocks = [html.Heading(name), html.Text(case["about"]), *map(html.Text, said)]
    blocks += [group_table(methods, group, names) for group, names in groups.items()]
    if any(one["cells"] for one in methods.values()):
        blocks += [_cell_table(methods)]
    blocks += _figures(name, methods, groups, verdict[ALL])
    if any(one["facts"] for one in methods.values()):
        blocks += [_fitted(methods)]
    return [*blocks, *map(html.Text, case["notes"])]


def case_text(case, runs):
    """The same as lines of text: the tables of groups, and who wins."""
    methods, _, said = _judged(case, runs)
    tables = [group_table(methods, group, names) for group, names in case["groups"].items()]
    tables = [html.plain_table(replace(one, columns=one.columns[:PRINTED])) for one in tables]
    return "\n\n".join([case["name"], *tables, "\n".join(said).replace("**", "")])


def how_blocks():
    """How it was measured."""
    own = [html.Text(f"**{what}**: {how}.") for what, how in page.HOW.items()]
    own += [html.Text(f"baseline **{n}**: {how}.") for n, how in BASELINES.items()]
    return [html.Heading("How it was measured"), *own]


def _judged(case, runs):
    """Methods, {group: verdict}, and the verdicts in words."""
    methods = methods_of(runs, case["groups"])
    verdict = page.verdicts(methods, case["groups"])
    return methods, verdict, list(page.sentences({"methods": methods, "verdict": verdict}))


def group_table(methods, group, conditions):
    """The methods' scores on one group of conditions, as `html.Table`."""
    columns = [html.Column(m, page.headers([m])[0], "low" if m in LOWER else "high") for m in SHOWN]
    rows = []
    for name, one in methods.items():
        cells = {}
        for metric in SHOWN:
            found, scale = one["groups"][group][metric], 1000 if metric in LOWER else 1
            mean, sd = (None if found[k] is None else scale * found[k] for k in ("mean", "sd"))
            cells[metric] = mean if sd is None else (mean, sd)
        rows.append({"name": name, **cells, "reference": one["kind"] == "reference"})
    title = "All" if group == ALL else group.replace("_", " ").capitalize()
    number = f"{len(conditions)} condition{'s' if len(conditions) > 1 else ''}"
    note = "± over training seeds, of what draws. Means over conditions."
    return html.Table(f"{title}: {number}", columns, rows, note)


def _cell_table(methods):
    columns = [html.Column("mean", "mean"), html.Column("median", "median")]
    columns += [html.Column("sd", "sd over cells", None)]
    rows = [
        {"name": name, **one["cells"], "reference": one["kind"] == "reference"}
        for name, one in methods.items()
    ]
    note = (
        "Pearson's correlation of each held-out cell with its prediction, over the genes that it"
        " expresses, of absolute values: what does not depend on the perturbation has most of it."
    )
    return html.Table("BioFormer's measure: cell by cell", columns, rows, note)


def _figures(name, methods, groups, verdict):
    stem = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    best = verdict["prediction"] or verdict["best"] or next(iter(methods))
    one = methods[best]
    genes = {c: names for c, (_, _, names) in one["deltas"].items()}
    table = sorted({gene for names in genes.values() for gene in names})
    deltas = {
        c: (np.array(true), np.array(predicted), np.array([table.index(g) for g in genes[c]]))
        for c, (true, predicted, _) in one["deltas"].items()
    }
    draw = functools.partial(figures.scores_figure, methods=methods, groups=groups)
    of_genes = functools.partial(
        figures.conditions_figure, method=best, scores=one["conditions"], deltas=deltas,
        genes=np.array(table),
    )  # fmt: skip
    return [
        html.Figure(f"{stem}_scores", draw, f"{name}: corr(Δ) of each method, by group"),
        html.Figure(f"{stem}_genes", of_genes, f"{name}: Δ of the top genes, by {best}"),
    ]


def _fitted(methods):
    rows = [{"name": name, **one["facts"]} for name, one in methods.items() if one["facts"]]
    columns = [html.Column("how", "how", None), html.Column("parameters", "parameters", None)]
    columns += [html.Column("steps", "steps", None), html.Column("seconds", "seconds", None, 0)]
    return html.Table("What the models are", columns, rows, "Seconds of the first seed's training.")

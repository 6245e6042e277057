"""The report of the suite txfm, from the results of its parts."""

import re

import numpy as np

from jaxcell.evaluation import html
from jaxcell.evaluation.perturbed_cells import aggregate, tasks
from jaxcell.evaluation.perturbed_cells.figures import layer_figure, task_figure
from jaxcell.evaluation.perturbed_cells.postprocessing import KINDS
from jaxcell.suites import txfm_notes
from jaxcell.suites.txfm_notes import describe, winner

HEADERS = {
    "ilisi": "iLISI",
    "lin_top1": "lin top-1",
    "lin_top5": "lin top-5",
    "knn_top1": "kNN top-1",
    "knn_top5": "kNN top-5",
    "consistency": "consistency",
    "recall": "recall",
    "spearman": "Spearman",
    "integrity": "integrity",
}
WHAT = (
    "All figures × 100. **ilisi**: batches among a cell's 90 neighbours (scib-metrics), the mean "
    "over batches. **lin**: logistic regression (scikit-learn) of perturbations on batches that "
    "were held out, **knn**: the nearest perturbation among the cells of all other batches; of "
    "both the mean of top-1 and top-5, or top-1 alone of five perturbations or fewer (top-5 "
    "would be 100). **p.cst**: share of perturbations that are consistent, p < .05. **bmdb**: "
    "recall of known relations in the top and bottom 5 % of cosines between perturbations, mean "
    "over databases; random is 10. **inv**: mean of Spearman and Structural Integrity of a "
    "ridge decoding of 1 000 genes, drawn of those in 1 % of the cells; counts hold them. "
    "**avg**: mean of the tasks that are defined. Of each method and task the post-processing with "
    "the best average is shown, chosen, as in the paper, on what it is reported on; ± is the sd "
    "over seeds, where they change a value. Drawn are the subsample of the cells (of more than "
    "`--cells`), which ilisi, lin, knn and inv see; the folds of lin (of more than five batches) "
    "and inv; the random cells of p.cst (of more than 5 000); bmdb draws nothing. Fitted anew for "
    "each seed are the baselines that draw (autoencoders, scVI); the shuffle is drawn anew."
)


def blocks(results):
    """The report: the averages, then each data set."""
    found = []
    data = _data(results)
    if len(data) > 1:
        found.append(_overall(results, data))
    found.append(html.Text(WHAT))
    for facts in data:
        rows = _rows(results, facts["name"])
        found += [html.Heading(facts["name"]), html.Text(describe(facts))]
        own = {name: one for name, one in rows.items() if one["layer"] is None}
        found += [html.Text(winner(own)), _scores(facts["name"], own), _picture(facts["name"], own)]
        found += [_chosen(own), _metrics(own), _kinds(own)]
        found += _layers(facts["name"], rows)
    return found


def text(results):
    """The tables' averages and who wins, for the terminal."""
    data, shown = _data(results), []
    for facts in data:
        own = _own(results, facts["name"])
        table = html.plain_table(_scores(facts["name"], own))
        shown.append(f"{table}\n{winner(own).replace('**', '')}")
    if len(data) > 1:
        shown.append(html.plain_table(_overall(results, data)))
    return "\n\n".join(shown)


def _data(results):
    return [one for key, one in results["parts"].items() if key.endswith(".data")]


def _rows(results, name):
    """{method: {'row': aggregate.row, 'tried': per post-processing, 'part': one result, …}}."""
    parts = {}
    for one in results["parts"].values():
        if one.get("data") == name:
            parts.setdefault(one["method"], []).append(one)
    return {
        method: {
            "row": aggregate.row([one["metrics"] for one in own]),
            "tried": {k: [one["metrics"][k] for one in own] for k in own[0]["metrics"]},
            "kind": own[0]["kind"],
            "reference": own[0]["kind"] == "reference",
            "layer": own[0]["layer"],
            "fitted": own[0]["fitted"],
            "dimensions": own[0]["dimensions"],
        }
        for method, own in parts.items()
    }


def _own(results, name):
    return {m: one for m, one in _rows(results, name).items() if one["layer"] is None}


def _cell(spread):
    """A cell in percent: {'mean', 'sd'} or None -> (mean, sd), number or None."""
    if spread is None:
        return None
    sd = spread["sd"]
    return 100 * spread["mean"] if sd is None else (100 * spread["mean"], 100 * sd)


def _scores(name, rows):
    columns = [html.Column(task, task, digits=1) for task in (*tasks.TASKS, "avg")]
    columns = [html.Column("fitted", "fitted on", better=None), *columns]
    shown = [
        {
            "name": method,
            "fitted": one["fitted"],
            "reference": one["reference"],
            **{task: _cell(one["row"][task]) for task in (*tasks.TASKS, "avg")},
        }
        for method, one in rows.items()
    ]
    return html.Table(f"{name}: tasks", columns, shown, txfm_notes.tasks(rows))


def _picture(name, rows):
    keys = (*tasks.TASKS, "avg")
    points = [
        {"name": method, "kind": one["kind"], **{key: _cell(one["row"][key]) for key in keys}}
        for method, one in rows.items()
    ]
    return html.Figure(
        _file(f"tasks-{name}"),
        lambda path: task_figure(path, f"{name}: tasks by method", points),
        f"Tasks of every method on {name}, the best average first; models in bold",
    )


def _file(name):
    return re.sub(r"[^\w\-]+", "-", name, flags=re.ASCII)


def _chosen(rows):
    columns = [html.Column(task, task, better=None) for task in tasks.TASKS]
    shown = [
        {
            "name": method,
            "reference": one["reference"],
            **{t: one["row"][t] and one["row"][t]["kind"] for t in tasks.TASKS},
        }
        for method, one in rows.items()
    ]
    return html.Table("Chosen post-processing", columns, shown)


def _metrics(rows):
    columns = [html.Column(key, header, digits=1) for key, header in HEADERS.items()]
    shown = []
    for method, one in rows.items():
        found = {"name": method, "reference": one["reference"]}
        for task, names in tasks.TASKS.items():
            for name in names:
                value = one["row"][task] and one["row"][task]["metrics"][name]
                found[name] = None if value is None else 100 * value
        shown.append(found)
    title = "Metrics, after the chosen post-processing"
    return html.Table(title, columns, shown, txfm_notes.metrics(rows))


def _kinds(rows):
    """Every task after every post-processing."""
    columns = [html.Column(task, task, digits=1) for task in tasks.TASKS]
    shown = []
    for method, one in rows.items():
        for kind, seeds in one["tried"].items():
            scores = [aggregate.task_scores(metrics) for metrics in seeds]
            row = {"name": f"{method}: {kind}", "reference": one["reference"]}
            for task in tasks.TASKS:
                values = [score[task] for score in scores]
                row[task] = None if None in values else 100 * float(np.mean(values))
            shown.append(row)
    note = (
        f"{', '.join(KINDS)}; TVN only where there are 5 controls or more for each dimension: with "
        "fewer it tells controls from all others, shuffled ones too"
    )
    return html.Table("Tasks after each post-processing", columns, shown, note)


def _layers(name, rows):
    """Figure and table of the models' blocks, where they were asked for."""
    found = []
    layers = {m: one for m, one in rows.items() if one["layer"]}
    for of in dict.fromkeys(one["layer"]["of"] for one in layers.values()):
        own = {m: one for m, one in layers.items() if one["layer"]["of"] == of}
        points = [
            {**one["layer"], **{k: _cell(one["row"][k]) for k in (*tasks.TASKS, "avg")}}
            for one in own.values()
        ]
        lines = {
            method: _cell(one["row"]["avg"])
            for method, one in rows.items()
            if not one["layer"] and not one["reference"] and method != of
        }
        found.append(
            html.Figure(
                _file(f"layers-{name}-{of}"),
                lambda path, of=of, points=points, lines=lines: layer_figure(
                    path, f"{of}: {name}", points, lines
                ),
                f"Tasks of {of} behind each block, encoder then decoder, on {name}",
            )
        )
        found.append(_scores(f"{name}, behind each block of {of}", own))
    return found


def _overall(results, data):
    """Averages over data sets of the methods; – where one cannot be measured."""
    by_data = {facts["name"]: _own(results, facts["name"]) for facts in data}
    columns = [html.Column(name, name, digits=1) for name in by_data]
    columns.append(html.Column("mean", "mean", digits=1))
    shown = []
    for method in dict.fromkeys(m for rows in by_data.values() for m in rows):
        own = [rows.get(method) for rows in by_data.values()]
        row = {"name": method, "reference": any(one and one["reference"] for one in own)}
        for name, one in zip(by_data, own, strict=True):
            row[name] = one and _cell(one["row"]["avg"])
        if None not in own:
            row["mean"] = _cell(aggregate.over_data([one["row"] for one in own]))
        shown.append(row)
    return html.Table("Average of the tasks", columns, shown)

"""The report of the suite txfm, from the results of its parts."""

import re

import numpy as np

from jaxcell.evaluation import html
from jaxcell.evaluation.perturbed_cells import aggregate, tasks
from jaxcell.evaluation.perturbed_cells.figures import layer_figure
from jaxcell.evaluation.perturbed_cells.postprocessing import FEWEST_CONTROLS, KINDS
from jaxcell.evaluation.perturbed_cells.recall import FEWEST_RELATIONS

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
    "over seeds."
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
        found += [_scores(facts["name"], own), _chosen(own), _metrics(own), _kinds(own)]
        found += _layers(facts["name"], rows)
    return found


def text(results):
    """The tables' averages, for the terminal."""
    data = _data(results)
    shown = [
        html.plain_table(_scores(facts["name"], _own(results, facts["name"]))) for facts in data
    ]
    if len(data) > 1:
        shown.append(html.plain_table(_overall(results, data)))
    return "\n\n".join(shown)


def describe(facts):
    """What was measured on, and what could not be."""
    said = (
        f"{facts['cells']} cells ({facts['left_out']} left out: perturbation or batch unknown) × "
        f"{facts['genes']} genes, {facts['perturbations']} perturbations, {facts['controls']} "
        f"controls, {facts['batches']} batches ({' × '.join(facts['batch'])}). "
    )
    if facts["by"]:
        said += f"Consistency is scored in each {' × '.join(facts['by'])}. "
    if facts["log_values"]:
        said += "Its values are log-normalised: no model of counts embeds them. "
    if facts["few_controls"]:
        said += (
            f"{len(facts['few_controls'])} batches have fewer than {FEWEST_CONTROLS} controls: "
            "all controls' mean and sd are taken there. "
        )
    if facts["pairs"]:
        pairs = ", ".join(f"{name} {n}" for name, n in facts["pairs"].items())
        said += f"Known relations between single perturbed genes: {pairs}. "
    else:
        said += "bmdb is not defined: no database has "
        said += f"{FEWEST_RELATIONS} known relations between single perturbed genes. "
    if facts["few_pairs"]:
        few = ", ".join(f"{name} {n}" for name, n in facts["few_pairs"].items())
        said += f"Too few for a recall: {few}. "
    if facts["batches"] < 2:
        said += "One batch: ilisi, lin and knn are not defined. "
    return said.strip()


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
    return html.Table(f"{name}: tasks", columns, shown)


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
    return html.Table("Metrics, after the chosen post-processing", columns, shown)


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
                re.sub(r"[^\w\-]+", "-", f"layers-{name}-{of}", flags=re.ASCII),
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

"""Tables and figures of the suite `cells`, from its results alone."""

import numpy as np

from jaxcell.evaluation import cz_protocol, scib_protocol, verdicts
from jaxcell.evaluation.html import Column, Figure, Heading, Table, Text, plain_table
from jaxcell.evaluation.tables import number
from jaxcell.evaluation.verdict_figures import pareto_figure
from jaxcell.suites.cells_found import Found

PROBES = {
    "linear_pooled_accuracy": "linear accuracy",
    "linear_pooled_macro_f1": "linear macro-F1",
    "knn_pooled_accuracy": "kNN accuracy",
    "knn_pooled_macro_f1": "kNN macro-F1",
}
# What ranks and wins are taken over: clustering, integration, classification.
RANKED = ("avg_bio", "avg_batch", "linear_pooled_accuracy", "linear_pooled_macro_f1")
MEANS = {
    "avg_bio": "AvgBIO", "avg_batch": "AvgBATCH", "overall": "Overall",
    "linear_pooled_accuracy": "linear accuracy", "linear_pooled_macro_f1": "linear macro-F1",
    "knn_pooled_macro_f1": "kNN macro-F1",
}  # fmt: skip
TESTED = {"linear_pooled_macro_f1": "linear macro-F1", "avg_bio": "AvgBIO"}
SIGNIFICANT = 0.05


def verdict_table(found):
    """One row per method: ranks, wins and means over the data sets that all methods have."""
    metrics = {metric: found.scores(metric) for metric in MEANS}
    rank = verdicts.overall_rank({m: metrics[m] for m in RANKED})
    by_metric = {m: verdicts.verdict(scores) for m, scores in metrics.items()}
    rows = []
    for method, part in found.methods.items():
        row = {"name": method, "parameters": part["parameters"]}
        row["dimensions"] = max(p["dimensions"] for p in found.rows if p["method"] == method)
        if part["kind"] == "reference":
            row |= {"reference": True} | _reference(found, method, metrics)
        else:
            row |= {m: by_metric[m][method]["mean"] for m in MEANS}
            row |= {"rank": rank.get(method)}
            row["wins"] = sum(by_metric[m][method]["wins"] for m in RANKED)
        rows.append(row)
    rows.sort(key=lambda row: (row.get("rank") is None, row.get("rank") or 0))
    count = {m: len(verdicts.complete(metrics[m])[0]) for m in RANKED}
    note = (
        "Rank: mean rank over data sets and "
        + ", ".join(f"{MEANS[m]} ({n} data sets)" for m, n in count.items())
        + f", of {sum(count.values())} columns in all; wins: how many of these a method is the"
        " best of. Means are over the same data sets. Overall = .6 AvgBIO + .4 AvgBATCH. Probes"
        " on held-out batches, pooled over cells (stratified folds where there is one batch)."
        " Dimensions: the most of any data set."
    )
    columns = [
        Column("rank", "rank", "low", 2), Column("wins", "wins"),
        *(Column(m, header) for m, header in MEANS.items()),
        Column("dimensions", "dimensions", None), Column("parameters", "parameters", None),
    ]  # fmt: skip
    return Table("Verdict", columns, rows, note)


def _reference(found, method, metrics):
    """Means of a reference over the same data sets as the others'."""
    row = {}
    for metric, scores in metrics.items():
        kept = verdicts.complete(scores)[0]
        values = [found.mean(dataset, method, metric) for dataset in kept]
        row[metric] = float(np.mean(values)) if values and None not in values else None
    return row


def pairs_tables(found):
    """Every two methods compared over the data sets, and over the cells of all."""
    said = {dataset: found.predictions(dataset) for dataset in found.facts}
    right = {d: {m: one == truth for m, one in by.items()} for d, (truth, by) in said.items()}
    tables = []
    for metric, title in TESTED.items():
        probe = metric not in scib_protocol.METRICS
        tests = verdicts.paired_tests(found.scores(metric), right if probe else None)
        rows = [_pair(test, said if probe else None) for test in tests]
        if rows:
            tables.append(Table(f"Pairs: {title}", _pair_columns(probe), rows, _pair_note(probe)))
    return tables


def _pair(test, said):
    row = {
        "name": f"{test['a']} − {test['b']}", "difference": test["difference"],
        "wins_a": test["wins_a"], "wins_b": test["wins_b"],
        "p": test["p"], "p_holm": test["p_holm"],
    }  # fmt: skip
    if said is not None:
        a, b = test["a"], test["b"]
        cells = [(truth, by[a], by[b]) for truth, by in said.values() if a in by and b in by]
        drawn = verdicts.difference(cells)
        row["interval"] = f"{number(drawn['low'])} … {number(drawn['high'])}"
        differ = [name for name, p in test["mcnemar_holm"].items() if p < SIGNIFICANT]
        signs = [np.mean(by[a] == truth) - np.mean(by[b] == truth)
                 for truth, by in (said[name] for name in differ)]  # fmt: skip
        row["cells"] = f"{sum(s > 0 for s in signs)} : {sum(s < 0 for s in signs)}"
    return row


def _pair_columns(probe):
    more = [Column("interval", "95 %", None), Column("cells", "McNemar", None)] if probe else []
    return [
        Column("difference", "difference", None), *more, Column("wins_a", "first wins", None),
        Column("wins_b", "second wins", None), Column("p", "Wilcoxon p", None),
        Column("p_holm", "p, Holm", None),
    ]  # fmt: skip


def _pair_note(probe):
    note = (
        "Wilcoxon's signed-rank test over the data sets that all methods have, Holm over the"
        " pairs. D data sets give no p below 2 / 2^D."
    )
    return note + probe * (
        " 95 %: bootstrap of the mean difference, cells drawn within each data set, first seed."
        " McNemar: on how many data sets the first and the second is right about more cells,"
        " exact test, Holm over pairs and data sets, .05; cells of a batch are not independent."
    )


def described(facts):
    """A data set in words."""
    text = (
        f"{facts['cells']} cells × {facts['genes']} genes, {facts['classes']} classes of"
        f" `{facts['label']}`, {facts['batches'] or 'no two'} batches."
    )
    if facts["alone"]:
        text += f" {facts['alone']} cells are of a class that one batch alone has: errors, always."
    for reason, n in facts["left_out"].items():
        text += f" Left out: {n} cells ({reason})."
    if facts["dropped"]:
        text += f" Not compared, for want of two batches: {', '.join(facts['dropped'])}."
    return text + (f" **Trap:** {facts['trap']}" if facts["trap"] else "")


def set_blocks(found, dataset):
    """A data set: what it is, scIB's scores, the probes."""
    scib, probes = [], []
    for method, part in found.methods.items():
        if not (own := found.own(dataset, method)):
            continue
        row = {"name": method, "fitted": part["fitted"], "reference": part["kind"] == "reference"}
        scib.append(row | {m: found.cell(dataset, method, m) for m in scib_protocol.METRICS})
        probes.append(row | {m: found.cell(dataset, method, m) for m in PROBES})
        for kind, drawn in own[0]["probes"]["intervals"].items():
            for metric, (low, high) in drawn.items():
                probes[-1][f"{kind}_{metric}"] = f"{number(low)} … {number(high)}"
        protocol = own[0]["probes"]["protocol"]
    compared = [m for m in scib_protocol.METRICS if any(row[m] is not None for row in scib)]
    unrated = ("pcr",)
    columns = [Column(m, scib_protocol.METRICS[m], None if m in unrated else "high")
               for m in compared]  # fmt: skip
    return [
        Heading(dataset, 3),
        Text(described(found.facts[dataset])),
        Table(f"{dataset}: scIB", columns, scib, _SCIB),
        Table(
            f"{dataset}: probes", _probe_columns(), probes, f"{protocol}; first seed's intervals"
        ),
    ]


_SCIB = (
    "Louvain, best NMI of ten resolutions; Leiden beside it. PCR: share of variance that the batch"
    " explains; PCR comparison: how much of the counts' is gone (in no aggregate). ± over seeds."
)


def _probe_columns():
    columns = []
    for metric, header in PROBES.items():
        columns += [Column(metric, header), Column(metric.replace("_pooled", ""), "95 %", None)]
    return columns


def cz_tables(found):
    """cz-benchmarks' scores: a table a metric, a column a tissue (or data set)."""
    first = {(p["dataset"], p["method"]): p["cz"] for p in found.rows if "cz" in p}
    places = dict.fromkeys((d, t) for (d, _), by in first.items() for t in by)
    names = {place: ", ".join(filter(None, place)) for place in places}
    tables = []
    for metric, title in cz_protocol.METRICS.items():
        rows = []
        for method, part in found.methods.items():
            values = {
                names[d, t]: first.get((d, method), {}).get(t, {}).get(metric) for d, t in places
            }
            mean = None if None in values.values() else float(np.mean(list(values.values())))
            row = {"name": method, "reference": part["kind"] == "reference", "mean": mean}
            rows.append(row | values)
        columns = [Column("mean", "mean"), *(Column(n, n) for n in names.values())]
        tables.append(Table(f"cz-benchmarks: {title}", columns, rows))
    return tables


def pareto(found):
    """The figure: size against score, and the front."""
    rows = {row["name"]: row for row in verdict_table(found).rows if not row.get("reference")}
    metrics = {m: MEANS[m] for m in ("linear_pooled_macro_f1", "avg_bio")}
    return Figure(
        "pareto",
        lambda path: pareto_figure(path, rows, metrics, _models(found)),
        "Size against score, means over the data sets that all methods have; the line joins what"
        " nothing of at most its size beats. Blue: models, grey: baselines.",
    )


def _models(found):
    return {method for method, part in found.methods.items() if part["kind"] == "model"}


def blocks(results):
    """The report."""
    found = Found(results)
    made = [Heading("Verdict"), verdict_table(found), Text(sentence(found)), pareto(found)]
    made += [Heading("Tests"), *pairs_tables(found), Heading("Data sets")]
    for dataset in found.facts:
        made += set_blocks(found, dataset)
    text = "Means over five stratified folds, not over batches; logistic regression unless kNN."
    return [*made, Heading("cz-benchmarks"), Text(text), *cz_tables(found)]


def sentence(found):
    """What the table says, baselines that win included."""
    ranked = [row for row in verdict_table(found).rows if row.get("rank") is not None]
    if not ranked:
        return "No data set has a score of every method."
    top, models = ranked[0]["name"], _models(found)
    said = f"Best mean rank: **{top}** ({ranked[0]['rank']:.2f})"
    own = next((row for row in ranked if row["name"] in models), None)
    if own and top not in models:
        said += f", a baseline; the best model is {own['name']} ({own['rank']:.2f})"
    return said + "."


def text(results):
    """The verdict for the terminal."""
    found = Found(results)
    return plain_table(verdict_table(found)) + "\n" + sentence(found).replace("**", "")

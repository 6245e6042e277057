"""The report of ``jaxcell benchmark transductive``: scores, and both validation curves in one."""

import numpy as np

from jaxcell.evaluation.html import Column, Figure, Heading, Table, Text, plain_table
from jaxcell.evaluation.winners import winner
from jaxcell.training.curves import draw
from jaxcell.training.report import Record

SCORES = {
    "accuracy": "linear acc",
    "macro_f1": "linear F1",
    "avg_bio": "AvgBIO",
    "avg_batch": "AvgBATCH",
    "overall": "Overall",
}
NOTE = (
    "Mean ± sd over seeds. Linear probe by TxFM's protocol on the held-out batches, whose counts "
    "chose the step and whose labels nothing has seen; the rest over all cells, as scFormer "
    "defines it (Louvain, scib-metrics). Probes: ours (optax)."
)


def summary(results):
    """A row for each method, over its seeds."""
    found = {}
    for part in results["parts"].values():
        found.setdefault(part["row"]["name"], []).append(part["row"])
    rows = [
        {"name": name, "kind": own[0]["kind"], "dimensions": own[0]["dimensions"]}
        | {score: _mean([row[score] for row in own]) for score in SCORES}
        for name, own in sorted(found.items(), key=lambda item: item[1][0]["kind"] != "model")
    ]
    columns = [Column(key, title) for key, title in SCORES.items()]
    columns.append(Column("dimensions", "d", better=None))
    return Table("Trained on the evaluated cells", columns, rows, NOTE)


def _mean(values):
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def verdict(table):
    """Who is ahead in each score, models or baselines."""
    return " ".join(winner(table.rows, score, title) for score, title in SCORES.items())


def curves(results):
    """{seed: [Record]} of the runs, scratch and warm beside each other."""
    found = {}
    for part in results["parts"].values():
        if "curve" in part:
            row, curve = part["row"], part["curve"]
            found.setdefault(row["seed"], []).append(
                Record(row["name"], curve["info"], curve["lines"])
            )
    return found


def blocks(results):
    """The blocks of the report."""
    table = summary(results)
    found = [Text(verdict(table)), Heading("Scores"), table, Heading("Validation")]
    for seed, records in curves(results).items():
        names = " and ".join(record.name for record in records)
        alt = f"Losses by step and by cells seen, and the rate, of {names}; seed {seed}."
        found.append(Figure(f"curves-seed{seed}", lambda path, r=records: draw(r, path), alt))
    return found


def text(results):
    """The lines printed at the end."""
    table = summary(results)
    return f"{plain_table(table)}\n\n{verdict(table)}"

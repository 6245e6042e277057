"""The report of ``jaxcell benchmark annotation``: tables, a figure, and who wins."""

from functools import partial

import numpy as np

from jaxcell.evaluation.confusion_figure import confusion_figure
from jaxcell.evaluation.html import Column, Figure, Heading, Table, Text, plain_table, shown
from jaxcell.evaluation.score_figures import score_figure

SCORES = {"accuracy": "Accuracy", "macro_f1": "Macro-F1"}
NOTE = (
    "Mean ± sd over seeds: another split, another start of the probe. 95 %: the bootstrap interval "
    "over the test cells, its ends averaged over seeds; of these batches, not of new ones. "
    "Macro-F1 over the classes of the test cells (scikit-learn's); one that no training cell has "
    "counts as 0. Probes and intervals: ours (optax, numpy)."
)
RATE = (
    "Learning rate and epoch as validation chose them; of fine-tuning, a multiple of the "
    "checkpoint's own rate."
)


def _rows(results):
    return [row for part in results["parts"].values() for row in part["rows"]]


def averaged(rows):
    """One row for each method and way to read it, over its seeds; models first, chance last."""
    order = {"model": 0, "baseline": 1, "reference": 2}
    found = {}
    for row in sorted(rows, key=lambda row: order[row["kind"]]):
        found.setdefault((row["name"], row["how"]), []).append(row)
    return [_average(own) for own in found.values()]


def _average(own):
    first = own[0]
    name = f"{first['name']}, {first['how']}" if first["how"] else first["name"]
    row = {"name": name, "kind": first["kind"], "how": first["how"], "of": first["name"]}
    row |= {"reference": first["kind"] == "reference", "dimensions": first.get("dimensions")}
    row["fitted"] = first.get("fitted", "")
    for score in SCORES:
        values = [one[score] for one in own]
        row[score] = (float(np.mean(values)), _sd(values))
        row[f"{score}_ends"] = np.mean([one[f"{score}_interval"] for one in own], axis=0).tolist()
        row[f"{score}_interval"] = _interval(row[f"{score}_ends"])
        row[f"{score}_values"] = values
    return row


def _sd(values):
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _interval(ends):
    low, high = map(shown, ends)
    return f"{low} – {high}"


def summary(results):
    """The table that says who wins."""
    columns = [
        c
        for score, title in SCORES.items()
        for c in (Column(score, title), Column(f"{score}_interval", "95 %", better=None))
    ]
    columns += [
        Column("dimensions", "d", better=None),
        Column("fitted", "vectors fitted on", better=None),
    ]
    return Table("Unseen batches", columns, averaged(_rows(results)), NOTE)


def verdict(rows):
    """Which row is ahead in each score, and what fine-tuning adds: sentences."""
    said, rated = [], [row for row in rows if not row["reference"]]
    for score, title in SCORES.items():
        best = max(rated, key=lambda row: row[score][0])
        text = f"{title}: **{best['name']}** is ahead ({shown(best[score])})"
        others = [row for row in rated if (row["kind"] == "model") != (best["kind"] == "model")]
        if others:
            next_ = max(others, key=lambda row: row[score][0])
            what = "baseline" if best["kind"] == "model" else "model"
            text += f"; the best {what} is {next_['name']} ({shown(next_[score])})"
            if next_[f"{score}_ends"][1] >= best[f"{score}_ends"][0]:
                text += ", and their intervals overlap"
        if best["kind"] != "model" and others:
            text += ". **A baseline wins**"
        said.append(text + ".")
    return said + _gains(rated)


def _gains(rated):
    """Fine-tuning beside a linear probe of the same checkpoint's frozen vectors."""
    said, by = [], {(row["of"], row["how"]): row for row in rated}
    for (name, how), row in by.items():
        frozen = by.get((name, "linear probe"))
        if how in ("fine-tuned", "LoRA") and frozen:
            gain = np.subtract(row["macro_f1_values"], frozen["macro_f1_values"])
            said.append(
                f"{name}, {how} against its linear probe: macro-F1 {gain.mean():+.3f} on average, "
                f"better on {int((gain > 0).sum())} of {len(gain)} seeds."
            )
    return said


def _splits(rows):
    """A row for each seed: what was held out, and which classes training lacked."""
    found = []
    for seed in sorted({row["seed"] for row in rows}):
        own = [row for row in rows if row["seed"] == seed]
        first = own[0]
        rated = [row for row in own if row["kind"] != "reference"]
        best = max(rated, key=lambda row: row["macro_f1"])
        train, valid, test = first["sizes"]
        absent = ", ".join(first["absent"]) or "none"
        cells = f" ({first['absent_cells']} cells)" if first["absent"] else ""
        found.append(
            {
                "name": str(seed),
                "held_out": ", ".join(first["held_out"]) or first["protocol"],
                **{"train": train, "valid": valid, "test": test},
                "absent": absent + cells,
                "best": f"{best['name']}, {best['how']}: {shown(best['macro_f1'])}",
            }
        )
    titles = {"held_out": "held out", "train": "train", "valid": "validate", "test": "test"}
    titles |= {"absent": "classes absent from training", "best": "best macro-F1"}
    columns = [Column(key, title, better=None) for key, title in titles.items()]
    return Table("Splits", columns, found, rows[0]["protocol"], name="seed")


def _each(rows):
    """Every row of every seed, with the rate and epoch that validation chose."""
    found = []
    for row in rows:
        name = f"{row['name']}, {row['how']}" if row["how"] else row["name"]
        ends = {f"{s}_interval": _interval(row[f"{s}_interval"]) for s in SCORES}
        keys = ("seed", *SCORES, "rate", "epochs")
        found.append({"name": name} | {key: row.get(key) for key in keys} | ends)
    columns = [Column("seed", "seed", better=None)]
    for score, title in SCORES.items():
        columns += [Column(score, title, better=None), Column(f"{score}_interval", "95 %", None)]
    columns += [Column("rate", "rate", None, 4), Column("epochs", "epoch", None)]
    return Table("Each seed", columns, found, RATE)


def _confusions(rows, ranked):
    """Which classes the best model and the best baseline take for which, over all seeds."""
    made = []
    for kind in ("model", "baseline"):
        own = [row for row in ranked if row["kind"] == kind]
        if not own:
            continue
        best = max(own, key=lambda row: row["macro_f1"][0])
        found = [
            row["confusion"]
            for row in rows
            if (row["name"], row["how"]) == (best["of"], best["how"])
        ]
        cells = np.concatenate([one["cells"] for one in found])
        sides = [
            np.repeat(np.concatenate([one[side] for one in found]), cells)
            for side in ("true", "predicted")
        ]
        caption = f"{best['name']}; {len(sides[0]):,} test cells; seeds: {len(found)}"
        alt = (
            f"Of the cells of each true class the percentage that the best {kind}, {best['name']}, "
            "takes for each class; classes that are taken for each other stand together."
        )
        made.append(Figure(f"confusion_{kind}", partial(confusion_figure, truth=sides[0],
                           predicted=sides[1], caption=caption), alt))  # fmt: skip
    return [Heading("Which are taken for which"), *made] if made else []


def blocks(results):
    """The blocks of the report."""
    rows, table = _rows(results), summary(results)
    alt = (
        "Accuracy and macro-F1 of each row: mean over seeds with the 95 % interval, a small dot "
        "for each seed; models in blue, baselines and chance in grey."
    )
    return [
        *map(Text, verdict(table.rows)),
        Heading("Scores"),
        table,
        Figure("scores", lambda path: score_figure(path, table.rows, SCORES), alt),
        *_confusions(rows, table.rows),
        Heading("Splits"),
        _splits(rows),
        Heading("Each seed"),
        _each(rows),
    ]


def text(results):
    """The lines printed at the end."""
    table = summary(results)
    said = [line.replace("**", "") for line in verdict(table.rows)]
    return "\n".join([plain_table(table), "", *said])

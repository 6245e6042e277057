"""Curves, a table and the differences of training runs, from what they wrote down.

Reads metrics.jsonl and run.json alone, so that a run in progress or killed can be shown too.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcell import config
from jaxcell.training.metrics import share_explained
from jaxcell.writing import whole_file

# Okabe and Ito 2008, without black and yellow.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
STYLES = ("-", "--", "-.", ":")  # the next six runs, and so on
GREY = "#777777"


@dataclass
class Record:
    """A run as its workdir tells it: its name, run.json and the lines of metrics.jsonl."""

    name: str
    info: dict
    lines: list

    def series(self, key):
        """Steps i64 [n] and values f64 [n] of a number in the journal."""
        found = [(line["step"], line[key]) for line in self.lines if key in line]
        steps, values = zip(*found, strict=True) if found else ((), ())
        return np.array(steps, np.int64), np.array(values, np.float64)

    def last(self, key):
        """The newest value, or None."""
        _, values = self.series(key)
        return float(values[-1]) if len(values) else None

    @property
    def step(self):
        """The last step that was written down."""
        return max((line["step"] for line in self.lines), default=0)

    @property
    def batch_size(self):
        """Cells of a step."""
        return self.info["config"]["train"]["batch_size"]


def report(runs, out):
    """Compare training runs: report.md and curves.png.

    Parameters
    ----------
    runs : workdirs of training runs, finished or not
    out : folder for the two files; made when it does not exist

    Returns
    -------
    Path : of report.md

    Raises
    ------
    ValueError
        A folder is no training run, or is given twice; its journal is damaged.
    ImportError
        matplotlib is not installed.
    """
    _matplotlib()
    records = read_runs(runs)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"out={str(out)!r} is a file; report writes a folder")
    out.mkdir(parents=True, exist_ok=True)
    draw(records, out / "curves.png")
    text = [
        "# Training runs\n",
        _markdown(["run", *COLUMNS], [[r.name, *_row(r)] for r in records]),
        NOTE,
        "![curves](curves.png)\n",
        "## Where their configs differ\n",
        differences(records),
    ]
    (out / "report.md").write_text("\n".join(text) + "\n")
    return out / "report.md"


def can_draw():
    """Whether matplotlib is installed."""
    try:
        _matplotlib()
    except ImportError:
        return False
    return True


def draw_run(workdir):
    """``WORKDIR/curves.png`` of one run."""
    with whole_file(Path(workdir) / "curves.png") as path:
        draw([read_run(workdir)], path)


def _matplotlib():
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "curves need matplotlib, which is not installed: pip install 'jaxcell[eval]'"
        ) from None
    return Figure


def read_runs(paths):
    """Records of several workdirs, under names that tell them apart."""
    places = [Path(path).resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"{path}: is given twice")
    records = [read_run(path) for path in paths]
    depth = 1
    while len({r.name for r in records}) < len(records):
        depth += 1
        for record, place in zip(records, places, strict=True):
            record.name = "/".join(place.parts[-depth:])
    return records


def read_run(path):
    """The `Record` of a workdir; a line that a killed run left half-written is dropped."""
    path = Path(path)
    if not (path / "run.json").is_file():
        raise ValueError(f"{path}: is no training run (it has no run.json)")
    journal, lines = path / "metrics.jsonl", []
    text = journal.read_text() if journal.exists() else ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if line.endswith("\n"):
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"{journal}: line {number} is damaged: {error}") from None
    return Record(path.resolve().name, json.loads((path / "run.json").read_text()), lines)


COLUMNS = (
    "steps",
    "cells seen",
    "best validation (step)",
    "of the way",
    "last validation",
    "last training loss",
    "median AUC per gene",
    "cells/s",
    "start",
)
NOTE = """
*Of the way*: where the best validation lies between the mean predictor (0 %) and a perfect
prediction (100 %). *cells/s*: of the last session, compile and validation included. *Median AUC per
gene*: detection of genes hidden from the model in held-out cells, at the last step.
"""


def _row(record):
    metric, mode = record.info["config"]["best"]
    steps, values = record.series(metric)
    best = share = None
    if len(values):
        i = int(np.argmin(values) if mode == "min" else np.argmax(values))
        best, share = f"{values[i]:,.3f} ({steps[i]:,})", _share(record, steps[i])
    warm = record.info.get("init_from")
    planned, step = record.info["steps"], record.step
    done = "" if step >= planned else f" of {planned:,}, unfinished"
    return (
        f"{step:,}{done}",
        f"{step * record.batch_size:,}",
        best,
        share,
        _number(record.last(metric)),
        _number(record.last("train/loss")),
        _number(record.last("genes/median_auc")),
        _number(record.last("cells_per_s"), 0),
        f"{warm['path']}, step {warm['step']}" if warm else "scratch",
    )


def _number(value, digits=3):
    return None if value is None else f"{value:,.{digits}f}"


def _share(record, step):
    """The expression loss at a validation, between its two ends; None where they are not there."""
    keys = [f"val/{k}" for k in ("expression", "mean_predictor", "perfect")]
    for line in record.lines:
        if line["step"] == step and all(k in line for k in keys):
            return f"{share_explained(*(line[k] for k in keys)):.1%}"
    return None


def differences(records):
    """The fields that training depends on and the data, where the runs differ, as a table."""
    fields = []
    for record in records:
        found = config.training_fields(config.from_json(json.dumps(record.info["config"])))
        data = record.info["data"]
        found["the data's content"] = data["content_hash"][:12]
        found["training and validation cells"] = "{train:,}, {valid:,}".format(**data["cells"])
        fields.append(found)
    names = sorted(set().union(*fields))
    rows = [[name, *(repr(f.get(name, "absent")) for f in fields)] for name in names]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    if not rows:
        return "They do not differ." if len(records) > 1 else "There is one run."
    return _markdown(["field", *(r.name for r in records)], rows)


def _markdown(header, rows):
    table = [header, ["---"] * len(header), *rows]
    cells = [["–" if x is None else str(x).replace("|", "\\|") for x in row] for row in table]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def draw(records, path):
    """Losses by step, validation by cells seen and the learning rate of some runs, as a PNG.

    The validation loss is the metric by which the first run kept its best model.
    """
    figure = _matplotlib()((15, 4.9), dpi=120, facecolor="white", layout="constrained")
    metric = records[0].info["config"]["best"][0]
    both, cells, rate = figure.subplots(1, 3)
    for i, record in enumerate(records):
        colour = COLOURS[i % len(COLOURS)]
        style = {"color": colour, "ls": STYLES[i // len(COLOURS) % len(STYLES)]}
        mark = {**style, "marker": "o", "ms": 3, "lw": 1.8, "label": record.name}
        steps, values = record.series("train/loss")
        both.plot(steps, values, lw=0.8, alpha=0.45, color=colour)
        steps, values = record.series(metric)
        both.plot(steps, values, **mark)
        cells.plot(steps * record.batch_size, values, **mark)
        rate.plot(*record.series("learning_rate"), **style, lw=1.5, label=record.name)
    _ends(both, records, ("mean_predictor", "perfect"))
    _ends(cells, records, ("mean_predictor",))
    _limits(both, records, metric)
    name = metric.removeprefix("val/")
    both.set(title=f"{name}: training (thin), validation (thick)", xlabel="step", ylabel=name)
    cells.set(title=f"validation {name} by data seen", xlabel="cells seen", ylabel=name)
    rate.set(title="learning rate", xlabel="step")
    for axes in (both, cells, rate):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_size(10)
        axes.locator_params(axis="x", nbins=5)
    handles, names = both.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(len(names), 4), frameon=False
    )
    figure.savefig(path, format="png", metadata={"Software": None})


def _ends(axes, records, names):
    """Horizontal lines at the losses of the mean predictor and of a perfect prediction.

    Runs on the same held-out cells share them; else each has its own, in its colour.
    """
    shared = len({r.info["data"]["content_hash"] for r in records}) == 1
    for name in names:
        found = [(i, r.last(f"val/{name}")) for i, r in enumerate(records)]
        found = [(i, value) for i, value in found if value is not None]
        for i, value in found[:1] if shared else found:
            colour = GREY if shared else COLOURS[i % len(COLOURS)]
            axes.axhline(value, color=colour, lw=1, ls=(0, (1, 2)))
            axes.annotate(
                name.replace("_", " "), (1, value), xycoords=("axes fraction", "data"),
                xytext=(-2, 2), textcoords="offset points", ha="right", size=8, color=colour,
            )  # fmt: skip


def _limits(axes, records, metric):
    """Keep the first steps of a run from pressing all others flat."""
    values = np.concatenate([r.series(k)[1] for r in records for k in ("train/loss", metric)])
    if len(values) < 20:
        return
    low, high = axes.get_ylim()
    ends = [r.last("val/mean_predictor") for r in records]
    top = max([np.quantile(values, 0.97), *(end for end in ends if end is not None)])
    axes.set_ylim(low, min(high, top + 0.08 * (top - low)))

"""Curves, a table and the differences of training runs, from what they wrote down.

Reads metrics.jsonl and run.json alone, so that a run in progress or killed can be shown too.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from jaxcell import config
from jaxcell.data.types import StrPath
from jaxcell.training import curves, gene_figure, run_file
from jaxcell.training.metrics import share_explained
from jaxcell.writing import check_fillable, filled_folder, whole_file

GENES = "gene_errors.tsv"


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


def report(
    runs: StrPath | Sequence[StrPath],
    out: StrPath,
) -> Path:
    """Compare training runs: report.md, curves.png and, where a run has them, gene_errors.png.

    Parameters
    ----------
    runs : workdirs of training runs, finished or not
    out : folder for these files; made when it does not exist

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
    out = Path(out)
    check_fillable(out, "report")
    runs = [runs] if isinstance(runs, (str, Path)) else list(runs)
    records = read_runs(runs)
    tables = {r.name: found for r, path in zip(records, runs, strict=True)
              if (found := _genes(path)) is not None}  # fmt: skip
    text = [
        "# Training runs\n",
        _markdown(["run", *COLUMNS], [[r.name, *_row(r)] for r in records]),
        NOTE,
        "![curves](curves.png)\n",
        *(["![errors per gene](gene_errors.png)\n"] if tables else []),
        "## Where their configs differ\n",
        differences(records),
    ]
    with filled_folder(out, last=("report.md",)) as made:
        curves.draw(records, made / "curves.png")
        if tables:
            gene_figure.draw(tables, made / "gene_errors.png")
        (made / "report.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    return out / "report.md"


def can_draw():
    """Whether matplotlib is installed."""
    try:
        _matplotlib()
    except ImportError:
        return False
    return True


def draw_run(workdir):
    """``WORKDIR/curves.png`` of one run, and gene_errors.png where it has the table."""
    record, workdir = read_run(workdir), Path(workdir)
    record.name = "/".join(workdir.resolve().parts[-2:])  # 'model' alone would say nothing
    with whole_file(workdir / "curves.png") as path:
        curves.draw([record], path)
    found = _genes(workdir)
    if found is not None:
        with whole_file(workdir / "gene_errors.png") as path:
            gene_figure.draw({record.name: found}, path)


def _genes(workdir):
    """Its errors per gene, of the genes that have entries enough; None where there are none."""
    path = Path(workdir) / GENES
    if not path.is_file():
        return None
    found = pd.read_csv(path, sep="\t")
    found = gene_figure.enough(found)
    return found if len(found) else None


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
            raise ValueError(f"{path}: is given twice; name each run once")
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
    info = run_file.read(path)
    if info is None:
        raise ValueError(
            f"{path}: is no training run (it has no run.json); name the --workdir of one"
        )
    return Record(path.resolve().name, info, [line for _, line in run_file.journal(path)])


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
prediction (100 %). *cells/s*: the median of the journal's, without compiling, validation and
saving. *Median AUC per gene*: detection of genes hidden from the model in held-out cells, at the
last step.
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
        _number(_median(record.series("cells_per_s")[1]), 0),
        f"{warm['path']}, step {warm['step']}" if warm else "scratch",
    )


def _median(values):
    return float(np.median(values)) if len(values) else None


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

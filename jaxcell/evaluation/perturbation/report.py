"""Held-out perturbations as they were predicted, beside simple baselines: tables and figures."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxcell.data.types import Cells, StrPath
from jaxcell.evaluation.inputs import read
from jaxcell.files import check_new
from jaxcell.progress import bar
from jaxcell.writing import check_fillable, filled_folder, whole_file, write_text

from . import baselines as simple
from . import figures, metrics, page, splits
from . import training_cells as training
from .conditions import perturbations
from .names import CONTROL, JOINED, listed
from .task import ALL, Task, predicted

EXTRA = ("sklearn", "scanpy", "matplotlib")
PACKAGES = ("jaxcell", "numpy", "scipy", "scikit-learn", "scanpy")


def perturbation_split(
    data: Cells,
    out: StrPath,
    *,
    kind: str = "simulation",
    seed: int | None = None,
    seen: int = 2,
    held_out: float = splits.HELD_OUT,
    test: Sequence[str] = (),
    train_cells: StrPath | None = None,
    vocabulary: StrPath | None = None,
    **layout: Any,
) -> splits.Split:
    """Split the conditions of perturbed cells, and write the split, and what may be trained on.

    Parameters
    ----------
    data : path or anndata.AnnData
    out : path
        JSON to write; must not exist.
    train_cells : path, optional
        h5ad to write, the cells that a model may see (`training_cells.training_cells`); must not
        exist.
    vocabulary : path, optional
        Text to write, a gene a line: those of the data and all perturbed ones; must not exist.
    kind, seed, seen, held_out, test
        See `splits.make`.
    **layout
        How the data names its conditions: see `conditions.perturbations`.

    Returns
    -------
    Split
    """
    _check_extra()
    files = {"out": out, "train_cells": train_cells, "vocabulary": vocabulary}
    files = {name: path for name, path in files.items() if path is not None}
    if len({Path(path) for path in files.values()}) < len(files):
        raise ValueError(f"{', '.join(files)}: one file for two; expected each its own")
    for name, path in files.items():
        check_new(path, "a file", ".h5ad" if name == "train_cells" else "")
        if Path(path).exists():
            raise ValueError(f"{name}={str(path)!r} exists; expected a file to be made")
    adata = read(data)
    found = perturbations(adata, where=data, **layout)
    split = splits.make(found, kind, seed=seed, seen=seen, held_out=held_out, test=test)
    cells: Any = training.training_cells(adata, found, split) if train_cells else None
    if vocabulary:
        text = "".join(f"{gene}\n" for gene in training.vocabulary(found))
        write_text(vocabulary, text)
    if train_cells:
        with whole_file(train_cells) as partial:
            cells.write_h5ad(partial)
    split.write(out)
    return split


def evaluate_perturbations(
    data: Cells,
    predictions: Mapping[str, Any] | None = None,
    *,
    split: StrPath | splits.Split = "simulation",
    out: StrPath,
    baselines: Sequence[str] = (),
    seed: int = 0,
    condition: str = "condition",
    control: str = CONTROL,
    separator: str = JOINED,
    treatment: bool | str = False,
    cells: str = "",
    values: str = "log",
    progress: bool = True,
) -> dict[str, Any]:
    """Measure predictions of held-out perturbations beside baselines; write a report.

    Parameters
    ----------
    data : path or anndata.AnnData
        Perturbed cells and controls, see `conditions.perturbations`.
    predictions : dict, optional
        {name: h5ad, or {condition: vector [G]}}, see `files.read_predictions`. Whoever made them
        has to have kept to the split.
    split : str, path or Split
        A kind (`splits.make`) with its default seed, or what `perturbation_split` made.
    out : path
        Folder of the report; made if absent, only files of the report's own names are replaced.
    baselines : sequence of str
        Some of `baselines.BASELINES`; by default those that have an answer of their own to any of
        the held-out conditions.
    seed : int
        Of the baselines that draw.
    condition, control, separator, treatment, cells, values
        How the data names its conditions: see `conditions.perturbations`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        As in results.json: ``meta``; ``methods`` {name: kind (prediction, baseline or reference),
        conditions {condition: {metric: value}}, groups {group: {metric: mean, sd, n}}, instead
        {condition: what a baseline did that had no answer}}; ``verdict`` {group: who wins};
        ``cells`` {method: BioFormer's correlation per cell}, of a split of cells.

    Raises
    ------
    ImportError
        If the extra ``eval`` is not installed.
    FileNotFoundError, ValueError
        About the input, before anything is written.
    """
    _check_extra()
    out = Path(out)
    check_fillable(out, "evaluate_perturbations")
    layout: dict[str, Any] = dict(condition=condition, control=control, separator=separator)
    layout |= dict(treatment=treatment, cells=cells, values=values)
    found = perturbations(data, **layout)
    split = _split(found, split)
    names = simple.chosen(baselines, split)
    task = Task(found, split)
    total = 2 * len(names) + len(predictions or {}) + 2
    with bar(total, "perturbations", shown=progress) as shown:
        said = predicted(task, predictions or {}, names, bool(baselines), seed, shown)
        shown.note("differential genes")
        task.rank()
        shown.update()
        results = _results(task, said, shown)
        results = {"meta": _meta(data, task, layout), **results}
        shown.note("figures")
        _write(out, task, said, results)
        shown.update()
    return results


def _check_extra():
    absent = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if absent:
        raise ImportError(
            f'perturb needs {", ".join(absent)}, not installed: pip install "jaxcell[eval]"'
        )


def _split(data, split):
    if isinstance(split, str) and split in splits.KINDS:
        return splits.make(data, split)
    if not isinstance(split, splits.Split):
        split = splits.Split.read(split)
    split.check(data)
    return split


def _results(task, said, shown):
    methods, cells = {}, {}
    for name, (kind, one) in said.items():
        shown.note(f"{name}: scores")
        scores = task.scores(one.means)
        methods[name] = {
            "kind": kind,
            "conditions": scores,
            "groups": metrics.summary(scores, task.groups),
            "instead": one.instead,
        }
        if task.split.kind == "cells":
            cells[name] = task.cell_scores(one)
        shown.update()
    verdict = page.verdicts(methods, task.groups)
    return {"methods": methods, "verdict": verdict, "cells": cells}


def _meta(data, task, layout):
    found, split = task.data, task.split
    notes = [f"{n} cells left out: {reason}." for reason, n in found.left_out.items()]
    if found.unknown:
        notes.append(
            f"Perturbed genes without a column in the data: {len(found.unknown)}"
            f" ({listed(found.unknown)}); nothing is left out of discrimination for them."
        )
    if task.untrained:
        notes.append(
            "Fewer of their genes are in a training condition than their group says, which counts"
            f" the genes of GEARS' draw: {listed(task.untrained)}."
        )
    if split.left_out:
        notes.append(f"Neither trained on nor tested, by the split: {listed(split.left_out)}.")
    return {
        "data": str(data) if isinstance(data, str | Path) else "AnnData",
        "layout": layout,
        "cells": len(found.code),
        "control_cells": int(found.control.sum()),
        "genes": len(found.genes),
        "split": {
            "kind": split.kind,
            "seed": split.seed,
            "train": len(split.train),
            "val": len(split.val),
            "test": len(split.test),
            "groups": {g: list(some) for g, some in task.groups.items()},
        },
        "notes": notes + task.notes or ["Nothing was left out."],
        "figures": {"methods side by side": "scores.png", "conditions": "conditions.png"},
        "versions": {package: version(package) for package in PACKAGES},
    }


def _write(out, task, said, results):
    """Draw and write everything."""
    top = results["verdict"][ALL]
    best = top["prediction"] or top["best"] or next(iter(results["methods"]))
    with filled_folder(out) as made:
        figures.scores_figure(made / "scores.png", results["methods"], task.groups)
        figures.conditions_figure(
            made / "conditions.png", best, results["methods"][best]["conditions"],
            task.deltas(said[best][1]), task.data.genes,
        )  # fmt: skip
        (made / "report.md").write_text(page.page(results), encoding="utf-8")
        text = json.dumps(results, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        (made / "results.json").write_text(text, encoding="utf-8")

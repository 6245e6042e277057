"""learnability: which genes models predict: learnability.json and .md, genes.tsv, pictures."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jaxcell.data.types import StrPath
from jaxcell.writing import check_fillable, filled_folder

from . import learnability as numbers
from .gene_partitions import REFERENCE, partition
from .inputs import check_extra
from .learnability_figures import comparison_figure, learnability_figure
from .learnability_groups import compare, group_table
from .learnability_page import page


def learnability(
    tables: StrPath | Sequence[StrPath] | Mapping[str, StrPath],
    *,
    out: StrPath,
    partitions: Mapping[str, StrPath] | None = None,
    epochs: Sequence[StrPath] | Mapping[int, StrPath] = (),
    min_detected: float = numbers.MIN_DETECTED,
    window: float = numbers.WINDOW,
    cut: float = numbers.CUT,
    margin: float = numbers.MARGIN,
) -> dict[str, Any]:
    """Which genes, families and programs a model learns to predict: ``jaxcell.learnability``.

    Parameters
    ----------
    tables : path of a gene-error table, or of two, or {model: path}; without names a model is
        called by its file, where two files have one name by its folder
    out : folder of the report; made if absent
    partitions : {kind: file}, what families and programs are made of, see
        ``gene_partitions.FILES``; what is missing is left out and named
    epochs : tables of the first model, one per epoch in order, for its training curves; a
        sequence of paths or {epoch: path}
    min_detected, window, cut, margin : see ``learnability.score``

    Returns
    -------
    dict, as in learnability.json: ``meta``; ``models`` {model: ``summary``, ``family`` and
    ``program`` (``learnability_groups.group_table``), ``winners``, ``losers`` (genes by |Z|)};
    ``curves`` or None; ``comparison`` (``learnability_groups.compare``) or None

    Raises
    ------
    ImportError, FileNotFoundError, ValueError
        About the input, before anything is written.
    """
    check_extra()
    out = Path(out)
    check_fillable(out, "learnability")
    paths = named(tables)
    if len(paths) not in (1, 2):
        raise ValueError(f"tables: found {len(paths)}, expected one or two gene-error tables")
    options = dict(min_detected=min_detected, window=window, cut=cut, margin=margin)
    scored = {
        name: numbers.score(numbers.read_errors(path), str(path), **options)
        for name, path in paths.items()
    }
    epochs = named(epochs)
    by_epoch = {name: numbers.read_errors(path) for name, path in epochs.items()}

    genes = pd.concat([t[["gene", "ensembl"]] for t in scored.values()])
    genes = genes[~genes.index.duplicated()]
    made = partition(genes["gene"], genes["ensembl"], partitions)
    labels = {axis: pd.Series(names, genes.index) for axis, names in made.labels.items()}
    models = {}
    for name, table in scored.items():
        for axis, names in labels.items():
            table[axis] = names.loc[table.index]
        models[name] = {
            "summary": numbers.summary(table),
            **{axis: group_table(table, own, REFERENCE[axis]) for axis, own in labels.items()},
            **{f"{verdict}s": _named_genes(table, verdict) for verdict in ("winner", "loser")},
        }
    first, *other = scored
    results = {
        "meta": {
            "tables": {name: str(path) for name, path in paths.items()},
            "epochs": {name: str(path) for name, path in epochs.items()},
            "partitions": {
                k: [str(p) for p in v] if isinstance(v, list | tuple) else str(v)
                for k, v in (partitions or {}).items()
            },
            "sources": made.sources,
            "absent": made.absent,
            **options,
            "sparse": numbers.SPARSE,
        },
        "models": models,
        "curves": numbers.curves(by_epoch, scored[first], labels["family"]) if epochs else None,
        "comparison": None,
    }
    if other:
        families = [models[name]["family"] for name in scored]
        results["comparison"] = compare(scored[first], scored[other[0]], families)
    with filled_folder(out, last=("learnability.json",)) as made:
        _write(made, results, scored)
    return results


def named(tables):
    """{name: Path}: by the file, or by its folder where two files have one name.

    Raises
    ------
    ValueError
        Two tables of one name.
    """
    if isinstance(tables, dict):
        return {name: Path(path) for name, path in tables.items()}
    paths = [Path(tables)] if isinstance(tables, str | Path) else [Path(p) for p in tables]
    for call in (lambda p: p.stem, lambda p: p.resolve().parent.name):
        found = {call(path): path for path in paths}
        if len(found) == len(paths):
            return found
    raise ValueError(
        f"tables: {', '.join(map(str, paths))} would have the same names; give them as NAME=FILE"
    )


def _named_genes(table, verdict):
    own = table[table["verdict"] == verdict]
    own = own.loc[own["z"].astype(float).abs().sort_values(ascending=False, kind="stable").index]
    columns = ["gene", "zero_fraction", "rescaled_mae", "trend", "z"]
    columns += [axis for axis in REFERENCE if axis in own]
    return own[columns].to_dict("records")


def _write(out, results, scored):
    figures = results["meta"]["figures"] = {}
    for i, (name, table) in enumerate(scored.items()):
        groups = {axis: results["models"][name][axis] for axis in REFERENCE if axis in table}
        figures[name] = f"learnability_{re.sub(r'[^A-Za-z0-9]+', '_', name)}.png"
        curves = results["curves"] if i == 0 else None
        learnability_figure(out / figures[name], name, table, groups, curves)
    if results["comparison"]:
        figures["comparison"] = "comparison.png"
        families = [model["family"] for model in results["models"].values()]
        comparison_figure(
            out / "comparison.png", list(scored), list(scored.values()), families,
            results["comparison"],
        )  # fmt: skip
    whole = pd.concat([t.assign(model=name) for name, t in scored.items()])
    whole = whole[["model", *(c for c in whole if c != "model")]]
    whole.to_csv(out / "genes.tsv", sep="\t", index=False, float_format="%.6g")
    text = json.dumps(known(results), indent=1, allow_nan=False) + "\n"
    (out / "learnability.json").write_text(text, encoding="utf-8")
    (out / "learnability.md").write_text(page(results), encoding="utf-8")


def known(value):
    """The same with None for NaN and infinities, as JSON has it."""
    if isinstance(value, dict):
        return {key: known(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [known(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

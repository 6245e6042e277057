"""annotation_report: predicted cell types against true ones, as a folder of tables and pictures."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from jaxcell.data.ontology import Ontology
from jaxcell.writing import check_fillable, filled_folder

from .annotation import THRESHOLDS, compare, decodings, default_levels, leaf_decoding
from .annotation_figures import greedy_figure, group_figure
from .annotation_flow import flow_figure
from .annotation_page import page
from .annotation_tree import branches, tree_figure
from .confusion_figure import confusion_figure
from .inputs import is_missing, obs_column


def annotation_report(
    obs,
    *,
    truth,
    ontology,
    out,
    predicted=None,
    leaf_probabilities=None,
    sigmoids=False,
    compare_in=None,
    leave_out=(),
    levels=None,
    thresholds=THRESHOLDS,
    group=None,
):
    """Measure predicted cell types by their places in the ontology.

    Parameters
    ----------
    obs : AnnData, its obs, or {name: array [cells]}
    truth : column of true labels: ids, names or exact synonyms of terms. Cells without a label
        ('', nan, na, none, unknown) are left out, and counted.
    ontology : Ontology, or path of its JSON in a checkpoint's model folder
    out : folder of the report; made if absent, only files of the report's own names are replaced
    predicted : column of predicted labels, optional where there are leaf probabilities
    leaf_probabilities : [cells, L], over ``ontology.leaves``; every decoding is then shown
    sigmoids : each leaf has a probability of its own, and their sums mean nothing: of the decodings
        the most probable leaf alone is shown, and no picture of probabilities
    compare_in : Ontology in which types are compared, where the truth has terms that the
        checkpoint's has not: the whole one, as ``read_ontology`` gives it
    leave_out : true labels that are not to be scored, though they are no missing values
    levels : {name: depth, or labels of terms}, what to call right at a coarser view, see
        ``annotation.required``; by default three depths
    thresholds : of the decoding that stops where it is no longer sure
    group : true label whose cells' mean probabilities are drawn; by default the most frequent one

    Returns
    -------
    dict, as in annotation.json: ``meta``, ``decodings`` {name: what ``annotation.compare`` returns}

    Raises
    ------
    ImportError, ValueError
        About the input, before anything is written: among them labels that are no terms, by name.
    """
    _check_extra()
    out = Path(out)
    check_fillable(out, "annotation_report")
    own = _read(ontology)
    whole = own if compare_in is None else compare_in
    data = obs if hasattr(obs, "obs") else SimpleNamespace(obs=_frame(obs))
    labels = obs_column(data, truth, "truth")
    lost = _unpredicted(data, predicted, leaf_probabilities, len(labels))
    keep, left_out = _kept(labels, truth, leave_out, lost)
    true = _nodes(
        whole, labels[keep], f"obs[{truth!r}]",
        "compare in an ontology that has them (--ontology, compare_in=), or leave them out "
        "(--leave-out, leave_out=)",
    )  # fmt: skip
    found = {}
    if predicted is not None:
        where = f"obs[{predicted!r}]"
        given = obs_column(data, predicted, "predicted")[keep]
        found[where] = _nodes(whole, given, where, "predictions are terms of the ontology")
    if leaf_probabilities is not None:
        p = own.checked(np.asarray(leaf_probabilities)[keep])
        place = _nodes(whole, np.array(own.ids), "ontology", "compare_in= has to have all of them")
        decoded = leaf_decoding(own, p) if sigmoids else decodings(own, p, thresholds)
        found |= {name: place[nodes] for name, nodes in decoded.items()}
    if not found:
        raise ValueError("give predicted=, a column of obs, or leaf_probabilities=, or both")
    levels = default_levels(whole, true) if levels is None else levels
    places = {name: _level(whole, name, level) for name, level in levels.items()}
    group = _group(whole, true, group)

    results = {
        "meta": {
            "truth": truth,
            "predicted": predicted,
            "ontology": f"{own.source}: {len(own)} terms, {len(own.leaves)} leaves",
            "compared_in": f"{whole.source}: {len(whole)} terms",
            "cells": int(keep.sum()),
            "left_out": left_out,
            "levels": dict(levels),
            "group": whole.names[group],
            "sigmoids": sigmoids,
        },
        "decodings": {name: compare(whole, true, n, places) for name, n in found.items()},
    }
    name, nodes = next(iter(found.items()))
    with filled_folder(out, last=("annotation.json",)) as made:
        # The decoding that stops where it is not sure says most about the tree.
        stopping = next((name for name in found if name.startswith("reliable")), name)
        tree_figure(made / "annotation_tree.png", whole, true, found[stopping], stopping)
        results["meta"]["figures"] = {"tree": "annotation_tree.png"}
        results["meta"]["figures"] |= _draw_all(made, whole, true, nodes, name)
        if leaf_probabilities is not None and not sigmoids:
            results["meta"]["figures"] |= _draw_group(made, own, p[true == group], whole, group)
        text = json.dumps(results, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        (made / "annotation.json").write_text(text, encoding="utf-8")
        (made / "annotation.md").write_text(page(results), encoding="utf-8")
    return results


def _draw_all(out, whole, true, predicted, name):
    """Pictures of all cells by one decoding: true, predicted int [cells], nodes of ``whole``."""
    files = {what: f"annotation_{what}.png" for what in ("flow", "confusion")}
    flow_figure(out / files["flow"], whole, true, predicted, name)
    size, names = len(whole), np.array(whole.names)
    cells = np.bincount(true, minlength=size) + np.bincount(predicted, minlength=size)
    order = [names[node] for node, *_ in branches(whole, cells)[0]]
    caption = f"{name}; {len(true):,} cells; percent of the true class, in the order of the tree"
    confusion_figure(out / files["confusion"], names[true], names[predicted], caption, order)
    return files


def _draw_group(out, own, p, whole, group):
    """Pictures of the cells of one true label: p [cells, L], group a node of ``whole``."""
    mean, name = p.mean(axis=0, dtype=np.float64), whole.names[group]
    node = own.resolve(whole.ids[group])
    group_figure(out / "annotation_group.png", own, mean, node, name, len(p))
    greedy_figure(out / "annotation_greedy.png", own, mean, name, len(p))
    return {"group": "annotation_group.png", "greedy": "annotation_greedy.png"}


def _check_extra():
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError('annotation_report needs matplotlib: pip install "jaxcell[eval]"')


def _read(ontology):
    if isinstance(ontology, Ontology):
        return ontology
    if not Path(ontology).is_file():
        raise FileNotFoundError(f"ontology {ontology}: no such file; expected a checkpoint's JSON")
    return Ontology.from_json(Path(ontology).read_text(encoding="utf-8"))


def _frame(obs):
    import pandas as pd

    return pd.DataFrame(obs)


def _unpredicted(data, predicted, leaf_probabilities, cells):
    """Cells without any count have no prediction: bool [cells]."""
    lost = np.zeros(cells, bool)
    if predicted is not None:
        lost |= obs_column(data, predicted, "predicted") == ""
    if leaf_probabilities is not None:
        p = np.asarray(leaf_probabilities)
        if len(p) != cells:
            raise ValueError(f"leaf_probabilities: {len(p)} rows, expected {cells}, one a cell")
        lost |= np.isnan(p.reshape(cells, -1)).all(axis=1)
    return lost


def _kept(labels, truth, leave_out, lost):
    """Which cells are scored [cells], and {reason: cells} of the others; lost: no prediction."""
    absent = [label for label in leave_out if label not in labels]
    if absent:
        raise ValueError(f"leave_out: obs[{truth!r}] has no {', '.join(map(repr, absent))}")
    missing = is_missing(labels)
    left_out = {f"no label in obs[{truth!r}]": int(missing.sum())}
    left_out |= {f"{label!r} by leave_out": int((labels == label).sum()) for label in leave_out}
    keep = ~(missing | np.isin(labels, leave_out))
    left_out["no prediction"] = int((keep & lost).sum())
    keep &= ~lost
    if not keep.any():
        raise ValueError(
            f"obs[{truth!r}]: none of {len(labels)} cells has a label to be scored, "
            "and a prediction"
        )
    return keep, {reason: cells for reason, cells in left_out.items() if cells}


def _nodes(ontology, labels, where, advice):
    """The node of each label, str [n] -> int [n]; refused where one is no term."""
    names, code, cells = np.unique(labels, return_inverse=True, return_counts=True)
    lost = ontology.unresolved(names.tolist(), cells)
    if lost:
        raise ValueError(f"{where}: {lost}; {advice}")
    return np.array([ontology.resolve(name) for name in names])[code]


def _level(ontology, name, level):
    """A depth as it is; labels of terms as nodes."""
    if isinstance(level, int):
        if not 0 <= level <= ontology.depth.max():
            raise ValueError(
                f"levels[{name!r}]: depth {level}, expected 0 … {ontology.depth.max()}, or labels"
            )
        return level
    if isinstance(level, str) or not len(level):
        raise ValueError(f"levels[{name!r}]: found {level!r}, expected a depth or a list of labels")
    return _nodes(ontology, np.array(level), f"levels[{name!r}]", "expected terms").tolist()


def _group(ontology, truth, group):
    """The node of the group that is drawn."""
    if group is None:
        return int(np.bincount(truth).argmax())
    node = ontology.resolve(group)
    if node is None or node not in truth:
        known = "; ".join(ontology.names[i] for i in np.unique(truth)[:5])
        raise ValueError(f"group {group!r}: no true label; there is {known}")
    return node

"""Annotation by the ontology: shares, intervals, levels, the report, pictures and errors."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from jaxcell.data.decoding import greedy, leaf_argmax, reliable
from jaxcell.data.ontology import RELATIONS
from jaxcell.data.ontology_reading import read_ontology
from jaxcell.evaluation import annotation
from jaxcell.evaluation.annotation import (
    compare,
    decodings,
    default_levels,
    required,
    wilson,
)
from jaxcell.evaluation.annotation_flow import MOST, ROW, Side
from jaxcell.evaluation.annotation_report import annotation_report
from tests.data.test_ontology import (
    CD4,
    CD8,
    CELL,
    EPITHELIAL,
    GUT,
    IMMUNE,
    OBO,
    PLASMA,
    B,
    T,
    ancestors,
    random_dag,
)


@pytest.fixture
def ontology(tmp_path):
    path = tmp_path / "small.obo"
    path.write_text(OBO)
    return read_ontology(path)


def draw(ontology, cells=60, seed=0):
    """obs with true and predicted ids, and leaf probabilities that lean to the truth."""
    random = np.random.default_rng(seed)
    truth = random.choice([CD4, CD8, PLASMA, T, IMMUNE], cells)
    p = random.dirichlet(np.ones(3), cells) + ontology.under[truth]
    p /= p.sum(axis=1, keepdims=True)
    ids = np.array(ontology.ids)
    obs = pd.DataFrame({"type": ids[truth], "type_pred": ids[leaf_argmax(ontology, p)]})
    obs.index = obs.index.astype(str)
    return obs, truth, p


@pytest.mark.parametrize(("found", "of"), [(0, 5), (5, 5), (3, 10), (999, 1000), (1, 1)])
def test_wilson_equals_scipy(found, of):
    ours = wilson(found, of)
    theirs = binomtest(found, of).proportion_ci(method="wilson")
    expected = [found / of, theirs.low, theirs.high]
    np.testing.assert_allclose([ours[k] for k in ("share", "low", "high")], expected, atol=1e-12)


def test_shares_by_hand(ontology):
    truth = np.array([T, T, T, T, B, B])
    predicted = np.array([T, CD4, CELL, B, PLASMA, GUT])
    found = compare(ontology, truth, predicted, {})
    shares = {name: found[name]["share"] for name in (*RELATIONS, "correct")}
    assert shares == {
        "exact": 1 / 6, "descendant": 2 / 6, "ancestor": 1 / 6, "off-lineage": 2 / 6, "correct": 0.5
    }  # fmt: skip
    assert found["cells"] == 6
    assert found["macro_correct"] == (2 / 4 + 1 / 2) / 2
    assert list(found["classes"]) == ["CL:0000003", "CL:0000004"]
    t_cells = found["classes"]["CL:0000003"]
    assert t_cells["name"] == "T cell"
    assert t_cells["correct"] == wilson(2, 4)
    assert {tuple(x) for x in t_cells["predicted"]} < {
        ("T cell", 1), ("CD4 T cell", 1), ("cell", 1), ("B cell", 1)
    }  # fmt: skip


def test_levels_by_hand(ontology):
    truth = np.array([CD4, CD4, CD4, PLASMA, PLASMA, IMMUNE, GUT])
    predicted = np.array([CD8, CD4, CELL, B, PLASMA, EPITHELIAL, PLASMA])
    levels = {"lines": [T, B], "one": 1, "two": 2, "all": 3}
    found = compare(ontology, truth, predicted, levels)["levels"]
    # lines: CD4 is a T, plasma a B; the immune cell and the gut cell are neither
    assert found["lines"] == {"cells": 5, **wilson(4, 5)}
    # depth 1: plasma is immune and epithelial, a B cell is not
    assert found["one"] == {"cells": 7, **wilson(4, 7)}
    # depth 2: of immune cells no more is asked than at 1
    assert found["two"] == {"cells": 7, **wilson(4, 7)}
    assert found["all"] == {"cells": 7, **wilson(3, 7)}
    none = compare(ontology, np.array([CELL]), np.array([T]), {"lines": [T, B]})["levels"]
    assert none == {"lines": None}


def test_the_deepest_level_is_correct_and_levels_only_fall():
    one = random_dag(1)
    random = np.random.default_rng(0)
    truth, predicted = random.integers(0, len(one), (2, 2000))
    depths = {str(d): d for d in range(one.depth.max() + 1)}
    found = compare(one, truth, predicted, depths)
    shares = [level["share"] for level in found["levels"].values()]
    assert shares[-1] == found["correct"]["share"]
    assert shares == sorted(shares, reverse=True)
    assert all(level["cells"] == 2000 for level in found["levels"].values())
    assert list(default_levels(one, truth)) == ["broad", "middle", "fine"]
    assert default_levels(one, truth)["fine"] == one.depth.max()


def test_required_equals_a_loop():
    one = random_dag(2)
    for level in (0, 1, 3, [4, 7, 9]):
        asked = required(one, level)
        for t in range(len(one)):
            up = ancestors(one, t)
            if isinstance(level, list):
                expected = up & set(level)
            else:
                expected = {a for a in up if one.depth[a] <= level}
                assert expected
            assert set(np.flatnonzero(asked[t]).tolist()) == expected


def test_decoding_in_blocks_is_decoding(ontology, monkeypatch):
    _, _, p = draw(ontology)
    monkeypatch.setattr(annotation, "BLOCK", 7)
    found = decodings(ontology, p, (0.5, 0.9))
    expected = {
        "leaf argmax": leaf_argmax(ontology, p),
        "greedy": greedy(ontology, p)[:, -1],
        "reliable, p ≥ 0.5": reliable(ontology, p, 0.5),
        "reliable, p ≥ 0.9": reliable(ontology, p, 0.9),
    }
    assert list(found) == list(expected)
    for name, nodes in expected.items():
        np.testing.assert_array_equal(found[name], nodes)


def test_the_report(ontology, tmp_path):
    obs, truth, p = draw(ontology)
    obs.loc["3", "type"] = None
    obs.loc["4", "type"] = "unknown"
    obs.loc["5", "type"] = "mystery"
    (tmp_path / "ontology.json").write_text(ontology.to_json(), encoding="utf-8")
    out = tmp_path / "report"
    found = annotation_report(
        anndata.AnnData(obs=obs), truth="type", predicted="type_pred", leaf_probabilities=p,
        ontology=tmp_path / "ontology.json", out=out, leave_out=["mystery"],
        levels={"lines": ["T cell", "CL_0000004"], "fine": 3}, group="T-lymphocyte",
    )  # fmt: skip
    assert found == json.loads((out / "annotation.json").read_text(encoding="utf-8"))
    assert list(found["decodings"])[:2] == ["obs['type_pred']", "leaf argmax"]
    assert found["decodings"]["obs['type_pred']"] == found["decodings"]["leaf argmax"]
    kept = ~np.isin(np.arange(60), [3, 4, 5])
    levels = {"lines": [T, B], "fine": 3}
    expected = compare(ontology, truth[kept], leaf_argmax(ontology, p)[kept], levels)
    assert found["decodings"]["leaf argmax"] == json.loads(json.dumps(expected))
    meta = found["meta"]
    assert meta["cells"] == 57
    assert meta["left_out"] == {"no label in obs['type']": 2, "'mystery' by leave_out": 1}
    assert meta["group"] == "T cell"
    assert sorted(f.name for f in out.iterdir()) == [
        *("annotation.json", "annotation.md", "annotation_confusion.png", "annotation_flow.png"),
        *("annotation_greedy.png", "annotation_group.png", "annotation_tree.png"),
    ]
    text = (out / "annotation.md").read_text(encoding="utf-8")
    assert "57 cells by obs['type']; 2 left out: no label in obs['type']; 1 left out: 'my" in text
    assert "| reliable, p ≥ 0.7 |" in text
    assert "siblings share it: their probabilities can sum to more" in text
    share = expected["correct"]
    number = lambda x: f"{x:.3f}".removeprefix("0")
    cell = f"{number(share['share'])} ({number(share['low'])}–{number(share['high'])})"
    assert f"| {cell} |" in text


def test_a_larger_ontology_compares_what_the_checkpoints_has_not(ontology, tmp_path):
    """The checkpoint knows T and plasma cells alone; the truth is finer."""
    pruned = ontology.prune(["T cell", "plasma-like cell"])
    obs = {"type": np.array(["CD4 T cell", "CD8 T cell", "gut cell"])}
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]])
    options = dict(truth="type", ontology=pruned, leaf_probabilities=p, out=tmp_path / "r")
    with pytest.raises(ValueError, match="2 of 3 labels, 2 of 3 cells, are no terms of small.obo"):
        annotation_report(obs, **options)
    assert not (tmp_path / "r").exists()
    found = annotation_report(obs, **options, compare_in=ontology)["decodings"]["leaf argmax"]
    shares = [found[name]["share"] for name in RELATIONS]
    assert shares == [0, 1 / 3, 1 / 3, 1 / 3]  # plasma below gut, T above CD4, plasma for CD8


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (dict(truth="kind"), "obs has no truth column 'kind'; it has"),
        (dict(predicted="kind"), "obs has no predicted column 'kind'"),
        (
            dict(predicted=None, leaf_probabilities=None),
            "give predicted=, a column of obs, or",
        ),
        (dict(predicted="bad"), r"obs\['bad'\]: 1 of 2 labels, 1 of 60 cells, .*'nonsense' \(1\)"),
        (dict(truth="bad"), r"'nonsense' \(1\); compare in an ontology that has them"),
        (dict(truth="none"), r"obs\['none'\]: none of 60 cells has a label to be scored"),
        (dict(leave_out=["x"]), r"leave_out: obs\['type'\] has no 'x'"),
        (dict(leaf_probabilities=np.ones((4, 3)) / 3), "leaf_probabilities: 4 rows, expected 60"),
        (dict(leaf_probabilities=np.ones((60, 2)) / 2), r"shape \(60, 2\), expected \[cells, 3\]"),
        (dict(levels={"a": 9}), r"levels\['a'\]: depth 9, expected 0 … 3, or labels"),
        (
            dict(levels={"a": "T cell"}),
            r"levels\['a'\]: found 'T cell', expected a depth or a li",
        ),
        (dict(levels={"a": ["T cell", "x"]}), r"levels\['a'\]: 1 of 2 labels, .*'x'"),
        (dict(group="gut cell"), "group 'gut cell': no true label; there is"),
        (dict(thresholds=(1.5,)), "p=1.5: expected a probability between 0 and 1"),
        (dict(out=__file__), "is a file; annotation_report writes a folder"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(ontology, tmp_path, change, text):
    obs, _, p = draw(ontology)
    obs["bad"] = np.where(np.arange(60) == 7, "nonsense", "T cell")
    obs["none"] = "unknown"
    out = tmp_path / "report"
    options = dict(
        truth="type", predicted="type_pred", leaf_probabilities=p, ontology=ontology, out=out
    )
    with pytest.raises(ValueError, match=text):
        annotation_report(obs, **(options | change))
    assert not out.exists()


def test_no_checkpoint_ontology(tmp_path):
    with pytest.raises(FileNotFoundError, match="no.json: no such file; expected a checkpoint's"):
        annotation_report({}, truth="t", ontology=tmp_path / "no.json", out=tmp_path)


def test_no_label_of_the_flow_overlaps_another():
    """Many classes of very different sizes: every one has at least a line of text for itself."""
    one = random_dag(0, nodes=80)
    random = np.random.default_rng(0)
    nodes = random.choice(80, 5000, p=random.dirichlet(np.full(80, 0.1)))
    side = Side(one, nodes)
    assert len(side.names) == min(MOST, len(np.unique(nodes)))
    assert side.cells.sum() == 5000
    np.testing.assert_array_equal(np.bincount(side.code), side.cells)
    side.sort_by(random.random(len(side.cells)))
    inches = 1.6 * ROW * len(side.cells)
    scale = side.scale(inches)
    starts = side.starts(scale, inches)
    middles = (starts + side.cells * scale / 2)[side.order]
    assert np.diff(middles).min() >= 0.999 * ROW
    assert starts.min() >= 0
    assert (starts + side.cells * scale).max() <= inches * 1.0001

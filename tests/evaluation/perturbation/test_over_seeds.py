"""Several training seeds as one row: means, deviations, and who wins."""

import numpy as np
import pytest

from jaxcell.evaluation.perturbation import metrics
from jaxcell.evaluation.perturbation.over_seeds import case_blocks, case_text, methods_of

GROUPS = {"all": ("A", "A+B", "C"), "unseen_single": ("A", "C")}
CASE = {"name": "Some cells", "about": "by hand", "groups": GROUPS, "notes": ["a note"]}


def run(method, seed, kind="prediction", shift=0.0):
    random = np.random.default_rng(seed)
    scores = {
        c: {m: float(random.uniform(0, 0.5)) + shift for m in metrics.METRICS}
        for c in GROUPS["all"]
    }
    deltas = {c: ([1.0, 2.0], [0.5, 1.0], ["G1", "G2"]) for c in GROUPS["all"]}
    facts = {"how": "from scratch", "parameters": 5, "steps": 3, "seconds": 1.0}
    return {"method": method, "kind": kind, "seed": seed, "scores": scores, "cells": None,
            "deltas": deltas, "facts": facts if kind == "prediction" else None}  # fmt: skip


def test_seeds_are_averaged_as_a_loop_does():
    runs = [run("ours", seed) for seed in range(3)] + [run("additive", 9, "baseline")]
    found = methods_of(runs, GROUPS)
    assert list(found) == ["ours", "additive"]
    for group, names in GROUPS.items():
        for metric in metrics.METRICS:
            each = [np.mean([one["scores"][c][metric] for c in names]) for one in runs[:3]]
            got = found["ours"]["groups"][group][metric]
            assert got["mean"] == pytest.approx(np.mean(each))
            assert got["sd"] == pytest.approx(np.std(each, ddof=1))
            assert found["additive"]["groups"][group][metric]["sd"] is None
    want = np.mean([one["scores"]["C"]["mse"] for one in runs[:3]])
    assert found["ours"]["conditions"]["C"]["mse"] == pytest.approx(want)


def test_what_one_seed_has_no_value_of_has_none():
    runs = [run("ours", seed) for seed in range(2)]
    for one in runs[1]["scores"].values():
        one["discrimination"] = None
    got = methods_of(runs, GROUPS)["ours"]["groups"]["all"]["discrimination"]
    assert got == {"mean": None, "sd": None}


@pytest.mark.parametrize(("shift", "said"), [(1.0, "a simple baseline wins: additive"),
                                             (-1.0, "ours, corr(Δ)")])  # fmt: skip
def test_the_verdict_says_where_a_baseline_wins(shift, said):
    runs = [run("ours", seed) for seed in range(2)] + [run("additive", 9, "baseline", shift)]
    runs += [run("shuffled", 3, "reference", 5.0)]
    assert said in case_text(CASE, runs)


def test_the_blocks_of_a_report(tmp_path):
    runs = [run("ours", 0), run("additive", 9, "baseline"), run("shuffled", 3, "reference")]
    blocks = case_blocks(CASE, runs)
    tables = [block for block in blocks if hasattr(block, "rows")]
    assert [row["reference"] for row in tables[0].rows] == [False, False, True]
    assert tables[-1].rows == [{"name": "ours", **runs[0]["facts"]}]
    for block in (block for block in blocks if hasattr(block, "draw")):
        block.draw(tmp_path / f"{block.name}.png")
        assert (tmp_path / f"{block.name}.png").stat().st_size > 5000

"""Factors among the genes that receive most attention, and factors behind these."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from jaxcell.evaluation.networks.attention_figures import cluster_map, regulator_bars
from jaxcell.evaluation.networks.regulators import behind, driver_number, factors_among

GENES = [f"G{i}" for i in range(60)]


def test_the_share_of_pairs_is_the_area_under_the_roc_curve():
    received = np.random.default_rng(0).normal(size=60).round(1)  # with ties
    factors = {"G3", "G10", "G11", "G40", "elsewhere"}
    found = factors_among(received, GENES, factors)
    truth = np.isin(GENES, list(factors))
    assert found["factors"] == 4
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, received))


def test_factors_that_receive_most_are_told_from_factors_by_chance():
    received = np.arange(60.0)
    top = factors_among(received, GENES, GENES[-6:])
    assert top["auroc"] == 1
    assert top["p"] < 1e-4
    low = factors_among(received, GENES, GENES[:6])
    assert (low["auroc"], round(low["p"], 3)) == (0, 1)
    random = np.random.default_rng(1)
    drawn = [
        factors_among(received, GENES, random.permutation(GENES)[:6])["auroc"] for _ in range(300)
    ]
    assert abs(np.mean(drawn) - 0.5) < 0.03


def test_of_few_factors_nothing_is_said():
    assert factors_among(np.arange(60.0), GENES, GENES[:2]) == {
        "factors": 2, "auroc": None, "p": None,
    }  # fmt: skip
    assert factors_among(np.arange(60.0), GENES, GENES)["auroc"] is None


def test_factors_behind_regulators_are_those_of_fishers_test():
    known = {"TF": set(GENES[:10]), "other": set(GENES[30:45]), "small": set(GENES[:3])}
    rows, tests = behind({"stim": GENES[:12], "ctrl": GENES[20:40]}, known, GENES)
    assert tests == 4  # of fewer than five targets nothing is tested
    assert (rows[0]["list"], rows[0]["set"], rows[0]["overlap"]) == ("stim", "TF", 10)
    table = [[10, 0], [2, 48]]
    assert rows[0]["p"] == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)
    assert rows[0]["p_bonferroni"] == pytest.approx(4 * rows[0]["p"])


def test_how_many_genes_are_regulators():
    assert [driver_number(n, 100, 20) for n in (60, 200, 1200)] == [20, 40, 100]


def test_pictures(tmp_path):
    random = np.random.default_rng(0)
    clusters = np.repeat([2, 0, 1], [10, 20, 30])
    cluster_map(tmp_path / "map.png", random.random((60, 60)), clusters, GENES, np.arange(60.0))
    rows = [(f"G{i}", 3 - i / 10, i + 1) for i in range(20)]
    regulator_bars(tmp_path / "bars.png", {"ctrl": rows, "stim − ctrl": rows[:8]}, {"G1"})
    for name in ("map.png", "bars.png"):
        assert (tmp_path / name).stat().st_size > 5000

"""Suites perturbation and network on real cells, each by one command; small budgets."""

import json

import pytest

from jaxcell.cli import main
from tests.real.test_real_data import DATA, pytestmark

pytestmark = [*pytestmark, pytest.mark.slow]


@pytest.mark.filterwarnings("ignore:.*cells without any count")
def test_perturbation(tmp_path, capsys):
    asked = ["--data", str(DATA), "--models", "scformer", "--steps", "40", "--seeds", "1"]
    main(["benchmark", "perturbation", "--out", str(tmp_path / "o"), *asked])
    text = capsys.readouterr().out
    assert "a simple baseline wins" in text  # 40 steps beat nothing
    found = json.loads((tmp_path / "o" / "results.json").read_text())["parts"]
    norman, kang = found["case0.baselines"]["case"], found["case1.baselines"]["case"]
    assert {group: len(some) for group, some in norman["groups"].items()} == {
        "all": 16, "combo_seen0": 2, "combo_seen1": 4, "combo_seen2": 3, "unseen_single": 7,
    }  # fmt: skip
    assert list(kang["groups"]) == ["all"]
    (ours,) = found["case0.scformer-perturb.seed0"]["runs"]
    assert set(ours["scores"]) == set(norman["groups"]["all"])
    assert all(run["scores"]["stim"]["pearson_delta"] > 0.9 for run in
               found["case1.baselines"]["runs"] if run["method"] == "seen")  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*cells without any count")
def test_network(tmp_path, capsys):
    asked = ["--data", str(DATA), "--number", "100", "--steps", "20", "--cells", "40"]
    main(["benchmark", "network", "--out", str(tmp_path / "o"), *asked])
    assert "co-expression" in capsys.readouterr().out
    found = json.loads((tmp_path / "o" / "results.json").read_text())["parts"]["network"]["network"]
    assert found["attention"]["stability"]["stim"]["models"] == 3
    assert found["known"]["pairs"] > 20
    assert found["attention"]["factors_among_regulators"]["stim"]["factors"] >= 3
    assert all(abs(row["auroc_shuffled"] - 0.5) < 0.1 for row in found["known"]["results"])

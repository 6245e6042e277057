"""Held-out perturbations of real cells, each by one command: the tables of the README."""

import json

import pytest

from jaxcell.cli import main
from tests.real.test_real_data import DATA, pytestmark  # noqa: F401 (marks this module)

FOLDER = DATA / "perturbation"
NORMAN = ["--control", "control", "--cells", "dataset=norman19"]


@pytest.mark.parametrize("split", ["simulation", "cells"])
def test_norman(split, tmp_path, capsys):
    path = FOLDER / "norman19_mcfaline23_perturbench_devel.h5ad"
    main(
        ["perturb", "evaluate", str(path), *NORMAN, "--split", split, "--out", str(tmp_path / "o")]
    )
    print(capsys.readouterr().out)
    found = json.loads((tmp_path / "o" / "results.json").read_text())
    groups = {name: one["groups"]["all"] for name, one in found["methods"].items()}
    if split == "simulation":
        assert len(found["methods"]["mean"]["conditions"]) == 16
        assert found["methods"]["no_change"]["groups"]["all"]["pearson"]["mean"] > 0.95
        assert groups["additive"]["pearson_delta"]["mean"] > 0.4
    else:
        assert found["verdict"]["all"]["best"] == "seen"
        assert groups["seen"]["pearson_delta"]["mean"] > 0.6


def test_kang(tmp_path, capsys):
    path = FOLDER / "kang_ifnb_labelled_1556x1267_muscat.h5ad"
    asked = ["--condition", "stim", "--treatment", "--values", "counts", "--split", "cells"]
    main(["perturb", "evaluate", str(path), *asked, "--out", str(tmp_path / "o")])
    print(capsys.readouterr().out)
    found = json.loads((tmp_path / "o" / "results.json").read_text())
    assert found["methods"]["seen"]["groups"]["all"]["pearson_delta"]["mean"] > 0.9

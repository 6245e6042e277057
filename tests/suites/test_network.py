"""The suite of gene networks on planted counts: its tables, resume, and what it refuses."""

import pytest

from jaxcell import benchmark
from jaxcell.suites.network import SUITE
from jaxcell.suites.network_models import Cells


def models(folder, number=3):
    return {f"seed {i}": folder / f"run{i}" for i in range(number)}


def test_three_models_are_compared_with_known_targets_once(planted_network, tmp_path):
    asked = dict(
        data=planted_network / "cells.h5ad", checkpoints=models(planted_network), cells=10,
        condition="state", known=str(planted_network / "known.tsv"), tf=["TF0"],
        sets=str(planted_network / "sets.gmt"), resolution=1.0, progress=False,
    )  # fmt: skip
    found = benchmark("network", tmp_path / "o", **asked)
    network = found["parts"]["network"]["network"]
    assert network["meta"]["models"] == ["seed 0", "seed 1", "seed 2"]
    assert network["attention"]["stability"]["control"]["models"] == 3
    shown = {(row["method"], row["condition"]) for row in network["known"]["results"]}
    assert {("attention", "severed − control"), ("vectors", ""), ("random", "")} <= shown
    text = SUITE.text(found)
    assert "co-expression" in text
    assert "sd above its shuffled targets" in text
    report = (tmp_path / "o" / "report.html").read_text()
    assert "Factors whose known targets are among the regulators" in report
    assert report.count("data:image/png") >= 8
    kept = sorted((tmp_path / "o" / "network").iterdir())
    when = [file.stat().st_mtime_ns for file in kept]
    assert benchmark("network", tmp_path / "o", **asked) == found
    assert [file.stat().st_mtime_ns for file in kept] == when


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(number=3), "steps, number, cells: found 300, 3, 0"),
        (dict(condition=""), "one's own file is one, and needs --condition"),
        (dict(condition="dose"), "no obs column 'dose'"),
        (dict(known="nowhere.tsv"), "known: nowhere.tsv: no such file"),
        (dict(reference="x"), "reference: found 'x', expected one of control, severed"),
        (dict(tf=["tf0"]), "has no gene 'tf0'; it has TF0"),
        (dict(seeds=2), "seeds: found 2, expected 3 or more"),
        (dict(two=True), "checkpoint: found 2, expected 3 or more"),
        (dict(planted=True), "planted: is in place of --data"),
        (dict(baselines=["pca"]), "baselines: co-expression and random scores always"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    planted_network, tmp_path, change, said
):
    asked = {"data": planted_network / "cells.h5ad", "condition": "state", "progress": False}
    if change.pop("two", False):
        asked["checkpoints"] = models(planted_network, 2)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        benchmark("network", tmp_path / "o", **{**asked, **change})
    assert not (tmp_path / "o").exists()


def test_genes_of_models_trained_here(planted_network):
    """The most variable ones, those asked for, and factors with targets among them."""
    how = dict(condition="state", known=planted_network / "known.tsv", number=30)
    found = Cells(planted_network / "cells.h5ad", tf=("O1",), **how).genes
    assert "O1" in found
    assert len(found) == len(set(found)) <= 31 + 6
    targets = [sum(g.startswith(f"T{i}_") for g in found) for i in range(6)]
    assert all(f"TF{i}" in found for i in range(6) if targets[i] >= 3)

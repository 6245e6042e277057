"""The suite transductive: the evaluated cells train a model from both starts; no label does."""

import json
from types import SimpleNamespace

import pytest

from jaxcell import benchmark, config
from jaxcell.suites import transductive, transductive_report
from jaxcell.training import loop
from tests.conftest import config_of
from tests.suites.test_annotation import several
from tests.training.test_training import tiny


def options(**given):
    return {"epochs": 3, "genes": 30, "batch_size": 0} | given


def test_the_run_is_the_checkpoints_own_without_labels():
    model = SimpleNamespace(config=config_of("txfm_b:tiny"))
    warm = transductive._config(model, "runs/mine", "warm", options(), 4)
    cold = transductive._config(model, "runs/mine", "scratch", options(batch_size=7), 4)
    assert (warm.train.init_from, cold.train.init_from) == ("runs/mine", "")
    assert (warm.train.batch_size, cold.train.batch_size) == (16, 7)
    assert (warm.epochs, warm.steps, warm.seed) == (3, 0, 4)
    assert config.tokeniser(warm.data).number == 30
    assert warm.optimizer.learning_rate == model.config.optimizer.learning_rate
    assert list(config.settled(warm).losses) == list(model.config.losses)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    several().write_h5ad(path)
    return path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(), "checkpoint: found none"),
        (dict(epochs=0), "epochs: found 0, expected 1 or more"),
        (dict(genes=0), "genes: found 0"),
        (dict(checkpoints={"a": "no/such"}, batch=""), "batch: expected a column of two batches"),
        (dict(checkpoints={"a": "no/such"}), "checkpoint a: no/such: no model there"),
    ],
)
def test_bad_input_writes_nothing(file, tmp_path, given, said):
    asked = dict(data=[file], label="kind", batch="batch", progress=False) | given
    with pytest.raises(ValueError, match=said):
        benchmark("transductive", tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_both_starts_beside_pca(file, store, tmp_path, monkeypatch):
    loop.train(tiny(store, steps=40), tmp_path / "trained")
    asked = dict(data=[file], label="kind", batch="batch", progress=False, seeds=1)
    asked |= dict(checkpoints={"mine": str(tmp_path / "trained")}, epochs=5, genes=30)
    found = benchmark("transductive", tmp_path / "out", baselines=("pca5",), **asked)
    rows = {row["name"]: row for row in transductive_report.summary(found).rows}
    assert set(rows) == {"mine, as it is", "mine, scratch", "mine, warm", "PCA 5 (transductive)"}
    [[cold, warm]] = transductive_report.curves(found).values()
    assert (cold.name, warm.name) == ("mine, scratch", "mine, warm")
    first = [record.series("val/loss")[1][0] for record in (cold, warm)]
    assert first[1] < first[0]  # what it knew helps
    for kept in (tmp_path / "out" / "runs").iterdir():
        info = json.loads((kept / "run" / "run.json").read_text())
        assert info["data"]["cells"] == {"train": 150, "valid": 50}
        assert json.loads((kept / "run" / "model" / "labels.json").read_text()) == {}
    assert "data:image/png" in (tmp_path / "out" / "report.html").read_text()
    monkeypatch.setattr(transductive, "fit_probe", None)
    again = benchmark("transductive", tmp_path / "out", baselines=("pca5",), **asked)
    assert again == found

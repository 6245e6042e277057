"""The suite of held-out perturbations on planted cells: rows, resume, models that saw the test."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest

from jaxcell import benchmark, config
from jaxcell.data.prepare import prepare
from jaxcell.suites import perturbation_models as models
from jaxcell.suites.perturbation import _files
from jaxcell.suites.perturbation_cases import _DEFAULT, Case
from jaxcell.suites.perturbation_models import case_store, ready, trained
from tests.conftest import config_of, fresh
from tests.evaluation.perturbation import planted

HOW = dict(models=(), seeds=2, progress=False)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Additive effects of twelve genes; the perturbed ones are among twenty genes."""
    path = tmp_path_factory.mktemp("planted") / "cells.h5ad"
    adata = planted.additive(perturbed=12, doubles=30, cells=8, controls=20, genes=30)
    adata.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def case(file):
    return Case("planted", file, _DEFAULT, "simulation")


@pytest.fixture(scope="module")
def model(case, tmp_path_factory):
    """A model of pairs that is new, of the cells that training may see."""
    folder = tmp_path_factory.mktemp("model")
    return of_store(case, case_store(case, folder / "stores"), folder / "run")


def of_store(case, store, workdir):
    c = ready(case, trained(["scformer"])[0], 4, 0)
    c.data.store, c.model.vocabulary = str(store.path), len(store.vocabulary)
    return fresh(store, config.settled(c), workdir)


def methods(results):
    runs = [run for part in results["parts"].values() for run in part["runs"]]
    return {run["method"]: run for run in runs}


def test_baselines_a_file_and_a_checkpoint_are_measured_once(file, case, model, tmp_path):
    task = case.task
    obs = pd.DataFrame({"condition": list(task.asked)}, index=list(task.asked))
    genes = pd.DataFrame(index=case.data.genes)
    truth = tmp_path / "truth.h5ad"
    anndata.AnnData(task.truth.astype(np.float32), obs, genes).write_h5ad(truth)
    asked = dict(data=file, checkpoints={"ours": model}, predictions=[f"truth={truth}"])
    found = benchmark("perturbation", tmp_path / "o", **asked, **HOW)
    rows = methods(found)
    assert list(rows) == ["no_change", "mean", "additive", "linear", "indicator", "mlp", "shuffled",
                          "truth", "ours"]  # fmt: skip
    of = {
        name: np.mean([s["pearson_delta"] for s in run["scores"].values()])
        for name, run in rows.items()
    }
    assert of["truth"] == pytest.approx(1)
    assert of["no_change"] == 0
    both = case.task.groups["combo_seen2"]  # what the generator adds up
    assert np.mean([rows["additive"]["scores"][c]["pearson_delta"] for c in both]) > 0.8
    assert np.isfinite(of["ours"])
    seeds = [r["seed"] for r in found["parts"]["case0.baselines"]["runs"] if r["method"] == "mlp"]
    assert seeds == [0, 1]
    report = (tmp_path / "o" / "report.html").read_text()
    assert "unseen single" in report
    assert "data:image/png" in report
    files = sorted((tmp_path / "o" / "parts").iterdir())
    when = [one.stat().st_mtime_ns for one in files]
    assert benchmark("perturbation", tmp_path / "o", **asked, **HOW)["parts"] == found["parts"]
    assert [one.stat().st_mtime_ns for one in files] == when


def test_a_model_that_saw_tested_conditions_is_refused(file, case, tmp_path):
    store = prepare(
        tmp_path / "store", [file], labels=("condition",), values="log1p", hold_out_fraction=0.1,
        progress=False,
    )  # fmt: skip
    path = of_store(case, store, tmp_path / "run")
    said = rf"checkpoint ours: .*run: was trained with {len(case.split.test)} of the"
    with pytest.raises(ValueError, match=said):
        benchmark("perturbation", tmp_path / "o", data=file, checkpoints={"ours": path}, **HOW)
    assert not (tmp_path / "o").exists()
    found = benchmark(
        "perturbation", tmp_path / "o", data=file, checkpoints={"ours": path}, kind="cells", **HOW
    )
    assert "may have been trained with cells that are tested" in json.dumps(found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(steps=1), "steps: found 1"),
        (dict(size="huge"), "size: found 'huge'"),
        (dict(models=["gears"]), "models: found 'gears', expected some of scformer, bioformers"),
        (dict(control="none"), "no cell is 'none', the control"),
        (dict(predictions=["x.h5ad"]), "predictions: found .* expected NAME=FILE"),
        (dict(predictions=["x=nowhere.h5ad"]), "x: nowhere.h5ad: no such file"),
        (dict(kind="list"), "test: no condition was given"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(file, tmp_path, change, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        benchmark("perturbation", tmp_path / "o", data=file, **{**HOW, **change})
    assert not (tmp_path / "o").exists()


def test_a_folder_without_the_data_is_refused(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="norman19.*: no such file"):
        benchmark("perturbation", tmp_path / "o", data=tmp_path, **HOW)
    with pytest.raises(ValueError, match="--control: of one's own files only"):
        benchmark("perturbation", tmp_path / "o", data=tmp_path, control="none", **HOW)
    monkeypatch.delenv("JAXCELL_DATA", raising=False)
    with pytest.raises(ValueError, match="--data: found no file and no folder"):
        benchmark("perturbation", tmp_path / "o", **HOW)
    assert _files(["a=b=c.h5ad"]) == {"a": "b=c.h5ad"}


def test_models_that_are_one_at_a_small_size_are_trained_once(case):
    rows = models.distinct(trained(["scformer", "bioformers"]), case, 8)
    assert [row.name for row in rows] == [
        "scFormer = BioFormers, squared error",
        "scFormer, affine decoder",
        "scFormer = BioFormers, cross-entropy",
    ]
    rows = models.distinct(trained(["scformer", "bioformers"], "paper"), case, 8)
    assert [row.stem.partition("-")[0] for row in rows] == ["scformer"] * 3 + ["bioformers"] * 2
    sizes = {(c.model.width, c.model.encoder.layers) for c in (row.config(case) for row in rows)}
    assert sizes == {(128, 4), (512, 8)}


@pytest.mark.slow
def test_models_are_trained_and_one_that_was_pretrained_is_fine_tuned(file, case, tmp_path):
    store = case_store(case, tmp_path / "stores")
    c = config_of("scformer:tiny")
    c.data.store, c.data.sequence.number, c.batch, c.labels = str(store.path), 30, "", ()
    c.data.normalise.scale, c.data.normalise.given = False, "log1p"
    pretrained = fresh(store, config.settled(c), tmp_path / "pretrained")
    asked = dict(
        data=file, models=["bioformers"], steps=8, seeds=1, checkpoints={"small": pretrained}
    )
    rows = methods(benchmark("perturbation", tmp_path / "o", progress=False, **asked))
    ours = {name: run["facts"] for name, run in rows.items() if run["kind"] == "prediction"}
    assert list(ours) == [
        "BioFormers, squared error",
        "BioFormers, cross-entropy",
        "small, fine-tuned",
    ]
    assert ours["small, fine-tuned"]["how"] == "from small"
    assert all(one["steps"] == 8 for one in ours.values())

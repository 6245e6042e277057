"""The suite annotation: probes and fine-tuning on unseen batches, whose labels nothing sees."""

import json
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest

from jaxcell import benchmark, config
from jaxcell.evaluation.trained_probes import batch_split
from jaxcell.suites import annotation, annotation_report, finetuning, transductive
from jaxcell.suites.naming import part_key
from jaxcell.training import loop
from tests.conftest import config_of, draw_cells
from tests.training.test_training import tiny

ONLY = "kind 9"  # a class of the last batch alone


def several(batches=4, cells=50):
    """Cells of some batches, of the store's genes; the last batch has a class of its own."""
    adata = anndata.concat([draw_cells(20 + i, cells, 300) for i in range(batches)])
    adata.obs["kind"] = adata.obs["kind"].astype(str)
    adata.obs.iloc[-3:, adata.obs.columns.get_loc("kind")] = ONLY
    return adata


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    several().write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    loop.train(tiny(store, steps=2), workdir)
    return workdir


def run(file, out, **options):
    given = dict(data=[file], label="kind", batch="batch", progress=False, rates=(1e-2,))
    return benchmark("annotation", out, **given | options)


def test_baselines_alone_and_what_is_finished_is_not_run_again(file, tmp_path, monkeypatch):
    asked = dict(seeds=2, baselines=("log", "pca5"), widths=(8,))
    found = run(file, tmp_path, **asked)
    assert len(found["parts"]) == 2 * 3
    for part in found["parts"].values():
        for row in part["rows"]:
            for score in ("accuracy", "macro_f1"):
                low, high = row[f"{score}_interval"]
                assert 0 <= low <= row[score] <= high <= 1
            assert (row["absent"] == [ONLY]) == ("batch 23" in row["held_out"])
            assert row["sizes"][2] == 50 * len(row["held_out"])
    rows = {row["name"]: row for row in annotation_report.summary(found).rows}
    assert rows["(Lib+Log)Norm, linear probe"]["accuracy"][0] > 0.9
    assert rows["Largest class"]["accuracy"][0] < 0.6
    assert rows["Shuffled labels, PCA 5 (transductive), linear probe"]["accuracy"][0] < 0.6
    page = (tmp_path / "report.html").read_text()
    assert page.count("<table ") == 3
    assert "data:image/png" in page

    monkeypatch.setattr(annotation, "fit_probe", None)
    assert run(file, tmp_path, **asked) == found
    with pytest.raises(TypeError):  # other widths are other probes
        run(file, tmp_path, **asked | {"widths": (9,)})


def test_who_wins_is_said():
    def row(name, kind, how, f1):
        ends = [f1 - 0.06, f1 + 0.06]
        interval = dict(accuracy_interval=ends, macro_f1_interval=ends)
        return dict(name=name, kind=kind, how=how, accuracy=f1, macro_f1=f1, **interval)

    def said(model, baseline, tuned):
        rows = [
            row("m", "model", "linear probe", model),
            row("m", "model", "fine-tuned", tuned),
            row("PCA", "baseline", "linear probe", baseline),
            row("Largest class", "reference", "", 1.0),
        ]
        return "\n".join(annotation_report.verdict(annotation_report.averaged(rows)))

    lost = said(0.6, 0.9, 0.7)
    assert "Macro-F1: **PCA, linear probe** is ahead (.900)" in lost
    assert "the best model is m, fine-tuned (.700). **A baseline wins**" in lost
    assert (
        "fine-tuned against its linear probe: macro-F1 +0.100 on average, better on 1 of 1" in lost
    )
    won = said(0.6, 0.5, 0.4)
    assert "**m, linear probe** is ahead (.600)" in won
    assert "PCA, linear probe (.500), and their intervals overlap." in won
    assert "A baseline wins" not in won
    assert "macro-F1 -0.200 on average, better on 0 of 1" in won


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(label="no"), "obs has no label column 'no'"),
        (dict(label=""), "label: found none, expected the obs column of"),
        (dict(batch="no"), "obs has no batch column 'no'"),
        (dict(dropout=1.0), "dropout: found 1.0, expected 0 <= dropout < 1"),
        (dict(widths=(0,)), r"widths: found \(0,\)"),
        (dict(rates=()), r"rates: found \(\)"),
        (dict(epochs=0), "epochs: found 0"),
        (dict(finetune_rates=(-1.0,)), r"finetune_rates: found \(-1.0,\), expected above 0"),
        (dict(baselines=("odd",)), "baselines: 'odd' is unknown"),
        (dict(data=["a", "b"]), "data: found 2, expected one h5ad"),
    ],
)
def test_bad_input_writes_nothing(file, tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        run(file, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no/such\.h5ad: no such file"):
        run("no/such.h5ad", tmp_path / "out")


def test_the_run_is_a_new_one_of_the_checkpoints_model():
    model, trained = SimpleNamespace(config=config_of("txfm_b:tiny")), "runs/mine"
    model.config.data.mixture, model.config.train.accumulate = ("first*=1.0",), 2
    how = finetuning.Adapting(epochs=3, batch_size=8)
    c = finetuning.adapted(model, trained, "finetuned", how, 7, 0.1)
    assert (c.epochs, c.steps, c.seed, c.train.batch_size) == (3, 0, 7, 8)
    assert (c.data.mixture, c.train.accumulate) == ((), 1)
    assert c.train.init_from == trained
    assert list(c.model.heads) == list(c.losses) == ["cell_type"]
    assert c.optimizer.learning_rate == pytest.approx(3e-4)  # of 3e-3
    assert c.train.lora.rank == 0
    assert not c.optimizer.frozen
    c = finetuning.adapted(model, trained, "lora", how, 0, 2.0)
    assert (c.optimizer.learning_rate, c.train.lora.rank) == (pytest.approx(6e-3), 16)
    assert c.optimizer.frozen
    assert model.config.name == "txfm_b_tiny"  # the checkpoint's config is left alone
    # A checkpoint of LoRA is fine-tuned as a whole again.
    model.config = c
    c = finetuning.adapted(model, trained, "finetuned", how, 0, 1.0)
    assert (c.train.lora.rank, c.optimizer.frozen) == (0, config.defaults().optimizer.frozen)


SYSTEMS = (
    *("txfm_b", "bmfm_rna_wced", "bmfm_rna_mlm", "scformer", "bioformer"),
    *("bioformers_encoder", "bioformers_decoder"),
)


@pytest.mark.parametrize("name", SYSTEMS)
def test_models_of_all_systems_can_be_put_to_a_label_and_to_new_cells(name):
    c = config.settled(config_of(f"{name}:tiny"))
    model = SimpleNamespace(config=c)
    for kind in finetuning.KINDS:
        new = finetuning.adapted(model, "run", kind, finetuning.Adapting(), 0, 1.0)
        assert list(config.settled(new).losses) == ["cell_type"]
        reads = {"scformer": ["batch"], "bioformer": ["dataset"]}
        assert finetuning.labels_read(new) == reads.get(name, [])
    given = dict(epochs=2, genes=20, batch_size=0)
    new = transductive._config(model, "run", "warm", given, 0)
    assert new.losses
    assert new.train.gene_errors == c.train.gene_errors


def test_the_models_label_of_batches_is_the_cells_batch():
    c = config_of("scformer:tiny")
    c.batch = "study"
    model = SimpleNamespace(config=config.settled(c))
    new = finetuning.adapted(model, "run", "finetuned", finetuning.Adapting(), 0, 1.0)
    assert finetuning.labels_read(new) == ["study"]
    obs = pd.DataFrame({"other": ["x", "y"]}, index=["a", "b"])
    found = finetuning.obs_of(obs, np.array(["b1", "b2"]), new)
    assert found.to_dict("list") == {"study": ["b1", "b2"]}


@pytest.mark.slow
def test_a_checkpoint_is_probed_and_fine_tuned(file, trained, tmp_path, monkeypatch):
    asked = dict(checkpoints={"mine": str(trained)}, seeds=1, baselines=("pca5",), widths=(8,))
    asked |= dict(epochs=30, batch_size=32, finetune_rates=(1e-3, 3.0))
    found = run(file, tmp_path / "out", **asked)
    own = [("chance",), ("mine", "probes"), ("PCA 5 (transductive)", "probes")]
    own += [("mine", "finetuned"), ("mine", "lora")]
    assert list(found["parts"]) == [part_key(*name, "seed0") for name in own]
    rows = {row["name"]: row for row in annotation_report.summary(found).rows}
    assert rows["mine, fine-tuned"]["accuracy"][0] > 0.8
    assert rows["mine, LoRA"]["accuracy"][0] > rows["Largest class"]["accuracy"][0]
    [kept] = (tmp_path / "out" / "runs").glob("mine.finetuned.*")
    assert (kept / "rate-3" / "model").is_dir()
    assert not (kept / "store").exists()
    monkeypatch.setattr(finetuning, "predictions", None)
    assert run(file, tmp_path / "out", **asked)["parts"] == found["parts"]


@pytest.mark.slow
def test_no_label_of_a_test_cell_is_seen(file, trained, tmp_path):
    """Other labels of the test cells: the same store, the same steps, the same predictions."""
    cells = anndata.read_h5ad(file)
    labels, batch = cells.obs["kind"].to_numpy(str), cells.obs["batch"].to_numpy(str)
    split = batch_split(labels, batch, 0)
    other = labels.copy()
    other[split.test] = np.random.default_rng(0).permutation(labels[split.test])
    how, said = finetuning.Adapting(epochs=2, batch_size=32, rates=(1.0,)), []
    for i, known in enumerate((labels, other)):
        where = tmp_path / str(i)
        given = dict(seed=0, workdir=where, options={})
        said.append(
            finetuning.predictions(trained, "finetuned", cells, known, batch, split, how, **given)
        )
        info = json.loads((where / "rate-1" / "run.json").read_text())
        assert info["data"]["cells"] == {"train": len(split.train), "valid": len(split.valid)}
    (one, rate), (two, _) = said
    np.testing.assert_array_equal(one, two)
    assert (len(one), rate) == (len(split.test), 1.0)

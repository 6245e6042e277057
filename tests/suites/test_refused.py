"""What suites refuse, and how: one line that names the file, before anything is written."""

import anndata
import numpy as np
import pytest

from jaxcell import benchmark, cli
from jaxcell.suites import (
    annotation,
    cells,
    cells_report,
    finetuning,
    moa,
    naming,
    perturbation_models,
    transductive,
    vectors,
    views,
)
from jaxcell.suites.suite import Asked
from jaxcell.training import loop
from tests.conftest import draw_cells, fresh
from tests.suites.test_annotation import several
from tests.training.test_training import tiny

NAMES = ("m", "модель", "ü", "é", "PCA 4 (transductive)", "PCA_4_transductive", "a b", "a/b", "..")
ASKED = {  # a suite, with what it needs beside its file
    "cells": {},
    "annotation": {"label": "kind", "batch": "batch"},
    "transductive": {"label": "kind", "batch": "batch", "checkpoints": {"m": "no/such"}},
    "moa": {"dose_unit": "uM"},
    "disease": {"disease": "disease"},
    "perturbation": {"models": ()},
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "mine.h5ad"
    several().write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def model(store, tmp_path_factory):
    return fresh(store, tiny(store), tmp_path_factory.mktemp("model"))


def refused(suite, out, said, error=ValueError, **asked):
    with pytest.raises(error, match=said) as found:
        benchmark(suite, out, **{"seeds": 1, "progress": False, **asked})
    assert not out.exists()
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize("suite", ASKED)
@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", r"x\.h5ad is empty \(0 bytes\)"), (b"no" * 99, r"x\.h5ad is not an HDF5 file")],
)
def test_a_file_that_is_no_h5ad_is_named(suite, content, said, tmp_path):
    (tmp_path / "x.h5ad").write_bytes(content)
    refused(suite, tmp_path / "out", said, data=str(tmp_path / "x.h5ad"), **ASKED[suite])


def test_a_truncated_file_is_named(file, tmp_path):
    whole = file.read_bytes()
    (tmp_path / "x.h5ad").write_bytes(whole[: len(whole) // 2])
    refused("cells", tmp_path / "out", r"x\.h5ad is truncated", data=str(tmp_path / "x.h5ad"))


@pytest.mark.parametrize(
    ("suite", "asked", "said"),
    [
        ("annotation", {"label": "no", "batch": ""}, "obs has no label column 'no'"),
        ("transductive", ASKED["transductive"] | {"batch": "no"}, "obs has no batch column 'no'"),
        ("moa", {"cells": ""}, "drug: obs has no column 'product_name'"),
        ("disease", {"disease": "none"}, "disease: obs has no column 'none'"),
        ("perturbation", ASKED["perturbation"], "no .*column 'condition'"),
    ],
)
def test_errors_about_columns_name_the_file(suite, asked, said, file, tmp_path):
    refused(suite, tmp_path / "out", rf"mine\.h5ad: .*{said}", data=str(file), **asked)


@pytest.mark.parametrize("suite", ["cells", "annotation"])
def test_values_that_are_no_counts(suite, tmp_path):
    adata = several()
    adata.obs["cell_type"] = adata.obs["kind"]
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X.astype(np.float32) * 0.7
    adata.write_h5ad(tmp_path / "x.h5ad")
    said = refused(suite, tmp_path / "out", r"x\.h5ad, X: .*not integers",
                   data=str(tmp_path / "x.h5ad"), **ASKED[suite])  # fmt: skip
    assert said.count("x.h5ad") == 1
    assert "Counts were found in layers/counts" in said
    assert "counts=None" not in said  # of evaluate alone
    assert ("--counts" in said) == (suite == "annotation")  # only where there is that option


@pytest.mark.parametrize("name", ["hvg0", "hvg", "pca0", "ridge0", "ae0", "pca0_inductive"])
def test_baselines_of_no_components(name, tmp_path):
    with pytest.raises(ValueError, match=f"baselines: '{name}' is unknown.*from 1 on"):
        vectors.methods(Asked({}, (), tmp_path), draw_cells(1, 9, 9), baselines=[name])


def one_batch(tmp_path):
    adata = several()
    adata.obs["cell_type"], adata.obs["batch"] = adata.obs["kind"], "b"
    adata = adata[adata.obs["kind"] != "kind 9"].copy()
    adata.write_h5ad(tmp_path / "one.h5ad")
    return str(tmp_path / "one.h5ad")


def test_nothing_left_to_compare(tmp_path):
    pytest.importorskip("harmonypy")
    said = r"one\.h5ad: nothing to compare: harmony need two batches"
    refused("cells", tmp_path / "out", said, data=one_batch(tmp_path), baselines=["harmony"])


def test_baselines_that_are_dropped_are_in_the_report(tmp_path):
    options = dict(cells=100, components=[4], tissue=None, allow_non_integer=False)
    asked = Asked({}, (one_batch(tmp_path),), tmp_path, 1, ("harmony", "log"), options)
    facts, *methods = cells.plan(asked)
    assert [part.key for part in (facts, *methods)] == [
        "one.set",
        naming.part_key("one", "(Lib+Log)Norm", 0),
        naming.part_key("one", cells.SHUFFLED, 0),
    ]
    said = cells_report.described(facts.run())
    assert said.endswith("Not compared, for want of two batches: harmony.")


@pytest.mark.parametrize("strength", [np.nan, np.inf, -0.1])
def test_the_strength_of_what_is_planted(strength, tmp_path):
    refused("moa", tmp_path / "out", "strength: found", planted=True, strength=strength)


def test_keys_keep_names_apart():
    keys = [naming.part_key("case0", name, 3) for name in NAMES]
    assert len(set(keys)) == len(NAMES)
    assert all(key.isascii() and "/" not in key and " " not in key for key in keys)
    assert naming.part_key("case0", "m", 3) == "case0.m.3"
    assert naming.part_key("PCA 4 (transductive)").startswith("PCA_4_transductive-")


@pytest.mark.parametrize(
    ("suite", "name"),
    [
        ("cells", cells.SHUFFLED),
        ("cells", "(Lib+Log)Norm"),
        ("cells", "(Lib+Log)Norm + 2000 HVG"),
        ("annotation", annotation.LARGEST),
        ("annotation", "Shuffled labels, (Lib+Log)Norm"),
        ("annotation", "(Lib+Log)Norm"),
    ],
)
def test_a_checkpoint_called_as_another_row(suite, name, model, tmp_path):
    adata = several()
    adata.obs["cell_type"] = adata.obs["kind"]
    adata.write_h5ad(tmp_path / "x.h5ad")
    asked = ASKED[suite] | {"checkpoints": {name: str(model)}, "data": str(tmp_path / "x.h5ad")}
    asked |= {"no_finetune": True} if suite == "annotation" else {}
    baselines = ["log"] if suite == "annotation" else ["log", "hvg2000"]
    said = "checkpoint: found the name .*, which another row of the tables has"
    refused(suite, tmp_path / "out", said, **asked, baselines=baselines)


def test_a_view_called_as_a_baseline(model, tmp_path):
    asked = Asked({"(Lib+Log)Norm": str(model)}, (), tmp_path)
    with pytest.raises(ValueError, match="another row of the tables has"):
        views.views(asked, draw_cells(3, 30, 300), ("log",))


def test_a_model_of_other_genes_is_refused_before_the_first_part(model, tmp_path, monkeypatch):
    small = moa.planted_screen(cells=20, genes=120, mechanisms={"A": 4, "B": 4, "C": 3})
    monkeypatch.setattr(moa, "planted_screen", lambda strength: small)
    small.var_names = [f"X{i}" for i in range(120)]
    asked = dict(planted=True, fewest_cells=10, checkpoints={"m": str(model)})
    refused("moa", tmp_path / "out", "checkpoint m: the generated cells: no gene", **asked)
    small.var_names = [*(f"G{i}" for i in range(10)), *(f"X{i}" for i in range(110))]
    said = "checkpoint m: .*only 10 of the model's 300 genes were found, fewer than .* 5%"
    refused("moa", tmp_path / "out", said, **asked)


def test_few_genes_are_warned_of_once(model, tmp_path):
    few = draw_cells(3, 30, 60)
    [method] = vectors.methods(Asked({"m": str(model)}, (), tmp_path), few)
    with pytest.warns(UserWarning, match="60 of the model's 300") as warned:
        method.matrix(0)
    assert len(warned) == 1


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (FloatingPointError("diverged"), "error: diverged", ""),
        (KeyboardInterrupt("saved"), 130, "stopped: saved; go on with the same command"),
    ],
)
def test_how_a_part_that_fails_ends(raised, code, said, file, tmp_path, monkeypatch, capsys):
    def fails(*_, **__):
        raise raised

    monkeypatch.setattr(annotation, "fit_probe", fails)
    argv = ["benchmark", "annotation", "--data", str(file), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as left:
        cli.main([*argv, "--label", "kind", "--batch", "batch", "--baselines", "log"])
    assert left.value.code == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("module", [finetuning, transductive, perturbation_models])
def test_a_run_that_is_interrupted_interrupts_the_benchmark(module, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "train", lambda c, workdir: False)  # as when it was asked to stop
    with pytest.raises(KeyboardInterrupt, match="run: stopped before the end"):
        module.train(None, tmp_path / "run")


def test_counts_in_raw_are_of_raws_genes(file, tmp_path):
    adata = anndata.read_h5ad(file)
    adata.raw = adata.copy()
    adata = adata[:, :40].copy()
    [method] = vectors.methods(Asked({}, (), tmp_path), adata, counts="raw", baselines=["raw"])
    assert method.matrix(0).shape[1] == 300

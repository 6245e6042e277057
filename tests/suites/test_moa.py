"""The suite of drug mechanisms, end to end: on generated and given cells, and gone on with."""

import json

import numpy as np
import pytest

from jaxcell import benchmark
from jaxcell.suites import moa, views
from jaxcell.suites.naming import part_key
from jaxcell.suites.planted_screen import planted_screen
from jaxcell.suites.suite import Asked
from jaxcell.training import loop
from tests.conftest import labelled_config

FEW = {"A": 4, "B": 4, "C": 3}
SMALL = {"fewest_cells": 10, "repeats": 2, "seeds": 1, "progress": False}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("screen") / "screen.h5ad"
    screen = planted_screen(cells=20, genes=120, strength=1.0, mechanisms=FEW)
    screen.obs["dose"] /= 1e3  # in uM
    screen.write_h5ad(path)
    return path


def test_a_run_and_its_report(file, tmp_path, monkeypatch):
    asked = {"data": str(file), "baselines": ("raw", "pca20"), "dose_unit": "uM", **SMALL}
    results = benchmark("moa", tmp_path, **asked)
    rows = {row["name"]: row for row in moa.score_rows(results)}
    assert list(rows) == ["Raw counts", "PCA 20 (transductive)", moa.SHUFFLED]
    assert rows["PCA 20 (transductive)"]["auc"][0] > 0.85
    assert rows[moa.SHUFFLED]["reference"]
    assert abs(rows[moa.SHUFFLED]["auc"][0] - 0.5) < 0.25  # 11 drugs only
    assert rows[moa.SHUFFLED]["leak"][0] > rows[moa.SHUFFLED]["auc"][0]
    cells = results["parts"]["cells"]
    assert {k: v["drugs"] for k, v in cells["mechanisms"].items()} == FEW
    assert len(results["parts"][part_key("PCA 20 (transductive)", "seed0")]["folds"]) == 4
    page = (tmp_path / "report.html").read_text()
    assert "AUC, cells split" in page
    assert (tmp_path / "figures" / "mechanisms.png").stat().st_size > 5_000
    assert (tmp_path / "figures" / "by_mechanism.png").stat().st_size > 5_000
    assert "Raw counts" in moa.text(results)

    monkeypatch.setattr(moa.mechanisms, "classify", None)  # nothing is computed again
    assert benchmark("moa", tmp_path, **asked) == results
    with pytest.raises(TypeError):  # other folds are
        benchmark("moa", tmp_path, **asked | {"repeats": 3})


def test_generated_cells(tmp_path, monkeypatch):
    small = planted_screen(cells=20, genes=120, strength=0.3, mechanisms=FEW)
    seen = []
    monkeypatch.setattr(moa, "planted_screen", lambda strength: seen.append(strength) or small)
    benchmark("moa", tmp_path, planted=True, strength=0.3, baselines=("log",), **SMALL)
    assert seen == [0.3]
    assert "Generated cells" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "dose: no cell .* is at 10000 nM, read in nM.*in uM one of them"),
        ({"dose_unit": "uM", "cells": "cell_type=K562"}, "no cell has 'K562'"),
        ({"dose_unit": "uM", "repeats": 0}, "repeats: found 0, expected 1 or more"),
        ({"dose_unit": "uM", "planted": True}, "beside --planted, expected one of them"),
        ({"dose_unit": "uM", "baselines": ("log", "nope")}, "'nope' is unknown"),
        ({"data": ()}, "data: found none, expected one h5ad file"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(file, tmp_path, asked, message):
    with pytest.raises(ValueError, match=message):
        benchmark("moa", tmp_path / "out", **{"data": str(file), **SMALL, **asked})
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_model_is_seen_by_each_of_its_cls_tokens(labelled, tmp_path):
    import anndata

    from jaxcell import embed

    config = labelled_config(labelled)
    config.steps = 2
    loop.train(config, tmp_path / "run")
    cells = anndata.read_h5ad(labelled / "cells.h5ad")
    asked = Asked({"wced": str(tmp_path / "run")}, (), tmp_path / "out")
    made = {m.name: m for m in views.views(asked, cells, ("log",))}
    assert list(made)[:3] == ["wced, reconstruction CLS", "wced, label CLS", "wced, both CLS"]
    marks = {json.dumps(m.mark) for m in made.values()}
    assert len(marks) == 4
    for name, pooling in (("reconstruction", "cls"), ("label", "<cls_0>")):
        own = embed(cells.copy(), tmp_path / "run", pooling=pooling, key="X", progress=False)
        vectors = made[f"wced, {name} CLS"].matrix(0)
        np.testing.assert_allclose(vectors, own.obsm["X"], atol=1e-6)
    both = made["wced, both CLS"].matrix(0)
    np.testing.assert_array_equal(both[:, : vectors.shape[1]],
                                  made["wced, reconstruction CLS"].matrix(0))  # fmt: skip
    with pytest.raises(ValueError, match="no checkpoint has '<nope>'"):
        views.views(asked, cells, label_token="<nope>")

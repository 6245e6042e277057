"""The suite `cells`: planted data sets, from files to the report; resumed; bad input refused."""

import json

import numpy as np
import pytest

from jaxcell import benchmark
from jaxcell.evaluation import baselines, intervals, scib_protocol
from jaxcell.evaluation.probes import score
from jaxcell.suites import cell_sets, cells, cells_found, cells_report
from jaxcell.suites.naming import part_key
from tests.evaluation.cells import adata

OPTIONS = dict(seeds=2, baselines=("log", "hvg50", "pca"), components=(4,), progress=False)
PCA = "PCA 4 (transductive)"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two data sets: three batches and two organs; one batch, and 40 genes: fewer than HVG."""
    folder = tmp_path_factory.mktemp("cell sets")
    several, one = adata(150, 60, seed=1), adata(120, 40, classes=4, seed=2)
    several.obs["kind"] = several.obs.pop("cell_type")
    several.obs["donor"] = several.obs.pop("batch")
    several.obs["organ"] = np.array(["lung", "blood"])[(np.arange(150) // 3) % 2]
    one.obs["batch"] = "b0"
    one.obs["cell_type"] = one.obs["cell_type"].astype(object)
    one.obs.iloc[:5, 0] = None
    several.write_h5ad(folder / "several.h5ad")
    one.write_h5ad(folder / "one.h5ad")
    return [f"{folder / 'several.h5ad'}:kind:donor", str(folder / "one.h5ad")]


@pytest.fixture(scope="module")
def results(files, tmp_path_factory):
    return benchmark("cells", tmp_path_factory.mktemp("out"), data=files, **OPTIONS)


@pytest.fixture
def found(results):
    return cells_found.Found(results)


def test_scores_are_those_of_the_protocol_on_the_same_cells(files, results):
    read = cell_sets.read_sets(files, None, False)[0]
    log = baselines.normalise(read.adata.X)
    x = baselines.principal_components(log, 4).scores(log)
    before = scib_protocol.pcr(log, read.batch)
    expected = scib_protocol.scib_scores(x, read.labels, read.batch, seed=1, before=before)
    part = results["parts"][part_key("several", PCA, 1)]
    assert part["scib"] == pytest.approx(expected, rel=1e-6)
    assert (part["dimensions"], part["kind"], part["seed"]) == (4, "baseline", 1)
    assert "probes" not in part  # whole batches are held out: no seed changes them
    assert "probes" in results["parts"][part_key("one", PCA, 1)]


def test_predictions_give_the_scores_and_their_intervals(found):
    for dataset in ("several", "one"):
        part = found.own(dataset, PCA)[0]["probes"]
        said = {k: cells_found.unpack(v).astype(str) for k, v in part["predictions"].items()}
        for kind in ("linear", "knn"):
            accuracy, f1 = score(said["truth"], said[kind])
            assert part["scores"][f"{kind}_pooled_accuracy"] == accuracy
            assert part["scores"][f"{kind}_pooled_macro_f1"] == pytest.approx(f1)
            drawn = intervals.bootstrap(said["truth"], said[kind])
            assert part["intervals"][kind]["accuracy"] == pytest.approx(drawn["accuracy"])
    assert (found.facts["one"]["cells"], found.facts["one"]["alone"]) == (115, 0)
    assert "5 cells (no label in obs['cell_type'])" in cells_report.set_blocks(found, "one")[1].text


def test_shuffled_labels_are_at_chance_and_are_never_the_best(found):
    for dataset in ("several", "one"):
        assert found.mean(dataset, PCA, "linear_pooled_accuracy") > 0.9
        classes = found.facts[dataset]["classes"]
        shuffled = found.mean(dataset, cells.SHUFFLED, "linear_pooled_accuracy")
        assert shuffled == pytest.approx(1 / classes, abs=0.12)
        assert abs(found.mean(dataset, cells.SHUFFLED, "ari")) < 0.05
    rows = {row["name"]: row for row in cells_report.verdict_table(found).rows}
    assert rows[cells.SHUFFLED]["reference"]
    assert "rank" not in rows[cells.SHUFFLED]
    ranks = [rows[name]["rank"] for name in rows if name != cells.SHUFFLED]
    assert np.mean(ranks) == pytest.approx(2)  # of three methods


def test_the_report_holds_all_tables(results, found, tmp_path):
    out = cells_report.blocks(results)
    titles = [getattr(block, "title", None) for block in out]
    for title in ("Verdict", "Pairs: linear macro-F1", "several: scIB", "one: probes"):
        assert title in titles
    assert "cz-benchmarks: macro-F1" in titles
    pair = out[titles.index("Pairs: linear macro-F1")].rows[0]
    assert pair["name"] == "(Lib+Log)Norm − (Lib+Log)Norm + 50 HVG"
    assert set(pair) >= {"difference", "interval", "cells", "p", "p_holm"}
    next(block for block in out if hasattr(block, "draw")).draw(tmp_path / "pareto.png")
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert "Best mean rank" in cells_report.text(results)
    assert json.dumps(results, allow_nan=False)


def test_more_genes_asked_than_there_are_is_all_genes(found):
    name = "(Lib+Log)Norm + 50 HVG"
    assert found.own("several", name)[0]["dimensions"] == 50
    log = found.own("one", "(Lib+Log)Norm")[0]
    assert found.own("one", name)[0]["scib"] == pytest.approx(log["scib"])


def test_nothing_is_computed_twice(files, results, monkeypatch):
    def never(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(cells, "measure", never)
    again = benchmark("cells", results["meta"]["out"], data=files, **OPTIONS)
    assert again["parts"] == results["parts"]
    with pytest.raises(AssertionError, match="computed again"):
        benchmark("cells", results["meta"]["out"], data=files, **{**OPTIONS, "components": (5,)})


def test_cells_of_classes_in_one_batch_are_counted(files):
    [several] = cell_sets.read_sets(files[:1], None, False)
    assert several.facts()["alone"] == 0
    own = several.batch == "b1"
    several.labels = several.labels.astype(object)
    several.labels[np.flatnonzero(own)[:7]] = "new"
    several.labels = several.labels.astype(str)
    assert several.facts()["alone"] == 7


def test_tissues_are_scored_one_by_one(files):
    [several] = cell_sets.read_sets(files[:1], "organ", False)
    assert {name: own.sum() for name, own in several.tissues().items()} == {"blood": 75, "lung": 75}
    [plain] = cell_sets.read_sets(files[:1], None, False)
    assert list(plain.tissues()) == [""]


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (["nowhere.h5ad"], {}, "nowhere.h5ad: no such h5ad file"),
        (["one:nothing"], {}, r"one.h5ad: obs has no label column 'nothing'"),
        (["one", "one"], {}, "two data sets are called 'one'"),
        (["one"], {"tissue": "organ"}, r"obs has no 'organ' \(--tissue\)"),
        (["one"], {"cells": 10}, "--cells: found 10"),
        (["one"], {"components": (0,)}, "--components"),
        (["one"], {"baselines": ("pcb",)}, "one.h5ad: baselines: 'pcb' is unknown"),
        (["."], {}, "expected FILE"),
    ],
)
def test_bad_input_writes_nothing(data, options, said, files, tmp_path):
    data = [one.replace("one", files[1]) for one in data]
    data = [str(tmp_path) if one == "." else one for one in data]
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        benchmark("cells", tmp_path / "out", data=data, **{**OPTIONS, **options})
    assert not (tmp_path / "out").exists()


@pytest.mark.data
def test_the_folders_list_is_there():
    from tests.real.test_real_data import DATA

    if not DATA.is_dir():
        pytest.skip("set JAXCELL_DATA")
    found = {one.name: one for one in cell_sets.read_sets([DATA], None, False)}
    assert len(found) == len(cell_sets.FOLDER)
    assert len(found["scMixology"].labels) == 1021
    assert len(np.unique(found["PBMC, 5 batches"].batch)) == 5
    names = [set(one.adata.obs_names) for one in found.values()]
    assert len(set().union(*names)) == sum(map(len, names))  # no cell is in two of them

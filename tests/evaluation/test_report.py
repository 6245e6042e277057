import json
import re

import numpy as np
import pytest

import jaxcell
from jaxcell.evaluation import inputs
from jaxcell.evaluation.tables import format_table

from .cells import adata

BASELINES = ["(Lib+Log)Norm", "(Lib+Log)Norm + HVG", "PCA", "Shuffled labels"]
METRICS = {
    *("linear_accuracy", "linear_macro_f1", "knn_accuracy", "knn_macro_f1", "nmi", "ari"),
    *("asw_label", "asw_batch", "graph_connectivity", "ilisi", "avg_bio", "avg_batch", "overall"),
}


def run(data, out, **kwargs):
    kwargs = {"label": "cell_type", "batch": "batch", "progress": False, "n_pcs": 5} | kwargs
    return jaxcell.evaluate(data, ["X_good"], out=out, **kwargs)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    data = adata()
    data.write_h5ad(folder / "cells.h5ad")
    data.obsm["X_good"] += 0  # nothing the report may depend on
    out = folder / "report"
    return run(folder / "cells.h5ad", out, n_hvg=20), out


def test_results_json_names_the_baselines_and_holds_every_metric(report):
    results, out = report
    assert json.loads((out / "results.json").read_text()) == results
    assert set(results) == {"meta", "results", "folds", "leiden"}
    assert list(results["results"]) == ["X_good", *BASELINES]
    for name, row in results["results"].items():
        assert set(row) >= METRICS
        assert all(0 <= row[m] <= 1 for m in METRICS - {"ari"}), name
        assert [fold["held_out"] for fold in results["folds"][name]] == ["b0", "b1", "b2"]
        accuracies = [fold["linear_accuracy"] for fold in results["folds"][name]]
        assert row["linear_accuracy"] == pytest.approx(np.mean(accuracies))
        assert len(results["leiden"][name]) == 20
    table = results["results"]
    assert table["X_good"]["linear_accuracy"] == 1.0
    assert table["Shuffled labels"]["linear_accuracy"] < 0.6
    assert table["(Lib+Log)Norm"]["dimensions"] == 40
    assert table["(Lib+Log)Norm + HVG"]["dimensions"] == 20
    assert table["PCA"]["dimensions"] == 5
    # Batch metrics do not look at the labels where they need not.
    assert table["Shuffled labels"]["ilisi"] == table["PCA"]["ilisi"]


def test_meta_says_what_was_measured(report):
    meta = report[0]["meta"]
    assert meta["cells"] == meta["cells_in_file"] == 120
    assert meta["classes"] == {"type 0": 40, "type 1": 40, "type 2": 40}
    assert sum(meta["batches"].values()) == 120
    assert meta["protocol"] == "leave one batch out (3 batches)"
    assert meta["left_out"] == {}
    assert meta["embeddings"] == ["X_good"]
    assert set(meta["versions"]) >= {"scib-metrics", "scikit-learn", "igraph"}
    assert "scib_metrics.ilisi_knn" in meta["implementations"]["iLISI"]


def test_report_and_pictures(report):
    results, out = report
    text = (out / "report.md").read_text()
    for name in ["X_good", *BASELINES]:
        assert f"| {name} |" in text
    assert "| X_good | **1.000** ± .000 |" in text
    assert not re.search(r"Shuffled labels \|.*\*\*", text)
    pictures = sorted(path.name for path in out.glob("*.png"))
    assert pictures == sorted(results["meta"]["figures"].values())
    assert len(pictures) == 6
    for name in pictures:
        assert f"({name})" in text
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in out.iterdir()} == {*pictures, "results.json", "report.md"}


def test_format_table(report):
    results, _ = report
    text = format_table(results)
    lines = text.splitlines()
    assert [line.split("  ")[0] for line in lines[3:8]] == ["X_good", *BASELINES]
    assert "1.000*" in lines[3]
    assert "*" not in lines[7]
    assert "Overall" in lines[1]
    assert "120 cells, 3 classes of 'cell_type'; probes: leave one batch out" in lines[-1]
    assert len({len(line) for line in lines[1:3]}) == 1


def test_the_same_seed_gives_the_same_report(report, tmp_path):
    results, out = report
    again = run(adata(), tmp_path / "again", n_hvg=20)
    assert again["results"] == results["results"]
    assert again["folds"] == results["folds"]
    for picture in out.glob("*.png"):
        assert picture.read_bytes() == (tmp_path / "again" / picture.name).read_bytes()


def test_without_batch_and_with_unlabelled_cells(tmp_path):
    data = adata()
    labels = data.obs["cell_type"].astype(object)
    labels.iloc[:4] = [None, "", "Unknown", np.nan]
    labels.iloc[4:7] = "rare"
    data.obs["cell_type"] = labels.astype("category")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    results = run(data, tmp_path / "out", batch=None)
    meta = results["meta"]
    assert (meta["cells"], meta["left_out"]) == (116, {"no label in obs['cell_type']": 4})
    assert "no batch is held out" in meta["protocol"]
    notes = " ".join(meta["notes"])
    assert "Classes with fewer than 5 cells" in notes
    assert "rare (3)" in notes
    assert "the file has 40 genes, not more than n_hvg = 2000" in notes
    for row in results["results"].values():
        assert (
            row["ilisi"] is row["asw_batch"] is row["graph_connectivity"] is row["overall"] is None
        )
    log, hvg = (results["results"][name] for name in BASELINES[:2])
    assert log == hvg
    text = (tmp_path / "out" / "report.md").read_text()
    assert "stratified 5-fold over cells (no batch column): no batch is held out" in text
    assert "| – |" in text
    assert "batch mixing" not in format_table(results)
    assert (tmp_path / "out" / "mine.txt").read_text() == "kept"


def test_embeddings_alone_and_held_out_batches(tmp_path):
    data = adata()
    data.X = np.log1p(data.X)
    data.obs.loc[data.obs["batch"] == "b2", "cell_type"] = "only there"
    results = run(data, tmp_path / "out", counts=None, test_batches=["b2"])
    assert list(results["results"]) == ["X_good"]
    (fold,) = results["folds"]["X_good"]
    assert (fold["held_out"], fold["absent"]) == ("b2", ["only there"])
    assert fold["linear_accuracy"] == fold["knn_macro_f1"] == 0
    assert "classes that no training cell has (only there); they are scored" in " ".join(
        results["meta"]["notes"]
    )


def test_counts_elsewhere(tmp_path):
    data = adata(60)
    data.layers["counts"] = data.X.copy()
    expected = inputs.load(
        data, [], label="cell_type", batch=None, counts="X", allow_non_integer=False
    )
    data.X = np.log1p(data.X)
    data.raw = data
    found = inputs.load(
        data, [], label="cell_type", batch=None, counts="layers/counts", allow_non_integer=False
    )
    assert (found.counts != expected.counts).nnz == 0
    half = inputs.load(
        data, [], label="cell_type", batch=None, counts="raw", allow_non_integer=True
    )
    np.testing.assert_allclose(half.counts.toarray(), data.X)


def _with(**changes):
    def change(data):
        for what, value in changes.items():
            if what == "X":
                data.X = value(data.X)
            elif what == "obsm":
                data.obsm["X_good"] = value(data.obsm["X_good"])
            elif what == "key":
                data.obsm[value] = data.obsm["X_good"]
            else:
                data.obs[what] = value

    return change


def _hole(x):
    x = x.copy()
    x[3, 1] = np.nan
    return x


REFUSED = {
    "key": ({}, {"keys": ["X_other"]}, r"obsm has no 'X_other'; it has \['X_good'\]"),
    "label": ({}, {"label": "type"}, r"obs has no label column 'type'; it has \['cell_type', 'b"),
    "batch": ({}, {"batch": "donor"}, r"obs has no batch column 'donor'; it has \['cell_type', "),
    "nan": ({"obsm": _hole}, {}, r"obsm\['X_good'\] has NaN or infinite values in 1 of 120 cells"),
    "class": ({"cell_type": "T"}, {}, r"obs\['cell_type'\] has one class only \('T'\)"),
    "names": ({"cell_type": [str(i) for i in range(120)]}, {}, "every class has one cell only"),
    "collapsed": ({"obsm": np.zeros_like}, {}, r"obsm\['X_good'\] is the same vector for every"),
    "unlabelled": (
        {"cell_type": "nan"},
        {},
        "0 of 120 cells have a label and a batch; .* least 30",
    ),
    "logged": ({"X": np.log1p}, {}, "AnnData, X: .*not integers.* --counts raw.*counts=None"),
    "scaled": ({"X": lambda x: x - 1}, {}, r"X: values below zero \(least -1\): this looks scaled"),
    "hole": ({"X": _hole}, {}, "X: .*values read are NaN or infinite.*Say where"),
    "place": ({}, {"counts": "layers/raw"}, "AnnData has no counts at 'layers/raw'; it has X"),
    "test": ({}, {"test_batches": ["b7"]}, r"no cell is of batch \['b7'\]"),
    "name": ({"key": "PCA"}, {"keys": ["PCA"]}, r"obsm\['PCA'\] has the name of a baseline"),
    "nothing": ({}, {"keys": [], "counts": None}, "nothing to evaluate"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_write_nothing(case, tmp_path):
    changes, kwargs, text = REFUSED[case]
    data = adata()
    _with(**changes)(data)
    kwargs = {"keys": ["X_good"], "label": "cell_type", "batch": "batch"} | kwargs
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=text):
        jaxcell.evaluate(data, kwargs.pop("keys"), out=out, progress=False, **kwargs)
    assert not out.exists()


def test_refusals_of_paths_and_of_an_absent_extra(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"cells.h5ad: no such file; evaluate reads"):
        run(tmp_path / "cells.h5ad", tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"is a file; evaluate writes a folder"):
        run(adata(), tmp_path / "file")
    monkeypatch.setattr(inputs, "EXTRA", ("numpy", "not_installed"))
    with pytest.raises(ImportError, match=r'needs not_installed.*pip install "jaxcell\[eval\]"'):
        run(adata(), tmp_path / "out")
    assert not (tmp_path / "out").exists()

import json
import re

import numpy as np
import pandas as pd
import pytest

import jaxcell
from jaxcell.evaluation import inputs, probes
from jaxcell.evaluation.tables import format_table, number

from .cells import adata

CHOSEN = ("log", "hvg20", "pca_inductive", "pca", "shuffled")
BASELINES = [
    *("(Lib+Log)Norm", "(Lib+Log)Norm + 20 HVG", "PCA (inductive)", "PCA (transductive)"),
    "Shuffled labels",
]
DIM = "dimensions"
METRICS = {
    *("linear_accuracy", "linear_macro_f1", "knn_accuracy", "knn_macro_f1", "nmi", "ari"),
    *("linear_pooled_accuracy", "linear_pooled_macro_f1", "knn_pooled_accuracy"),
    *("knn_pooled_macro_f1", "louvain_nmi", "louvain_ari", "louvain_avg_bio"),
    *("asw_label", "asw_batch", "graph_connectivity", "ilisi", "avg_bio", "avg_batch", "overall"),
}


def run(data, out, **kwargs):
    kwargs = {"label": "cell_type", "batch": "batch", "progress": False, "n_pcs": 5} | kwargs
    kwargs = {"keys": ["X_good"], "baselines": CHOSEN} | kwargs
    if kwargs.get("counts", "X") is None:
        del kwargs["baselines"]
    return jaxcell.evaluate(data, kwargs.pop("keys"), out=out, **kwargs)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    data = adata()
    data.write_h5ad(folder / "cells.h5ad")
    data.obsm["X_good"] += 0  # nothing the report may depend on
    out = folder / "report"
    return run(folder / "cells.h5ad", out), out


def test_results_json_names_the_baselines_and_holds_every_metric(report):
    results, out = report
    assert json.loads((out / "results.json").read_text()) == results
    assert set(results) == {"meta", "results", "seeds", "folds", "views", "leiden", "louvain"}
    assert list(results["results"]) == ["X_good", *BASELINES]
    for name, row in results["results"].items():
        assert set(row) >= METRICS
        assert all(0 <= row[m] <= 1 for m in METRICS - {"ari", "louvain_ari"}), name
        assert [fold["held_out"] for fold in results["folds"][name]] == ["b0", "b1", "b2"]
        accuracies = [fold["linear_accuracy"] for fold in results["folds"][name]]
        assert row["linear_accuracy"] == pytest.approx(np.mean(accuracies))
        assert len(results["leiden"][name]) == len(results["louvain"][name]) == 20
        assert results["seeds"][name] == [{"seed": 0} | {m: row[m] for m in row if m != DIM}]
    table = results["results"]
    assert table["X_good"]["linear_accuracy"] == 1.0
    assert table["Shuffled labels"]["linear_accuracy"] < 0.6
    assert table["(Lib+Log)Norm"]["dimensions"] == 40
    assert table["(Lib+Log)Norm + 20 HVG"]["dimensions"] == 20
    assert table["PCA (inductive)"]["dimensions"] == table["PCA (transductive)"]["dimensions"] == 5
    # Batch metrics do not look at the labels where they need not.
    assert table["Shuffled labels"]["ilisi"] == table["PCA (transductive)"]["ilisi"]


def test_meta_says_what_was_measured(report):
    meta = report[0]["meta"]
    assert meta["cells"] == meta["cells_in_file"] == 120
    assert meta["classes"] == {"type 0": 40, "type 1": 40, "type 2": 40}
    assert sum(meta["batches"].values()) == 120
    assert meta["protocol"] == "leave one batch out (3 batches)"
    assert meta["left_out"] == {}
    assert meta["embeddings"] == ["X_good"]
    assert set(meta["versions"]) >= {"scib-metrics", "scikit-learn", "igraph"}
    how, versions = meta["implementations"], meta["versions"]
    assert f"[scib-metrics {versions['scib-metrics']}]" in how["iLISI"]
    assert "not comparable with scib's" in how["iLISI"]
    assert f"[igraph {versions['igraph']}, scikit-learn " in how["Louvain NMI, ARI"]
    assert f"[jaxcell {versions['jaxcell']}]" in how["AvgBIO, AvgBATCH, Overall"]
    assert meta["fitted_on"] == {
        "X_good": "as given",
        "(Lib+Log)Norm": "–",
        "(Lib+Log)Norm + 20 HVG": "the evaluated cells (choice of genes)",
        "PCA (inductive)": "each fold's training cells",
        "PCA (transductive)": "the evaluated cells",
        "Shuffled labels": "the evaluated cells",
    }
    assert (meta["baselines"], meta["seeds"]) == (list(CHOSEN), 1)


def test_report_and_pictures(report):
    results, out = report
    text = (out / "report.md").read_text()
    for name in ["X_good", *BASELINES]:
        assert f"| {name} |" in text
    assert "| X_good | as given | **1.000** ± .000 |" in text
    assert not re.search(r"Shuffled labels \|.*\*\*", text)
    assert "Louvain AvgBIO" in text
    assert "Over the held-out cells of all folds together:" in text
    assert "One matrix per fold: PCA (inductive). Clustering and mixing are measured on all" in text
    pictures = sorted(path.name for path in out.glob("*.png"))
    assert pictures == sorted(results["meta"]["figures"].values())
    assert pictures == [
        "comparison.png",
        "umap_lib_log_norm.png",
        "umap_pca_transductive.png",
        "umap_x_good.png",
    ]
    for name in pictures:
        assert f"({name})" in text
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in out.iterdir()} == {*pictures, "results.json", "report.md"}


def test_format_table(report):
    results, _ = report
    text = format_table(results)
    lines = text.splitlines()
    assert [line.split("  ")[0] for line in lines[3:9]] == ["X_good", *BASELINES]
    assert "1.000*" in lines[3]
    assert "*" not in lines[8]
    assert "Overall" in lines[1]
    assert "120 cells, 3 classes of 'cell_type'; probes: leave one batch out" in lines[-1]
    assert max(map(len, lines)) <= 140


def test_the_same_seed_gives_the_same_report(report, tmp_path):
    results, out = report
    again = run(adata(), tmp_path / "again")
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
    results = run(data, tmp_path / "out", batch=None, baselines=("log", "hvg2000", "ae"))
    meta = results["meta"]
    assert (meta["cells"], meta["left_out"]) == (116, {"no label in obs['cell_type']": 4})
    assert "no batch is held out" in meta["protocol"]
    notes = " ".join(meta["notes"])
    assert "Classes with fewer than 5 cells" in notes
    assert "rare (3)" in notes
    assert "the file has 40 genes, not more than 2000, so there is nothing to choose" in notes
    assert list(results["results"]) == ["X_good", "(Lib+Log)Norm", "Linear AE (transductive)"]
    for row in results["results"].values():
        assert (
            row["ilisi"] is row["asw_batch"] is row["graph_connectivity"] is row["overall"] is None
        )
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


def test_counts_elsewhere():
    data = adata(60)
    data.layers["counts"] = data.X.copy()
    keep = np.arange(60) < 50
    expected, genes = inputs.counts(data, "X", False, keep)
    assert expected.shape == (50, 40)
    assert genes.index.tolist() == data.var_names.tolist()
    data.X = np.log1p(data.X)
    data.raw = data
    found, _ = inputs.counts(data, "layers/counts", False, keep)
    assert (found != expected).nnz == 0
    half, _ = inputs.counts(data, "raw", True, keep)
    np.testing.assert_allclose(half.toarray(), data.X[:50])


def test_genes_are_found_by_any_of_their_names(tmp_path):
    var = pd.DataFrame({"ensembl_id": ["ENSG00000000001", "", ""]}, index=["A", "B", "C"])
    (tmp_path / "genes.txt").write_text("ENSG00000000001.2\nC\nD\n")
    chosen, n = inputs.gene_columns(tmp_path / "genes.txt", var)
    assert (chosen.tolist(), n) == ([True, False, True], 3)
    assert inputs.gene_columns(["A", "B", ""], var)[0].tolist() == [True, True, False]
    with pytest.raises(ValueError, match=r"found 1 of the 2 genes among the 3 of the file .*'A'"):
        inputs.gene_columns(["A", "D"], var)


def per_batch(data, good="b0"):
    """obsm['X_b0'] …: the class where `good` is held out, noise for the others."""
    for i, name in enumerate(["b0", "b1", "b2"]):
        noise = np.random.default_rng(i).normal(size=(120, 4)).astype(np.float32)
        data.obsm[f"X_{name}"] = data.obsm["X_good"] if name == good else noise
    return data


def test_one_embedding_per_held_out_batch(tmp_path):
    data = per_batch(adata())
    results = run(data, tmp_path / "out", keys=["X_{}", "X_b0", "X_b1"], counts=None)
    assert list(results["results"]) == ["X_{}", "X_b0", "X_b1"]
    mixed, alone, noise = (results["folds"][key] for key in results["results"])
    assert [fold["held_out"] for fold in mixed] == ["b0", "b1", "b2"]
    assert mixed[0] == alone[0]
    assert mixed[1] == noise[1]
    assert mixed[0]["linear_accuracy"] == 1.0
    assert max(fold["linear_accuracy"] for fold in mixed[1:]) < 0.6
    views, row = results["views"]["X_{}"], results["results"]["X_{}"]
    assert [view["held_out"] for view in views] == ["b0", "b1", "b2"]
    for metric in ("nmi", "louvain_ari", "asw_label", "ilisi", "graph_connectivity"):
        assert row[metric] == pytest.approx(np.mean([view[metric] for view in views]))
        assert views[0][metric] == results["results"]["X_b0"][metric]
    assert row["avg_bio"] == pytest.approx((row["nmi"] + row["ari"] + row["asw_label"]) / 3)
    assert results["meta"]["fitted_on"]["X_{}"] == "one embedding per held-out batch"
    assert (tmp_path / "out" / "umap_x.png").exists()

    (fold,) = run(data, tmp_path / "given", keys=["X_{}"], counts=None, test_batches=["b0"])[
        "folds"
    ]["X_{}"]
    assert (fold["held_out"], fold["linear_accuracy"]) == ("b0", 1.0)


def test_seeds_repeat_what_draws_and_nothing_else(tmp_path, monkeypatch):
    probed = []
    once = probes.probe_all
    monkeypatch.setattr(probes, "probe_all", lambda *a: probed.append(a) or once(*a))
    results = run(
        adata(gap=1.5), tmp_path / "out", seed=3, seeds=3, baselines=("pca", "ae", "shuffled")
    )
    assert len(probed) == 1 + 1 + 3 + 3  # X_good, PCA, autoencoder, shuffled labels
    for name, rows in results["seeds"].items():
        assert [row["seed"] for row in rows] == [3, 4, 5]
        assert [fold["seed"] for fold in results["folds"][name]] == [3, 3, 3, 4, 4, 4, 5, 5, 5]
        mean = np.mean([row["avg_bio"] for row in rows])
        assert results["results"][name]["avg_bio"] == pytest.approx(mean)
        drawn = {row["asw_label"] for row in rows}
        assert (len(drawn) > 1) == (name in ("Linear AE (transductive)", "Shuffled labels")), name
    alone = run(adata(gap=1.5), tmp_path / "alone", seed=4, baselines=("pca", "ae", "shuffled"))
    for name, (row,) in alone["seeds"].items():
        assert row == results["seeds"][name][1]

    row = results["results"]["Shuffled labels"]
    sd = np.std([r["linear_accuracy"] for r in results["seeds"]["Shuffled labels"]], ddof=1)
    shown = f"{number(row['linear_accuracy'])} ± {number(sd)}"
    text = (tmp_path / "out" / "report.md").read_text()
    assert f"| Shuffled labels | the evaluated cells | {shown} |" in text
    assert "Mean ± sd over 3 seeds" in text
    best = max(r["avg_bio"] for r in results["seeds"]["X_good"])
    assert f"AvgBIO of the best seed: X_good {number(best)}, " in text
    assert re.search(r"\| X_good \| as given \| (\*\*)?[.\d]+(\*\*)? \|", text)  # no ±: fixed
    table = format_table(results)
    assert shown.replace(" ", "") in re.sub(r" ?± ?", "±", table).replace("* ", "")
    assert max(map(len, table.splitlines())) <= 140
    assert table.splitlines()[-1].endswith("± over 3 seeds")
    assert [line.split()[0] for line in table.splitlines() if line].count("X_good") == 2


def test_seeds_draw_new_stratified_folds(tmp_path):
    results = run(adata(gap=1.5), tmp_path / "out", batch=None, seeds=2, baselines=("log",))
    first, second = results["seeds"]["(Lib+Log)Norm"]
    folds = [fold["linear_accuracy"] for fold in results["folds"]["(Lib+Log)Norm"]]
    assert folds[:5] != folds[5:]
    assert first["asw_label"] == second["asw_label"]


def test_inductive_baselines_may_be_fitted_on_other_cells(tmp_path):
    data = adata()
    train = adata(80)[:, ::-1].copy()  # the same genes in another order
    train.obs_names = [f"other{i}" for i in range(80)]
    train.write_h5ad(tmp_path / "train.h5ad")
    kwargs = dict(train=tmp_path / "train.h5ad", baselines=("pca_inductive",))
    results = run(data, tmp_path / "out", **kwargs)
    meta, name = results["meta"], "PCA (inductive)"
    assert meta["fitted_on"][name] == "the train file"
    assert [view["held_out"] for view in results["views"][name]] == [None]
    assert not any("is in train too" in note for note in meta["notes"])
    # Fitted on the evaluated cells themselves it is the transductive one.
    both = run(data, tmp_path / "own", train=data, baselines=("pca_inductive", "pca"))
    rows = both["results"]
    assert rows[name]["asw_label"] == pytest.approx(rows["PCA (transductive)"]["asw_label"])
    assert "120 of the evaluated cells have a name that is in train" in both["meta"]["notes"][-1]
    with pytest.raises(ValueError, match=r"train: AnnData lacks 3 of the 40 genes .*for example 0"):
        run(data, tmp_path / "bad", train=train[:, :37].copy(), baselines=("pca_inductive",))
    assert not (tmp_path / "bad").exists()


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
    "name": (
        {"key": "PCA (transductive)"},
        {"keys": ["PCA (transductive)"]},
        r"obsm\['PCA \(transductive\)'\] has the name of a baseline",
    ),
    "batch key": (
        {"key": "X_b1"},
        {"keys": ["X_{}"]},
        r"obsm has no 'X_b0', 'X_b2' \(key 'X_\{\}': one embedding per held-out batch\); it has",
    ),
    "no batch": ({}, {"keys": ["X_{}"], "batch": None}, r"\{\} stands for a held-out batch"),
    "baseline": ({}, {"baselines": ["hvg"]}, r"baselines: 'hvg' is unknown; known are raw, log, "),
    "genes": ({}, {"baselines": ["genes_pca"]}, "genes=: found none, and of the baselines"),
    "genes alone": (
        {},
        {"genes": ["1"], "baselines": ["pca"]},
        "the file has no gene names in var",
    ),
    "no genes": ({}, {"genes": ["1"], "counts": None}, "genes= is for the baselines genes…"),
    "harmony": (
        {},
        {"baselines": ["hvg20_harmony"], "batch": None},
        "baseline harmony: found 0 batches, expected two",
    ),
    "protocol": ({}, {"protocols": ["scgpt"]}, "protocols: found 'scgpt', expected some of scf"),
    "no counts": ({}, {"baselines": ["pca"], "counts": None}, r"\['pca'\] need counts"),
    "train": ({}, {"train": "a.h5ad", "counts": None}, "train= is for the inductive baselines"),
    "seeds": ({}, {"seeds": 0}, "seeds=0: it has to be above 0"),
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


def test_protocols_files_and_baselines_of_chosen_genes(tmp_path):
    data = adata(60, batches=2, gap=3.0)
    data.var_names = [f"G{i}" for i in range(40)]
    data.obs.loc["cell0", "cell_type"] = None
    found = data.obsm["X_good"][::-1]
    np.savez(tmp_path / "a.npz", obs_names=np.array(data.obs_names[::-1], str), embedding=found)
    (tmp_path / "genes.txt").write_text("".join(f"G{i}\n" for i in range(4, 14)) + "OTHER\n")
    results = run(
        data, tmp_path / "out", embeddings={"mine": tmp_path / "a.npz"}, seeds=2,
        baselines=("hvg20_harmony", "genes_pca"), genes=tmp_path / "genes.txt",
        protocols=("scformer", "bioformer"),
    )  # fmt: skip
    table = results["results"]
    assert list(table) == ["X_good", "mine", "Harmony, 20 HVG", "PCA, given genes"]
    assert table["mine"] == table["X_good"]
    meta = results["meta"]
    assert meta["notes"][0] == "Of the 11 genes given, 10 are in the file."
    assert meta["fitted_on"]["Harmony, 20 HVG"] == "the evaluated cells and their batches"
    assert f"[harmonypy {meta['versions']['harmonypy']}]" in meta["implementations"]["Harmony"]
    assert "scVI" not in meta["implementations"]
    for paper, house in (("scformer", "louvain_nmi"), ("bioformer", "nmi")):
        block = results["protocols"][paper]
        assert list(block["results"]) == list(table)
        assert [row["seed"] for row in block["seeds"]["mine"]] == [0, 1]
        if paper == "scformer":
            assert block["results"]["mine"]["nmi"] == table["mine"][house]
            assert block["results"]["mine"]["asw_batch_within"] == table["mine"]["asw_batch"]
    block = results["protocols"]["bioformer"]
    rows = [row["map_nmi"] for row in block["seeds"]["mine"]]
    assert block["results"]["mine"]["map_nmi"] == pytest.approx(np.mean(rows))
    assert set(block["figures"]) == set(table)
    text, shown = (tmp_path / "out" / "report.md").read_text(), format_table(results)
    for name in ("scformer", "bioformer"):
        block = results["protocols"][name]
        assert f"## As {block['title']}" in text
        assert block["definition"] in text
        assert f"As {block['title']}:" in shown
        assert block["definition"] in shown.replace("\n", " ")
        for file in block.get("figures", {}).values():
            assert f"({file})" in text
            assert (tmp_path / "out" / file).read_bytes().startswith(b"\x89PNG")
    assert max(map(len, shown.splitlines())) <= 140


def test_refusals_of_paths_and_of_an_absent_extra(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"cells.h5ad: no such file; expected an h5ad"):
        run(tmp_path / "cells.h5ad", tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"is a file; evaluate writes a folder"):
        run(adata(), tmp_path / "file")
    with pytest.raises(ValueError, match="'X_good' is a key as well; give the file another"):
        run(adata(), tmp_path / "out", embeddings={"X_good": tmp_path / "a.npz"})
    monkeypatch.setattr(inputs, "EXTRA", ("numpy", "not_installed"))
    with pytest.raises(ImportError, match=r'needs not_installed.*pip install "jaxcell\[eval\]"'):
        run(adata(), tmp_path / "out")
    assert not (tmp_path / "out").exists()

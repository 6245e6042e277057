"""The suite txfm end to end on made-up cells, resumed, and what it refuses."""

import json

import numpy as np
import pytest

from jaxcell import benchmark, cli
from jaxcell.suites import txfm, txfm_data, txfm_notes
from jaxcell.training import loop
from tests.conftest import draw_cells
from tests.training.test_training import tiny

ASKED = dict(perturbation="drug", control="none", batch=["plate"])


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    loop.train(tiny(store, **{"embed.genes": 0, "steps": 2}), workdir)
    return workdir


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Cells whose perturbations are genes: each G0 … G7 raises every eighth gene."""
    folder = tmp_path_factory.mktemp("perturbed")
    adata = draw_cells(3, 260, 300, kinds=1)
    code = np.repeat(np.arange(9), [100, *[20] * 8])
    adata.obs["drug"] = np.array(["none", *(f"G{i}" for i in range(8))])[code]
    adata.obs["plate"] = [f"plate {i % 3}" for i in range(260)]
    x = adata.X.toarray()
    more = (np.arange(300) % 8 == code[:, None] - 1) & (code[:, None] > 0)
    adata.X = (x + 8 * more).astype(np.float32)
    adata.write_h5ad(folder / "cells.h5ad")
    log = adata.copy()
    log.X = np.log1p(log.X)
    log.write_h5ad(folder / "log.h5ad")
    pairs = "".join(f"G{i},G{j}\n" for i in range(8) for j in range(i))
    (folder / "all.txt").write_text("entity1,entity2\n" + pairs)
    (folder / "few.txt").write_text("entity1,entity2\nG0,G1\n")
    return folder


def run(files, out, trained=None, **more):
    checkpoints = {"mine": str(trained)} if trained else {}
    asked = dict(ASKED, pairs=[str(files / "all.txt"), str(files / "few.txt")]) | more
    data = asked.pop("data", files / "cells.h5ad")
    return benchmark(
        "txfm", out, checkpoints=checkpoints, data=data, progress=False,
        **{"seeds": 1, "baselines": ["pca10"]} | asked,
    )  # fmt: skip


@pytest.mark.slow
def test_models_baselines_and_layers_in_one_report(files, trained, tmp_path, monkeypatch):
    found = run(files, tmp_path, trained, layers=True)
    parts = found["parts"]
    methods = {one["method"]: one for one in parts.values() if "method" in one}
    layers = [name for name, one in methods.items() if one["layer"]]
    assert [name for name in methods if name not in layers] == [
        "mine", "PCA 10 (transductive)", "Random label shuffle",
    ]  # fmt: skip
    assert layers == [f"mine, block {k}" for k in range(1, len(layers) + 1)]
    assert [methods[name]["layer"]["where"] for name in layers][1:3] == ["encoder", "decoder"]
    pca = methods["PCA 10 (transductive)"]["metrics"]
    assert pca["none"]["knn_top1"] > 0.95
    assert pca["none"]["lin_top1"] > 0.85
    assert pca["tvn"]["knn_top5"] > 0.95
    assert pca["none"]["consistency"] == 1
    shuffled = methods["Random label shuffle"]["metrics"]
    assert list(shuffled) == ["none", "centre", "centre-scale"]  # 300 genes, 100 controls
    assert shuffled["none"]["lin_top1"] < 0.5
    facts = parts["cells.data"]
    assert (facts["pairs"], facts["few_pairs"]) == ({"all": 28}, {"few": 1})
    page = (tmp_path / "report.html").read_text()
    for text in (
        "Random label shuffle",
        "behind each block of mine",
        "Too few for a recall: few 1",
    ):
        assert text in page
    assert len(list((tmp_path / "figures").glob("*.png"))) == 2

    # Nothing is measured twice; another setting is.
    monkeypatch.setattr(txfm.tasks, "measure", None)
    assert run(files, tmp_path, trained, layers=True) == found
    with pytest.raises(TypeError):
        run(files, tmp_path, trained, layers=True, cells=100)


def test_log_values_have_baselines_only_and_data_sets_are_averaged(files, tmp_path, capsys):
    argv = ["benchmark", "txfm", "--out", str(tmp_path / "a"), "--seeds", "1", "--log-values"]
    argv += ["--baselines", "log", "hvg50", "--perturbation", "drug", "--control", "none"]
    argv += ["--batch", "plate", "--data", str(files / "log.h5ad")]
    cli.main(argv)
    assert "(Lib+Log)Norm + 50 HVG" in capsys.readouterr().out
    found = json.loads((tmp_path / "a" / "results.json").read_text())
    report = txfm.SUITE.blocks(found)
    assert "bmdb is not defined" in report[2].text
    # Models are none, so of baselines the best; each task as a picture without --layers too.
    assert report[3].text.startswith("avg: the best baseline is (Lib+Log)Norm")
    figures = [path.name for path in (tmp_path / "a" / "figures").glob("*.png")]
    assert figures == ["tasks-log.png"]
    assert "lin scores 100.0 % of the cells; knn scores 100.0 % of the cells." in report[7].note
    assert "log-normalised" in report[2].text
    two = {"meta": found["meta"], "parts": dict(found["parts"])}
    for key, one in found["parts"].items():
        field = "name" if key.endswith(".data") else "data"
        two["parts"][f"b.{key}"] = {**one, field: "other"}
    table = txfm.SUITE.blocks(two)[0]
    assert [c.key for c in table.columns] == ["log", "other", "mean"]
    row = table.rows[0]
    assert row["mean"] == pytest.approx(row["log"])
    assert "mean" in txfm.SUITE.text(two)


def row_of(kind, avg, sd=None, scored=1.0, converged=True):
    """A row of the report's tables, its metrics after two post-processings and of two seeds."""
    metrics = dict(lin_scored=scored, knn_scored=1.0, lin_converged=converged)
    row = {task: {"mean": avg, "sd": None} for task in (*txfm.tasks.TASKS, "avg")}
    row["inv"]["sd"] = sd
    tried = {"none": [metrics, metrics], "tvn": [metrics, metrics | {"lin_converged": True}]}
    return {"kind": kind, "row": row, "tried": tried, "reference": kind == "reference"}


def test_the_report_says_who_wins():
    rows = {"A": row_of("model", 0.505), "B": row_of("model", 0.3), "PCA": row_of("baseline", 0.7)}
    rows["Random"] = row_of("reference", 0.9)
    said = txfm_notes.winner(rows)
    assert said == "avg: **a baseline wins**, PCA .700; the best model is A .505."
    rows["B"] = row_of("model", 0.8)
    said = txfm_notes.winner(rows)
    assert said == "avg: the best model is ahead, B .800; the best baseline is PCA .700."
    del rows["PCA"]
    assert txfm_notes.winner(rows) == "avg: the best model is B .800."
    assert txfm_notes.winner({"Random": rows["Random"]}) == "No method has an average."


def test_the_report_says_what_was_not_scored_and_what_seeds_change():
    rows = {"A": row_of("model", 0.5), "Random": row_of("reference", 0.1, sd=0.1)}
    assert txfm_notes.tasks(rows) == "The seeds change no task here."
    assert txfm_notes.metrics(rows).endswith("knn scores 100.0 % of the cells.")
    rows["B"] = row_of("baseline", 0.5, sd=0.1, scored=0.5, converged=False)
    assert txfm_notes.tasks(rows) == "The seeds change inv here."
    assert txfm_notes.metrics(rows) == (
        "lin scores 50.0 to 100.0 % of the cells; knn scores 100.0 % of the cells. "
        "The classifier of lin had not converged: B (none, tvn)."
    )
    rows = {"A": row_of("model", 0.5, scored=0.0)}
    assert txfm_notes.tasks(rows).startswith("lin is not defined: no cells of two perturbations")


def test_what_is_refused(files, tmp_path, monkeypatch):
    monkeypatch.delenv("JAXCELL_DATA", raising=False)
    monkeypatch.setattr(txfm_data, "BASELINES", ("pca",))
    log = dict(data=files / "log.h5ad", log_values=True, baselines=["log"])
    cases = [
        (dict(perturbation=""), "files need --perturbation"),
        (dict(data=()), "no JAXCELL_DATA"),
        (dict(data=files), "a folder, whose files the suite knows"),
        (dict(control="vehicle"), "--control 'vehicle'"),
        (dict(batch=["plates"]), "obs has no column plates"),
        (dict(cells=-1), "cells: found -1"),
        (dict(data=[files / "log.h5ad"] * 2), "two files are called log"),
        (log | dict(log_values=False), r"log\.h5ad, X: .*log1p of counts.*--log-values takes"),
        (log | dict(baselines=["raw"]), "raw needs counts"),
    ]
    for wrong, said in cases:
        with pytest.raises(ValueError, match=said):
            run(files, tmp_path / "out", **wrong)
    with pytest.raises(ValueError, match="no checkpoint embeds"):
        run(files, tmp_path / "out", "any/run", **log)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(files, tmp_path / "out", data="nowhere.h5ad")
    with pytest.raises(FileNotFoundError, match=r"x\.txt"):
        run(files, tmp_path / "out", pairs=["x.txt"])
    assert not (tmp_path / "out").exists()

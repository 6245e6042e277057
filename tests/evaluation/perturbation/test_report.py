import dataclasses
import json

import numpy as np
import pytest

import jaxcell
from jaxcell.cli import main
from jaxcell.evaluation.perturbation import page, splits
from jaxcell.evaluation.perturbation.conditions import perturbations
from tests.evaluation.perturbation import planted

FILES = ["conditions.png", "report.md", "results.json", "scores.png"]


@pytest.fixture(scope="module")
def adata():
    return planted.additive()


@pytest.fixture(scope="module")
def data(adata):
    return perturbations(adata)


def truth_of(data, split):
    means, _, _ = data.means()
    return {c: means[data.place(c)].astype(np.float32) for c in split.test}


@pytest.fixture(scope="module")
def found(adata, data, tmp_path_factory):
    """The planted data, with the truth and a worse prediction beside the baselines."""
    split = splits.make(data)
    truth = truth_of(data, split)
    _, control, _ = data.means()
    random = np.random.default_rng(0)
    worse = {
        c: control + 0.2 * (v - control) + random.normal(0, 0.5, len(v)) for c, v in truth.items()
    }
    out = tmp_path_factory.mktemp("report") / "out"
    given = {"oracle": truth, "worse": worse}
    results = jaxcell.evaluate_perturbations(adata, given, out=out, progress=False)
    return results, out


def test_planted_additive_effects_are_recovered(found):
    results, _ = found
    additive = results["methods"]["additive"]
    assert additive["groups"]["combo_seen2"]["pearson_delta"]["mean"] > 0.9
    assert additive["groups"]["combo_seen2"]["pearson_delta"]["n"] > 2
    assert additive["groups"]["combo_seen2"]["direction_de"]["mean"] > 0.9
    single = additive["groups"]["unseen_single"]["pearson_delta"]["mean"]
    assert abs(single) < 0.5  # nothing of an unseen gene can be known


def test_truth_is_perfect_and_chance_is_chance(found):
    results, _ = found
    oracle, shuffled = results["methods"]["oracle"], results["methods"]["shuffled"]
    for metric, one in oracle["groups"]["all"].items():
        assert one["mean"] == pytest.approx(0 if "mse" in metric else 1, abs=1e-6)
    assert abs(shuffled["groups"]["all"]["pearson_delta"]["mean"]) < 0.3
    n = shuffled["groups"]["all"]["pearson_delta"]["n"]
    assert shuffled["groups"]["all"]["discrimination"]["mean"] == pytest.approx(
        (n + 1) / 2 / n, abs=0.25
    )


def test_shuffled_labels_score_at_chance(adata, tmp_path):
    """Labels permuted among the perturbed cells: there is nothing left to predict."""
    mixed = adata.copy()
    names = mixed.obs["condition"].to_numpy().copy()
    own = np.flatnonzero(names != "ctrl")
    names[own] = names[np.random.default_rng(0).permutation(own)]
    mixed.obs["condition"] = names
    results = jaxcell.evaluate_perturbations(
        mixed, baselines=["mean", "additive"], out=tmp_path / "out", progress=False
    )
    n = len(results["methods"]["mean"]["conditions"])
    # Every condition is a draw of the same cells, so that all have the common mean.
    scores = results["methods"]["additive"]["groups"]["all"]["discrimination"]["mean"]
    assert scores == pytest.approx((n + 1) / 2 / n, abs=0.2)
    common = results["methods"]["mean"]["groups"]["all"]["pearson_delta"]["mean"]
    assert common > results["methods"]["additive"]["groups"]["combo_seen2"]["pearson_delta"]["mean"]


def test_who_wins(found):
    results, _ = found
    one = results["verdict"]["all"]
    assert one["prediction"] == one["best"] == "oracle"
    assert one["baseline_wins"] is False
    methods = {n: m for n, m in results["methods"].items() if n != "oracle"}
    groups = {g: list(some) for g, some in results["meta"]["split"]["groups"].items()}
    verdict = page.verdicts(methods, groups)
    assert verdict["combo_seen2"]["baseline"] == "additive"
    assert verdict["combo_seen2"]["baseline_wins"] is True
    said = list(page.sentences({"verdict": verdict, "methods": methods}))
    assert any(
        s.startswith("**combo seen2 (") and "a simple baseline wins**: additive, corr(Δ) ." in s
        for s in said
    )
    assert 0 < verdict["all"]["p"] < 1
    assert all(one["best"] != "shuffled" for one in verdict.values())


def test_what_is_written(found):
    results, out = found
    assert sorted(p.name for p in out.iterdir()) == FILES
    assert [p.name for p in out.parent.iterdir()] == ["out"]
    assert json.loads((out / "results.json").read_text()) == results
    text = (out / "report.md").read_text()
    assert "| oracle | **1.000** ± .000 | **1.000** ± .000 |" in text
    assert "| shuffled |" in text
    assert "GEARS' simulation split (seed 1)" in text
    assert "Baseline additive: " in text


def test_by_command(adata, data, tmp_path, capsys):
    adata.write_h5ad(tmp_path / "cells.h5ad")
    main(["perturb", "split", f"{tmp_path}/cells.h5ad", f"{tmp_path}/split.json", "--seed", "3"])
    split = splits.Split.read(tmp_path / "split.json")
    assert split == splits.make(data, seed=3)
    assert f"{len(split.test)} to test (combo_seen" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="exists; expected a file to be made"):
        main(["perturb", "split", f"{tmp_path}/cells.h5ad", f"{tmp_path}/split.json"])
    import anndata
    import pandas as pd

    truth = truth_of(data, split)
    said = anndata.AnnData(
        np.stack(list(truth.values())),
        obs=pd.DataFrame({"condition": [data.written[c] for c in truth]}, index=list(truth)),
        var=pd.DataFrame(index=data.genes),
    )
    said.write_h5ad(tmp_path / "said.h5ad")
    asked = ["perturb", "evaluate", f"{tmp_path}/cells.h5ad", "--out", f"{tmp_path}/out"]
    asked += ["--split", f"{tmp_path}/split.json", "--baselines", "no_change", "additive"]
    main([*asked, "--predictions", f"mine={tmp_path}/said.h5ad"])
    shown = capsys.readouterr().out
    assert f"all ({len(split.test)} conditions)" in shown
    assert "mine, corr(Δ) 1.000, against the best baseline additive" in shown
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == FILES
    with pytest.raises(SystemExit, match="expected NAME=FILE"):
        main([*asked, "--predictions", f"{tmp_path}/said.h5ad"])
    with pytest.raises(SystemExit, match="'mean' is a baseline's name"):
        main([*asked, "--predictions", f"mean={tmp_path}/said.h5ad"])


def test_cells_held_out_and_bioformers_measure(adata, data, tmp_path):
    results = jaxcell.evaluate_perturbations(
        adata, split="cells", out=tmp_path / "out", progress=False
    )
    assert list(results["methods"]) == ["no_change", "mean", "seen", "shuffled"]
    assert results["verdict"]["all"]["best"] == "seen"
    cells = results["cells"]
    assert cells["seen"]["mean"] > cells["mean"]["mean"] > 0
    _, tested = splits.make(data, "cells").rows(data)
    assert cells["seen"]["n"] == tested.sum()
    assert not cells["seen"]["by_cell"]
    assert "BioFormer's measure" in (tmp_path / "out" / "report.md").read_text()


def test_a_treatment_alone(tmp_path):
    random = np.random.default_rng(0)
    control = random.uniform(2, 4, 30)
    cells = planted.cells_of({"stim": control + random.normal(0, 1, 30)}, control)
    results = jaxcell.evaluate_perturbations(
        cells, split="cells", treatment=True, out=tmp_path / "out", progress=False
    )
    assert results["methods"]["seen"]["groups"]["all"]["pearson_delta"]["mean"] > 0.9
    assert results["methods"]["seen"]["groups"]["all"]["discrimination"]["mean"] is None
    assert "(1 condition)" in (tmp_path / "out" / "report.md").read_text()


def test_a_condition_of_one_cell_is_not_scored(adata, data, tmp_path):
    split = splits.make(data)
    name = split.test[0]
    lost = np.flatnonzero(data.code == data.place(name))[1:]
    few = adata[np.setdiff1d(np.arange(adata.n_obs), lost)].copy()
    results = jaxcell.evaluate_perturbations(
        few, split=split, baselines=["mean"], out=tmp_path / "out", progress=False
    )
    assert name not in results["methods"]["mean"]["conditions"]
    assert (
        f"Not scored, for want of 2 cells to rank genes with: {name}." in results["meta"]["notes"]
    )


def test_nothing_is_written_where_something_is_wrong(adata, tmp_path):
    for asked, text in (
        (dict(baselines=["best"]), "baselines: found 'best'"),
        (dict(split=tmp_path / "none.json"), "no such file"),
        (dict(condition="x"), "no condition column"),
        (dict(predictions={"a": {"G0": np.zeros(3)}}), "expected \\[80\\]"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=text):
            jaxcell.evaluate_perturbations(adata, out=tmp_path / "out", progress=False, **asked)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        jaxcell.evaluate_perturbations(adata, out=tmp_path / "file", progress=False)


def test_a_prediction_of_each_cell_is_compared_with_that_cell(adata, data, tmp_path):
    split = splits.make(data, "cells")
    said = adata[list(split.test_cells)].copy()
    said.write_h5ad(tmp_path / "said.h5ad")
    results = jaxcell.evaluate_perturbations(
        adata, {"mine": tmp_path / "said.h5ad"}, split=split, baselines=["seen"],
        out=tmp_path / "out", progress=False,
    )  # fmt: skip
    assert results["cells"]["mine"]["by_cell"]
    assert results["cells"]["mine"]["mean"] == pytest.approx(1)
    assert results["cells"]["seen"]["mean"] < 1


def test_a_gene_that_is_seen_by_the_draw_alone_is_told_of(adata, data, tmp_path):
    split = splits.make(data)
    name = split.groups["combo_seen2"][0]
    gene = data.conditions[name][0]
    kept = [c for c in split.train if gene not in data.conditions[c]]
    fewer = dataclasses.replace(split, train=tuple(kept))
    results = jaxcell.evaluate_perturbations(
        adata, split=fewer, baselines=["mean"], out=tmp_path / "out", progress=False
    )
    told = [n for n in results["meta"]["notes"] if n.startswith("Fewer of their genes")]
    assert len(told) == 1
    assert name in told[0]

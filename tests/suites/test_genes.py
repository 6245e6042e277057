"""The suite of gene vectors, end to end: generated vectors, pairs and cells; a trained run."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from jaxcell import benchmark, cli
from jaxcell.data.genes import GeneNames
from jaxcell.evaluation import gene_map, gene_table
from jaxcell.suites import gene_sources, genes
from jaxcell.training import loop
from tests.conftest import draw_cells
from tests.training.test_training import tiny

OPTIONS = dict(seeds=2, progress=False, sizes=(4, 8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Genes in 20 modules of three; pairs of the modules; cells whose kinds have own genes."""
    out = tmp_path_factory.mktemp("genes")
    rng = np.random.default_rng(0)
    module = np.arange(60) % 20
    planted = rng.standard_normal((20, 8))[module] + 0.1 * rng.standard_normal((60, 8))
    names = pd.DataFrame(index=[f"G{i}" for i in range(60)])
    vectors = {"planted": planted, "noise": rng.standard_normal((60, 8))}
    anndata.AnnData(obs=names, obsm=vectors).write_h5ad(out / "both.h5ad")
    kinds = np.eye(3)[np.arange(60) % 3] + 0.05 * rng.standard_normal((60, 3))
    order = rng.permutation(60)  # in another order, one gene beyond
    rows = [f"G{i}\t" + "\t".join(f"{x:.4f}" for x in kinds[i]) for i in order]
    (out / "kinds.tsv").write_text("\n".join([*rows, "G99\t1\t1\t1"]))
    for name, size in (("modules", 20), ("halves", 30)):
        pairs = [f"G{i},G{j}" for i in range(60) for j in range(i) if i % size == j % size]
        (out / f"{name}.txt").write_text("\n".join(["entity1,entity2", *pairs, "G1,absent"]))
    cells = draw_cells(1, 90, 55)
    cells.X = sp.csr_matrix(cells.X)
    cells.write_h5ad(out / "cells.h5ad")
    return out


def asked(folder, **more):
    given = dict(vectors=[f"a={folder / 'both.h5ad'}", str(folder / "kinds.tsv")],
                 pairs=[folder / f"{name}.txt" for name in ("modules", "halves")],
                 cells=folder / "cells.h5ad", markers=None)  # fmt: skip
    return OPTIONS | given | more


def test_the_suite_finds_what_was_planted(folder, tmp_path, capsys):
    out = tmp_path / "out"
    cli.main(["benchmark", "genes", "--out", str(out), "--seeds", "2", "--sizes", "4", "8",
              "--vectors", f"a={folder / 'both.h5ad'}", str(folder / "kinds.tsv"),
              "--pairs", str(folder / "modules.txt"), str(folder / "halves.txt"),
              "--cells", str(folder / "cells.h5ad")])  # fmt: skip
    said = capsys.readouterr().out
    parts = json.loads((out / "results.json").read_text())["parts"]
    sources = ("a", "kinds", "PCA_transpose_fit_", "random_vectors-seed0", "random_vectors-seed1")
    assert list(parts) == [f"{what}-{name}" for what in ("recall", "statistics")
                           for name in sources]  # fmt: skip
    assert parts["recall-a"]["genes"] == 55  # those of the cells: the tsv has all, and one more
    found = parts["recall-a"]["vectors"]
    assert found["planted"]["databases"]["modules"]["found"] == 50
    assert found["planted"]["raw"]["recall"]["modules"] > 0.9
    assert found["noise"]["raw"]["recall"]["modules"] < 0.3
    assert parts["statistics-a"]["vectors"]["noise"]["log"]["genes"] == 55
    assert "a planted" in said
    assert "random vectors" in said
    page = (out / "report.html").read_text()
    assert "Mean and variance of the counts" in page
    assert "modules 50 of 61, halves 25 of 31" in page
    pictures = {path.name for path in (out / "figures").iterdir()}
    assert {"recall_mean.png", "recall_modules.png", "statistics_a_noise.png"} <= pictures


@pytest.mark.slow
def test_markers_lie_together_where_that_was_planted(folder, tmp_path):
    given = asked(folder, markers="kind", baselines=("random",), seeds=1)
    parts = benchmark("genes", tmp_path, **given)["parts"]
    assert [key for key in parts if key.startswith("map")] == ["map-a", "map-kinds"]
    # The file's genes are in another order: they are matched by name.
    found = parts["map-kinds"]["vectors"][""]
    assert found["agreement"] == 1.0
    assert parts["map-a"]["vectors"]["noise"]["agreement"] < 0.7
    assert sorted(found["markers"]) == ["kind 0", "kind 1", "kind 2"]
    for kind, own in found["markers"].items():
        assert own
        assert all(int(name[1:]) % 3 == int(kind[-1]) for _, name in own)
    assert "Markers of cell types" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "figures" / "markers_kinds.png").stat().st_size > 10_000


def test_parts_are_computed_again_only_where_something_changed(folder, tmp_path, monkeypatch):
    ran = []
    real = genes.relationship_recall
    monkeypatch.setattr(
        genes, "relationship_recall", lambda x, *a, **k: ran.append(k["name"]) or real(x, *a, **k)
    )
    given = asked(folder, cells=(), baselines=("random",))
    first = benchmark("genes", tmp_path, **given)
    assert ran == ["a noise", "a planted", "kinds", "random vectors", "random vectors"]
    ran.clear()
    assert benchmark("genes", tmp_path, **given) == first
    assert ran == []
    (tmp_path / "parts" / "recall-kinds.json").unlink()
    assert benchmark("genes", tmp_path, **given)["parts"] == first["parts"]
    assert ran == ["kinds"]
    ran.clear()
    benchmark("genes", tmp_path, **given | {"sides": "both", "vectors": given["vectors"][1:]})
    assert ran == ["kinds", "random vectors", "random vectors"]


@pytest.fixture(scope="module")
def runs(store, tmp_path_factory):
    """Two seeds of a training that keeps its steps 2 and 4."""
    out = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        options = {"steps": 4, "train.keep_every": 2, "train.validate_every": 2, "seed": seed}
        loop.train(tiny(store, **options), out / f"m-seed{seed}")
    pairs = [f"G{i},G{i + 3}" for i in range(0, 240, 2)]
    (out / "near.txt").write_text("\n".join(["entity1,entity2", *pairs]))
    return out


@pytest.mark.slow
def test_seeds_and_steps_of_runs(runs, tmp_path):
    named = {f"m-seed{seed}": runs / f"m-seed{seed}" for seed in (0, 1)}
    pairs = [str(runs / "near.txt")]
    found = benchmark("genes", tmp_path, checkpoints=named, pairs=pairs, epochs=True, **OPTIONS)
    parts = found["parts"]
    assert [key for key in parts if key.startswith("recall-m")] == [
        f"recall-m-seed{seed}{step}" for seed in (0, 1) for step in ("", "-step2", "-step4")
    ]
    # The model is the last or the best step.
    for seed in (0, 1):
        assert parts[f"recall-m-seed{seed}"]["vectors"] in [
            parts[f"recall-m-seed{seed}-step{step}"]["vectors"] for step in (2, 4)
        ]
    steps = [parts[f"recall-m-seed0-step{step}"]["vectors"]["decoder"] for step in (2, 4)]
    assert steps[0] != steps[1]
    table = (tmp_path / "report.html").read_text()
    assert "m codebook" in table
    assert "m-seed0" not in table.partition("</table>")[0].partition("<table ")[2]
    assert (tmp_path / "figures" / "epochs_best.png").stat().st_size > 10_000
    named = {"m": runs / "m-seed0" / "model"}
    with pytest.raises(ValueError, match="has no checkpoints/<step>; expected the workdir"):
        benchmark("genes", tmp_path / "no", checkpoints=named, pairs=pairs, epochs=True, **OPTIONS)


def run(step, seed, value, best):
    recall = {"d": value, "mean": value}
    sd = {"d": 0.01, "mean": 0.02}
    pca = {"16": {"d": best, "mean": best}, "64": {"d": 0.2, "mean": 0.2}}
    top = max(pca, key=lambda k: pca[k]["mean"])
    part = {"n": int(top), "recall": pca[top], "sd": sd}
    return {"seed": seed, "step": step, "dimensions": 99, "raw": {"recall": recall, "sd": sd},
            "best": part, "pca": pca}  # fmt: skip


def test_seeds_share_one_pca_size():
    one = gene_table.together([run(None, None, 0.1, 0.3)])
    assert (one["n"], one["raw"]["mean"], one["best"]["d"]) == (16, (0.1, 0.02), (0.3, 0.01))
    two = gene_table.together([run(None, 0, 0.1, 0.25), run(None, 1, 0.2, 0.05)])
    assert (two["n"], two["seeds"]) == (64, 2)  # .2 against the mean of .25 and .05
    assert two["raw"]["mean"] == (pytest.approx(0.15), pytest.approx(0.1 / 2**0.5))
    assert two["best"]["mean"] == (pytest.approx(0.2), pytest.approx(0.0))


def test_curves_hold_the_steps_of_all_seeds():
    runs = [run(step, seed, 0.1 * seed, 0.3) for step, seed in ((10, 0), (10, 1), (20, 0))]
    steps, values = gene_table.curves(runs)["raw"]["mean"]
    assert (steps, values) == ([10], [[0.0, pytest.approx(10.0)]])


def test_agreement_by_hand_and_at_chance():
    angle = np.deg2rad([0, 5, 90, 95, 180, 45])
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    groups = np.array(["a", "a", "b", "b", "", ""])
    assert gene_map.agreement(x, groups) == (1.0, 4 / 12)
    assert gene_map.agreement(x, groups[[0, 2, 1, 3, 4, 5]])[0] == 0.0
    rng = np.random.default_rng(0)
    groups = np.array(["a"] * 150 + ["b"] * 50)
    found = [gene_map.agreement(rng.standard_normal((200, 20)), groups) for _ in range(40)]
    assert np.mean([share for share, _ in found]) == pytest.approx(found[0][1], abs=0.03)
    with pytest.raises(ValueError, match="x: found 1 markers"):
        gene_map.agreement(x[:3], np.array(["a", "", ""]), "x")


def test_shared_genes_are_those_of_all_by_any_name():
    ids = [f"ENSG{i:011d}" for i in range(4)]
    first = gene_sources.Source("a", None, None, "vectors", GeneNames(("A", "B", "C", ""), ids), 0,
                                lambda: {"": np.arange(4)[:, None]})  # fmt: skip
    second = gene_sources.Source("b", None, None, "vectors",
                                 GeneNames(("C", "", "Z"), ("", ids[0], "")), 0,
                                 lambda: {"": np.arange(3)[:, None]})  # fmt: skip
    vocabulary = gene_sources.shared([first, second])
    assert vocabulary.ensembl == (ids[0], ids[2])
    assert gene_sources.on(first, vocabulary)[""].ravel().tolist() == [0, 2]
    assert gene_sources.on(second, vocabulary)[""].ravel().tolist() == [1, 0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(vectors=(), cells=()), "found no vectors; name --checkpoint"),
        (dict(baselines=("pcb",)), "baselines: 'pcb' is unknown; known are random, pca, scvi"),
        (dict(baselines=("pca",), cells=()), "baseline pca: needs cells"),
        (dict(cells=(), markers="kind"), "--markers: needs cells"),
        (dict(share=0.5), r"--share: found 0\.5, expected within"),
        (dict(sizes=(0, 4)), "--sizes: found 0, 4, expected 1 or more"),
        (dict(scvi_epochs=0), "--scvi-epochs: found 0, expected 1 or more"),
        (dict(markers="type"), "--markers: .*cells.h5ad has no obs 'type'"),
        (dict(vectors=["a=absent.npz"]), "--vectors: absent.npz: no such file"),
        (dict(data=("x.h5ad",)), "--data: found x.h5ad, expected one folder"),
        (dict(pairs=(), data=(".",)), r"\./annotation/efaar: found no \*.txt"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(folder, tmp_path, change, said):
    out = tmp_path / "out"
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        benchmark("genes", out, **asked(folder, **change))
    assert not out.exists()


@pytest.mark.slow
def test_scvi_is_a_row(folder, tmp_path):
    pytest.importorskip("scvi", reason="the extra scvi (torch and lightning) is not in test")
    given = asked(folder, vectors=(), baselines=("scvi",), seeds=1, scvi_epochs=1)
    found = benchmark("genes", tmp_path, **given)["parts"]
    assert list(found) == ["recall-scVI-seed0", "statistics-scVI-seed0"]
    vectors = found["recall-scVI-seed0"]["vectors"]
    assert {key: one["dimensions"] for key, one in vectors.items()} == {
        "codebook": 1024, "decoder": 1024,
    }  # fmt: skip

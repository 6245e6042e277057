"""An ablation end to end on made-up cells: arms, resumption, what is refused."""

import json
import os
import shutil

import anndata
import numpy as np
import pytest

import jaxcell
from jaxcell import cli, config
from jaxcell.ablations import arms, runner, txfm, txfm_bench
from jaxcell.ablations.arms import Budget
from jaxcell.ablations.runner import experiment_of
from jaxcell.ablations.suites import suite
from jaxcell.ablations.txfm_bench import Experiment, TxfmBench
from jaxcell.evaluation import baselines
from jaxcell.training import loop
from tests.conftest import draw_cells


def tiny(c):
    c.model.width = 24
    c.model.encoder.layers = c.model.encoder.unroll = 1
    c.model.encoder.drop_path = 0.0
    c.model.encoder.heads = 6
    c.data.sample_genes.number = 32
    c.embed.genes = 32
    c.train.batch_size = 16
    c.epochs, c.steps = 0, 1
    return c


@pytest.fixture(autouse=True, scope="module")
def _small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(txfm.BUDGETS, "small", Budget(tiny))
        patch.setattr(txfm_bench, "MIN_CELLS", 1)
        yield


DEFAULT = arms.Arm("", "default")


def base(budget):
    return arms.base(txfm.BUDGETS[budget])


def config_of(arm, store):
    return arms.config_of(suite("txfm"), arm, txfm.BUDGETS["small"], store)


@pytest.fixture
def experiment(tmp_path):
    return write(tmp_path)


def write(folder):
    """The files of a made-up experiment."""
    train, perturbed = draw_cells(1, 90, 200), draw_cells(2, 60, 200)
    train.obs["batch"] = np.where(np.arange(90) < 80, "kept", "dropped")
    perturbed.obs["drug"] = np.where(np.arange(60) % 2, "yes", "no")
    perturbed.obs["donor"] = np.array(["d0", "d1", "unknown"])[np.arange(60) // 25]
    train.write_h5ad(folder / "train.h5ad")
    perturbed.write_h5ad(folder / "perturbed.h5ad")
    pairs = [f"G{i},G{i + 3}" for i in range(0, 120, 3)]
    (folder / "pairs.txt").write_text("\n".join(["entity1,entity2", *pairs]))
    return Experiment(
        train=(folder / "train.h5ad",),
        drop=("batch=dropped",),
        perturbed=folder / "perturbed.h5ad",
        perturbation="drug",
        control="no",
        batch=("donor",),
        per_batch=True,
        pairs=(folder / "pairs.txt",),
    )


def options(e):
    """The command's options for an experiment."""
    files = ["--train", *map(str, e.train), "--drop", *e.drop, "--perturbed", str(e.perturbed)]
    files += ["--perturbation", e.perturbation, "--control", e.control, "--batch", *e.batch]
    return [*files, "--per-batch", "--pairs", *map(str, e.pairs)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """OUT of the default arm, ZINB, and an arm that diverges at once: (OUT, command)."""
    folder, train = tmp_path_factory.mktemp("ablation"), loop.train

    def broken(c, workdir):
        if c.name == "relu":
            raise FloatingPointError("step 1: loss or gradient norm is nan; the run stops")
        return train(c, workdir)

    out = folder / "out"
    command = ["ablate", "--arms", "zinb", "relu", *options(write(folder)), "--out"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train", broken)
        cli.main([*command, str(out)])
    return out, command


@pytest.mark.slow
def test_arms_are_trained_and_measured(trained):
    out, _ = trained
    results = json.loads((out / "results.json").read_text())
    assert list(results["arms"]) == ["default", "zinb", "relu"]
    assert results["meta"]["cells"] + results["meta"]["scored"] > 70
    assert results["meta"]["scored"] == 2  # one drug in two donors; the unknown donor is left out
    for name in ("default", "zinb"):
        (run,) = results["arms"][name]["runs"]
        assert 0 <= run["enc"]["recall"] <= 1
        assert run["dec"]["n"] <= 24
        c = json.loads((out / "arms" / name / "model" / "config.json").read_text())
        assert c["steps"] == 1
    assert c["losses"]["expression"]["kind"] == "zinb"
    page = (out / "report.md").read_text()
    assert "ZINB" in page
    assert "Poisson" in page
    assert "SmoothL1" not in page
    pca, chance = results["references"].values()
    assert 0 <= pca["perts"] <= 1
    assert 0 <= chance["enc, dec"] <= 1


@pytest.mark.slow
def test_an_arm_that_diverges_is_said_and_the_others_go_on(trained):
    results = json.loads((trained[0] / "results.json").read_text())
    assert results["arms"]["relu"]["runs"][0]["failed"].startswith("diverged at step 1")
    assert "zinb" in results["verdicts"]["enc"]
    assert "relu" not in results["verdicts"]["enc"]


@pytest.mark.slow
def test_what_is_finished_is_not_run_again_wherever_it_lies(trained, tmp_path, capsys):
    out, command = trained
    moved = tmp_path / "moved"
    shutil.copytree(out, moved)
    kept = moved / "arms" / "default" / "result.json"
    before = kept.stat().st_mtime_ns
    (moved / "arms" / "zinb" / "result.json").unlink()  # interrupted after training
    cli.main([*command, str(moved)])
    said = capsys.readouterr().out
    assert "default: perts" in said
    assert "relu: diverged at step 1, before the first validation (finished before)" in said
    assert said.count("(finished before)") == 2
    assert "trained to step 1 already, skipped" in said
    first, again = (json.loads((o / "results.json").read_text())["arms"] for o in (out, moved))
    for name in ("default", "zinb"):
        for metric in ("perts", "enc"):
            assert first[name]["runs"][0][metric] == again[name]["runs"][0][metric]
    assert kept.stat().st_mtime_ns == before


def diverging(seen):
    """In place of ``loop.train``: notes (seed, folder) and trains nothing."""

    def train(c, workdir):
        seen.append((c.seed, workdir.name))
        raise FloatingPointError("step 1: loss is nan")

    return train


def test_seeds_have_runs_of_their_own(experiment, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(loop, "train", diverging(seen))
    found = jaxcell.ablate(experiment, tmp_path / "out", arms=["default"], seeds=2, say=seen.append)
    assert [s for s in seen if isinstance(s, tuple)] == [(0, "default"), (1, "default-seed1")]
    first, second = found["arms"]["default"]["runs"]
    assert first["mark"] != second["mark"]


def test_references_are_measured_before_anything_is_trained(experiment, tmp_path, monkeypatch):
    seen = []

    def broken(x, k):
        raise ValueError("no components")

    monkeypatch.setattr(loop, "train", diverging(seen))
    monkeypatch.setattr(baselines, "principal_components", broken)
    with pytest.raises(ValueError, match="no components"):
        jaxcell.ablate(experiment, tmp_path / "out", arms=["default"], say=seen.append)
    assert not seen


def test_results_are_stale_when_what_they_are_measured_by_is_replaced(experiment, tmp_path):
    def mark():
        bench = TxfmBench(experiment, tmp_path / "out", Budget(tiny))
        return runner.mark_of(bench, DEFAULT, config.defaults())

    first = mark()
    assert mark() == first
    pairs = experiment.pairs[0]
    text = pairs.read_text()
    pairs.write_text(text.replace("G0,G3", "G1,G3"))
    assert mark() != first
    pairs.write_text(text)
    assert mark() == first
    draw = anndata.read_h5ad(experiment.perturbed)
    draw.X = draw.X[::-1].copy()  # as many cells and counts, of other cells
    draw.write_h5ad(experiment.perturbed)
    assert mark() != first


def test_a_stopped_run_ends_and_says_so(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "train", lambda c, workdir: False)
    with pytest.raises(KeyboardInterrupt) as stopped:
        jaxcell.ablate(experiment, tmp_path / "out", arms=["default"], say=lambda _: None)
    assert stopped.value.args == (
        f"{tmp_path / 'out' / 'arms' / 'default'}: stopped before the end",
        f"go on with the same command, or: jaxcell resume {tmp_path / 'out'}",
    )
    assert stopped.value.status == 75  # by SIGTERM: no Ctrl-C was heard
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_stopped_ablation_is_resumed(experiment, tmp_path, monkeypatch, capsys):
    seen, out = [], tmp_path / "out"
    monkeypatch.setattr(loop, "train", lambda c, workdir: False)
    how = dict(arms=["default"], seeds=2, steps=3)
    with pytest.raises(KeyboardInterrupt):
        jaxcell.ablate(experiment, out, say=lambda _: None, **how)
    monkeypatch.setattr(loop, "train", diverging(seen))
    assert jaxcell.resume(out)
    assert seen == [(0, "default"), (1, "default-seed1")]
    assert "goes on with the ablation txfm" in capsys.readouterr().out
    again = jaxcell.ablate(experiment, out, say=lambda _: None, **how)
    assert len(seen) == 2  # what was resumed is what was asked for
    found = json.loads((out / "results.json").read_text())
    assert found == json.loads(json.dumps(again))
    assert found["meta"]["steps"] == 3


def test_the_suite_is_the_papers_table(store):
    blocks = txfm.blocks(base("small"))
    assert [title for title, _ in blocks] == [
        "loss", "preprocessing", "# unmasked", "temperature", "decoder", "activation", "backbone",
    ]  # fmt: skip
    assert [len(block) for _, block in blocks] == [5, 2, 4, 5, 4, 4, 3]
    chosen = arms.arms_of(blocks)
    assert len(chosen) == 21
    assert next(iter(chosen)) == "default"


def test_every_arm_is_a_config_that_holds_and_differs_in_its_own_fields(store, monkeypatch):
    monkeypatch.setattr(arms.setup, "check", config.check)  # tracing 21 models takes a minute
    chosen = arms.arms_of(txfm.blocks(base("small")))
    default = config.training_fields(config_of(chosen["default"], store))
    for name, arm in chosen.items():
        c = config_of(arm, store)
        fields = config.training_fields(c)
        changed = {k for k in fields if k != "name" and fields[k] != default.get(k)}
        assert bool(changed) == (name != "default")
        assert c.steps == base("small").steps
        if arm.fields:
            assert changed <= set(arm.fields)


def test_backbones_keep_the_papers_ratios():
    sizes = {}
    for name in ("backbone-s", "backbone-l"):
        arm = arms.arms_of(txfm.blocks(base("large")))[name]
        sizes[name] = [
            arm.fields[f"model.{k}"] for k in ("width", "encoder.heads", "encoder.layers")
        ]
    assert sizes == {"backbone-s": [384, 6, 12], "backbone-l": [1024, 16, 24]}
    small = arms.arms_of(txfm.blocks(base("small")))
    width = base("small").model.width
    assert small["backbone-s"].fields["model.width"] * 2 == width
    wider = small["backbone-l"].fields
    assert (wider["model.width"], wider["model.encoder.layers"]) == (width * 4 / 3, 1)


def test_what_is_refused_before_anything_is_trained(experiment, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="arms: nope unknown; known: mse, "):
        jaxcell.ablate(experiment, out, arms=["nope"])
    with pytest.raises(
        ValueError, match="budget: 'tiny' is unknown; known are large, medium, small"
    ):
        jaxcell.ablate(experiment, out, budget="tiny")
    with pytest.raises(
        ValueError, match="suite: 'scgpt' is unknown; known are bioformers, scformer, txfm"
    ):
        jaxcell.ablate(experiment, out, suite_name="scgpt")
    with pytest.raises(FileNotFoundError, match="pbmc_5batch_fullgenes"):
        jaxcell.ablate(tmp_path, out)
    with pytest.raises(ValueError, match="obs has no column drugs"):
        jaxcell.ablate(changed(experiment, perturbation="drugs"), out)
    with pytest.raises(ValueError, match="no cell is left"):
        jaxcell.ablate(changed(experiment, drop=("batch=kept", "batch=dropped")), out)
    with pytest.raises(ValueError, match="seeds: found -1, expected 1 or more"):
        jaxcell.ablate(experiment, out, seeds=-1)
    said = r"obs\['drug'\] of the .* found no, yes; expected --control 'none'"
    with pytest.raises(ValueError, match=said):
        jaxcell.ablate(changed(experiment, control="none"), out)
    said = r"has batch=droped \(found dropped, kept\); btch=dropped \(no such column\)"
    with pytest.raises(ValueError, match=said):
        jaxcell.ablate(changed(experiment, drop=("batch=droped", "btch=dropped")), out)
    twin = tmp_path / "other" / "pairs.txt"
    twin.parent.mkdir()
    shutil.copy(experiment.pairs[0], twin)
    with pytest.raises(ValueError, match=r"pairs\.txt and .*pairs\.txt would both be called pairs"):
        jaxcell.ablate(changed(experiment, pairs=(*experiment.pairs, twin)), out)
    assert not out.exists()
    logged = anndata.read_h5ad(experiment.perturbed)
    logged.X = logged.X.log1p()
    logged.write_h5ad(tmp_path / "logged.h5ad")
    with pytest.raises(ValueError, match=r"logged|AnnData"):
        jaxcell.ablate(changed(experiment, perturbed=tmp_path / "logged.h5ad"), out)
    assert not (out / "arms").exists()


def test_another_experiment_does_not_take_the_folder(experiment, tmp_path):
    TxfmBench(experiment, tmp_path / "out", Budget(tiny))
    TxfmBench(experiment, tmp_path / "out", Budget(tiny))
    file = experiment.train[0]
    text = file.read_bytes()
    file.write_bytes(text[:-1] + b"!")  # of the same size
    with pytest.raises(ValueError, match="was made from"):
        TxfmBench(experiment, tmp_path / "out", Budget(tiny))
    file.write_bytes(text)
    with pytest.raises(ValueError, match="was made from"):
        TxfmBench(changed(experiment, drop=()), tmp_path / "out", Budget(tiny))


def test_cells_whose_perturbation_is_unknown_are_left_out(experiment, tmp_path):
    cells = anndata.read_h5ad(experiment.perturbed)
    drug = cells.obs["drug"].astype(object)
    drug.iloc[:4] = [np.nan, "unknown", "NA", " yes"]
    cells.obs["drug"] = drug
    cells.write_h5ad(tmp_path / "holes.h5ad")
    kept, batch = txfm_bench._perturbed(changed(experiment, perturbed=tmp_path / "holes.h5ad"))
    assert kept.n_obs == len(batch) == 50 - 3  # ten more have no known donor
    assert set(kept.obs["drug"]) == {"yes", "no"}


def changed(experiment, **fields):
    return Experiment(**{**vars(experiment), **fields})


def test_data_are_the_suites_or_all_ones_own(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXCELL_DATA", raising=False)
    with pytest.raises(ValueError, match="no data: name --data"):
        experiment_of("txfm")
    monkeypatch.setitem(os.environ, "JAXCELL_DATA", str(tmp_path))
    assert experiment_of("txfm") == Experiment.of(tmp_path)
    said = "--train given: name --perturbed, --perturbation, --control, --batch, --pairs too"
    with pytest.raises(ValueError, match=said):
        experiment_of("txfm", train=["a"], perturbed=None, pairs=None)
    with pytest.raises(ValueError, match="leave out --data"):
        experiment_of("txfm", data="x", train=["a"])
    with pytest.raises(ValueError, match="--drop, --per-batch given: of one's own files only"):
        experiment_of("txfm", data="x", drop=["a=b"], per_batch=True)
    with pytest.raises(ValueError, match="--label given: no part of the suite txfm, which takes"):
        experiment_of("txfm", label="kind")

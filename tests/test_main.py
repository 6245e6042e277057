"""Stages, the dry run and the command line: what they print and what they refuse."""

import json
import re
import subprocess
import sys

import anndata
import jax
import numpy as np
import pytest

from jaxcell import cli, main
from jaxcell.config_checks import check
from jaxcell.models.cell import CellModel
from jaxcell.planning import estimate
from jaxcell.training.workdir import lock
from tests.conftest import ROOT, config_of
from tests.training.test_training import tiny


def command(*argv, **options):
    argv = [sys.executable, "-m", *argv]
    return subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=400, **options)


@pytest.mark.parametrize(
    ("name", "millions"), [("s", 56.7), ("b", 158.6), ("l", 402.7), ("b_cxg", 185.1)]
)
def test_dry_run_shows_the_papers_sizes(name, millions, capsys):
    main.dry_run(config_of(f"txfm_{name}"))
    said = capsys.readouterr().out
    parameters = int(re.search(r"parameters +([\d,]+)", said)[1].replace(",", ""))
    assert parameters == pytest.approx(millions * 1e6, rel=0.01)
    for what in ("tokens", "FLOPs", "memory", "steps", "data", "devices", "batch"):
        assert re.search(rf"^ +{what}  \S", said, re.M), said


def test_dry_run_counts_steps_and_cells_of_a_store(store, capsys):
    c = config_of("txfm_b")
    c.data.store = str(store.path)
    c.train.batch_size = 16
    main.dry_run(c)
    said = capsys.readouterr().out
    assert "44349 genes nominally, 300 in" in said
    assert re.search(r"steps +1,500\b", said)  # 200 epochs of 120 cells by 16
    assert "120 training and 30 validation cells of 2 datasets" in said


@pytest.mark.parametrize("genes", [100, 800])
def test_planned_activations_of_one_block_are_about_what_xla_takes(genes):
    c = config_of("txfm_b:cpu")
    c.data.sample_genes.number, c.model.vocabulary = genes, 1000
    model, cells = CellModel(c.model), c.train.batch_size
    shapes = {
        "ids": ((cells, genes + 1), "int32"),
        "values": ((cells, genes + 1), "float32"),
        "length": ((cells,), "int32"),
        "measured": ((cells, model.rows), "bool"),
    }
    batch = {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}

    def loss(variables, batch):
        outputs, _ = model.apply(variables, batch, {}, train=False)
        return (outputs["heads"]["expression"] ** 2).sum()

    variables = jax.eval_shape(model.init, jax.random.key(0))
    found = jax.jit(jax.grad(loss)).lower(variables, batch).compile().memory_analysis()
    planned = estimate.memory(c, devices=1, itemsize=4)["activations"]
    assert 0.5 < planned / found.temp_size_in_bytes < 2


def test_flags_override_fields_and_the_dry_run_stops():
    done = command(
        "jaxcell.main", "--config=configs/txfm_b.py", "--dry_run", "--config.model.encoder.layers=6"
    )
    assert done.returncode == 0, done.stderr
    assert "116,019,261" in done.stdout  # 6 blocks fewer: 6 · (12 d² + 15 d)


def test_without_a_store_one_line_says_how_to_make_one():
    done = command("jaxcell.main", "--config=configs/txfm_b.py")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "error: config.data.store is not set: make a store with `jaxcell prepare"
    )


@pytest.mark.parametrize("flag", ["--config.modle.width=3", "--config.nope=1"])
def test_a_mistyped_field_ends_in_one_line(flag):
    done = command("jaxcell.main", "--config=configs/txfm_b.py", flag)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


def test_an_unknown_variant_ends_in_one_line():
    done = command("jaxcell.main", "--config=configs/txfm_b.py:huge")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: txfm_b:huge is unknown; known are annotate, ")


@pytest.mark.slow
def test_train_through_the_command_line(store, tmp_path):
    done = command(
        "jaxcell.cli", "train", "--config=configs/txfm_b.py:tiny", f"--workdir={tmp_path / 'run'}",
        f"--config.data.store={store.path}", "--config.steps=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


@pytest.mark.slow
def test_the_folder_of_a_trained_model_is_a_config(store, tmp_path):
    main.train(tiny(store, steps=1), tmp_path / "first")
    done = command(
        "jaxcell.main", "--config", f"{tmp_path / 'first'}:annotate", "--config.steps=1",
        f"--config.data.store={store.path}", "--config.labels=('cell_type=kind',)", "--dry_run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "txfm_b_tiny_annotate" in done.stdout
    done = command("jaxcell.main", f"--config={tmp_path / 'nowhere'}")
    assert done.returncode == 1
    assert "or the folder of a trained model" in done.stderr


def test_a_run_without_workdir_goes_to_runs(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workdir = main.train(tiny(store, steps=1))
    assert re.fullmatch(r"runs/txfm_b_tiny-\d{8}-\d{6}", str(workdir))
    assert (workdir / "model").is_dir()


def test_train_takes_the_path_of_a_config(tmp_path):
    with pytest.raises(ValueError, match="config.data.store is not set"):
        main.train(ROOT / "configs" / "txfm_b.py", tmp_path)
    with pytest.raises(ValueError, match=r"nowhere\.py: no such config"):
        main.train("nowhere.py", tmp_path)


def staged(sources):
    c = tiny_demo()
    c.prepare.files = (str(sources[0]),)
    c.prepare.labels = ("kind",)
    c.embed.input = str(sources[0])
    c.evaluate.label = "kind"
    return c


def tiny_demo():
    c = config_of("demo:tiny")
    c.steps = 4
    c.train.validate_every = 2
    return c


@pytest.fixture(scope="module")
def demo(sources, tmp_path_factory):
    """All four stages on a small file, and what they printed."""
    workdir = tmp_path_factory.mktemp("demo")
    assert main.run(staged(sources), workdir)
    return workdir


def test_all_stages_leave_their_results(demo):
    results = json.loads((demo / "results.json").read_text())["results"]
    assert {"X_demo_tiny", "PCA (transductive)", "Shuffled labels"} <= set(results)
    assert "X_demo_tiny" in anndata.read_h5ad(demo / "embeddings.h5ad").obsm
    assert (demo / "report.md").exists()
    assert list(demo.glob("*.png"))


def test_finished_stages_are_skipped_and_a_change_runs_again(demo, sources, capsys):
    assert main.run(staged(sources), demo)
    said = capsys.readouterr().out
    for stage in ("prepare", "embed", "evaluate"):
        assert f"{stage}: finished with this config and these files, skipped" in said
    assert "trained to step 4 already, skipped" in said
    changed = staged(sources)
    changed.evaluate.label = "batch"
    with pytest.raises(ValueError, match="class"):  # a label of one class: evaluate runs, refuses
        main.run(changed, demo)
    assert "embed: finished with this config and these files" in capsys.readouterr().out
    (demo / "embeddings.h5ad").unlink()  # what is gone is made again
    assert main.run(staged(sources), demo)
    assert "embed: finished" not in capsys.readouterr().out


def test_a_config_that_contradicts_the_model_is_refused(demo, sources):
    c = staged(sources)
    c.stages, c.model.encoder.heads, c.embed.genes = ("embed",), 1, 20
    said = r"another config: model\.encoder\.heads: 2 there, 1 here$"
    with pytest.raises(ValueError, match=said):
        main.run(c, demo)


def test_what_a_stage_reads_makes_it_run_again(demo, sources):
    one, other = staged(sources), staged(sources)
    other.prepare.measured_by = "batch"
    for stage in ("prepare", "embed"):
        assert main.fingerprint(one, stage, demo) != main.fingerprint(other, stage, demo)


def test_the_stage_prepare_chooses_genes_as_the_config_says(sources, tmp_path):
    c = staged(sources)
    c.stages, c.data.store = ("prepare",), str(tmp_path / "store")
    c.prepare.hvg, c.prepare.hvg_flavor, c.prepare.hvg_batch = 20, "cell_ranger", "batch"
    assert main.run(c, tmp_path)
    options = json.loads((tmp_path / "store" / "store.json").read_text())["options"]
    found = [options[name] for name in ("hvg", "hvg_flavor", "hvg_batch")]
    assert found == [20, "cell_ranger", "batch"]
    c.prepare.hvg_flavor = "scran"
    with pytest.raises(
        ValueError, match=r"config\.prepare\.hvg_flavor: found 'scran', expected one"
    ):
        check(c)


def test_every_stage_keeps_a_second_run_out(sources, tmp_path):
    with lock(tmp_path), pytest.raises(ValueError, match="another run .* works there"):
        main.run(staged(sources), tmp_path)
    assert not (tmp_path / "store").exists()


def run_cli(*argv):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in argv])
    return str(stop.value.code)


def test_the_four_verbs_on_the_command_line(sources, demo, tmp_path, capsys):
    cli.main(["prepare", str(tmp_path / "store"), str(sources[1]), "--labels", "kind",
              "--identifiers", "symbols"])  # fmt: skip
    assert (tmp_path / "store" / "store.json").exists()
    out = tmp_path / "out.h5ad"
    cli.main(["embed", str(sources[0]), str(out), "--checkpoint", str(demo), "--key", "X_a"])
    assert np.isfinite(anndata.read_h5ad(out).obsm["X_a"]).all()
    cli.main(
        ["evaluate", str(out), "--key", "X_a", "--label", "kind", "--out", str(tmp_path / "e"),
         "--baselines", "log", "pca_inductive", "--train", str(out), "--seeds", "2"]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert all(name in said for name in ("X_a", "PCA (inductive)", "± over 2 seeds"))
    assert (tmp_path / "e" / "report.md").exists()


def test_mistakes_end_in_one_line(sources, demo, tmp_path):
    assert run_cli("prepare", demo / "store", sources[0]).startswith("error: ")
    assert "missing.h5ad" in run_cli("prepare", tmp_path / "s", tmp_path / "missing.h5ad")
    assert "no model there" in run_cli(
        "embed", sources[0], tmp_path / "o.h5ad", "--checkpoint", tmp_path
    )
    text = run_cli(
        "evaluate", sources[0], "--key", "X_b", "--label", "kind", "--out", tmp_path / "e"
    )
    assert "X_b" in text
    assert not (tmp_path / "e").exists()
    named = ("evaluate", sources[0], "--label", "kind", "--out", tmp_path / "e", "--embeddings")
    assert "--embeddings: found the names [''], expected NAME=FILE" in run_cli(*named, "a.csv")
    assert "expected NAME=FILE, each own" in run_cli(*named, "a=a.csv", "a=b.csv")
    assert "embeddings a=b.csv: no such file" in run_cli(*named, "a=b.csv")

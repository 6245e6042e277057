"""A run: it learns, resumes bit for bit, keeps what it promises, and refuses what it must."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxcell import sharding
from jaxcell.data.pipeline import Batches
from jaxcell.data.prepare import prepare
from jaxcell.models.cell import CellModel
from jaxcell.training import gene_errors, loop, metrics, optim, setup
from jaxcell.training.checkpoint import flatten, load_model
from jaxcell.training.step import compile_steps
from jaxcell.training.workdir import lock
from tests.conftest import ROOT, config_of


def tiny(store, steps=6, **fields):
    c = config_of("txfm_b:tiny")
    c.data.store = str(store.path)
    c.steps = steps
    c.train.log_every = 1
    c.train.validate_every = 3
    c.update_from_flattened_dict(fields)
    return c


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


class Seen(list):
    """A writer beside the journal."""

    def write(self, step, values):
        self.append({"step": step, **values})

    def close(self):
        self.append("closed")


def test_a_run_learns_and_leaves_what_it_promises(store, tmp_path, capsys):
    seen, c = Seen(), tiny(store, steps=120, **{"train.validate_every": 40})
    assert loop.train(c, tmp_path, writers=[seen])
    found = lines(tmp_path)
    assert seen == [*found, "closed"]
    losses = [line["train/loss"] for line in found if "train/loss" in line]
    valid = [line for line in found if "val/loss" in line]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert [line["step"] for line in valid] == [40, 80, 120]
    for line in valid:  # the loss is always shown between its two ends
        assert line["val/perfect"] < line["val/loss"] == line["val/expression"]
        assert line["val/perfect"] < line["val/mean_predictor"]
    assert valid[-1]["val/loss"] < valid[-1]["val/mean_predictor"]
    best = min(valid, key=lambda line: line["val/loss"])
    model = load_model(tmp_path)
    assert model.info["step"] == str(best["step"])
    assert model.vocabulary == store.vocabulary
    steps = {int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()}
    assert steps == {best["step"], 120}  # best and last
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["data"]["content_hash"] == store.content_hash
    assert run["sessions"][0]["versions"]["jax"] == jax.__version__
    rows = {"shape": [384, 32], "spec": ["tensor", "fsdp"], "bytes": 384 * 32 * 4}
    assert run["sharding"]["heads/expression/rows"] == rows
    assert run["sharding"].keys() == {
        path.removeprefix("params/") for path in flatten({"params": model.variables["params"]})
    }
    said = capsys.readouterr()
    assert "mean predictor" in said.out


RESUME = """
import os, signal, sys
import tests.conftest
from pathlib import Path
from jaxcell.data.store import Store
from jaxcell.training import loop
from jaxcell.training.held_out import HeldOut
from tests.training.test_training import tiny

def stop(step):
    if step == 3 and sys.argv[3] in ("SIGTERM", "SIGKILL"):
        os.kill(os.getpid(), getattr(signal, sys.argv[3]))

if sys.argv[3] == "in validation":  # the signal comes while step 3 is validated
    plain = HeldOut.losses
    def losses(held_out, state):
        os.kill(os.getpid(), signal.SIGTERM)
        return plain(held_out, state)
    HeldOut.losses = losses

store = Store.open(sys.argv[1])
every = {"train.save_every": int(sys.argv[4])}
print("finished", loop.train(tiny(store, **every), Path(sys.argv[2]), stop))
"""


def session(store, workdir, how="none", every=1):
    argv = [sys.executable, "-c", RESUME, str(store.path), str(workdir), how, str(every)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, capture_output=True, text=True, env=env, timeout=300)


def final(store, workdir):
    """Every leaf of the last saved state."""
    c = tiny(store, **{"train.save_every": 1})
    run = loop.Run(c, workdir)
    checkpoints = loop.Checkpoints(workdir, c)
    assert checkpoints.latest() == 6
    state = checkpoints.restore(run.state)
    checkpoints.close()
    return flatten({f: getattr(state, f) for f in ("step", "params", "opt_state", "key")})


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """Six steps in one process, this one."""
    folder = tmp_path_factory.mktemp("whole")
    assert loop.train(tiny(store, **{"train.save_every": 1}), folder)
    return folder


@pytest.mark.slow  # in one process, without a signal: tests.training.test_lora
@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_killed_at_step_3_of_6_and_resumed_is_6_steps_bit_for_bit(store, whole, tmp_path, how):
    first = session(store, tmp_path / "halves", how)
    if how == "SIGTERM":
        assert "finished False" in first.stdout, first.stderr
        assert "asked to stop: saved step 3 of 6" in first.stdout + first.stderr
    else:
        assert first.returncode == -signal.SIGKILL
    second = session(store, tmp_path / "halves")
    assert "finished True" in second.stdout, second.stderr
    assert "goes on from step" in second.stdout
    one, two = final(store, whole), final(store, tmp_path / "halves")
    assert one.keys() == two.keys()
    for path in one:
        np.testing.assert_array_equal(one[path], two[path], err_msg=path)
    # The journal tells each step once, with the same numbers.
    for a, b in zip(lines(whole), lines(tmp_path / "halves"), strict=True):
        a.pop("cells_per_s", None), b.pop("cells_per_s", None)
        assert a == b
    assert load_model(whole).sha256 == load_model(tmp_path / "halves").sha256


@pytest.mark.slow
def test_a_signal_in_validation_is_not_lost_and_the_best_model_survives(store, tmp_path):
    """Saved every 5 steps, validated every 3: the best step must be saved all the same."""
    whole = session(store, tmp_path / "whole", every=5)
    assert "finished True" in whole.stdout, whole.stderr
    first = session(store, tmp_path / "halves", "in validation", every=5)
    assert "asked to stop: saved step 4 of 6" in first.stdout + first.stderr
    steps = {int(p.name) for p in (tmp_path / "halves" / "checkpoints").iterdir()}
    assert 4 in steps
    second = session(store, tmp_path / "halves", every=5)
    assert "goes on from step 4 of 6" in second.stdout, second.stderr
    one, two = (load_model(tmp_path / d) for d in ("whole", "halves"))
    assert one.info == two.info
    assert one.sha256 == two.sha256


def test_half_a_line_in_the_journal_is_dropped(store, tmp_path):
    loop.train(tiny(store, steps=4, **{"train.validate_every": 2}), tmp_path)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "train/lo')
    journal = metrics.Journal(tmp_path, 4)
    journal.write(5, x=1)
    assert lines(tmp_path)[-1] == {"step": 5, "x": 1}


def test_a_run_that_is_closed_again_says_so_once(store, tmp_path, monkeypatch):
    """A full disk behind the line of the journal, as the table of the genes is written."""
    c = tiny(store, steps=2, **{"train.gene_errors": "heads.expression"})
    with monkeypatch.context() as m:
        m.setattr(gene_errors, "write", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            loop.train(c, tmp_path)
    before = lines(tmp_path)
    assert "genes/median_auc" in before[-1]
    assert loop.train(c, tmp_path)
    assert (tmp_path / "gene_errors.tsv").is_file()
    assert lines(tmp_path) == before


def test_a_finished_run_does_nothing_more(store, tmp_path):
    c = tiny(store)
    loop.train(c, tmp_path)
    seen = []
    assert loop.train(tiny(store), tmp_path, seen.append)
    assert seen == []


def test_another_config_in_the_same_workdir_is_refused(store, tmp_path):
    loop.train(tiny(store), tmp_path)
    with pytest.raises(ValueError, match=r"optimizer\.learning_rate: 0\.003 there, 0\.1 here"):
        loop.train(tiny(store, **{"optimizer.learning_rate": 0.1}), tmp_path)


def test_other_data_in_the_same_workdir_is_refused(store, sources, tmp_path):
    loop.train(tiny(store, steps=2), tmp_path / "run")
    how = {"labels": ("kind",), "hold_out_fraction": 0.2, "min_cells": 40}
    other = prepare(tmp_path / "other", sources, **how)
    # Its config differs too, as model.vocabulary, which would not say why.
    assert 20 < len(other.vocabulary) < len(store.vocabulary)
    with pytest.raises(ValueError, match="was trained on the store .* holds"):
        loop.train(tiny(other, steps=2), tmp_path / "run")


def test_a_second_run_is_kept_out(store, tmp_path):
    with lock(tmp_path), pytest.raises(ValueError, match=f"process {os.getpid()}"):
        loop.train(tiny(store), tmp_path)


def test_a_damaged_store_is_refused(store, tmp_path):
    shutil.copytree(store.path, tmp_path / "store")
    measured = tmp_path / "store" / "measured.npy"
    content = bytearray(measured.read_bytes())
    content[-1] ^= 1
    measured.write_bytes(content)
    c = tiny(store, **{"data.store": str(tmp_path / "store")})
    with pytest.raises(ValueError, match=r"is damaged: measured\.npy changed since prepare"):
        loop.train(c, tmp_path / "run")


def test_nan_stops_the_run_and_saves_nothing_of_it(store, tmp_path):
    c = tiny(store, steps=6, **{"optimizer.learning_rate": 1e30, "train.validate_every": 1})
    with pytest.raises(FloatingPointError, match="step 1: loss or gradient norm is nan"):
        loop.train(c, tmp_path)
    assert not (tmp_path / "model").exists()
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.slow
def test_every_nth_checkpoint_is_kept(store, tmp_path):
    loop.train(tiny(store, steps=7, **{"train.keep_every": 2, "train.save_every": 1}), tmp_path)
    steps = {int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()}
    assert {2, 4, 6, 7} <= steps
    assert 5 not in steps
    for step in (2, 6):  # and each of them loads
        model = load_model(tmp_path / "checkpoints" / str(step))
        assert model.info["step"] == str(step)
        assert model.variables["params"]["encoder"]["norm"]["scale"].shape == (32,)


def test_a_panel_that_is_shown_whole_is_said(store):
    c, said = tiny(store, **{"data.sample_genes.number": 250}), []
    setup.adopt(c, store, said.append)
    (line,) = [text for text in said if "none is hidden" in text]
    assert "250 shows all 240 genes that" in line
    assert "second.h5ad" in line


def test_stochastic_depth_of_one_block_is_refused(store):
    with pytest.raises(ValueError, match=r"drop_path: found 0\.1, expected 0 with one block"):
        setup.check(tiny(store, **{"model.encoder.layers": 1}))


def test_a_run_that_learned_nothing_says_so(store, tmp_path, capsys):
    loop.train(tiny(store, steps=2, **{"optimizer.learning_rate": 1e-9}), tmp_path)
    captured = capsys.readouterr()
    assert "has not left the mean predictor" in captured.out + captured.err


def test_the_decoder_starts_as_the_mean_predictor(store):
    c = tiny(store)
    loop.adopt(c, store, print)
    model = CellModel(c.model)
    tables = loop.tables_of(store, c, model.rows)
    # By hand: the mean over the training cells that measured a gene of its share of the cell.
    rows = store.read("train", np.arange(store.sizes["train"]))
    share, cells = np.zeros(300), np.zeros(300)
    for b in range(len(rows)):
        mine = slice(rows.indptr[b], rows.indptr[b + 1])
        counts = rows.counts[mine].astype(np.float64)
        np.add.at(share, rows.ids[mine], counts / counts.sum())
        cells += store.measured[store.gene_set[rows.dataset[b]]]
    np.testing.assert_allclose(tables["mean"][:300], np.log1p(1e5 * share / cells), rtol=1e-6)
    state, *_ = compile_steps(model, c, optim.build(c, 6), sharding.make_mesh(c.mesh), tables)
    state.params["heads"]["expression"]["rows"] *= 0
    batch = Batches(store, c, "valid", 16)[0]
    variables = {"params": state.params, "batch_stats": {}}
    apply = jax.jit(functools.partial(model.apply, train=False))
    predicted = apply(variables, batch, {})[0]["heads"]["expression"]
    np.testing.assert_allclose(predicted[0], tables["mean"], atol=2e-5)

"""``jaxcell resume``: what a folder is found to be, and work that goes on."""

import json
import signal

import numpy as np
import pytest

import jaxcell
from jaxcell import calls, cli, config, main, resuming
from jaxcell.ablations import integration_bench
from jaxcell.ablations.integration_bench import IntegrationCells
from jaxcell.data.prepare import prepare
from jaxcell.data.preparing.writer import Writing
from jaxcell.files import MODEL
from jaxcell.training.checkpoint import load_model
from jaxcell.training.workdir import lock
from tests.conftest import draw_cells
from tests.data.preparing.test_unfinished import files, stop_at
from tests.training.test_training import tiny

OPTIONS = {"labels": ["kind"], "hold_out_fraction": 0.2, "shards": 4, "progress": False}


@pytest.fixture
def stopped(sources, tmp_path, monkeypatch):
    """A folder in which a store was begun, of files by paths that start there."""
    monkeypatch.chdir(sources[0].parent)
    with monkeypatch.context() as m:
        stop_at(m, Writing, 3)
        with pytest.raises(KeyboardInterrupt) as said:
            prepare(tmp_path / "made", [path.name for path in sources], **OPTIONS)
    assert said.value.args == (
        f"go on with the same command, or: jaxcell resume {tmp_path / 'made'}",
    )
    monkeypatch.chdir("/")
    return tmp_path


@pytest.mark.parametrize("name", ["made", ".made.unfinished"])
def test_a_store_goes_on_from_its_name_or_its_folder(name, stopped, sources, capsys):
    assert jaxcell.resume(stopped / name)
    said = f"{stopped / name}: goes on with a store of which 2 blocks of cells are written\n"
    assert said in capsys.readouterr().out
    assert [p.name for p in stopped.iterdir()] == ["made"]
    whole = prepare(stopped / "whole", sources, **OPTIONS)
    made = jaxcell.data.store.Store.open(stopped / "made")
    assert made.content_hash == whole.content_hash
    # Of relative paths the facts differ by the paths alone.
    ours, theirs = files(made), files(whole)
    assert ours.keys() == theirs.keys()
    assert all(ours[p] == theirs[p] for p in ours if p.suffix not in (".json", ".tsv"))
    assert not jaxcell.resume(stopped / "made")
    assert capsys.readouterr().out.endswith("a store, complete: nothing to go on with\n")


def test_a_store_that_was_moved_goes_on_where_it_is(stopped):
    (stopped / "other").mkdir()
    (stopped / ".made.unfinished").rename(stopped / "other" / ".new name.unfinished")
    jaxcell.resume(stopped / "other" / "new name")
    assert [p.name for p in stopped.iterdir()] == ["other"]
    assert [p.name for p in (stopped / "other").iterdir()] == ["new name"]


def test_another_file_than_at_first_is_refused(stopped, sources, tmp_path):
    folder = stopped / ".made.unfinished"
    call = calls.read(folder)
    draw_cells(9, 30, 300).write_h5ad(tmp_path / "first.h5ad")
    call["arguments"]["files"][0] = str(tmp_path / "first.h5ad")
    (folder / calls.FILE).write_text(json.dumps(call))
    with pytest.raises(ValueError, match="of another request"):
        jaxcell.resume(stopped / "made")
    call["arguments"]["files"][0] = "gone.h5ad"
    (folder / calls.FILE).write_text(json.dumps(call))
    with pytest.raises(FileNotFoundError, match=r"gone\.h5ad"):
        jaxcell.resume(stopped / "made")


def test_what_was_in_memory_cannot_be_gone_on_with(tmp_path, monkeypatch):
    with monkeypatch.context() as m:
        stop_at(m, Writing, 3)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "made", draw_cells(1, 90, 50), **OPTIONS)
    with pytest.raises(ValueError, match=r"objects in memory \(files\), which are not kept; call"):
        jaxcell.resume(tmp_path / "made")
    (tmp_path / ".made.unfinished" / calls.FILE).write_text("{")
    with pytest.raises(
        ValueError, match=r"command\.json: is damaged: found no JSON .* give the com"
    ):
        jaxcell.resume(tmp_path / "made")
    (tmp_path / ".made.unfinished" / calls.FILE).unlink()
    with pytest.raises(ValueError, match=r"lacks command\.json; call jaxcell\.prepare as before"):
        jaxcell.resume(tmp_path / "made")


def _run(folder, step, stages=("train",), store="st", session=None, **files):
    """A workdir as a run leaves it that has taken so many of 6 steps."""
    (folder / "checkpoints" / str(step)).mkdir(parents=True)
    c = config.defaults()
    c.stages, c.data.store, c.train.gene_errors = stages, store, "heads.expression"
    data = {"store": "st", "content_hash": "0", "cells": {"train": 9, "valid": 3}}
    run = {"config": json.loads(config.to_json(c)), "steps": 6, "data": data}
    run["sessions"] = [session or {"cwd": "/"}]
    (folder / "run.json").write_text(json.dumps(run))
    for name, text in files.items():
        (folder / name).write_text(text)


def test_a_run_is_complete_with_its_last_step_and_all_behind_it(tmp_path):
    _run(tmp_path / "begun", 4)
    found = resuming.find(tmp_path / "begun")
    assert (found.what, found.complete) == ("a training run at step 4 of 6", False)
    _run(tmp_path / "run", 6)
    assert not resuming.find(tmp_path / "run").complete
    (tmp_path / "run" / "model").mkdir()
    assert not resuming.find(tmp_path / "run").complete
    (tmp_path / "run" / "gene_errors.tsv").touch()
    assert resuming.find(tmp_path / "run").complete
    _run(tmp_path / "demo", 6, ("train", "embed"), **{"gene_errors.tsv": ""})
    (tmp_path / "demo" / "model").mkdir()
    assert not resuming.find(tmp_path / "demo").complete
    (tmp_path / "demo" / "stages.json").write_text('{"embed": "mark"}')
    assert resuming.find(tmp_path / "demo").complete


@pytest.fixture
def carried(monkeypatch):
    """[(store, workdir), …] of the runs that are gone on with."""
    found = []
    monkeypatch.setattr(main, "carry_out", lambda c, w: found.append((c.data.store, w)))
    return found


@pytest.mark.parametrize("store", ["old/store", "/there/old/store", "old/../old/store"])
@pytest.mark.parametrize("older", [False, True])
def test_a_run_that_was_moved_has_its_store_with_it(store, older, tmp_path, carried):
    """Of an older jaxcell run.json does not say where it was; the kept call does."""
    session = {"cwd": "/there", **({} if older else {"workdir": "/there/old"})}
    _run(tmp_path / "new", 4, store=store, session=session)
    if older:
        asked = {"config": {"train": {}, "stages": []}, "workdir": "old"}
        call = {"verb": "train", "cwd": "/there", "arguments": asked}
        (tmp_path / "new" / calls.FILE).write_text(json.dumps(call))
    jaxcell.resume(tmp_path / "new")
    assert carried == [(str(tmp_path / "new" / "store"), tmp_path / "new")]


@pytest.mark.parametrize("store", ["stores/a", "older/store", "/there/old_store", "hf://a/b"])
def test_a_store_elsewhere_stays_where_it_is(store, tmp_path, carried):
    _run(tmp_path / "new", 4, store=store, session={"cwd": "/there", "workdir": "/there/old"})
    jaxcell.resume(tmp_path / "new")
    assert carried == [(store, tmp_path / "new")]


def test_a_run_that_was_moved_before_it_trained(tmp_path, carried):
    c = config.defaults()
    c.data.store, c.stages = "runs/old/store", ("prepare", "train")
    asked = {"config": json.loads(config.to_json(c)), "workdir": "runs/old"}
    (tmp_path / "new").mkdir()
    call = {"verb": "train", "cwd": "/there", "arguments": asked}
    (tmp_path / "new" / calls.FILE).write_text(json.dumps(call))
    jaxcell.resume(tmp_path / "new")
    assert carried == [(str(tmp_path / "new" / "store"), tmp_path / "new")]


def test_fields_are_read_before_anything_is_said(tmp_path, carried, capsys):
    """Of a complete run too, which goes on when they are right, to be refused or done."""
    _run(tmp_path / "begun", 4)
    _run(tmp_path / "done", 6, **{"gene_errors.tsv": ""})
    (tmp_path / "done" / "model").mkdir()
    for name in ("begun", "done"):
        with pytest.raises(SystemExit) as left:
            cli.main(["resume", str(tmp_path / name), "extra"])
        assert left.value.code == 2
        assert capsys.readouterr().out == ""
    assert not jaxcell.resume(tmp_path / "done")
    assert not carried
    assert jaxcell.resume(tmp_path / "done", ["--config.train.log_every=2"])
    assert len(carried) == 1


def test_what_cannot_be_gone_on_with_is_named(tmp_path, store, monkeypatch, capsys):
    (tmp_path / "models" / "model").mkdir(parents=True)
    (tmp_path / "models" / "model" / MODEL).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.h5ad").touch()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "suite.json").write_text("{}")
    named = {
        "gone": "there is nothing; expected the workdir of a training run, the folder of a store",
        "file.h5ad": "is a file, which cannot be gone on with; expected the workdir",
        "empty": "is an empty folder, which",
        "models": "is a finished model (to embed and the like: --checkpoint",
        "models/model": "is a finished model (to embed and the like: --checkpoint",
        "old": "is the work of an older jaxcell, which kept no command.json: give its command",
    }
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for name, said in named.items():
        with pytest.raises(SystemExit) as left:
            cli.main(["resume", name])
        assert left.value.code.startswith(f"error: {tmp_path / name}: {said}")
    with pytest.raises(SystemExit, match="expected no options: .* holds a store"):
        cli.main(["resume", str(store.path), "--config.steps=3"])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_call_is_kept_with_paths_and_numbers_or_says_what_is_lost(tmp_path):
    given = {"path": tmp_path, "number": np.int64(3), "names": ("a", "b"), "none": None}
    given["files"] = ["a.h5ad"]
    calls.keep(tmp_path, "prepare", given)
    kept = calls.read(tmp_path)["arguments"]
    plain = {"path": str(tmp_path), "number": 3, "names": ["a", "b"], "none": None}
    assert kept == {**plain, "files": ["a.h5ad"]}
    calls.keep(tmp_path, "prepare", {**given, "files": [draw_cells(1, 3, 3)], "odd": object()})
    assert calls.read(tmp_path)["in_memory"] == ["files", "odd"]
    assert [p.name for p in tmp_path.iterdir()] == [calls.FILE]


@pytest.mark.slow
def test_a_run_with_stages_goes_on_from_any_of_them(sources, store, tmp_path, monkeypatch):
    """Stopped while it prepares, then while it trains, and moved each time, with its own store."""
    monkeypatch.chdir(sources[0].parent)
    c = tiny(store, steps=3, **{"train.gene_errors": ""})
    c.data.store = config.defaults().data.store
    c.stages, c.prepare.files = ("prepare", "train"), tuple(path.name for path in sources)
    c.prepare.labels, c.prepare.hold_out_fraction = ("kind",), 0.2
    with monkeypatch.context() as m:
        stop_at(m, Writing, 1)
        with pytest.raises(KeyboardInterrupt):
            main.run(c, "run")
    monkeypatch.chdir("/")
    (tmp_path / "prepared").mkdir()
    where = (sources[0].parent / "run").rename(tmp_path / "prepared" / "run")
    plain = main.loop.Run._steps

    def stopping(self, start, stop):
        if start == 0:
            self.on_step = lambda step: step == 2 and signal.raise_signal(signal.SIGTERM)
        return plain(self, start, stop)

    monkeypatch.setattr(main.loop.Run, "_steps", stopping)
    with pytest.raises(SystemExit) as left:
        jaxcell.resume(where)
    assert left.value.code == 75
    assert resuming.find(where).what == "a training run at step 2 of 3"
    assert (where / "store" / "store.json").is_file()
    where = where.rename(tmp_path / "trained")
    with pytest.raises(ValueError, match=r"optimizer\.learning_rate: 0\.003 there, 0\.5 here"):
        jaxcell.resume(where, ["--config.optimizer.learning_rate=0.5"])
    assert jaxcell.resume(where, ["--config.train.log_every=2"])
    assert load_model(where).config.train.log_every == 2
    assert load_model(where).config.data.store == str(where / "store")
    assert not (sources[0].parent / "run").exists()
    assert not (tmp_path / "prepared" / "run").exists()
    assert not jaxcell.resume(where)


@pytest.fixture
def integration(tmp_path):
    """A call of ablate, and where it begins to make its store and its baselines."""
    cells = draw_cells(3, 60, 40)
    cells.obs["batch"] = [f"b{i % 2}" for i in range(60)]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    e = IntegrationCells((str(tmp_path / "cells.h5ad"),), "kind", "batch")
    return lambda **more: jaxcell.ablate(e, tmp_path / "out", suite_name="scformer", **more)


def stop(*_, **__):
    raise KeyboardInterrupt


def test_an_ablation_is_resumed_from_its_first_store_on(integration, tmp_path, monkeypatch, capsys):
    def stopped_inside(path, *_, **__):
        path.mkdir()
        raise KeyboardInterrupt

    go_on = f"go on with the same command, or: jaxcell resume {tmp_path / 'out'}"
    with monkeypatch.context() as m:
        m.setattr(integration_bench, "prepare", stop)  # before there is anything
        with pytest.raises(KeyboardInterrupt) as said:
            integration()
        assert said.value.args == ()
        assert not (tmp_path / "out").exists()
        m.setattr(integration_bench, "prepare", stopped_inside)
        with pytest.raises(KeyboardInterrupt) as said:
            integration(steps=3, arms=["no_mvc"])
        assert said.value.args == (go_on,)
    monkeypatch.setattr(integration_bench.IntegrationBench, "references", stop)
    (tmp_path / "out" / "store").rmdir()
    with pytest.raises(KeyboardInterrupt) as said:
        jaxcell.resume(tmp_path / "out")
    assert said.value.args == (go_on,)
    assert "goes on with the ablation scformer" in capsys.readouterr().out
    assert calls.read(tmp_path / "out")["arguments"]["steps"] == 3
    assert (tmp_path / "out" / "store" / "store.json").is_file()


def test_a_refused_ablation_leaves_the_call_that_is_there(integration, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise ValueError("of another experiment")

    monkeypatch.setattr(integration_bench, "prepare", refused)
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="of another experiment"):
        integration()
    assert not (tmp_path / "out" / calls.FILE).exists()
    (tmp_path / "out" / calls.FILE).write_text("of others")
    with pytest.raises(ValueError, match="of another experiment"):
        integration()
    assert (tmp_path / "out" / calls.FILE).read_text() == "of others"


def test_two_ablations_do_not_share_a_folder(integration, tmp_path):
    with lock(tmp_path / "out"), pytest.raises(ValueError, match="another run .* works there"):
        integration()

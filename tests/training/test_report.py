"""Curves and tables of runs, finished or not; TensorBoard beside the journal."""

import builtins
import json
import struct
import sys

import numpy as np
import pytest

import jaxcell
from jaxcell import cli, config
from jaxcell.training import loop, metrics, report, tensorboard
from tests.conftest import config_of


def written(folder, *, seed=0, steps=40, content="a" * 64, lines=None, warm=None, **fields):
    """A workdir as a run leaves it, without the run."""
    c = config_of("txfm_b:tiny")
    c.update_from_flattened_dict({"seed": seed, "steps": steps, **fields})
    folder.mkdir(parents=True)
    info = {
        "sessions": [{"cwd": "/"}],
        "config": json.loads(config.to_json(c)),
        "steps": steps,
        "data": {
            "store": "st",
            "content_hash": content,
            "cells": {"train": 100, "valid": 20},
        },
        "init_from": warm,
    }
    (folder / "run.json").write_text(json.dumps(info))
    if lines is None:
        lines = list(curve(steps, -20 - seed))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def curve(steps, floor):
    for step in range(1, steps + 1):
        loss = floor + 30 / step
        rates = {"learning_rate": 1e-3 * step / steps, "cells_per_s": 1234.0}
        yield {"step": step, "train/loss": loss, **rates}
        if step % 10 == 0:
            ends = {"val/mean_predictor": -15.0, "val/perfect": -25.0}
            yield {"step": step, "val/loss": loss + 1, "val/expression": loss + 1, **ends}


def test_two_runs_in_one_report(tmp_path, capsys):
    scratch = written(tmp_path / "scratch", **{"train.batch_size": 16})
    lines = [*curve(40, -21), {"step": 40, "genes/median_auc": 0.625}]
    lines[-2]["val/loss"] = -1.0  # worse at the end than at step 30
    source = {"path": "runs/old", "step": "7"}
    warm = written(tmp_path / "warm", seed=1, lines=lines, warm=source, **{"train.batch_size": 32})
    cli.main(["report", str(scratch), str(warm), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "report.md")
    text = (tmp_path / "out" / "report.md").read_text()
    rows = {cells[1].strip(): [c.strip() for c in cells[2:-1]] for cells in tables(text)}
    # At step 40 the loss is −20 + 30/40 + 1 = −18.25, 32.5 % of the way from −15 to −25.
    assert rows["scratch"] == [
        *("40", "640", "-18.250 (40)", "32.5%", "-18.250", "-19.250", "–", "1,234", "scratch")
    ]
    assert rows["warm"] == [
        *("40", "1,280", "-19.000 (30)", "40.0%", "-1.000", "-20.250", "0.625", "1,234"),
        "runs/old, step 7",
    ]
    assert rows["train.batch_size"] == ["16", "32"]
    assert rows["seed"] == ["0", "1"]
    assert "model.width" not in rows
    assert "the data's content" not in rows
    assert (tmp_path / "out" / "curves.png").stat().st_size > 10_000
    assert "gene_errors" not in text


def tables(text):
    return [line.split("|") for line in text.splitlines() if line.startswith("|")]


def test_a_run_without_validation_is_drawn(tmp_path):
    lines = [{k: v for k, v in x.items() if "val/" not in k} for x in curve(40, -20)]
    for name, held in (("none", {"train": 100, "valid": 0}), ("one", {"train": 100, "valid": 20})):
        # And one whose losses have neither a mean predictor nor a perfect prediction.
        extra = [{"step": 40, "val/loss": -19.0}] if held["valid"] else []
        run = written(tmp_path / name, lines=lines + extra)
        report.draw_run(run)
        assert (run / "curves.png").stat().st_size > 10_000
    text = jaxcell.report([tmp_path / "none"], tmp_path / "out").read_text()
    assert "| none | 40 | 640 | – | – | – | -19.250 |" in text


def test_runs_in_progress_or_killed_are_readable(tmp_path):
    begun = written(tmp_path / "begun", lines=[])
    (written(tmp_path / "none") / "metrics.jsonl").unlink()
    killed = written(tmp_path / "killed", lines=list(curve(17, -20)))
    with open(killed / "metrics.jsonl", "a") as file:
        file.write('{"step": 18, "train/lo')
    text = jaxcell.report([begun, tmp_path / "none", killed], tmp_path / "out").read_text()
    assert "| begun | 0 of 40, unfinished | 0 | – | – | – |" in text
    assert "| killed | 17 of 40, unfinished | 272 | -16.000 (10) | 10.0% | -16.000 |" in text
    assert "They do not differ." in text


def test_runs_of_one_name_are_told_apart(tmp_path):
    runs = [written(tmp_path / side / "run") for side in ("a", "b")]
    assert [r.name for r in report.read_runs(runs)] == ["a/run", "b/run"]


def test_what_is_no_run_is_named(tmp_path, capsys):
    run = written(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match=r"error: .*empty: is no training run"):
        cli.main(["report", str(run), str(tmp_path / "empty"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="is given twice"):
        jaxcell.report([run, tmp_path / "empty" / ".." / "run"], tmp_path / "out")
    (run / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl: line 2 is damaged"):
        jaxcell.report([run], tmp_path / "out")


def test_without_matplotlib_a_run_ends_well_and_a_report_names_the_extra(tmp_path, monkeypatch):
    run = written(tmp_path / "run")
    report.draw_run(run)
    assert (run / "curves.png").exists()
    (run / "curves.png").unlink()
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert not report.can_draw()
    with pytest.raises(ImportError, match=r"pip install 'jaxcell\[eval\]'"):
        jaxcell.report([run], tmp_path / "out")


def events(folder):
    """(step, tag, value) of every scalar in event files, and ('purge', step) of session starts."""
    from tensorboardX.proto.event_pb2 import Event

    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])  # length, its checksum, event, its checksum
            event = Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            if event.HasField("session_log"):
                yield "purge", event.step
            for value in event.summary.value:
                yield event.step, value.tag, value.simple_value


def test_tensorboard_holds_what_the_journal_holds(tmp_path):
    """Two sessions, the second from step 2: it tells TensorBoard to drop what came after."""
    for start in (0, 2):
        journal = metrics.Journal(tmp_path, start, [tensorboard.TensorBoard(tmp_path, start)])
        for step in range(start + 1, start + 4):
            journal.write(step, **{"train/loss": step + start / 10})
        journal.close()
    found = list(events(tmp_path / "tensorboard"))
    tag = "train/loss"
    assert found[0] == ("purge", 1)
    again = found.index(("purge", 3))
    assert [x[0] for x in found[1:again]] == [1, 2, 3]
    kept = [x for x in found[1:again] if x[0] < 3] + found[again + 1 :]
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [step for step, _, _ in kept] == [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose([x[2] for x in kept], [line[tag] for line in lines], rtol=1e-6)


def test_a_missing_writer_is_known_before_anything_starts(store, tmp_path, monkeypatch):
    c = config_of("txfm_b:tiny")
    c.data.store, c.train.tensorboard = str(store.path), True
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxcell\[tensorboard\]'"):
        loop.train(c, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_writes_events_and_curves(store, tmp_path):
    c = config_of("txfm_b:tiny")
    c.data.store, c.steps, c.train.tensorboard = str(store.path), 4, True
    c.train.log_every = c.train.validate_every = 2
    assert loop.train(c, tmp_path / "run")
    found = {(x[0], x[1]) for x in events(tmp_path / "run" / "tensorboard") if x[0] != "purge"}
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert found == {(line["step"], k) for line in lines for k in line if k != "step"}
    assert (tmp_path / "run" / "curves.png").exists()

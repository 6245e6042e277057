"""A disk that is full, and one that is read-only: each verb says so, and goes on after."""

import contextlib
import json
import os
import re
import subprocess
import sys

import pytest

import jaxcell
from jaxcell.training import loop
from jaxcell.writing import DiskError
from tests.conftest import ROOT
from tests.knocks.conftest import make_read_only
from tests.knocks.filled import fill, messages
from tests.knocks.verbs import VERBS, tiny

pytestmark = pytest.mark.slow
# Training has a process of its own here.
HERE = ("prepare", "embed", "convert", "convert --to torch", "convert --to hub-folder")
FULL = re.compile(r"cannot be written: No space left on device; [\d.]+ [kM]?B? ?(bytes )?are free")


def check(said, place):
    """One line each, which names the place and the room."""
    assert len(said) >= 2
    for text in said:
        assert text.startswith(str(place))
        assert FULL.search(text), text
        assert text.endswith("Make room, and give the same command again")


@pytest.mark.parametrize("name", HERE)
def test_a_full_disk(name, disk, inputs, tmp_path):
    said = messages(name, disk, inputs, tmp_path / "other")
    check(said, disk / "place")
    if name in ("embed", "convert"):
        assert "are needed" in said[0]


def test_a_full_disk_in_training(disk, inputs, tmp_path):
    """In a process of its own: nothing but our own line is printed of what Orbax meets with."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.knocks.filled", disk, inputs, "train"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1", "XLA_FLAGS": ""}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for noise in ("Traceback", "Exception ignored", "Error"):
        assert noise not in done.stderr, done.stderr[:3000]
    said = json.loads((tmp_path / "said.json").read_text())
    check(said, disk / "place")
    assert any("are needed" in text for text in said)


def test_a_disk_without_room_for_a_step(disk, inputs, tmp_path, capsys):
    seen = []
    loop.train(tiny(inputs), tmp_path / "run", on_step=seen.append)
    needs = sum(p.stat().st_size for p in (tmp_path / "run/checkpoints/3").rglob("*"))
    assert seen == [1, 2, 3]
    fill(disk, needs // 2)
    with pytest.raises(DiskError, match=r"No space left on device; .* are free there, and about"):
        loop.train(tiny(inputs), disk / "run", on_step=seen.append)
    assert seen == [1, 2, 3]
    assert not (disk / "run").exists()
    capsys.readouterr()
    fill(disk, 2 * needs)
    with contextlib.suppress(DiskError):  # or not, as Orbax compresses what it saves
        loop.train(tiny(inputs), disk / "run", on_step=seen.append)
    assert "all that this run keeps may take about" in capsys.readouterr().out
    assert len(seen) > 3


@pytest.mark.parametrize("name", [*HERE, "train"])
def test_a_read_only_disk(name, disk, inputs):
    make_read_only(disk)
    with pytest.raises(DiskError, match=r"cannot be written: Read-only file system\. Name anoth"):
        VERBS[name].run(inputs, disk)
    assert list(disk.iterdir()) == []


def test_a_read_only_disk_for_a_report(disk, tmp_path):
    """Before what it is about is looked for, which may take hours to measure."""
    make_read_only(disk)
    missing, said = tmp_path / "no.h5ad", rf"{disk}/a/b: cannot be written: Read-only file system"
    for call in (
        lambda out: jaxcell.evaluate(missing, ["X"], label="kind", out=out),
        lambda out: jaxcell.inspect(missing, out=out),
        lambda out: jaxcell.report(missing, out),
        lambda out: jaxcell.relations(missing, missing, out=out),
    ):
        with pytest.raises(DiskError, match=said):
            call(disk / "a" / "b")


def test_a_full_disk_for_a_report(disk, inputs):
    """Of folders that get all of their files at the end."""
    fill(disk, 2**13)
    with pytest.raises(DiskError, match=rf"{disk}/look: cannot be written: No space left .* free"):
        jaxcell.inspect([str(inputs / "csr.h5ad")], out=disk / "look")
    assert not (disk / "look").exists()

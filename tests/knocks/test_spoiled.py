"""h5ad files and saved steps with flipped bits or without their end: the same cells, or a message.

Foreign checkpoints and model folders are spoiled in tests/conversion/test_fuzz.py.
"""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from jaxcell.training.checkpoint import flatten, load_model
from tests.conftest import ROOT
from tests.knocks.spoiled import KINDS, spoil
from tests.knocks.verbs import VERBS

TRIES = 300


def tries(folder, number):
    """What became of each try, by its number; a process that dies is started again behind it."""
    found, log = {}, folder / "found.jsonl"
    while len(found) < number:
        command = [sys.executable, "-m", "tests.knocks.spoiled"]
        command += [str(folder), str(len(found)), str(number - len(found))]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        assert len(lines) > len(found), done.stderr[-3000:]
        found = {line["try"]: line for line in lines}
    return found


def test_spoiled_h5ad_files(tmp_path):
    found = tries(tmp_path, TRIES)
    assert set(found) == set(range(TRIES))
    refused = dict.fromkeys(KINDS, 0)
    for one in found.values():
        assert "raised" not in one, one
        # Else HDF5 ended the process, or was at it for longer than anybody waits.
        assert {"said", "same"} & set(one), one
        if "said" in one:
            refused[one["kind"]] += 1
            assert one["names it"], one
            assert len(one["said"]) < 700, one
        elif one["kind"] == "checked":
            assert one["same"], f"counts differ, and no checksum told: {one}"
    assert min(refused.values()) > TRIES / 10


@pytest.mark.slow
def test_spoiled_steps(inputs, tmp_path):
    VERBS["train"].run(inputs, tmp_path)
    step = tmp_path / "run" / "checkpoints" / "3"
    wanted = flatten(load_model(step).variables)
    files = sorted(p for p in step.rglob("*") if p.is_file())
    refused = 0
    for seed in range(200):
        file = files[seed % len(files)]
        whole = file.read_bytes()
        if not whole:
            continue
        file.write_bytes(spoil(whole, seed))
        try:
            found = flatten(load_model(step).variables)
        except ValueError as error:
            refused += 1
            text = str(error)
        else:
            text = str(step)
            assert all(np.array_equal(found[k], wanted[k]) for k in wanted), f"{seed}, {file.name}"
        file.write_bytes(whole)
        assert str(step) in text, f"seed {seed}, {file.name}: {text}"
        assert len(text) < 900, f"seed {seed}, {file.name}: {text}"
    assert refused > 100
    # A run that goes on names it too, and does well without it.
    whole = VERBS["train"].left(tmp_path)
    (tmp_path / "run" / "curves.png").unlink()  # so that there is something left to do
    for file in (step / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match=f"{step}: cannot be read .*move this folder away"):
        VERBS["train"].run(inputs, tmp_path)
    shutil.rmtree(step)
    VERBS["train"].run(inputs, tmp_path)
    assert VERBS["train"].left(tmp_path) == whole

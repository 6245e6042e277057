"""Two programs by turns, and what is shown of them."""

import json
import textwrap

import pytest

from jaxcell.bench import peer, report, turns
from tests.conftest import config_of

SIDE = """
    import sys
    from jaxcell.bench.turns import serve

    speeds = [float(s) for s in sys.argv[1:]]
    print("a word of its own", flush=True)
    serve({"batch": 4, "pid": 1}, lambda: {"cells_per_s": speeds.pop(0), "mfu": None})
"""


@pytest.fixture
def side(tmp_path, monkeypatch):
    (tmp_path / "side_of_a_test.py").write_text(textwrap.dedent(SIDE))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return "side_of_a_test"


def test_sides_take_turns_and_their_medians_are_kept(side, capsys):
    said = []
    sides = {"ours": [side, "9", "5", "6"], "theirs": [side, "1", "2", "3"]}
    found = turns.alternate(sides, 3, said.append)
    assert found["ours"] == {"batch": 4, "pid": 1, "cells_per_s": 6.0, "turns": [9.0, 5.0, 6.0]}
    assert found["theirs"]["cells_per_s"] == 2.0
    assert said[1] == "turn 2 of 3: ours 5.0 cells/s, theirs 2.0 cells/s"
    assert "ours: a word of its own" in capsys.readouterr().out


def test_a_side_that_ends_is_named(side):
    with pytest.raises(RuntimeError, match="theirs: ended with exit code 1 before it answered"):
        turns.alternate({"ours": [side, "9"], "theirs": [side, "no number"]}, 1)


def test_both_sides_are_shown_written_and_drawn(tmp_path, capsys):
    ours = {"config": "c", "batch": 4, "tokens": 9, "dtype": "float32", "device": "1 × cpu"}
    found = {
        "jaxcell": {**ours, "cells_per_s": 3.0, "turns": [2.0, 3.0, 4.0], "mfu": None},
        "torch": {"cells_per_s": 2.0, "turns": [2.0, 2.0, 2.0]},
        "ratio": 1.5,
    }
    report.write_sides(found, tmp_path / "out")
    shown = capsys.readouterr().out
    assert "jaxcell ÷ torch: 1.500 × the cells per second" in shown
    assert "unknown peak of this device" in shown
    assert json.loads((tmp_path / "out" / "sides.json").read_text()) == found
    assert (tmp_path / "out" / "sides.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["txfm_b:tiny,zinb", "txfm_b:tiny,relu", "bmfm_rna_wced:tiny"])
def test_a_model_that_the_peer_is_not_is_refused(name):
    with pytest.raises(ValueError, match="--peer: the PyTorch model is TxFM with its Poisson loss"):
        peer.check(config_of(name))
    peer.check(config_of("txfm_b"))


def test_peaks_are_told_by_the_device_kind():
    assert report.peak_tflops("NVIDIA H200") == report.peak_tflops("NVIDIA H100 80GB HBM3") == 989
    assert report.peak_tflops("TPU v5 lite") == 197
    assert report.peak_tflops("TPU v5") == report.peak_tflops("TPU v5p") == 459
    assert report.peak_tflops("cpu") is None

"""Costs over the length of a sequence: what is measured where, and what is drawn of it."""

import json

import pytest

from jaxcell.bench import lengths
from jaxcell.bench.lengths import whole_numbers
from tests.conftest import config_of


def test_each_encoder_is_measured_at_its_lengths_alone(monkeypatch, capsys):
    asked = []

    def measure(c, cells, steps):
        encoder, number = c.model.encoder, c.data.sequence.number
        asked.append((encoder.attention, encoder.layers, number, cells, steps))
        return {
            "tokens": number + 3,
            "seconds": 0.5,
            "cells_per_s": 2.0,
            "planned_gb": 1.25,
            "x": 1,
        }

    monkeypatch.setattr(lengths, "EXACT_TO", 100)
    c = config_of("bmfm_rna_mlm:tiny")
    before = c.to_json()
    front = len(c.model.front or c.model.specials)
    rows = lengths.over_lengths(c, [128, 64], measure, cells=2, steps=3)
    assert [(kind, layers, n + front, *rest) for kind, layers, n, *rest in asked] == [
        ("exact", 1, 64, 2, 3),
        *((kind, 1, tokens, 2, 3) for kind in ("performer", "nystrom") for tokens in (64, 128)),
    ]
    assert c.to_json() == before
    assert set(rows[0]) == {"attention", "tokens", "seconds", "cells_per_s", "planned_gb"}
    assert "1.25 GB" in capsys.readouterr().out


def test_heads_that_read_the_first_tokens_alone_are_refused():
    with pytest.raises(ValueError, match="bmfm_rna_wced_tiny read the first 5 tokens alone"):
        lengths.over_lengths(config_of("bmfm_rna_wced:tiny"), [64], None)


@pytest.mark.parametrize("text", ["abc", "2", "-5", ""])
def test_lengths_that_are_none_are_named(text):
    with pytest.raises(SystemExit, match=f"--lengths: found '{text}', expected tokens, 3 at least"):
        whole_numbers(["128", text], 3)


def test_table_and_picture(tmp_path):
    rows = [
        {
            "attention": kind,
            "tokens": t,
            "seconds": t / 100,
            "cells_per_s": 1.0,
            "planned_gb": t / 1e3,
        }
        for kind in lengths.KINDS
        for t in (64, 128)
    ]
    lengths.write(rows, config_of("bmfm_rna_mlm:tiny"), "cpu", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "lengths.json").read_text()) == rows
    assert (tmp_path / "out" / "lengths.png").read_bytes().startswith(b"\x89PNG")

"""The loader's benchmark at a toy size: every side runs or says why not, and nothing is made up."""

import json

import h5py
import pytest

from jaxcell.bench import loader, peers
from jaxcell.data.store import Store

ROWS = ("read", "read + decode", "decode", "normalise", "sample_genes", "panel", "pipeline")


@pytest.fixture
def drawn(tmp_path):
    loader.synthetic(tmp_path / "drawn.h5ad", 120, 400, nonzero=60)
    return tmp_path / "drawn.h5ad"


def test_drawn_counts_are_as_sparse_as_asked(drawn, tmp_path):
    with h5py.File(drawn) as file:
        assert file["X"].attrs["shape"].tolist() == [120, 400]
        assert abs(len(file["X/data"]) / 120 - 60) < 3
    assert loader.compression(drawn) is None
    loader.synthetic(tmp_path / "small.h5ad", 20, 50, "gzip")
    assert loader.compression(tmp_path / "small.h5ad") == "gzip"


def test_the_command_leaves_table_json_and_picture(tmp_path, capsys, monkeypatch):
    plain = [p for p in peers.PEERS if p[1] in ("h5py", "anndata")]
    monkeypatch.setattr(loader, "PEERS", [*plain, ("Another", "not_there_at_all", True, None)])
    out = tmp_path / "out"
    argv = ["--out", str(out), "--cells", "100", "--genes", "300", "--batch", "16"]
    loader.main([*argv, "--repeats", "2", "--seconds", "0.02", "--workers", "0", "--rate", "50"])
    shown = capsys.readouterr().out
    assert "not_there_at_all is not installed" in shown
    assert "8 GPUs at 50 cells/s each" in shown
    result = json.loads((out / "loader.json").read_text())
    rows = {row["name"]: row for row in result["rows"]}
    for name in (*ROWS, *(p[0] for p in plain)):
        assert rows[name]["cells_per_core_s"] > 0
        assert len(rows[name]["all"]) == 2
    assert rows["Another"]["cells_per_core_s"] is None
    one = rows["pipeline"]["cells_per_core_s"]
    assert result["cores_for_8_gpus"]["50.0"] == pytest.approx(8 * 50 / one)
    assert (out / "loader.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["h5py, row by row", "anndata backed"])
def test_peers_read_the_cells_they_say(drawn, name):
    make = next(make for known, _, _, make in peers.PEERS if known == name)
    read = make(drawn, 32)
    assert [read(), read()] == [32, 32]


def test_the_sides_take_turns_in_alternating_order(drawn, tmp_path, monkeypatch):
    from jaxcell import config
    from jaxcell.data.prepare import prepare

    store = prepare(tmp_path / "store", drawn, progress=False)
    assert isinstance(store, Store)
    seen = []
    monkeypatch.setattr(loader, "PEERS", [("a", "h5py", True, lambda path, batch: lambda: 1)])
    monkeypatch.setattr(loader, "timed", lambda read, seconds: (seen.append(read), (1.0, 1.0))[1])
    monkeypatch.setattr(loader, "read_ahead", lambda *a, **k: 2.0)
    rows = loader.measure(store, drawn, config.defaults(), batch=8, repeats=3, seconds=0, workers=0)
    turns = [seen[i : i + len(seen) // 3] for i in range(0, len(seen), len(seen) // 3)]
    assert turns[1] == turns[0][::-1]
    assert turns[2] == turns[0]
    assert all(row["cells_per_s"] in (1.0, 2.0) for row in rows)

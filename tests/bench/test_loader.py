"""The loader's benchmark at a toy size: every side runs or says why not, and nothing is made up."""

import json
import os

import anndata
import h5py
import numpy as np
import pytest

from jaxcell.bench import loader, loader_sides, loader_table, peers
from jaxcell.bench.loader_sides import BMFM, PART, RAW, TXFM, Side
from jaxcell.data.prepare import prepare
from jaxcell.data.unprepared import Unprepared

OURS = {
    RAW: ("jaxcell, read", "jaxcell, read + decode", "jaxcell, h5ad unprepared"),
    TXFM: ("jaxcell", "jaxcell, h5ad unprepared", "jaxcell, 1 threads", "jaxcell, 4 threads"),
    BMFM: ("jaxcell", "jaxcell, h5ad unprepared", "jaxcell, 2 threads"),
    PART: ("decode", "normalise", "sample_genes", "panel"),
}


@pytest.fixture
def drawn(tmp_path):
    loader.draw(tmp_path / "drawn.h5ad", 120, 400)
    return tmp_path / "drawn.h5ad"


@pytest.fixture
def store(drawn, tmp_path):
    return prepare(tmp_path / "store", drawn, progress=False)


def test_drawn_counts_are_as_sparse_as_asked(drawn, tmp_path):
    with h5py.File(drawn) as file:
        assert file["X"].attrs["shape"].tolist() == [120, 400]
        assert abs(len(file["X/data"]) / 120 - 133) < 15
    assert loader.compression(drawn) is None
    loader.draw(tmp_path / "small.h5ad", 20, 50, "gzip")
    assert loader.compression(tmp_path / "small.h5ad") == "gzip"


def test_the_command_leaves_table_json_and_picture(tmp_path, capsys, monkeypatch):
    def broken(path, batch, folder):
        raise OSError("its disk is full")

    plain = [p for p in peers.PEERS if p[1] in ("h5py", "anndata")]
    odd = [("Another", "not_there_at_all", True, None), ("Broken", "numpy", True, broken)]
    monkeypatch.setattr(loader_sides, "PEERS", [*plain, *odd])
    out = tmp_path / "out"
    argv = ["--out", str(out), "--cells", "100", "--genes", "300", "--batch", "16"]
    loader.main([*argv, "--repeats", "2", "--seconds", "0.01", "--workers", "0", "--rate", "50"])
    shown = capsys.readouterr().out
    assert "not_there_at_all is not installed" in shown
    assert "failed: OSError: its disk is full" in shown
    assert "8 GPUs at 50 cells/s each" in shown
    result = json.loads((out / "loader.json").read_text())
    rows = {(row["group"], row["name"]): row for row in result["rows"]}
    named = {group: (*names, *(p[0] for p in plain)) for group, names in OURS.items()}
    named |= {BMFM: OURS[BMFM], PART: OURS[PART]}
    for group, names in named.items():
        for name in names:
            row = rows[group, name]
            assert row["warm"]["core"] > 0
            assert len(row["all"]["warm"]) == 2
            assert ("threads" in name) == (row["cold"] is None)
    for name in ("Another", "Broken"):
        assert rows[TXFM, name]["warm"] is rows[RAW, name]["cold"] is None
    one = rows[TXFM, "jaxcell"]["warm"]["core"]
    assert result["cores_for_8_gpus"]["50.0"] == pytest.approx(8 * 50 / one)
    loaders = [rows[TXFM, p[0]]["warm"]["core"] for p in plain if p[1] == "anndata"]
    assert result["best_peer_tokenised"] == max(loaders)
    assert (out / "loader.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["h5py, row by row", "anndata backed", "AnnCollection"])
def test_peers_read_the_files_cells(drawn, tmp_path, name):
    make = next(make for known, _, _, make in peers.PEERS if known == name)
    read = make(drawn, 32, tmp_path)
    rows = {row.tobytes() for row in anndata.read_h5ad(drawn).X.toarray()}
    for _ in range(5):  # beyond an epoch of 120 cells
        found = peers.as_csr(read())
        assert found.shape == (32, 400)
        assert {row.tobytes() for row in found.toarray()} <= rows


def test_a_peers_cells_become_the_batches_that_ours_become(drawn, store):
    unprepared = Unprepared(drawn, progress=False)
    matrix = anndata.read_h5ad(drawn).X
    asked = np.array([7, 3, 99, 0])
    for columns, given in (
        (unprepared.columns, matrix),
        (unprepared.columns[::-1], matrix[:, ::-1].tocsr()),  # the genes in another order
    ):
        batch = loader_sides.tokenised(store, columns, lambda m=given: m[asked])()
        rows = store.read("train", asked)
        for b, (a, z) in enumerate(zip(rows.indptr[:-1], rows.indptr[1:], strict=True)):
            assert batch["panel_ids"][b, : z - a].tolist() == rows.ids[a:z].tolist()
            assert batch["panel_counts"][b, : z - a].tolist() == rows.counts[a:z].tolist()
        c = loader_sides.configs(store)[TXFM]
        dense = np.log1p(
            matrix[asked].toarray() * (c.data.normalise.library_size / rows.total)[:, None]
        )
        shown = np.take_along_axis(dense, batch["ids"][:, 1:], axis=1)
        np.testing.assert_allclose(batch["values"][:, 1:], shown, rtol=1e-5)


def test_the_sides_take_turns_in_alternating_order_and_cold_ones_are_cold():
    seen = []

    def side(name, **fields):
        return Side(name, RAW, lambda: lambda: (seen.append(name), 4)[1], **fields)

    found = [side("a"), side("b", ours=False), side("c", absent="not here")]
    rows = loader.measure(found, repeats=2, seconds=1e-9, drop=lambda: seen.append("drop"))
    warm = ["a", "a", "b", "b", "b", "b", "a", "a"]  # once before it is timed
    cold = ["a", "drop", "a", "b", "drop", "b", "b", "drop", "b", "a", "drop", "a"]
    assert seen == warm + cold
    assert rows[2]["warm"] is None
    seen.clear()
    loader.timed(lambda: (seen.append("read"), 4)[1], 1e-5, lambda: seen.append("drop"))
    assert seen[:3] == ["read", "drop", "read"]
    assert seen[1::2] == ["drop"] * (len(seen) // 2)


def test_the_pages_of_all_files_are_dropped(tmp_path, monkeypatch):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    places = [tmp_path / "one", tmp_path / "deep" / "two", tmp_path / "deep" / "er" / "three"]
    for place in places:
        place.write_text("x")
    dropped = []
    monkeypatch.setattr(
        os,
        "posix_fadvise",
        lambda file, *how: dropped.append((os.readlink(f"/proc/self/fd/{file}"), *how)),
    )
    loader.dropper(tmp_path / "one", tmp_path / "deep")()
    assert sorted(dropped) == sorted((str(p), 0, 0, os.POSIX_FADV_DONTNEED) for p in places)


def test_late_records_are_late_and_many_at_once_hide_it(store, tmp_path, capsys, monkeypatch):
    c = loader_sides.configs(store)[TXFM]
    rate = {n: loader_sides.distant(store, c, 16, 0.01, n, 1, 0.5) for n in (1, 16)}
    assert rate[1] <= 120  # a record each 10 ms, and what was read ahead
    assert rate[16] > 2 * rate[1]
    far = loader_sides.Distant.open(store.path)
    assert far.read("train", [5, 3]).counts.tolist() == store.read("train", [5, 3]).counts.tolist()
    monkeypatch.setattr(loader, "WAYS", ((1, 1), (8, 2)))
    argv = ["--out", str(tmp_path / "out"), "--cells", "60", "--genes", "90", "--batch", "8"]
    loader.main([*argv, "--latency", "0.001", "0.002", "--seconds", "0.05"])
    assert "8 at once, 2 threads" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out" / "loader.json").read_text())["distant"]
    assert [(r["latency"], r["at_once"]) for r in rows] == [
        (0.001, 1), (0.001, 8), (0.002, 1), (0.002, 8),
    ]  # fmt: skip
    assert all(r["cells_per_s"] > 0 for r in rows)


def test_the_best_peer_is_a_loader_with_random_access():
    def row(name, core, **fields):
        warm = {"core": core, "clock": core and core / 2}
        facts = dict(name=name, group=TXFM, ours=False, random=True, loader=True, absent="")
        return facts | {"warm": warm, "cold": None} | fields

    rows = [
        row("ours", 900.0, ours=True),
        row("blocks", 800.0, random=False),
        row("plain", 700.0, loader=False),
        row("one", 300.0),
        row("two", 450.0),
        row("gone", None, absent="is not installed", warm=None),
    ]
    assert loader_table.best_peer(rows, TXFM) == 450
    assert loader_table.best_peer(rows, RAW) is None
    lines = {line.split("  ")[1]: line for line in loader_table.table(rows).splitlines()[1:-1]}
    assert lines["ours"].split()[1:] == ["900", "1111.1", "2.0", "450", "–", "–"]
    assert "blocks *" in lines
    assert "is not installed" in lines["gone"]

"""Batches: what they hold, that they depend on (seed, step) alone, and on no worker or process."""

import os
import subprocess
import sys

import numpy as np
import pytest

from jaxcell.data.draft import Draft, segment_sums
from jaxcell.data.mixture import Permutations
from jaxcell.data.pipeline import Batches, iterate
from jaxcell.data.records import Rows
from jaxcell.data.transforms import Normalise, SampleGenes, panel
from tests.conftest import ROOT, config_of


def small():
    c = config_of("txfm_b:tiny")
    c.seed = 7
    return c


def same(a, b):
    assert a.keys() == b.keys()
    for k in a:
        if isinstance(a[k], dict):
            same(a[k], b[k])
        else:
            np.testing.assert_array_equal(a[k], b[k], err_msg=k)


def test_batches_hold_what_the_interface_says(store):
    batch = Batches(store, small(), "train", 16, stop=3)[0]
    v = len(store.vocabulary)
    assert batch["ids"].shape == batch["values"].shape == (16, 33)
    assert batch["panel_ids"].shape == (16, store.panel_width)
    assert (batch["ids"][:, 0] == v).all()
    dtypes = {k: str(batch[k].dtype) for k in batch if k != "labels"}
    assert dtypes == dict(
        ids="int32",
        values="float32",
        length="int32",
        panel_ids="int32",
        panel_counts="float32",
        total="float32",
        dataset="int32",
        real="bool",
    )
    assert sorted(batch["labels"]) == ["dataset", "kind"]
    assert batch["labels"]["kind"].dtype == batch["labels"]["dataset"].dtype == np.int32
    np.testing.assert_array_equal(batch["labels"]["dataset"], batch["dataset"])
    assert batch["real"].all()


def test_every_cell_once_an_epoch_and_another_order_each(store):
    n = store.sizes["train"]
    order = Permutations(n, seed=3)
    epochs, cells = order(np.arange(2 * n))
    np.testing.assert_array_equal(epochs, np.repeat([0, 1], n))
    np.testing.assert_array_equal(np.sort(cells[:n]), np.arange(n))
    np.testing.assert_array_equal(np.sort(cells[n:]), np.arange(n))
    assert (cells[:n] != cells[n:]).any()
    assert (Permutations(n, seed=4)(np.arange(n))[1] != cells[:n]).any()


def test_tokens_are_measured_genes_with_the_cells_own_normalised_counts(store):
    batches = Batches(store, small(), "train", 16, stop=40)
    sets = set()
    for step in (0, 20):
        batch = batches[step]
        dense = np.zeros((16, len(store.vocabulary) + 1))
        for b in range(16):
            np.add.at(dense[b], batch["panel_ids"][b], batch["panel_counts"][b])
            ids = batch["ids"][b, 1 : batch["length"][b]]
            gene_set = store.gene_set[batch["dataset"][b]]
            assert store.measured[gene_set][ids].all()
            assert len(np.unique(ids)) == len(ids) == 32
            expected = np.log1p(1e5 * dense[b, ids] / dense[b].sum())
            np.testing.assert_allclose(batch["values"][b, 1:], expected, rtol=1e-6)
            sets.add(tuple(ids))
        assert (batch["values"] == 0).any()  # zeros are shown too
    assert len(sets) == 32  # another draw for each cell


def test_the_draw_is_uniform_over_the_measured_genes():
    cells, measured, k = 4000, np.arange(5, 45, dtype=np.int32), 10
    rows = Rows(
        indptr=np.zeros(cells + 1, np.int64),
        ids=np.empty(0, np.int32),
        counts=np.empty(0, np.float32),
        dataset=np.zeros(cells, np.int32),
        total=np.zeros(cells, np.float32),
        labels=np.empty((cells, 0), np.int32),
    )
    keys = np.stack([np.zeros(cells, np.uint64), np.arange(cells, dtype=np.uint64)], axis=1)
    draft = Draft(rows, [measured], rows.dataset, keys)
    Normalise(1e5)(draft)
    SampleGenes(k, specials=1, vocabulary=50)(draft)
    drawn = np.bincount(draft.batch["ids"][:, 1:].ravel(), minlength=50)
    assert drawn[:5].sum() == drawn[45:].sum() == 0
    # Each gene is shown to a quarter of the cells: 1 000 ± 4 standard deviations (27).
    assert np.abs(drawn[5:45] - 1000).max() < 4 * 27.4
    # And no pair of genes is tied together.
    shown = np.zeros((cells, 50), bool)
    np.put_along_axis(shown, draft.batch["ids"][:, 1:], True, axis=1)
    together = (shown[:, :, None] & shown[:, None, :]).sum(axis=0)[5:45, 5:45]
    pairs = together[np.triu_indices(40, 1)]
    expected = cells * (10 * 9) / (40 * 39)
    assert np.abs(pairs - expected).max() < 5 * expected**0.5


def test_few_measured_genes_are_all_shown_and_padded():
    counts = np.array([2, 1, 1], np.float32)
    rows = Rows(
        indptr=np.array([0, 2, 3]),
        ids=np.array([3, 9, 5], np.int32),
        counts=counts,
        dataset=np.zeros(2, np.int32),
        total=np.array([4, 1], np.float32),
        labels=np.empty((2, 0), np.int32),
    )
    draft = Draft(rows, [np.array([3, 5, 9], np.int32)], rows.dataset, np.zeros((2, 2), np.uint64))
    Normalise(1e5)(draft)
    SampleGenes(8, specials=1, vocabulary=10)(draft)
    np.testing.assert_array_equal(draft.batch["length"], [4, 4])
    np.testing.assert_array_equal(draft.batch["ids"][0], [10, 3, 5, 9, 0, 0, 0, 0, 0])
    expected = np.log1p(1e5 * np.array([2, 0, 1]) / 3)
    np.testing.assert_allclose(draft.batch["values"][0, 1:4], expected, rtol=1e-6)
    np.testing.assert_array_equal(draft.batch["values"][:, 4:], 0)


def test_the_divisor_is_the_measured_sum_or_the_sources_total():
    rows = Rows(
        indptr=np.array([0, 2, 2]),
        ids=np.array([0, 1], np.int32),
        counts=np.array([1, 3], np.float32),
        dataset=np.zeros(2, np.int32),
        total=np.array([8, 0], np.float32),
        labels=np.empty((2, 0), np.int32),
    )
    for total, divisor in (("measured", 4), ("source", 8)):
        draft = Draft(rows, [], rows.dataset, None)
        Normalise(100, total)(draft)
        np.testing.assert_allclose(draft.values, np.log1p([100 / divisor, 300 / divisor]), 1e-6)
        np.testing.assert_array_equal(draft.batch["total"], [divisor, 0])  # no counts: no NaN


def test_segment_sums_with_empty_segments():
    sums = segment_sums(np.array([1.0, 2, 3]), np.array([0, 0, 2, 2, 3]))
    np.testing.assert_array_equal(sums, [0, 3, 0, 3])


def test_a_panel_too_narrow_is_an_error_never_a_cut():
    rows = Rows(
        indptr=np.array([0, 3]),
        ids=np.arange(3, dtype=np.int32),
        counts=np.ones(3, np.float32),
        dataset=np.zeros(1, np.int32),
        total=np.ones(1, np.float32),
        labels=np.empty((1, 0), np.int32),
    )
    with pytest.raises(ValueError, match="a cell has 3 non-zero genes, the panel holds 2"):
        panel(rows, 2, pad=9)


def test_processes_take_disjoint_rows_that_make_the_whole_batch(store):
    c = small()
    whole = Batches(store, c, "train", 16, stop=3)[1]
    parts = [Batches(store, c, "train", 16, stop=3, process=p, processes=4)[1] for p in range(4)]
    for k in ("ids", "values", "panel_ids", "panel_counts", "dataset"):
        np.testing.assert_array_equal(np.concatenate([p[k] for p in parts]), whole[k])
    with pytest.raises(ValueError, match="16 does not divide over 3 processes"):
        Batches(store, c, "train", 16, stop=3, process=0, processes=3)


def test_a_run_that_starts_later_sees_the_same_stream(store):
    c = small()
    full, rest = (
        Batches(store, c, "train", 16, stop=9),
        Batches(store, c, "train", 16, start=5, stop=9),
    )
    assert (len(full), len(rest)) == (9, 4)
    for i in range(4):
        same(full[5 + i], rest[i])


def test_validation_shows_every_cell_once_and_says_which_rows_are_real(store):
    batches = Batches(store, small(), "valid", 16)
    n = store.sizes["valid"]
    real = np.concatenate([batches[i]["real"] for i in range(len(batches))])
    assert real.sum() == n
    assert len(real) % 16 == 0
    totals = np.concatenate([batches[i]["total"][batches[i]["real"]] for i in range(len(batches))])
    assert len(totals) == n
    same(batches[0], Batches(store, small(), "valid", 16)[0])


WORKERS = """
import sys
from jaxcell.data.pipeline import Batches, iterate
from jaxcell.data.store import Store
from tests.data.test_pipeline import small, same

if __name__ == "__main__":
    store = Store.open(sys.argv[1])
    batches = Batches(store, small(), "train", 16, stop=5)
    for workers in (0, 1, 2):
        with iterate(batches, workers=workers) as stream:
            found = list(stream)
        assert len(found) == 5, (workers, len(found))
        for i, batch in enumerate(found):
            same(batch, batches[i])
    print("equal")
"""


@pytest.mark.parametrize("kind", ["script", pytest.param("notebook", marks=pytest.mark.slow)])
def test_batches_are_equal_for_0_1_and_2_workers(store, tmp_path, kind):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    argv = [sys.executable, script, store.path]
    if kind == "notebook":  # no file that a child process could import, as in IPython
        body = WORKERS.replace("sys.argv[1]", repr(str(store.path)))
        argv = [sys.executable, "-c", body]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=300)
    assert done.stdout.strip().endswith("equal"), done.stdout + done.stderr


def test_reading_ahead_in_threads_changes_nothing(store):
    batches = Batches(store, small(), "train", 16, stop=6)
    for threads in (0, 1, 4):
        with iterate(batches, threads=threads) as stream:
            for i, batch in enumerate(stream):
                same(batch, batches[i])
            assert i == 5

"""Streams of cells: every cell once an epoch, shares as asked for, known from the position."""

import numpy as np
import pytest

from jaxcell.data import mixture
from jaxcell.data.mixture import SLOTS, Mixture, order, parse
from jaxcell.data.pipeline import Batches
from jaxcell.data.prepare import prepare
from tests.data.conftest import cells, counts
from tests.data.test_pipeline import same, small

# Three groups of 7, 100 and 33 cells, the first in runs of its own among the others.
RUNS = [
    np.array([[0, 3], [50, 54]]),
    np.array([[3, 50], [54, 107]]),
    np.array([[107, 140]]),
]
GROUP = np.zeros(140, int)
for g, runs in enumerate(RUNS):
    for a, b in runs:
        GROUP[a:b] = g


def test_shares_are_exact_in_every_block_and_near_in_any_stretch():
    stream = Mixture(RUNS, [2000, 3000, 5000], seed=3)
    _, found = stream(np.arange(3 * SLOTS))
    group = GROUP[found]
    for block in np.split(group, 3):  # whole blocks
        assert np.bincount(block).tolist() == [2000, 3000, 5000]
    for start in (0, 1234, 22_222):
        share = np.bincount(group[start : start + 5000]) / 5000
        assert np.abs(share - [0.2, 0.3, 0.5]).max() < 0.03
    # Blocks are mixed in other orders, and no group comes in a rhythm.
    assert (group[:SLOTS] != group[SLOTS : 2 * SLOTS]).mean() > 0.5
    again = (group[1:] == group[:-1]).mean()
    assert abs(again - (0.04 + 0.09 + 0.25)) < 0.01


def test_each_group_shows_each_cell_once_in_each_of_its_epochs():
    stream = Mixture(RUNS, [2000, 3000, 5000], seed=3)
    epochs, found = stream(np.arange(SLOTS + 700))  # over the border of a block
    for g, size in enumerate((7, 100, 33)):
        mine, epoch = found[GROUP[found] == g], epochs[GROUP[found] == g]
        np.testing.assert_array_equal(epoch, np.arange(len(mine)) // size)  # one after the other
        whole = mine[: len(mine) // size * size].reshape(-1, size)
        assert (np.sort(whole, axis=1) == np.flatnonzero(g == GROUP)).all()
        assert (whole[0] != whole[1]).any()


def test_the_stream_is_a_function_of_seed_and_position():
    stream = Mixture(RUNS, [2000, 3000, 5000], seed=3)
    positions = np.array([SLOTS * 7 + 5, 3, SLOTS - 1, SLOTS, 3])
    one_by_one = [stream(np.array([p])) for p in positions]
    for whole, parts in zip(stream(positions), zip(*one_by_one, strict=True), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(parts))
    other = Mixture(RUNS, [2000, 3000, 5000], seed=4)(np.arange(1000))[1]
    assert (other != stream(np.arange(1000))[1]).any()


def test_weights_become_shares_of_the_slots():
    assert mixture.slots([("a", 0.29), ("b", 0.71)]).tolist() == [2900, 7100]
    assert mixture.slots([("a", 1), ("b", 1), ("c", 1)]).sum() == SLOTS
    assert mixture.slots([("a", 2.0)]).tolist() == [SLOTS]
    with pytest.raises(ValueError, match="'a' has the weight 1e-06 of 1 in all, less than 5e-05"):
        mixture.slots([("a", 1e-6), ("b", 1)])


@pytest.mark.parametrize("wrong", ["a", "a=", "=1", "a=0", "a=-1", "a=nan", "a=inf", "a=b"])
def test_weights_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match=r"config.data.mixture: found '.*', expected 'PATTERN=WEI"):
        parse(("b=1", wrong))


def test_a_pattern_may_hold_an_equals_sign():
    assert parse(("x.h5ad batch=a=2", "*=1")) == [("x.h5ad batch=a", 2.0), ("*", 1.0)]


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """60 cells of two files, the first divided by batch, whose cells alternate; b is held out."""
    folder = tmp_path_factory.mktemp("merged")
    one, two = cells(), cells(seed=1)
    two.obs["batch"] = "d"
    one.write_h5ad(folder / "one.h5ad")
    two.write_h5ad(folder / "two.h5ad")
    files = [folder / "one.h5ad", folder / "two.h5ad"]
    options = {"measured_by": "batch", "hold_out": "batch=b", "progress": False}
    return prepare(folder / "store", files, **options)


def test_patterns_choose_datasets_by_file_and_value(merged):
    assert merged.names == ["one.h5ad batch=a", "one.h5ad batch=b", "one.h5ad batch=c",
                            "two.h5ad batch=d"]  # fmt: skip
    c = small()
    c.data.mixture = ("*batch=a=1", "one*=2", "two*=5")
    batches = Batches(merged, c, "train", 100, stop=1000)
    dataset = np.concatenate([batches[i]["dataset"] for i in range(40)])
    share = np.bincount(dataset, minlength=4) / len(dataset)
    np.testing.assert_allclose(share, [1 / 8, 0, 2 / 8, 5 / 8], atol=0.025)
    # It goes on from any step, on any number of processes.
    later = Batches(merged, c, "train", 100, start=7, stop=9)
    same(batches[8], later[1])
    half = [
        Batches(merged, c, "train", 100, start=8, stop=9, process=p, processes=2)[0] for p in (0, 1)
    ]
    for k in ("ids", "values", "dataset"):
        np.testing.assert_array_equal(np.concatenate([h[k] for h in half]), batches[8][k])
    # Validation shows every held-out cell once, whatever the mixture.
    valid = Batches(merged, c, "valid", 16)[0]
    assert valid["real"].sum() == 10
    assert (valid["dataset"][valid["real"]] == 1).all()


def test_runs_are_found_over_the_borders_of_chunks(merged, monkeypatch):
    asked = {"mixture": ("one*=1", "two*=3")}
    whole = order(merged, asked, 0)(np.arange(500))
    monkeypatch.setattr(mixture, "CHUNK", 7)
    parts = order(merged, asked, 0)(np.arange(500))
    np.testing.assert_array_equal(whole, parts)
    assert [len(s) for s in order(merged, {"mixture": ("*=1",)}, 0)._starts] == [1]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("three*=1", "*=1"), "'three\\*' matches no dataset with training cells .* two.h5ad batc"),
        (("*=1", "one*=1"), "'one\\*' matches no dataset .* that an earlier pattern has not taken"),
        (("*batch=b=1", "*=1"), "'\\*batch=b' matches no dataset with training cells"),
        (("one*=1",), "no pattern matches two.h5ad batch=d; give it a weight, or .*; datasets: on"),
    ],
)
def test_patterns_that_do_not_fit_are_refused_and_datasets_listed(merged, asked, message):
    with pytest.raises(ValueError, match=f"config.data.mixture: {message}"):
        order(merged, {"mixture": asked}, 0)


def test_bulk_and_single_cells_together(tmp_path):
    """Totals of 10⁸ beside totals of ten, other panels, one file not of integers."""
    single = cells(counts(n_genes=6))
    deep = counts(12, 8, seed=4).astype(np.float64)
    deep[:, 3:] *= 8_000_001.0
    bulk, estimated = cells(deep), cells(counts(9, 5, seed=5) * 37.25)
    for name, adata in (("single", single), ("bulk", bulk), ("rsem", estimated)):
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    files = [tmp_path / f"{name}.h5ad" for name in ("single", "bulk", "rsem")]
    with pytest.warns(UserWarning, match="rsem.h5ad: non-integer values taken as they are"):
        store = prepare(tmp_path / "store", files, allow_non_integer=True, progress=False)
    assert [bool(d["non_integer"]) for d in store.datasets] == [False, False, True]
    c = small()
    c.data.mixture = ("single*=1", "bulk*=1", "rsem*=2")
    c.data.sample_genes.number = 4
    batches = Batches(store, c, "train", 64, stop=4)
    assert store.stats["sum"][1].max() > 1e8
    np.testing.assert_array_equal(store.stats["sum"][1], deep.sum(0))
    for batch in (batches[0], batches[3]):
        assert np.bincount(batch["dataset"], minlength=3).min() > 4
        for b in range(64):
            d = batch["dataset"][b]
            genes = batch["ids"][b, 1 : batch["length"][b]]
            seen = batch["panel_ids"][b] < len(store.vocabulary)
            panel = batch["panel_ids"][b][seen]
            assert store.measured[store.gene_set[d]][genes].all()
            assert store.measured[store.gene_set[d]][panel].all()
            total = batch["panel_counts"][b].astype(np.float64).sum()
            np.testing.assert_allclose(batch["total"][b], total, rtol=1e-6)
            dense = np.zeros(8)
            dense[panel] = batch["panel_counts"][b][seen]
            expected = np.log1p(1e5 * dense[genes] / total)
            np.testing.assert_allclose(batch["values"][b, 1 : 1 + len(genes)], expected, rtol=1e-6)

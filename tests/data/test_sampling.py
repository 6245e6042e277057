"""Caps, weights, turns and strata: counted cell by cell, on indexes made here and on a store."""

import itertools
import pickle
import time
import tracemalloc

import numpy as np
import pytest

from jaxcell.data import groups, mixture, samplers, sampling
from jaxcell.data.pipeline import Batches
from jaxcell.data.prepare import prepare
from jaxcell.data.samplers import Cap, Weights, build_samplers
from jaxcell.data.sampling import cells_per_epoch, describe, order, weights
from jaxcell.data.streams import Tree, _Lattice
from jaxcell.training import setup
from tests.data.conftest import cells
from tests.data.test_pipeline import same, small


class Index:
    """What sampling reads of a store: classes of cells i32 [cells], −1 = unknown; no records."""

    def __init__(self, dataset, **labels):
        dataset = np.asarray(dataset, np.int32)
        self._columns = {
            "dataset": dataset,
            "labels": np.stack([*labels.values()], axis=1).astype(np.int32)
            if labels
            else np.empty((len(dataset), 0), np.int32),
        }
        self.names = [f"d{i}" for i in range(dataset.max() + 1)]
        self.labels = {k: [f"{k}{i}" for i in range(max(v) + 1)] for k, v in labels.items()}
        self.sizes = {"train": len(dataset)}
        self.stats = {"cells": np.bincount(dataset)}
        self.path = "an index"

    def index(self, split, column):
        return {"train": self._columns}[split][column]


def drawn_index(number=600, seed=0, unknown=True):
    """Three datasets of 60, 30 and 10 %, five types from rare to frequent, two tissues."""
    random = np.random.default_rng(seed)
    dataset = np.sort(random.choice(3, number, p=[0.6, 0.3, 0.1]))
    kind = random.choice(5, number, p=[0.02, 0.08, 0.2, 0.3, 0.4])
    tissue = random.integers(0, 2, number)
    if unknown:
        kind[random.random(number) < 0.1] = -1
    return Index(dataset, type=kind, tissue=tissue)


def asked(*steps, mixture=(), **blocks):
    """What ``config.data`` says; groups are datasets where nothing else is said."""
    named = {name: {"by": ("dataset",)} | blocks.get(name, {}) for name in samplers.SAMPLERS}
    return {"sampling": steps, "mixture": mixture, **named}


def stream(store, data, number, seed=0, batch=64):
    """Epochs and cells of the first positions."""
    return order(store, data, seed, batch)(np.arange(number))


def classes(store, *columns):
    """A number for the combination of classes of each cell."""
    found = [
        store.index("train", "dataset")
        if c == "dataset"
        else store.index("train", "labels")[:, list(store.labels).index(c)]
        for c in columns
    ]
    return np.unique(np.stack(found, axis=1), axis=0, return_inverse=True)[1].ravel()


def test_groups_and_their_line_are_those_of_a_loop_over_cells(monkeypatch):
    store = drawn_index()
    for chunk in (7, 100, 2**20):
        monkeypatch.setattr(groups, "CHUNK", chunk)
        found = groups.Groups(store, ("type", "dataset"))
        wanted = {}
        kind, dataset = store.index("train", "labels")[:, 0], store.index("train", "dataset")
        for cell, key in enumerate(zip(kind.tolist(), dataset.tolist(), strict=True)):
            wanted.setdefault(key, []).append(cell)
        assert [tuple(c) for c in found.codes.tolist()] == sorted(wanted)
        assert found.sizes.tolist() == [len(wanted[k]) for k in sorted(wanted)]
        line = list(itertools.chain(*(wanted[k] for k in sorted(wanted))))
        np.testing.assert_array_equal(found.line(np.arange(600)), line)


def test_too_many_combinations_are_refused():
    store = Index([0], **{f"c{i}": [0] for i in range(7)})
    store.labels = {name: range(1000) for name in store.labels}
    with pytest.raises(
        ValueError, match=r"c0, .* have 1.0e\+21 combinations .*expected fewer than"
    ):
        groups.Groups(store, tuple(store.labels))


@pytest.mark.parametrize("by", [("dataset",), ("dataset", "type"), ("type",), ()])
def test_a_cap_keeps_so_many_of_each_group_and_each_of_them_once_an_epoch(by):
    store = drawn_index()
    group = classes(store, *by) if by else np.zeros(600, int)
    wanted = np.minimum(np.bincount(group), 25)
    data = asked("cap", cap={"by": by, "cells": 25})
    n = cells_per_epoch(store, data)
    assert n == wanted.sum()
    epochs, found = stream(store, data, 3 * n)
    np.testing.assert_array_equal(epochs, np.repeat([0, 1, 2], n))
    for epoch in found.reshape(3, n):
        assert len(np.unique(epoch)) == n
        np.testing.assert_array_equal(np.bincount(group[epoch]), wanted)
        np.testing.assert_array_equal(np.sort(epoch), np.sort(found[:n]))  # the same cells
    assert (found[:n] != found[n : 2 * n]).any()  # in another order
    other = stream(store, data, n, seed=1)[1]
    assert set(other) != set(found[:n])


def test_the_cells_under_a_cap_are_drawn_evenly():
    store = Index(np.zeros(40, int))
    data = asked("cap", cap={"cells": 10})
    seen = np.concatenate([stream(store, data, 10, seed=s)[1] for s in range(400)])
    # Each cell in a quarter of 400 draws: 100 ± 4 standard deviations of 8.7.
    assert np.abs(np.bincount(seen, minlength=40) - 100).max() < 4 * 8.7


def test_redrawn_caps_show_all_cells_in_time_and_none_twice_an_epoch():
    store = drawn_index()
    group = classes(store, "dataset", "type")
    data = asked("cap", cap={"by": ("dataset", "type"), "cells": 20, "redraw": True})
    n, sizes = cells_per_epoch(store, data), np.bincount(group)
    epochs = -(-sizes.max() // 20)
    found = stream(store, data, epochs * n)[1].reshape(epochs, n)
    for epoch in found:
        assert len(np.unique(epoch)) == n
        np.testing.assert_array_equal(np.bincount(group[epoch]), np.minimum(sizes, 20))
    np.testing.assert_array_equal(np.unique(found), np.arange(600))
    # A group of n cells shows all of them in n / 20 epochs, rounded up.
    for g in np.flatnonzero(sizes > 20):
        few = found[: -(-sizes[g] // 20)]
        assert len(np.unique(few[group[few] == g])) == sizes[g]


@pytest.mark.parametrize(
    ("total", "wanted"),
    [
        (210, [10, 100, 100]),
        (150, [10, 70, 70]),
        (151, [10, 71, 70]),
        (1110, [10, 100, 1000]),
        (3, [1, 1, 1]),
        (4, [2, 1, 1]),
        (30, [10, 10, 10]),
        (250, [10, 100, 140]),
    ],
)
def test_quotas_that_small_groups_leave_go_to_larger_ones(total, wanted):
    assert Cap(("dataset",), total=total).quotas(np.array([10, 100, 1000])).tolist() == wanted
    store = Index(np.repeat([0, 1, 2], [10, 100, 1000]))
    data = asked("cap", cap={"total": total})
    found = stream(store, data, cells_per_epoch(store, data))[1]
    assert np.bincount(store.index("train", "dataset")[found]).tolist() == wanted
    assert len(np.unique(found)) == total


def test_a_cap_coarser_than_a_later_step_is_still_an_even_draw():
    """25 of 100 cells, 8 of them rare: 2 rare ones on average, as a draw from all gives."""
    store = Index(np.zeros(100, int), type=np.repeat([0, 1], [8, 92]))
    data = asked("cap", "stratify", cap={"cells": 25}, stratify={"by": ("type",)})
    rare = []
    for seed in range(400):
        found = stream(store, data, 25, seed=seed)[1]
        assert len(np.unique(found)) == 25
        rare.append((found < 8).sum())
    # Hypergeometric: mean 2, variance 25 · .08 · .92 · 75 / 99.
    deviation = (25 * 0.08 * 0.92 * 75 / 99) ** 0.5
    assert abs(np.mean(rare) - 2) < 4 * deviation / 20
    assert abs(np.std(rare) - deviation) < 0.2


@pytest.mark.parametrize("by", [("dataset",), ("type",), ("dataset", "tissue")])
def test_groups_take_turns(by):
    store = drawn_index()
    group = classes(store, *by)
    g = group.max() + 1
    epochs, found = stream(store, asked("round_robin", round_robin={"by": by}), 4 * 600 // g * g)
    turns = group[found].reshape(-1, g)
    assert (np.sort(turns, axis=1) == np.arange(g)).all()  # a batch of whole turns is balanced
    assert len({tuple(t) for t in turns.tolist()}) > 4  # in other orders
    for k in range(g):  # each group shows each of its cells once in each of its epochs
        mine, size = found[group[found] == k], (group == k).sum()
        np.testing.assert_array_equal(epochs[group[found] == k], np.arange(len(mine)) // size)
        for part in np.split(mine, range(size, len(mine), size)):
            assert len(np.unique(part)) == len(part)
    # A batch that is no whole number of turns is off by the turns at its two ends.
    for window in np.split(group[found][: len(found) // 16 * 16], len(found) // 16):
        assert np.abs(np.bincount(window, minlength=g) - 16 / g).max() <= 2


@pytest.mark.parametrize("batch", [1, 16, 48, 60, 64, 97, 600, 1000, 1200])
@pytest.mark.parametrize("number", [600, 601, 630])
def test_every_batch_holds_the_strata_in_proportion_within_one_cell(number, batch):
    store = drawn_index(number)
    data = asked("stratify", stratify={"by": ("dataset", "type")})
    group = classes(store, "dataset", "type")
    steps = 5 * number // batch + 5
    epochs, found = stream(store, data, steps * batch, batch=batch)
    expected = np.bincount(group) * batch / number
    for one in found.reshape(steps, batch):
        assert np.abs(np.bincount(group[one], minlength=len(expected)) - expected).max() < 1
    np.testing.assert_array_equal(epochs, np.arange(len(epochs)) // number)
    for epoch in range(5):
        np.testing.assert_array_equal(np.sort(found[epochs == epoch]), np.arange(number))
    assert (found[:number] != found[number : 2 * number]).any()


def test_by_chance_the_batches_would_be_farther_off():
    store = drawn_index()
    group = classes(store, "type")
    found = group[stream(store, asked(), 576)[1]].reshape(9, 64)
    counts = np.stack([np.bincount(one, minlength=6) for one in found])
    assert np.abs(counts - np.bincount(group) * 64 / 600).max() > 2


def test_strata_are_neither_sorted_in_a_batch_nor_gathered_in_an_epoch():
    store = Index(np.zeros(64 * 100, int), type=np.repeat([0, 1], [50, 6350]))
    data = asked("stratify", stratify={"by": ("type",)})
    rare = stream(store, data, 6400)[1].reshape(100, 64) < 50
    assert rare.sum(axis=1).max() == 1  # 50 cells over 100 batches
    with_one = np.flatnonzero(rare.any(axis=1))
    assert len(with_one) == 50
    assert 15 < (np.diff(with_one) == 1).sum() < 35  # half of them next to each other by chance
    rows = np.argmax(rare[with_one], axis=1)
    assert len(np.unique(rows)) > 25  # of 64 rows of the batch
    even = Index(np.zeros(64, int), type=np.repeat([0, 1], 32))
    half = stream(even, data, 64)[1] < 32
    assert half[:32].sum() != 32 != half[32:].sum()


@pytest.mark.parametrize(("number", "window"), [(1, 5), (7, 3), (12, 8), (12, 24), (97, 10)])
def test_a_lattice_is_a_permutation_with_even_windows(number, window):
    lattice = _Lattice(np.array([number]), np.array([window]))
    places = np.arange(3 * number * window)
    found = lattice(np.zeros(len(places), int), places % number)
    np.testing.assert_array_equal(np.sort(found[:number]), np.arange(number))
    for one in found.reshape(-1, window):
        before = np.cumsum([0, *np.bincount(one, minlength=number)])
        off = before - np.arange(number + 1) * window / number
        assert np.ptp(off) < 1  # of any cells side by side


def test_powers_weigh_groups_by_their_size():
    store = Index(np.repeat([0, 1, 2], [400, 100, 25]))
    dataset = store.index("train", "dataset")
    for power, shares in ((-1, [1 / 3] * 3), (-0.5, [20 / 35, 10 / 35, 5 / 35])):
        data = asked("weights", weights={"by": "dataset", "power": power})
        found = stream(store, data, mixture.SLOTS)[1]
        counts = np.bincount(dataset[found])
        assert np.abs(counts - mixture.SLOTS * np.array(shares)).max() < 1
        for d, size in enumerate((400, 100, 25)):  # within a group every cell equally often
            often = np.bincount(found)[dataset == d]
            assert often.max() - often.min() <= 1, (d, size)


def test_every_group_has_a_slot_however_small_its_share():
    step = Weights(("dataset",), power=0.5)
    quotas = step.quotas(np.array([10**8, 10**6, 3, 1, 10**7]))
    assert quotas.sum() == mixture.SLOTS
    assert quotas.min() == 1
    exact = np.array([1e8, 1e6, 1e7]) ** 1.5
    np.testing.assert_allclose(quotas[[0, 1, 4]], exact / exact.sum() * 9998, atol=1)
    assert step.quotas(np.ones(mixture.SLOTS)).tolist() == [1] * mixture.SLOTS
    with pytest.raises(ValueError, match=r"config.data.weights.by: .* make 10001 groups, expected"):
        step.quotas(np.ones(mixture.SLOTS + 1))


def test_shares_of_labels_by_pattern():
    store = drawn_index()
    shares = ("type[01]=0.5", "unknown=0.2", "*=0.3")
    data = asked("weights", weights={"by": ("type",), "shares": shares})
    kind = store.index("train", "labels")[:, 0]
    found = stream(store, data, mixture.SLOTS)[1]
    kinds = kind[found]
    counts = [((kinds == 0) | (kinds == 1)).sum(), (kinds == -1).sum(), (kinds > 1).sum()]
    assert counts == [5000, 2000, 3000]
    often = np.bincount(found, minlength=600)
    for group in ((kind == 0) | (kind == 1), kind == -1, kind > 1):
        assert often[group].max() - often[group].min() <= 1


def test_shares_of_datasets_are_those_of_the_mixture():
    store = Index(np.repeat([0, 1, 2], [400, 100, 25]))  # each dataset's cells side by side
    shares = ("d1=1", "*=3")
    ours = order(store, asked("weights", weights={"by": ("dataset",), "shares": shares}), 5, 64)
    theirs = mixture.order(store, {"mixture": shares}, 5)
    positions = np.arange(2 * mixture.SLOTS)
    np.testing.assert_array_equal(ours(positions), theirs(positions))


def test_unknown_labels_are_a_group_or_are_left_out():
    store = drawn_index()
    kind = store.index("train", "labels")[:, 0]
    robin = {"by": ("type",)}
    kept = kind[stream(store, asked("round_robin", round_robin=robin), 600)[1]]
    assert (np.sort(kept.reshape(-1, 6), axis=1) == np.arange(-1, 5)).all()
    data = asked("cap", "round_robin", cap={"cells": 50}, round_robin=robin | {"unknown": "drop"})
    dropped = kind[stream(store, data, 600)[1]]
    assert (np.sort(dropped.reshape(-1, 5), axis=1) == np.arange(5)).all()
    # The cap counts cells that can be seen.
    known = Index(np.zeros(20, int), type=[-1] * 15 + [0] * 5)
    data = asked("cap", cap={"by": ("type",), "cells": 10, "unknown": "drop"})
    assert cells_per_epoch(known, data) == 5
    assert np.sort(stream(known, data, 5)[1]).tolist() == [15, 16, 17, 18, 19]
    assert describe(known, data) == (
        "config.data.sampling: cap: 2 groups by type; an epoch is 5 of 20 training cells; 15 "
        "without a label are left out"
    )
    nothing = Index([0, 0], type=[-1, -1])
    nothing.labels = {"type": ["a"]}
    with pytest.raises(ValueError, match=r"cap.unknown: 'drop' leaves no training cell.* of type"):
        cells_per_epoch(nothing, data)


def test_steps_compose():
    """Capped by type and dataset; datasets take turns, each with its types in proportion."""
    store = drawn_index(3000, unknown=False)
    by = ("dataset", "type")
    data = asked(
        *("cap", "round_robin", "stratify"),
        cap={"by": by, "cells": 100, "redraw": True},
        stratify={"by": ("type",)},
    )
    group, dataset = classes(store, *by), classes(store, "dataset")
    kept = np.minimum(np.bincount(group), 100)
    owner = np.array([dataset[group == k][0] for k in range(len(kept))])
    epochs, found = stream(store, data, 48 * 200, batch=48)
    for one in found.reshape(200, 48):
        assert np.bincount(dataset[one]).tolist() == [16, 16, 16]
        share = 16 * kept / np.bincount(owner, kept)[owner]
        assert np.abs(np.bincount(group[one], minlength=len(kept)) - share).max() < 1
    for d in range(3):  # an epoch of a dataset shows the cells that its types are capped to
        for epoch in range(epochs[dataset[found] == d].max()):
            mine = found[(dataset[found] == d) & (epochs == epoch)]
            assert len(np.unique(mine)) == len(mine)
            counts = np.bincount(group[mine], minlength=len(kept))
            np.testing.assert_array_equal(counts[owner == d], kept[owner == d])


def test_weights_then_turns_then_strata():
    store = drawn_index(3000, unknown=False)
    data = asked(
        *("weights", "round_robin", "stratify"),
        weights={"by": ("dataset",), "shares": ("d0=1", "d1=1", "d2=2")},
        round_robin={"by": ("tissue",)},
        stratify={"by": ("type",)},
    )
    group, sizes = classes(store, "dataset", "tissue", "type"), {}
    found = stream(store, data, mixture.SLOTS)[1]
    dataset, tissue = classes(store, "dataset"), classes(store, "tissue")
    pair = dataset * 2 + tissue
    assert np.bincount(pair[found]).tolist() == [1250, 1250, 1250, 1250, 2500, 2500]
    for k in range(group.max() + 1):
        sizes[k] = (group == k).sum()
        p = pair[group == k][0]
        expected = (pair[found] == p).sum() * sizes[k] / (pair == p).sum()
        # A share is left to chance only in the last, unfinished epoch of the tissue.
        assert abs((group[found] == k).sum() - expected) < 2 + 0.05 * expected


def test_what_is_delivered_is_what_weights_say():
    """By dataset: the counts of long streams; by labels: nothing that datasets could weigh."""
    store = drawn_index(unknown=False)
    dataset = store.index("train", "dataset")
    for data in (
        asked("cap", cap={"cells": 50}),
        asked("round_robin"),
        asked("cap", "round_robin", cap={"by": (), "cells": 200}),
        asked("weights", weights={"power": -0.5}),
        asked("weights", "stratify", weights={"shares": ("d[01]=1", "*=3")}),
        asked("stratify"),
        asked(),
        asked(mixture=("d0=3", "*=1")),
    ):
        number = 12 * mixture.SLOTS
        found = dataset[stream(store, data, number, seed=3)[1]]
        often = np.bincount(found) / number / (np.bincount(dataset) / 600)
        np.testing.assert_allclose(weights(store, data, 3), often, rtol=5e-3)
    assert weights(store, asked("cap", cap={"by": ("type",), "cells": 9}), 0) is None
    capped = asked("cap", cap={"by": (), "cells": 9})
    assert weights(store, capped, 0).tolist() == [1, 1, 1]


def test_streams_are_functions_of_seed_and_position():
    store = drawn_index()
    by = {"by": ("type",)}
    for data in (
        asked("cap", "weights", cap={"by": (), "total": 500}, weights=by | {"power": -0.5}),
        asked("round_robin", "stratify", round_robin=by, stratify={"by": "tissue"}),
        asked("stratify", stratify=by),
    ):
        made = order(store, data, 0, 64)
        whole = made(np.arange(3000))
        positions = np.random.default_rng(0).permutation(3000)
        for ours, theirs in zip(made(positions), whole, strict=True):
            np.testing.assert_array_equal(ours, theirs[positions])
        again = pickle.loads(pickle.dumps(made))  # as Grain's workers get it
        np.testing.assert_array_equal(again(positions), made(positions))
        assert (order(store, data, 1, 64)(positions)[1] != made(positions)[1]).any()


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """120 cells of two files, with types T, B and unknown, a tenth held out."""
    folder = tmp_path_factory.mktemp("merged")
    for i in range(2):
        cells(np.random.default_rng(i).poisson(2.0, (60 + 30 * i, 8)) + 1.0).write_h5ad(
            folder / f"{i}.h5ad"
        )
    files = [folder / "0.h5ad", folder / "1.h5ad"]
    options = {"labels": ("batch", "type"), "hold_out_fraction": 0.1, "progress": False}
    return prepare(folder / "store", files, **options)


def config_with(store, *steps, **fields):
    c = small()
    c.data.store = str(store.path)
    c.data.sampling = steps
    c.update_from_flattened_dict({f"data.{k}": v for k, v in fields.items()})
    return c


@pytest.mark.parametrize(
    "steps",
    [
        ("cap",),
        ("weights",),
        ("round_robin",),
        ("stratify",),
        ("cap", "weights", "round_robin", "stratify"),
    ],
)
def test_batches_are_equal_for_1_2_and_4_processes_and_from_any_step(merged, steps):
    c = config_with(merged, *steps)
    c.data.cap.total, c.data.weights.power = 80, -1.0
    c.data.round_robin.by, c.data.stratify.by = ("batch",), ("type",)
    batches = Batches(merged, c, "train", 24, stop=20)
    later = Batches(merged, c, "train", 24, start=9, stop=20)
    for i in (9, 13):
        same(batches[i], later[i - 9])
        for n in (2, 4):
            parts = [
                Batches(merged, c, "train", 24, stop=20, process=p, processes=n)[i]
                for p in range(n)
            ]
            for k in ("ids", "values", "dataset", "panel_ids", "panel_counts"):
                whole = np.concatenate([p[k] for p in parts])
                np.testing.assert_array_equal(whole, batches[i][k])
    if steps == ("round_robin",):
        assert np.bincount(batches[5]["labels"]["batch"]).tolist() == [8, 8, 8]
    # Validation shows every held-out cell once, whatever the sampling.
    valid = Batches(merged, c, "valid", 16)
    assert sum(valid[i]["real"].sum() for i in range(len(valid))) == merged.sizes["valid"]


def test_the_same_cell_shows_other_genes_when_it_comes_again(merged):
    c = config_with(merged, "round_robin", **{"round_robin.by": ("type",)})
    c.data.sample_genes.number = 3
    batches = Batches(merged, c, "train", 30, stop=40)
    shown = {}
    for batch in (batches[i] for i in range(40)):
        for panel, ids in zip(batch["panel_counts"], batch["ids"], strict=True):
            shown.setdefault(panel.tobytes(), []).append(tuple(sorted(ids.tolist())))
    repeated = [genes for genes in shown.values() if len(genes) > 4]
    assert len(repeated) > 50
    assert all(len(set(genes)) > 1 for genes in repeated)


def test_epochs_are_as_long_as_the_capped_data(merged):
    c = config_with(merged, "cap", **{"cap.cells": 12})
    c.steps, c.epochs, c.train.batch_size = 0, 5, 10
    said = []
    setup.adopt(c, merged, said.append)
    size = merged.sizes["train"]
    line = f"config.data.sampling: cap: 2 groups by dataset; an epoch is 24 of {size} training"
    assert line in said[-1]
    assert setup.steps_of(c, merged) == 12  # 5 · 24 / 10
    assert setup.steps_per_epoch(c, merged) == 3
    c.data.sampling = ()
    assert setup.steps_of(c, merged) == -(-5 * size // 10)
    c.steps = 7
    assert setup.steps_of(c, merged) == 7


def test_ten_million_cells_take_seconds_and_8_bytes_each():
    """Labels in no order: the worst case, in which every cell is a run of its own."""
    number = 10_000_000
    random = np.random.default_rng(0)
    kind = random.integers(-1, 40, number, dtype=np.int32)
    store = Index(np.sort(random.integers(0, 50, number, dtype=np.int32)))
    store._columns["labels"], store.labels = kind[:, None], {"type": [f"t{i}" for i in range(40)]}
    by = ("dataset", "type")
    data = asked("cap", "stratify", cap={"by": by, "cells": 1000}, stratify={"by": by})
    tracemalloc.start()
    begin = time.process_time()
    made = order(store, data, 0, 1536)
    took = time.process_time() - begin
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 8.2 * number
    assert peak < 8.2 * number + 100e6  # and a chunk
    assert took < 30
    begin = time.process_time()
    for step in range(20):
        _, found = made(np.arange(step * 1536, (step + 1) * 1536))
    assert (time.process_time() - begin) / 20 < 0.2
    assert cells_per_epoch(store, data) == 50 * 41 * 1000
    group = store.index("train", "dataset")[found] * 41 + kind[found] + 1
    assert np.bincount(group).max() == 1  # 1 536 of 2 050 groups of the same size
    groups.divide.cache_clear()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (asked("caps"), "sampling: 'caps' is unknown; known are cap, round_robin, stratify, weigh"),
        (
            asked("round_robin", "cap"),
            r"sampling: found \('round_robin', 'cap'\), expected some of cap, weights, round_robin",
        ),
        (asked("cap", "cap"), "sampling: found .* each at most once and in this order"),
        (asked("cap", cap={"cells": 3, "by": "donor"}), "cap.by: found 'donor', expected some of "
         "dataset, tissue, type; `jaxcell prepare --labels`"),
        (asked("cap"), "cap: found cells 0 and total 0, expected one of them above 0"),
        (asked("cap", cap={"cells": 3, "total": 9}), "cap: found cells 3 and total 9, expected"),
        (asked("cap", cap={"cells": -3}), "cap: found cells -3 and total 0, expected one"),
        (asked("cap", cap={"total": 601}), r"cap.total: found 601, expected from 3, the groups by "
         r"\('dataset',\), to 600, their training cells"),
        (asked("cap", cap={"total": 2}), "cap.total: found 2, expected from 3"),
        (asked("cap", cap={"number": 2}), "cap: 'cap' takes by, cells, total, redraw, .*; not n"),
        (asked("stratify", stratify={"unknown": "no"}), "stratify.unknown: found 'no', expected "
         "one of keep, drop"),
        (asked("stratify", stratify={"by": ()}), r"stratify.by: found \(\), expected different"),
        (asked("stratify", stratify={"by": ("type", "type")}), "stratify.by: found .* different"),
        (asked("weights"), r"weights: found power 0.0 and shares \(\), expected either shares or"),
        (asked("weights", weights={"power": 9}), "weights: found power 9 .* from -8 to 8 other"),
        (asked("weights", weights={"power": 1, "shares": ("*=1",)}), "weights: found power 1 and"),
        (asked("weights", weights={"shares": ("*:1",)}), r"weights.shares: found '\*:1', expected"),
        (asked("weights", weights={"by": ("dataset", "type"), "shares": ("*=1",)}), "weights.by: "
         "found .*, expected one column"),
        (asked("weights", weights={"by": "type", "shares": ("type9=1", "*=1")}), "weights.shares: "
         "'type9' matches no type with training cells .*; types: type0, type1, .*unknown"),
        (asked("weights", weights={"shares": ("d0=1",)}), "weights.shares: no pattern matches d1"),
        (asked("weights", weights={"shares": ("d0=1e-9", "*=1")}), "weights.shares: 'd0' has"),
        (asked("round_robin", "stratify"), r"stratify.by: found \('dataset',\), by which "
         "config.data.round_robin.by divides already"),
        (asked("cap", "stratify", cap={"cells": 3, "redraw": True}, stratify={"by": "type"}),
         "cap.redraw: found True, expected False, or type in config.data.cap.by too"),
        (asked("round_robin", mixture=("*=1",)), r"mixture: found \('\*=1',\) beside config"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_what_there_is_is_named(data, message):
    with pytest.raises(ValueError, match=f"config.data.{message}"):
        order(drawn_index(), data, 0, 64)


def test_patterns_over_datasets_leave_the_datasets_to_later_steps():
    store = Index(np.repeat([0, 1, 2], [400, 100, 25]))
    shares = {"by": ("dataset",), "shares": ("d0=1", "*=1")}
    data = asked("weights", "round_robin", weights=shares, round_robin={"by": ("dataset",)})
    found = store.index("train", "dataset")[stream(store, data, mixture.SLOTS)[1]]
    assert np.bincount(found).tolist() == [5000, 2500, 2500]
    assert list(build_samplers(data)) == ["weights", "round_robin"]


def test_shares_of_a_tree_are_the_products_down_its_branches():
    tree = Tree(
        branch=np.array([0, 0, 0, 1]),
        node=np.array([0, 0, 1, 2]),
        stratum=np.array([0, 1, 2, 3]),
        first=np.zeros(4, int),
        sizes=np.array([9, 9, 9, 9]),
        kept=np.array([1, 3, 5, 7]),
        quotas=np.array([4000, 6000]),
    )
    np.testing.assert_allclose(tree.shares(), [0.05, 0.15, 0.2, 0.6])


def test_a_column_of_the_index_is_read_in_chunks(monkeypatch):
    """The draw of a coarse cap too: its counts do not hang on the size of a chunk."""
    store = drawn_index()
    data = asked("cap", "round_robin", cap={"by": (), "cells": 100}, round_robin={"by": "type"})
    whole = stream(store, data, 500)
    monkeypatch.setattr(sampling, "CHUNK", 7)
    np.testing.assert_array_equal(stream(store, data, 500), whole)

"""Rows of hundreds of processes: what each reads, and what all of them read together."""

import numpy as np
import pytest

from jaxcell import config
from jaxcell.data.pipeline import Batches
from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store
from tests.data.conftest import cells, counts

CELLS, BATCH = 1000, 192  # 64 processes have 3 rows each, 48 have 4; epochs end inside batches


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("processes") / "store"
    adata = cells(counts(CELLS))
    return prepare(path, adata, labels=["batch"], hold_out_fraction=0.2, shards=7, progress=False)


@pytest.fixture
def read_by(store, monkeypatch):
    """Function: step, processes → the cells whose bytes each process reads, one list for each."""
    seen = []
    real = Store.records
    monkeypatch.setattr(
        Store, "records", lambda s, split, at: (seen.append(np.array(at)), real(s, split, at))[1]
    )
    c = config.defaults()
    c.data.transforms, c.model.vocabulary = (), len(store.vocabulary)

    def read(steps, processes, split="train"):
        found = []
        for process in range(processes):
            batches = Batches(
                store, c, split, BATCH, start=steps.start, stop=steps.stop, process=process,
                processes=processes,
            )  # fmt: skip
            seen.clear()
            sizes = [len(batches[i]["real"]) for i in range(len(steps))]
            assert sizes == [len(one) for one in seen]  # nothing but its own rows is read
            found.append(list(seen))
        return found

    return read


def test_64_processes_are_disjoint_complete_and_even(store, read_by):
    size = store.sizes["train"]
    steps = -(-size // BATCH) + 1
    each = read_by(range(steps), 64)
    assert {len(one) for process in each for one in process} == {BATCH // 64}
    stream = [np.concatenate([process[s] for process in each]) for s in range(steps)]
    alone = read_by(range(steps), 1)[0]
    for together, whole in zip(stream, alone, strict=True):
        np.testing.assert_array_equal(together, whole)
    line = np.concatenate(stream)
    assert sorted(line[:size]) == list(range(size))
    assert len(set(line[size:])) == len(line) - size


@pytest.mark.parametrize("step", [1, 3, 4, 6])
def test_48_processes_go_on_from_64(store, read_by, step):
    size, epochs = store.sizes["train"], 2
    steps = -(-epochs * size // BATCH)
    line = []
    for part, processes in ((range(step), 64), (range(step, steps), 48)):
        each = read_by(part, processes)
        assert {len(one) for process in each for one in process} == {BATCH // processes}
        line += [process[s] for s in range(len(part)) for process in each]
    line = np.concatenate(line)
    for epoch in range(epochs):  # no cell twice, none lost
        assert sorted(line[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_validation_cells_come_once_however_many_processes(store, read_by):
    size = store.sizes["valid"]
    steps = range(-(-size // BATCH))
    for processes in (64, 48):
        each = read_by(steps, processes, "valid")
        line = np.concatenate([process[s] for s in steps for process in each])
        # Rows behind the last cell are padding: cell 0, and not `real`.
        assert line[:size].tolist() == list(range(size))
        assert not line[size:].any()


def test_the_batch_divides_over_the_processes_and_that_is_all_it_takes(store):
    c = config.defaults()
    for processes in (1, 2, 3, 6, 48, 64, 96, 192):
        rows = [
            Batches(store, c, "train", BATCH, stop=1, process=p, processes=processes)._rows
            for p in range(processes)
        ]
        assert np.concatenate(rows).tolist() == list(range(BATCH))
    with pytest.raises(ValueError, match="192 does not divide over 128 processes"):
        Batches(store, c, "train", BATCH, process=0, processes=128)


def test_512_processes_open_only_the_files_of_their_rows(store, monkeypatch):
    opened = []
    real = Store._record_file
    monkeypatch.setattr(
        Store, "_record_file", lambda s, name: (opened.append(name), real(s, name))[1]
    )
    c = config.defaults()
    c.data.transforms, c.model.vocabulary = (), len(store.vocabulary)
    for process in range(0, 512, 73):
        fresh = Store.open(store.path)
        batches = Batches(fresh, c, "train", 512, stop=1, process=process, processes=512)
        assert opened == []
        assert len(batches[0]["real"]) == 1
        assert len(opened) == 1
        opened.clear()

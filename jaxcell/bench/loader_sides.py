"""What `jaxcell.bench.loader` times: jaxcell's ways to read cells, and the others'."""

import importlib.util
import time
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from jaxcell import config
from jaxcell.bench.peers import PEERS, TOGETHER, as_csr
from jaxcell.data.draft import Draft, cell_keys
from jaxcell.data.matching import project
from jaxcell.data.mixture import Permutations
from jaxcell.data.pipeline import Batches, iterate
from jaxcell.data.record_files import RecordFiles
from jaxcell.data.records import Rows, decode_batch
from jaxcell.data.store import Store
from jaxcell.data.transforms import build_transforms, panel

RAW, TXFM, BMFM, PART = "raw cells", "TxFM-B batches", "BMFM-RNA 8192 batches", "parts of TxFM-B's"


@dataclass
class Side:
    """A way to read cells.

    group : what it gives; sides of a group are compared
    make : () -> function that reads the next batch and returns how many cells it held
    ours, random : whose it is, and whether each cell's place is random
    loader : whether it is a loader; otherwise what no loader is expected to beat, for comparison
    together : batches that come at once, and are timed together
    absent : why it cannot be timed
    ahead : how Grain reads ahead, where it does; then ``make`` gives the batches
    """

    name: str
    group: str
    make: object = None
    ours: bool = True
    random: bool = True
    loader: bool = True
    together: int = 1
    absent: str = ""
    ahead: dict = field(default_factory=dict)


def configs(store):
    """{group: config} of what cells are made into, fitted to a store as training fits it."""
    found = {TXFM: config.defaults(), BMFM: config.whole_cell(config.sequences(config.defaults()))}
    for c in found.values():
        c.model.vocabulary = len(store.vocabulary)
        block = config.tokeniser(c.data)
        block.number = min(block.number, int(store.measured.sum(axis=1).max()))
    return found


def sides(store, unprepared, path, folder, batch, workers=(0, 2), threads=(1, 2, 4)):
    """All of them.

    store, unprepared : of the same file, at ``path``
    folder : path, where peers put copies
    batch : cells
    """
    columns = unprepared.columns
    found = [
        Side("jaxcell, read", RAW, lambda: _counted(_reader(store, batch, store.records))),
        Side("jaxcell, read + decode", RAW, lambda: _counted(_reader(store, batch, store.read))),
        Side("jaxcell, h5ad unprepared", RAW, lambda: _counted(_reader(unprepared, batch))),
    ]
    for name, package, random, make in PEERS:
        known = importlib.util.find_spec(package) is not None
        absent = "" if known else f"{package} is not installed"
        how = dict(ours=False, random=random, absent=absent, loader=package != "h5py")
        how["together"] = 1 if random else TOGETHER
        found.append(Side(name, RAW, lambda m=make: _sized(m(path, batch, folder)), **how))
        found.append(
            Side(
                name,
                TXFM,
                lambda m=make: _lengths(tokenised(store, columns, m(path, batch, folder))),
                **how,
            )
        )
    for group, c in configs(store).items():
        found.append(Side("jaxcell", group, partial(_pipeline, store, c, batch)))
        of_file = partial(_pipeline, unprepared, c, batch)
        found.append(Side("jaxcell, h5ad unprepared", group, of_file))
        for number in workers:
            for n in threads if not number else threads[1:2]:
                name = f"jaxcell, {number} workers" if number else f"jaxcell, {n} threads"
                make = partial(Batches, store, c, "train", batch, stop=10**9)
                how = {"threads": n, "workers": number}
                found.append(Side(name, group, make, ahead=how))
    return found + [Side(name, PART, lambda r=r: r) for name, r in parts(store, batch).items()]


def _reader(store, batch, read=None):
    """A function that reads a batch of training cells at random positions."""
    order, step = Permutations(store.sizes["train"], 0), iter(range(10**9))

    def one():
        first = next(step) * batch
        return (read or store.read)("train", order(np.arange(first, first + batch))[1])

    return one


def _counted(read):
    return lambda: len(read())


def _sized(read):
    return lambda: read().shape[0]


def _lengths(read):
    return lambda: len(read()["ids"])


def _pipeline(store, c, batch):
    batches, step = Batches(store, c, "train", batch, stop=10**9), iter(range(10**9))
    return lambda: len(batches[next(step)]["ids"])


def tokenised(store, columns, read):
    """A function that makes of a peer's next cells what TxFM-B's pipeline would.

    columns : gene of each column of the cells
    """
    c = configs(store)[TXFM]
    transforms = build_transforms(c.data, c.model)
    genes = [np.flatnonzero(m).astype(np.int32) for m in store.measured]
    step, same = iter(range(10**9)), np.array_equal(columns, np.arange(len(store.vocabulary)))

    def one():
        cells = as_csr(read())
        if not same:
            cells = project(cells, columns, len(store.vocabulary))
        number, none = cells.shape[0], np.zeros(cells.shape[0], np.int32)
        totals = np.asarray(cells.sum(axis=1), np.float32).ravel()
        counts = cells.data.astype(np.float32, copy=False)
        ids, pointers = cells.indices.astype(np.int32, copy=False), cells.indptr.astype(np.int64)
        rows = Rows(pointers, ids, counts, none, totals, np.zeros((number, 0), np.int32))
        epoch = np.full(number, next(step))
        draft = Draft(rows, genes, none, cell_keys(c.seed, epoch, np.arange(number)))
        for transform in transforms:
            transform(draft)
        return draft.batch | panel(rows, store.panel_width, len(store.vocabulary))

    return one


def parts(store, batch):
    """{name: function that does a part of TxFM-B's pipeline for the next batch}."""
    c, labels = configs(store)[TXFM], len(store.labels)
    read = _reader(store, batch, store.records)
    records = [read() for _ in range(4)]  # ready made, for the parts after reading
    rows = [decode_batch(r, labels) for r in records]
    genes = [np.flatnonzero(m).astype(np.int32) for m in store.measured]
    transforms = build_transforms(c.data, c.model)
    keys = cell_keys(c.seed, np.zeros(batch, np.int64), np.arange(batch))
    drafts = [Draft(r, genes, store.gene_set[r.dataset], keys) for r in rows]
    for draft in drafts:
        transforms[0](draft)
    order, steps = Permutations(store.sizes["train"], 0), iter(range(10**9))

    def over(ready, do):
        turns = iter(range(10**9))

        def run():
            do(ready[next(turns) % len(ready)])
            return batch

        return run

    places = [np.arange(batch)]
    return {
        "order of cells": over(places, lambda p: order(p + next(steps) * batch)),
        "decode": over(records, lambda r: decode_batch(r, labels)),
        **{n: over(drafts, t) for n, t in zip(c.data.transforms, transforms, strict=True)},
        "panel": over(rows, lambda r: panel(r, store.panel_width, len(store.vocabulary))),
    }


class Distant(Store):
    """A store whose every record takes a while to come, as over a network.

    latency : seconds; at_once : records asked for together
    """

    latency, at_once = 0.0, 1

    def records(self, split, positions):
        """The same records, later."""
        if split not in self._records:
            sizes = {f: self._cells[f] for f in self._files if f.startswith(f"{split}-")}
            self._records[split] = _Late(self._record_file, sizes, self.at_once)
            self._records[split].latency = self.latency
        return self._records[split].read(positions)


class _Late(RecordFiles):
    def _one(self, reader, position):
        time.sleep(self.latency)
        return super()._one(reader, position)


def distant(store, c, batch, latency, at_once, threads, seconds):
    """Cells a second of the clock of TxFM-B's pipeline, with each record late."""
    far = Distant.open(store.path)
    far.latency, far.at_once = latency, at_once
    batches = Batches(far, c, "train", batch, stop=10**9)
    with iterate(batches, threads=threads) as stream:
        next(stream)
        began, cells = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            cells += len(next(stream)["ids"])
        return cells / (time.perf_counter() - began)

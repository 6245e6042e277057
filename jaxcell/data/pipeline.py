"""A store → the batches of a run; what step s holds depends on (seed, s) alone.

B cells of the global batch, b of them this process'.
"""

import contextlib
import os
import signal
from multiprocessing import resource_tracker

import grain
import numpy as np
from absl import flags

from jaxcell.config import shown_labels
from jaxcell.data.draft import Draft, cell_keys
from jaxcell.data.pairs import Pairs
from jaxcell.data.sampling import order
from jaxcell.data.statistics import codes_of, trained_classes
from jaxcell.data.statistics import statistics as statistics_of
from jaxcell.data.transforms import build_transforms, panel


class Batches:
    """Random access to a run's batches: ``batches[i]`` is step ``start + i``.

    Parameters
    ----------
    store : Store
    c : the config (data, model.specials, seed)
    split : 'train' (endless, in the order of `sampling.order`) or 'valid' (each cell once, in
        order; last batch padded)
    passes : of 'valid', how often; a cell's draws differ from pass to pass
    batch_size : B
    start, stop : steps; stop is ignored for 'valid'
    statistics : of training cells, see `jaxcell.data.statistics`; None: the store's
    process, processes : this process takes rows [process · B / processes, …) of every batch
    rows : which rows it takes instead, int [b]
    """

    def __init__(
        self,
        store,
        c,
        split,
        batch_size,
        *,
        start=0,
        stop=0,
        process=0,
        processes=1,
        statistics=None,
        passes=1,
        rows=None,
    ):
        if batch_size % processes:
            raise ValueError(
                f"config.train.batch_size: {batch_size} does not divide over {processes} processes"
            )
        self._store, self._split, self._size = store, split, batch_size
        if rows is None:
            each = batch_size // processes
            rows = np.arange(process * each, (process + 1) * each)
        self._rows = rows
        self._cells = store.sizes[split]
        self._seed, self._start = c.seed, start
        self._pass = -(-self._cells // batch_size)  # steps
        steps = stop if split == "train" else passes * self._pass
        self._length = max(steps - start, 0)
        self._order = order(store, c.data, c.seed, batch_size) if split == "train" else None
        self._pairs = Pairs(store, c.data.pair, split) if c.data.pair.label else None
        self._genes = len(store.vocabulary)
        if statistics is None:
            statistics = statistics_of(store, c)
        self._transforms = build_transforms(
            c.data, c.model, statistics, store.max_nonzero, store.labels, store.vocabulary
        )
        self._trained = trained_classes(store, shown_labels(c.model))
        self._gene_sets = [np.flatnonzero(m).astype(np.int32) for m in store.measured]

    def __len__(self):
        return self._length

    def __getitem__(self, i):
        first = (self._start + int(i)) * self._size
        positions = first + self._rows
        if self._split == "train":
            epochs, cells = self._order(positions)
            real = np.ones(len(cells), bool)
        else:
            epochs, positions = np.divmod(positions, self._pass * self._size)
            real = positions < self._cells
            cells = np.where(real, positions, 0)
        rows, keys = self._store.read(self._split, cells), cell_keys(self._seed, epochs, cells)
        shown = self._pairs.inputs(rows, cells, keys) if self._pairs else rows
        gene_set = self._store.gene_set[shown.dataset]
        draft = Draft(rows, self._gene_sets, gene_set, keys, input=shown)
        for transform in self._transforms:
            transform(draft)
        return {
            **draft.batch,
            **panel(rows, self._store.panel_width, self._genes),
            "dataset": rows.dataset.astype(np.int32),
            "labels": codes_of(self._store, rows, self._trained),
            "real": real,
        }


@contextlib.contextmanager
def iterate(batches, *, workers=0, threads=2):
    """Read ahead through Grain; the batches are the same for any number of workers and threads.

    Yields an iterator of nested dicts of numpy arrays; closes its workers on leaving.

    Threads before workers: reading, decoding and numpy's loops free the GIL, and a thread's batch
    need not travel between processes. Measured on two cores, TxFM-B's batches (BMFM-RNA's), cells a
    second: 1, 2 and 4 threads 18 800, 18 400 and 11 800 (1 900, 3 400, 2 700), two workers 11 400
    (2 800). More threads than two are for machines with more cores (an H200 was fed by 12 of 16).
    """
    if not flags.FLAGS.is_parsed():
        # Grain's workers read absl's flags, which nobody parses in a script or a notebook.
        flags.FLAGS.mark_as_parsed()
    reading = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    dataset = grain.MapDataset.source(batches).to_iter_dataset(reading)
    if workers:
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        dataset = dataset.mp_prefetch(options)
    with contextlib.ExitStack() as opened:
        with _workers_apart() if workers else contextlib.nullcontext():
            iterator = iter(dataset)
            opened.callback(getattr(iterator, "close", lambda: None))
            try:
                first = next(iterator, None)  # starts the workers
            except RuntimeError as error:
                if not workers:
                    raise
                raise ValueError(
                    f"config.data.workers = {workers}: the worker processes did not start. A "
                    "script must train under `if __name__ == '__main__':`, since each worker "
                    "imports it"
                ) from error

        def stream():
            if first is not None:
                yield first
                yield from iterator

        yield stream()


@contextlib.contextmanager
def _workers_apart():
    """Processes that are started within know nothing of the accelerator, nor of Ctrl-C.

    Grain imports jax in its workers, of which each would take memory of the accelerator. A
    terminal's Ctrl-C reaches them too, whose batches the run needs until it stops: what is blocked
    here stays so in them, and reaches this process by its other threads. And what they had sent
    when it stops is freed by multiprocessing's own process, which warns of that.
    """
    less = {"JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore:resource_tracker:UserWarning"}
    before = {name: os.environ.get(name) for name in less}
    os.environ.update(less)
    resource_tracker.ensure_running()  # which takes the block away where it starts its process
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

"""A training run: store in, ``model/`` out; resumes where it was stopped."""

import math
import signal
import threading

import jax
import numpy as np

from jaxcell import config, sharding
from jaxcell.data.pipeline import Batches, iterate
from jaxcell.data.store import Store
from jaxcell.data.transforms import build_transforms
from jaxcell.losses.total import weighted
from jaxcell.models.cell import CellModel
from jaxcell.training import metrics, optim
from jaxcell.training.checkpoint import Checkpoints, Model, lock, save_model
from jaxcell.training.step import check_parts, compile_steps, compute_dtype


def check(c):
    """Raise ValueError for whatever in a config is wrong, before anything is read or compiled."""
    config.check(c)
    build_transforms(c.data, c.model.vocabulary, len(c.model.specials))
    check_parts(c)


def tables_of(store, c, rows):
    """Masks and statistics for the step, padded to ``rows`` = R.

    Returns
    -------
    dict with measured bool [G, R], gene_set i32 [datasets] and mean f32 [R]: ln(1 + L · the mean
    share of a gene in a training cell's total), which minimises the Poisson loss among constants.
    """
    genes = len(store.vocabulary)
    share = store.stats["share" if c.data.total == "measured" else "share_source"].sum(axis=0)
    cells = store.stats["cells"][:, None] * store.measured[store.gene_set]
    mean = np.log1p(c.data.normalise.library_size * share / np.maximum(cells.sum(axis=0), 1))
    pad = rows - genes
    return {
        "measured": np.pad(store.measured, ((0, 0), (0, pad))),
        "gene_set": store.gene_set.astype(np.int32),
        "mean": np.pad(mean, (0, pad)).astype(np.float32),
    }


def steps_of(c, cells):
    """Optimizer steps of a run: ``c.steps``, or as many as ``c.epochs`` over the cells take."""
    return c.steps or math.ceil(c.epochs * cells / c.train.batch_size)


def adopt(c, store, say):
    """Check a config against its store; the store's vocabulary wins, and that is said."""
    if not store.sizes["train"]:
        raise ValueError(f"{store.path}: holds no training cells")
    if c.model.vocabulary != len(store.vocabulary):
        say(
            f"config.model.vocabulary: {c.model.vocabulary} genes nominally, "
            f"{len(store.vocabulary)} in {store.path}: the store's are used"
        )
        c.model.vocabulary = len(store.vocabulary)
    missing = set(c.model.specials) - set(store.vocabulary.specials)
    if missing:
        raise ValueError(f"{store.path}: its vocabulary lacks the special tokens {missing}")


def _better(value, best, mode):
    return best is None or (value < best if mode == "min" else value > best)


class Stop:
    """Set by SIGTERM (or by Ctrl-C once): the run saves and returns."""

    def __enter__(self):
        self.asked, self._before = False, {}
        if threading.current_thread() is threading.main_thread():
            for s in (signal.SIGTERM, signal.SIGINT):
                self._before[s] = signal.signal(s, self._ask)
        return self

    def _ask(self, number, frame):
        self.asked = True
        # A second Ctrl-C ends at once.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_):
        for s, handler in self._before.items():
            signal.signal(s, handler)


class Run:
    """One session of a training run; ``train`` is the way in."""

    def __init__(self, c, workdir, on_step=None):
        check(c)
        c = c.copy_and_resolve_references()  # what the store overrides stays out of the caller's
        self.c, self.workdir, self.on_step = c, workdir, on_step
        self.store = Store.open(c.data.store)
        adopt(c, self.store, print)
        self.steps = steps_of(c, self.store.sizes["train"])
        self.mesh = sharding.make_mesh(c.mesh)
        model = CellModel(c.model, compute_dtype(c.dtype))
        self.host_tables = tables_of(self.store, c, model.rows)
        optimizer = optim.adamw(c, self.steps)
        self.state, self.train_step, self.eval_step, self.tables = compile_steps(
            model, c, optimizer, self.mesh, self.host_tables
        )
        self.rate = optim.one_cycle(c, self.steps)
        self.best, self.shown = None, {}
        if not self.store.sizes["valid"]:
            print(f"{self.store.path}: holds no validation cells; model/ keeps the newest step")
        self.every = c.train.validate_every or math.ceil(
            self.store.sizes["train"] / c.train.batch_size
        )

    def go(self):
        """Train to the last step, or until asked to stop; True when the last step was reached."""
        c = self.c
        with lock(self.workdir), Stop() as stop:
            self.checkpoints = Checkpoints(self.workdir, c)
            start = self.checkpoints.latest() or 0
            if start:
                self.checkpoints.check()
                metrics.check_data(self.workdir, self.store)
            if start >= self.steps:
                print(f"{self.workdir}: trained to step {start} already, skipped")
                self.checkpoints.close()
                return True
            if start:
                self.state = self.checkpoints.restore(self.state)
                print(f"{self.workdir}: goes on from step {start} of {self.steps}")
            self.best = self.checkpoints.best()
            metrics.write_run(self.workdir, c, self.store, self.mesh, start, self.steps)
            self.journal = metrics.Journal(self.workdir, start)
            self.progress = metrics.Progress(start, self.steps, c.train.batch_size)
            try:
                return self._steps(start, stop)
            finally:
                self.progress.close()
                self.checkpoints.close()

    def _batches(self, split, **where):
        processes = {"process": jax.process_index(), "processes": jax.process_count()}
        return Batches(self.store, self.c, split, self.c.train.batch_size, **where, **processes)

    def _steps(self, start, stop):
        c, pending = self.c, []
        batches = self._batches("train", start=start, stop=self.steps)
        data = c.data
        with iterate(batches, workers=data.workers, threads=data.threads) as stream:
            for step, batch in enumerate(stream, start + 1):
                batch = sharding.to_global(batch, self.mesh)
                with jax.set_mesh(self.mesh):
                    self.state, found = self.train_step(self.state, batch, self.tables)
                pending.append(found)
                # The host runs at most two steps ahead, so that batches do not pile up.
                jax.block_until_ready(pending[-2:][0])
                self.progress.step()
                if self.on_step:
                    self.on_step(step)
                asked = stop.asked  # once: a signal that comes later waits for the next step
                self._keep(step, pending, asked)
                if asked and step < self.steps:
                    self.checkpoints.wait()
                    self.progress.say(
                        f"asked to stop: saved step {step} of {self.steps}; the same command "
                        "goes on from there"
                    )
                    return False
        self._verdict()
        return True

    def _keep(self, step, pending, asked):
        """Log, validate, publish and save where the config asks for it."""
        train, last = self.c.train, step == self.steps
        validate = (last or step % self.every == 0) and self.store.sizes["valid"] > 0
        save = last or asked or step % (train.save_every or self.every) == 0
        save = save or (train.keep_every > 0 and step % train.keep_every == 0)
        if save or validate or step % train.log_every == 0:
            self._log(step, pending)
        found = {}
        if validate:
            self.shown = self.validate()
            self._finite(step, self.shown["loss"])
            found = {f"val/{k}": v for k, v in self.shown.items()}
            self.journal.write(step, **found)
            self.progress.say(f"step {step}: validation {metrics.show(self.shown)}")
        published = (validate or save) and self._publish(step, found)
        if save or published:  # so that the best of model/ is among the checkpoints too
            self.checkpoints.save(step, self.state, found)

    def _log(self, step, pending):
        means = {k: float(np.mean([m[k] for m in jax.device_get(pending)])) for k in pending[0]}
        pending.clear()
        self._finite(step, means["loss"] + means["grad_norm"])
        rates = {"learning_rate": float(self.rate(step)), "cells_per_s": self.progress.rate()}
        self.journal.write(step, **{f"train/{k}": v for k, v in means.items()}, **rates)
        self.progress.show(means)
        self.shown = means

    def _finite(self, step, value):
        if not math.isfinite(value):
            kept = self.checkpoints.latest() or 0
            raise FloatingPointError(
                f"step {step}: loss or gradient norm is {value}; the run stops and saves nothing "
                f"of it. Step {kept} is kept in {self.workdir}. A lower "
                f"--config.optimizer.learning_rate (now {self.c.optimizer.learning_rate}) or "
                "--config.dtype=float32 may mend it"
            )

    def _publish(self, step, found):
        """Rewrite ``model/`` when this step is the best so far, or when nothing is held out.

        True when it was rewritten.
        """
        metric, mode = self.c.best
        if self.store.sizes["valid"]:
            value = found.get(metric)
            if value is None or not _better(value, self.best, mode):
                return False
            self.best = value
        state = jax.device_get(self.state)
        save_model(
            self.workdir,
            Model(
                config=self.c,
                vocabulary=self.store.vocabulary,
                labels=self.store.labels,
                variables={"params": state.params, "batch_stats": state.batch_stats},
                tables=self.host_tables,
                info={"step": step, "store": self.store.content_hash, **found},
            ),
        )
        return True

    def _verdict(self):
        """Say so when the model has learned no more than the mean of each gene."""
        shown = self.shown
        if {"mean_predictor", "perfect"} <= shown.keys():
            ends = shown["mean_predictor"], shown["perfect"]
            share = metrics.share_explained(shown["expression"], *ends)
            if share < 0.02:
                self.progress.say(
                    f"this run has not left the mean predictor ({share:.1%} of the way to a "
                    "perfect prediction): its embeddings carry little. More steps, a higher "
                    "learning rate or more visible genes may mend it"
                )

    def validate(self):
        """Every loss over all held-out cells, each cell once; {name: mean}."""
        sums = None
        batches = self._batches("valid")
        with iterate(batches, threads=self.c.data.threads) as stream, jax.set_mesh(self.mesh):
            for batch in stream:
                batch = sharding.to_global(batch, self.mesh)
                found = self.eval_step(
                    self.state.params, self.state.batch_stats, batch, self.tables
                )
                # On the host in float64: a float32 sum of many batches loses the last digits.
                found = jax.tree.map(np.float64, jax.device_get(found))
                sums = found if sums is None else jax.tree.map(np.add, sums, found)
        means = {k: float(n / max(d, 1)) for k, (n, d) in sums.items()}
        return {**means, "loss": float(weighted(self.c.losses, means))}


def train(c, workdir, on_step=None):
    """Train a model as a config says, or go on with the run that ``workdir`` holds.

    Parameters
    ----------
    c : ConfigDict; its ``data.store`` must exist
    workdir : folder of the run: checkpoints/, model/, metrics.jsonl, run.json
    on_step : called with the number of each step that was computed

    Returns
    -------
    bool : False when the run was asked to stop (SIGTERM, Ctrl-C) before its last step

    Raises
    ------
    ValueError
        When the config does not hold, the store is none, or the workdir has another run.
    FloatingPointError
        When the loss is no longer a number; nothing of that state is saved.
    """
    return Run(c, workdir, on_step).go()

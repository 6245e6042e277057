"""A training run: store in, ``model/`` out; resumes where it was stopped."""

import functools
import math
from pathlib import Path

import jax
import numpy as np

from jaxcell import processes, sharding
from jaxcell.config import adapts, left_out, settled
from jaxcell.data.pipeline import Batches, iterate
from jaxcell.data.statistics import of_tables
from jaxcell.data.unprepared import open_store
from jaxcell.models.cell import labels_of
from jaxcell.processes import say
from jaxcell.training import (
    adaptive,
    gene_errors,
    metrics,
    optim,
    report,
    tensorboard,
    warm_start,
)
from jaxcell.training.checkpoint import Model, save_model
from jaxcell.training.held_out import HeldOut
from jaxcell.training.machine import model_of
from jaxcell.training.means import tables_of
from jaxcell.training.saved_steps import Checkpoints
from jaxcell.training.setup import adopt, check, steps_of, steps_per_epoch
from jaxcell.training.step import compile_steps
from jaxcell.training.stop import Stop
from jaxcell.training.workdir import begun, lock


def _better(value, best, mode):
    return best is None or (value < best if mode == "min" else value > best)


class Run:
    """One session of a training run; ``train`` is the way in."""

    def __init__(self, c, workdir, on_step=None, monitor=None, writers=()):
        if left := left_out(c):
            say(f"config.labels: does not name the label heads {', '.join(left)}: left out")
        c = settled(c)  # a copy: what the store overrides stays out of the caller's
        check(c)
        if c.best[0] == "val/avg_bio" and monitor is None:
            raise ValueError("config.best: 'val/avg_bio' is for jaxcell.train, which computes it")
        self.c, self.workdir, self.on_step, self.monitor = c, workdir, on_step, monitor
        self.writers = writers
        processes.check()
        self.store = processes.together(lambda: self._opened(c))
        processes.same(c.data.store, self.store.content_hash)
        self.ontologies = adopt(c, self.store, say)
        self.steps = steps_of(c, self.store)
        self.mesh = sharding.make_mesh(c.mesh)
        self.model = model_of(c, say=say)
        self.host_tables = tables_of(self.store, c, self.model.rows, self.ontologies)
        self.inputs = metrics.inputs_of(self.ontologies, self.host_tables)
        # Before the steps are compiled; a run that goes on needs its source no more.
        source = "" if begun(workdir) else c.train.init_from
        known = self.store.vocabulary, self.store.classes, self.ontologies
        self.warm = warm_start.read(source, c, *known) if source else None
        epoch = steps_per_epoch(c, self.store)
        optimizer = optim.build(c, self.steps, epoch)
        self.state, self.train_step, eval_step, self.tables = compile_steps(
            self.model, c, optimizer, self.mesh, self.host_tables, self.steps
        )
        if c.optimizer.frozen:
            say(optim.describe(self.state.params, c.optimizer.frozen))
        # What training masks by may change (`_mask_by`); validation always masks alike.
        self.train_tables = self.tables
        valid, genes = functools.partial(self._batches, "valid"), self.store.vocabulary
        self.held_out = HeldOut(self.model, c, self.mesh, self.tables, eval_step, valid, genes)
        if said := optim.short_of_warmup(c, self.steps):
            say(said)
        self.rate = optim.schedule(c, self.steps, epoch)
        self.best, self.shown = None, {}
        self.first = processes.first()  # the one that writes what is the same for all
        self.adaptive = adapts(c)
        if not self.store.sizes["valid"]:
            say(f"{self.store.path}: holds no validation cells; model/ keeps the newest step")
        self.every = c.train.validate_every or epoch

    @staticmethod
    def _opened(c):
        store = open_store(c, say)
        store.verify(records=False)
        return store

    def go(self):
        """Train to the last step and do what closes a run; False when asked to stop."""
        c = self.c
        with lock(self.workdir), Stop() as stop:
            self.checkpoints = Checkpoints(self.workdir, c)
            start = self.checkpoints.latest() or 0
            processes.same(f"the newest step in {self.workdir}", start)
            if start:
                # First: other data change the config too, and say less by it.
                metrics.check_data(self.workdir, self.store, self.inputs)
                self.checkpoints.check()
            trained, closing = start >= self.steps, self._closing()
            if trained:  # but perhaps killed before its last files were there
                lacks = processes.from_first(lambda: [p.name for p in closing if not p.exists()])
                closing = {path: write for path, write in closing.items() if path.name in lacks}
                what = f"writes {', '.join(lacks)}" if lacks else "skipped"
                say(f"{self.workdir}: trained to step {start} already, {what}")
            if trained and not lacks:
                self.checkpoints.close()
                return True
            if start:
                self.state = self.checkpoints.restore(self.state)
            if not trained:
                processes.from_first(lambda: self.checkpoints.check_room(self.state, self.steps))
                self._open(start)
            board = c.train.tensorboard and self.first
            boards = [tensorboard.TensorBoard(self.workdir, start)] if board else []
            self.journal = metrics.Journal(self.workdir, start, [*boards, *self.writers])
            self.progress = metrics.Progress(start, self.steps, c.train.batch_size)
            try:
                done = trained or self._steps(start, stop)
                return done and self._close(closing, stop)
            finally:
                self.progress.close()
                self.journal.close()
                self.checkpoints.close()

    def _open(self, start):
        """What a session that trains does first: say where it starts, write it into run.json."""
        if start:
            say(f"{self.workdir}: goes on from step {start} of {self.steps}")
        if self.adaptive and (rates := adaptive.load(self.workdir, start)) is not None:
            self._mask_by(rates)
        warm = None if start else self._warm_start()
        self.best = self.checkpoints.best()
        data = self.store, self.inputs
        layout = sharding.table(self.state.params)
        metrics.write_run(self.workdir, self.c, *data, self.mesh, start, self.steps, warm, layout)

    def _warm_start(self):
        """Load what ``train.init_from`` names into the new state; returns where it came from."""
        warm, self.warm = self.warm, None  # its arrays are let go
        if warm is None:
            return None
        say(warm.report)
        self.state = warm.apply(self.state)
        return warm.provenance

    def _closing(self):
        """{file: what writes it} of the work behind the last step."""
        work = {}
        if self.c.train.gene_errors and self.store.sizes["valid"]:
            work["gene_errors.tsv"] = self._gene_errors
        if self.first and report.can_draw():
            work["curves.png"] = functools.partial(report.draw_run, self.workdir)
        return {Path(self.workdir) / name: write for name, write in work.items()}

    def _close(self, closing, stop):
        """Do the closing work, asking as if its parts were steps; False when asked to stop."""
        for step, write in enumerate(closing.values(), self.steps + 1):
            if stop.at(step):
                return False
            write()
        return not stop.at(self.steps + 1 + len(closing))

    def _batches(self, split, **where):
        t = self.c.train
        # Validation takes no more memory than training: a micro-batch at a time.
        size = t.batch_size // (t.accumulate if split == "valid" else 1)
        # What travels with the model: embedding shows its cells by the same numbers.
        known = of_tables(self.host_tables, len(self.store.vocabulary))
        rows = sharding.rows_here(self.mesh, size)
        return Batches(self.store, self.c, split, size, statistics=known, rows=rows, **where)

    def _steps(self, start, stop):
        c, pending = self.c, []
        batches = self._batches("train", start=start, stop=self.steps)
        data = c.data
        with iterate(batches, workers=data.workers, threads=data.threads) as stream:
            for step, batch in enumerate(stream, start + 1):
                batch = sharding.to_global(batch, self.mesh)
                with jax.set_mesh(self.mesh):
                    self.state, found = self.train_step(self.state, batch, self.train_tables)
                pending.append(found)
                # The host runs at most two steps ahead, so that batches do not pile up.
                jax.block_until_ready(pending[-2:][0])
                stop.saves = True
                self.progress.step()
                if self.on_step:
                    self.on_step(step)
                asked = stop.at(step)  # once: a signal that comes later waits for the next step
                self._keep(step, pending, asked)
                if asked:
                    self.checkpoints.wait()
                    self.progress.say(f"asked to stop: saved step {step} of {self.steps}")
                    return False
        stop.saves = False
        if verdict := metrics.verdict(self.shown):
            self.progress.say(verdict)
        return True

    def _adapt(self, step):
        """Mask what is predicted badly more often in training from here on."""
        errors = self.held_out.errors(self.state)["mae"].to_numpy()
        rates = adaptive.rates(errors, self.c.data.draw_masks.ratio)
        rates = np.pad(rates, (0, self.model.rows - len(rates)))
        if self.first:
            adaptive.save(self.workdir, step, rates)
        self._mask_by(rates)

    def _mask_by(self, rates):
        whole = sharding.replicated(self.mesh)
        self.train_tables = {**self.tables, "mask_rate": sharding.put(rates, whole)}

    def _gene_errors(self):
        """Write the last step's errors per gene, and their summary into the journal."""
        found = self.held_out.errors(self.state)
        known = gene_errors.summary(found)
        self.journal.write(self.steps, **{f"genes/{k}": v for k, v in known.items()})
        if self.first:
            gene_errors.write(found, Path(self.workdir) / "gene_errors.tsv")
        self.progress.say(gene_errors.show(found))

    def _keep(self, step, pending, asked):
        """Log, validate, publish and save where the config asks for it."""
        train, last = self.c.train, step == self.steps
        validate = (last or step % self.every == 0) and self.store.sizes["valid"] > 0
        save = last or asked or step % (train.save_every or self.every) == 0
        save = save or (train.keep_every > 0 and step % train.keep_every == 0)
        logged = save or validate or step % train.log_every == 0
        if logged:
            self._log(step, pending)
        found, seen = {}, {}
        if validate:
            self.shown = self.held_out.losses(self.state)
            self._finite(step, self.shown["loss"])
            found = {f"val/{k}": v for k, v in self.shown.items()}
            if self.monitor:
                seen = self.held_out.monitored(self.state, self.monitor)
                found |= {f"val/{k}": v for k, v in seen.items()}
            # One machine's last digit must not decide otherwise than another's what is the best.
            found = processes.from_first(lambda: found)
            self.journal.write(step, **found)
            more = "".join(f", {k} {v:.3f}" for k, v in seen.items())
            self.progress.say(f"step {step}: validation {metrics.show(self.shown)}{more}")
        if validate and self.adaptive:
            self._adapt(step)
        published = (validate or save) and self._publish(step, found)
        if save or published:  # so that the best of model/ is among the checkpoints too
            self.checkpoints.save(step, self.state, found)
        if logged:
            self.progress.lap()

    def _log(self, step, pending):
        means = {k: float(np.mean([m[k] for m in jax.device_get(pending)])) for k in pending[0]}
        pending.clear()
        self._finite(step, means["loss"] + means["grad_norm"])
        # In this order: what the first learning rate compiles is no training.
        rates = {**self.progress.rate(), "learning_rate": float(self.rate(step))}
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
        variables = processes.on_host(self.held_out.variables(self.state))
        if not self.first:
            return True
        used = {*self.store.labels, *labels_of(self.c.model)}
        model = Model(
            config=self.c,
            vocabulary=self.store.vocabulary.with_specials(self.c.model.specials),
            labels={k: names for k, names in self.store.classes.items() if k in used},
            ontologies=self.ontologies,
            variables=variables,
            tables=self.host_tables,
            info={"step": step, "store": self.store.content_hash, **found},
        )
        save_model(self.workdir, model)
        return True


def train(c, workdir, on_step=None, monitor=None, writers=()):
    """Train a model as a config says, or go on with the run that ``workdir`` holds.

    Parameters
    ----------
    c : ConfigDict; its ``data.store`` must exist
    workdir : folder of the run: checkpoints/, model/, metrics.jsonl, run.json,
        gene_errors.tsv and, where matplotlib is installed, curves.png
    on_step : called with the number of each step that was computed
    monitor : called with the variables at each validation; its dict of metrics joins the losses
    writers : see `jaxcell.train`

    Returns
    -------
    bool : False when the run was asked to stop (SIGTERM, Ctrl-C) before it was done

    Raises
    ------
    KeyboardInterrupt
        By Ctrl-C where no step is to be saved: before the first one of this call, or behind the
        last.
    ValueError
        When the config does not hold, the store is none, or the workdir has another run.
    FloatingPointError
        When the loss is no longer a number; nothing of that state is saved.
    """
    return Run(c, workdir, on_step, monitor, writers).go()

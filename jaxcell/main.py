"""Run the stages of a config.

    python -m jaxcell.main --config=configs/txfm_b.py [--workdir=DIR] [--config.x.y=…] [--dry_run]

Stages are prepare, train, embed and evaluate; one that is finished with the same config is skipped.
Started as many processes (see launch/), it is one run: all train, process 0 does the other stages.
"""

import sys

from jaxcell import cli

if __name__ == "__main__":  # before the imports below: a Ctrl-C there would end in a traceback
    sys.argv.insert(1, "train")
    cli.main()
    sys.exit()

import functools
import glob
import hashlib
import json
import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxcell import calls, config, processes, sharding
from jaxcell.data.prepare import prepare
from jaxcell.data.types import StrPath
from jaxcell.data.unprepared import open_store
from jaxcell.files import near
from jaxcell.interrupts import goes_on, told
from jaxcell.models.cell import label_users
from jaxcell.monitor import monitor_of
from jaxcell.overrides import read
from jaxcell.planning import estimate
from jaxcell.stages import finish, finished
from jaxcell.training import loop, setup
from jaxcell.training.machine import compute_dtype, model_of
from jaxcell.training.stop import status
from jaxcell.training.workdir import begun, check_workdir, lock

# The fields of the config that each stage reads, and the file that shows that it is finished.
READS = {
    "prepare": ("prepare.", "seed"),
    "embed": ("embed.", "name", "prepare.allow_non_integer", "prepare.measured_by"),
    "evaluate": ("evaluate.", "name", "prepare.allow_non_integer"),
}
LEAVES = {"embed": "embeddings.h5ad", "evaluate": "results.json"}


def train(
    c: ConfigDict | StrPath,
    workdir: StrPath | None = None,
    *,
    writers: Sequence[Any] = (),
) -> Path:
    """Train a model: ``jaxcell.train``.

    Parameters
    ----------
    c : ConfigDict with ``data.store`` set, or the path of one: 'configs/txfm_b.py[:variant]'
    workdir : folder of the run; ``runs/<name>-<time>`` by default
    writers : what else takes the numbers of metrics.jsonl (Weights & Biases, MLflow, …), by
        ``write(step, {name: number})`` and, at the end, ``close()``; of many processes on the
        first. `jaxcell resume` knows none: call this again, which goes on too

    Returns
    -------
    Path : the workdir; ``model/`` in it is what ``embed`` takes

    Raises
    ------
    ValueError, FloatingPointError
        See ``jaxcell.training.loop.train``.
    SystemExit
        When the run was stopped by SIGTERM or Ctrl-C, after it has saved: a script that goes on
        would take a half-trained model.
    KeyboardInterrupt
        By Ctrl-C where no step was to be saved: before the first one, or behind the last.
    """
    c = config.load(c) if isinstance(c, str | Path) else c.copy_and_resolve_references()
    c.stages = ("train",)  # of this call; run.json has it so, and `jaxcell resume` reads that
    workdir = Path(workdir or default_workdir(c))
    require_store(c)
    check_workdir(workdir)
    if not loop.train(c, workdir, monitor=monitor_of(c), writers=writers):
        sys.exit(f"{workdir}: stopped before the end; {goes_on(workdir)}")
    return workdir


def default_workdir(c):
    """``runs/<config>-<time>``, the time of process 0."""
    now = processes.from_first(lambda: time.strftime("%Y%m%d-%H%M%S"))
    return Path("runs") / f"{c.name}-{now}"


def require_store(c):
    """Raise, in one line that says how to make one, when there is no store to train on."""
    if not c.data.store:
        raise ValueError(
            "config.data.store is not set: make a store with `jaxcell prepare STORE FILE.h5ad …` "
            "and pass --config.data.store=STORE, or for a first look --config.data.store=FILE.h5ad"
        )


def run(c, workdir):
    """Run the config's stages in order; False when training was asked to stop.

    Raises
    ------
    ValueError
        For whatever is wrong with the config, its data, or the workdir.
    """
    setup.check(config.settled(c))
    processes.same("the config", config.flat(c))
    workdir = Path(workdir)
    if "prepare" in c.stages and not c.data.store:
        c.data.store = str(workdir / "store")
    if "train" in c.stages:
        require_store(c)
    _check_files(c)
    check_workdir(workdir)
    processes.say(f"{c.name}: {', '.join(c.stages)} in {workdir}")
    for stage in c.stages:
        if stage == "train":  # knows by its checkpoints what is done
            if not loop.train(c, workdir, monitor=monitor_of(c)):
                return False
            continue
        with lock(workdir):
            if stage == "prepare" and processes.first() and not begun(workdir):
                asked = {"config": json.loads(config.to_json(c)), "workdir": str(workdir)}
                calls.keep(workdir, "train", asked)
            processes.from_first(functools.partial(_stage, c, stage, workdir))
    return True


def _check_files(c):
    """Refuse files that are not there for any stage, before the first one begins."""
    given = {"prepare": c.prepare.files, "embed": (c.embed.input,)}
    fields = {"prepare": "prepare.files", "embed": "embed.input"}
    for stage, files in given.items():
        for file in files if stage in c.stages else ():
            plain = ":" not in str(file) and not glob.has_magic(str(file))
            if plain and not Path(file).exists():
                raise FileNotFoundError(
                    f"config.{fields[stage]}: {file} does not exist{near(file)}"
                )


def _stage(c, stage, workdir):
    mark = fingerprint(c, stage, workdir)
    left = Path(c.data.store) / "store.json" if stage == "prepare" else workdir / LEAVES[stage]
    if finished(workdir).get(stage) == mark and left.exists():
        print(f"{stage}: finished with this config and these files, skipped")
        return
    STAGES[stage](c, workdir)
    finish(workdir, stage, mark)


def fingerprint(c, stage, workdir):
    """Hash of what a stage reads: its fields of the config, size and time of its input files."""
    inputs = {
        "prepare": c.prepare.files,
        "embed": (c.embed.input, workdir / "model" / "model.safetensors"),
        "evaluate": (workdir / LEAVES["embed"],),
    }[stage]
    stats = [Path(f).stat() for f in inputs if Path(f).exists()]
    fields = {k: v for k, v in config.flat(c).items() if k.startswith(READS[stage])}
    text = json.dumps([fields, [(s.st_size, s.st_mtime_ns) for s in stats]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _prepare(c, workdir):
    p = c.prepare
    prepare(
        c.data.store,
        list(p.files),
        labels=p.labels,
        hold_out=list(p.hold_out),
        hold_out_fraction=p.hold_out_fraction,
        min_genes=p.min_genes,
        min_cells=p.min_cells,
        allow_non_integer=p.allow_non_integer,
        values=p.given,
        measured_by=p.get("measured_by") or None,
        hvg=p.hvg or None,
        hvg_flavor=p.hvg_flavor if p.hvg or p.hvg_flavor != "seurat" else None,
        hvg_batch=p.hvg_batch or None,
        seed=c.seed,
    )


def _embed(c, workdir):
    from jaxcell.embedding import embed

    _check_model(c, workdir)
    out = workdir / "embeddings.h5ad"
    out.unlink(missing_ok=True)  # of an earlier config; this stage's own file
    embed(
        c.embed.input,
        workdir,
        out=out,
        genes=c.embed.genes or "all",
        draws=c.embed.draws,
        zeros=c.embed.zeros if "sequence" in c.data.transforms else None,
        measured_by=c.prepare.measured_by,
        allow_non_integer=c.prepare.allow_non_integer,
    )
    print(f"embeddings: {out} obsm['X_{c.name}']")


def _check_model(c, workdir):
    """The model embeds by its own config: one that says otherwise is refused."""
    path = workdir / "model" / "config.json"
    if not path.exists():
        return  # embed says what is missing
    own, c = config.from_json(path.read_text()), config.settled(c)
    own.model.vocabulary = c.model.vocabulary  # nominal here, the store's there
    classes = {path: one.classes for path, one in label_users(own.model)}
    for path, one in label_users(c.model):
        one.classes = classes.get(path, one.classes)
    parts = ("model.", "data.normalise.", "data.total", "embed.micro_batch")
    differ = [d for d in config.differences(own, c) if d.startswith(parts)]
    if differ:
        raise ValueError(f"{path}: the model was trained with another config: {'; '.join(differ)}")


def _evaluate(c, workdir):
    from jaxcell.evaluation.report import evaluate
    from jaxcell.evaluation.tables import format_table

    found = evaluate(
        workdir / "embeddings.h5ad",
        [f"X_{c.name}"],
        label=c.evaluate.label,
        batch=c.evaluate.batch or None,
        out=workdir,
        baselines=c.evaluate.baselines,
        genes=c.evaluate.genes or None,
        protocols=c.evaluate.protocols,
        seeds=c.evaluate.seeds,
        allow_non_integer=c.prepare.allow_non_integer,
    )
    print(format_table(found))
    print(f"embeddings: {workdir / LEAVES['embed']}")
    print(f"report: {workdir / 'report.md'}")
    for picture in sorted(workdir.glob("*.png")):
        print(f"picture: {picture}")


STAGES = {"prepare": _prepare, "embed": _embed, "evaluate": _evaluate}


def dry_run(c):
    """Print parameters, tokens, FLOPs, memory, steps and data of a config; compute nothing."""
    c = config.settled(c)
    setup.check(c)
    steps, data = None, f"no store (nominal vocabulary of {c.model.vocabulary:,} genes)"
    if c.data.store and not ("prepare" in c.stages and not Path(c.data.store).exists()):
        store = open_store(c, processes.say)
        setup.adopt(c, store, processes.say)
        steps = setup.steps_of(c, store)
        data = (
            f"{c.data.store}: {store.sizes['train']:,} training and {store.sizes['valid']:,} "
            f"validation cells of {len(store.datasets)} datasets"
        )
    mesh = sharding.make_mesh(c.mesh)
    sharding.rows_divide(c.train.batch_size, mesh, c.train.accumulate)
    c.mesh.update(mesh.shape)
    steps = c.steps or steps
    itemsize, kernel = compute_dtype(c.dtype).itemsize, model_of(c).kernel
    device = jax.devices()[0].device_kind
    lines = estimate.describe(c, jax.device_count(), itemsize, device, steps, data, kernel)
    for what, text in lines.items():
        processes.say(f"{what:>10}  {text}")


def carry_out(c, workdir=""):
    """Run a config as the work of this process, one of many or alone.

    Raises
    ------
    SystemExit
        When training was stopped, after it has saved; see `training.stop.status`.
    KeyboardInterrupt
        When other work was, or training before its first step; says what to do.
    """
    for library in ("absl", "jax"):
        logging.getLogger(library).setLevel(logging.WARNING)
    processes.initialise()
    if not processes.first():
        warnings.simplefilter("ignore")  # process 0 shows them
    workdir = Path(workdir or default_workdir(c))
    with told(lambda: goes_on(workdir) if (workdir / "run.json").exists() else ""):
        done = run(c, workdir)
        processes.wait()
    if not done:
        processes.say(f"stopped before the end; {goes_on(workdir)}")
        sys.exit(status())


def main(asked):
    """Do what the arguments of ``jaxcell train`` ask for, see `verbs.training.train`."""
    c = read(asked["config"], asked["overrides"])
    try:
        if asked["dry_run"]:
            processes.initialise()
            dry_run(c)
            processes.wait()
        else:
            carry_out(c, asked["workdir"])
    except processes.OtherProcess:
        sys.exit(1)

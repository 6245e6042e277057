"""``jaxcell ablate``: every arm of a suite, trained and measured; goes on where it was stopped.

A bench has `store_of` (an arm's Store), `measures` (what a run's result depends on beside config
and store, as JSON), `measure` (of a trained run: a dict for results.json), `shown` (that dict in a
few words), `references` (what the arms have to beat), `meta` (what the report says of the data)
and, where arms read it, `batch_label` (the label of the store that tells batches apart).
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxcell import calls, config
from jaxcell.ablations.arms import arms_of, base, config_of
from jaxcell.ablations.suites import suite
from jaxcell.data.preparing.unfinished import REFUSALS
from jaxcell.data.types import StrPath
from jaxcell.files import read_json
from jaxcell.interrupts import goes_on, told
from jaxcell.models.cell import count_parameters
from jaxcell.training import loop
from jaxcell.training.stop import Stopped
from jaxcell.training.workdir import lock
from jaxcell.writing import write_text

COMPILED = {  # of the programs that one seed's run leaves for the next: in a file, whatever it took
    "jax_persistent_cache_min_compile_time_secs": 0.5,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def experiment_of(suite_name, data=None, **given):
    """An experiment from a command's options: all of one's own files, or the suite's data.

    Raises
    ------
    ValueError
        When some of one's own are named and others are not, or are no part of this suite, or
        nothing is named.
    """
    kind = suite(suite_name).experiment
    fields = {f.name: f.default is dataclasses.MISSING for f in dataclasses.fields(kind)}
    given = {name: value for name, value in given.items() if value}
    if strange := [name for name in given if name not in fields]:
        raise ValueError(
            f"{_options(strange)} given: no part of the suite {suite_name}, which takes "
            f"{_options(fields)}"
        )
    if not any(fields[name] for name in given):
        if given:
            raise ValueError(
                f"{_options(given)} given: of one's own files only (--train and the rest); the "
                "suite's data have theirs"
            )
        data = data or os.environ.get("JAXCELL_DATA")
        if not data:
            raise ValueError(
                "no data: name --data FOLDER (or JAXCELL_DATA), or --train and the rest"
            )
        return kind.of(data)
    missing = [name for name, needed in fields.items() if needed and name not in given]
    if missing or data:
        raise ValueError(
            f"{_options(given)} given: {'leave out --data' if data else ''}"
            f"{' and ' if data and missing else ''}"
            f"{'name ' + _options(missing) + ' too' if missing else ''}"
        )
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


def _options(names):
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def ablate(
    experiment: Any,
    out: StrPath,
    *,
    suite_name: str = "txfm",
    budget: str = "small",
    arms: Sequence[str] = (),
    steps: int = 0,
    seeds: int = 0,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Train and measure the arms of a suite: ``jaxcell.ablate``.

    Goes on where it was stopped: an arm that is finished with the same config, data and measures is
    not run again.

    Parameters
    ----------
    experiment : the suite's experiment, or a folder laid out as JAXCELL_DATA
    out : folder: ``store``, ``arms/NAME`` (a workdir each), results.json, report.md
    suite_name : 'txfm' (its Table 5), 'scformer' (integration, its Table 3) or 'bioformers' (masked
        genes, its Tables 2–4)
    budget : 'small' (two CPU cores), 'medium' or 'large' (the paper's size)
    arms : names of arms, beside the default; all by default
    steps : of each arm; 0: the budget's
    seeds : training runs of each arm, from seed 0 on; 0: the budget's
    say : takes a line of progress

    Returns
    -------
    dict, as in results.json

    Raises
    ------
    ValueError, FileNotFoundError
        About config, files or folder, before anything is trained.
    KeyboardInterrupt
        When it was stopped by SIGTERM or Ctrl-C; says how to go on.
    """
    kind = suite(suite_name)
    size = kind.budget(budget)
    if not isinstance(experiment, kind.experiment):
        experiment = kind.experiment.of(experiment)
    experiment.check()
    if seeds < 0:
        raise ValueError(f"seeds: found {seeds}, expected 1 or more, or 0 for the budget's")
    seeds, out = seeds or size.seeds, Path(out)
    default = base(size)
    blocks = kind.blocks(default)
    chosen = arms_of(blocks, arms)
    call = dict(suite_name=suite_name, budget=budget, arms=list(arms), steps=steps, seeds=seeds)
    call["experiment"] = dataclasses.asdict(experiment)
    # What is refused before anything is made leaves no folder, and nothing to go on with.
    with told(lambda: goes_on(out) if (out / calls.FILE).is_file() else ""), lock(out):
        bench = _bench(kind, experiment, out, size, call)
        batch = getattr(bench, "batch_label", "")
        configs = {
            (name, seed): config_of(kind, arm, size, bench.store_of(arm), steps, seed, batch)
            for name, arm in chosen.items()
            for seed in range(seeds)
        }
        references = bench.references(default, seeds)
        with compiled_once(out / "compiled"):
            found = _run(bench, chosen, configs, seeds, say)
        first = configs[next(iter(configs))]
        results = {
            "meta": bench.meta()
            | {"suite": suite_name, "budget": budget, "seeds": seeds}
            | {"steps": first.steps, "batch_size": first.train.batch_size},
            "blocks": [
                {"title": title, "arms": [[arm.label, arm.name] for arm in block]}
                for title, block in blocks
            ],
            "arms": found,
            "references": references,
        }
        kind.tables.finish(results)
        write_text(out / "results.json", json.dumps(results, indent=1) + "\n")
        write_text(out / "report.md", kind.tables.page(results))
    return results


def _bench(kind, experiment, out, size, call):
    """The suite's bench, and the call in ``out`` from before it makes its stores.

    What is refused leaves there what was there: the call of the experiment that has the folder, or
    none.
    """
    fresh = not (out / calls.FILE).exists()
    if fresh:
        calls.keep(out, "ablate", call)
    try:
        bench = kind.bench(experiment, out, size)
    except REFUSALS:
        if fresh:
            (out / calls.FILE).unlink()
        raise
    calls.keep(out, "ablate", call)
    return bench


def _run(bench, chosen, configs, seeds, say):
    """{arm: its runs, parameters, steps and metric} of {(arm, seed): config}, one after another."""
    found, began, ran = {name: {"runs": []} for name in chosen}, time.perf_counter(), 0
    for i, ((name, seed), c) in enumerate(configs.items(), 1):
        run, fresh = run_arm(bench, chosen[name], seed, c)
        found[name]["runs"].append(run)
        found[name]["parameters"] = run.get("parameters", 0)
        found[name] |= {"steps": c.steps, "best": c.best[0]}
        ran += fresh
        left = (len(configs) - i) * (time.perf_counter() - began) / max(ran, 1)
        what = f"{name} seed {seed}" if seeds > 1 else name
        text = run["failed"] if "failed" in run else _shown(bench, run)
        before = "" if fresh else " (finished before)"
        say(f"[{i}/{len(configs)}] {what}: {text}{before}; {left / 60:.0f} min left")
    return found


def _shown(bench, run):
    after = f", diverged at {run['diverged']}" if "diverged" in run else ""
    return f"{bench.shown(run)}, {run['seconds']:.0f} s{after}"


def run_arm(bench, arm, seed, c):
    """Train and measure an arm, or read what was measured: (run, whether it ran)."""
    workdir = bench.out / "arms" / (arm.name if not seed else f"{arm.name}-seed{seed}")
    file, mark = workdir / "result.json", mark_of(bench, arm, c)
    if file.exists():
        todo = "remove it, and the arm is measured again"
        run = read_json(file, {"mark": str}, todo)
        if run["mark"] == mark:
            return run, False
    began, run = time.perf_counter(), {"mark": mark}
    try:
        if not loop.train(c, workdir):
            raise Stopped(f"{workdir}: stopped before the end")
    except FloatingPointError as error:
        run["diverged"] = str(error).split(":")[0]
    if (workdir / "model").exists():
        run |= bench.measure(arm, workdir)
        run |= _facts(workdir)
    else:
        run["failed"] = f"diverged at {run['diverged']}, before the first validation"
    jax.clear_caches()  # no later run takes these programs from memory
    run["seconds"] = time.perf_counter() - began
    workdir.mkdir(parents=True, exist_ok=True)  # a run may fail before it has written
    write_text(file, json.dumps(run, indent=1) + "\n")
    return run, True


def mark_of(bench, arm, c):
    """Hash of what a run's result depends on: contents, not where they lie."""
    fields = {k: v for k, v in config.flat(c).items() if k != "data.store"}
    text = json.dumps([fields, bench.store_of(arm).content_hash, bench.measures(arm)])
    return hashlib.sha256(text.encode()).hexdigest()


def _facts(workdir):
    """A run's parameters, and its least validation loss where it had one."""
    c = config.from_json((workdir / "model" / "config.json").read_text())
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    losses = [line["val/loss"] for line in lines if "val/loss" in line]
    found = {"parameters": count_parameters(c.model)}
    return found | ({"val_loss": min(losses)} if losses else {})


@contextlib.contextmanager
def compiled_once(folder):
    """Programs that a run compiles are kept in a folder, for the next seed and the next session.

    A cache of the user's own (JAX_COMPILATION_CACHE_DIR) stays the one that is used.
    """
    if jax.config.jax_compilation_cache_dir:
        yield
        return
    from jax.experimental.compilation_cache import compilation_cache

    asked = {"jax_compilation_cache_dir": str(folder), **COMPILED}
    before = {name: getattr(jax.config, name) for name in asked}
    try:
        for name, value in asked.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()  # so that the folder is looked at
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()

"""What a run writes down about itself: metrics.jsonl, run.json, a progress bar."""

import hashlib
import json
import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path

import jax

from jaxcell import config, processes
from jaxcell.progress import bar
from jaxcell.training import run_file
from jaxcell.writing import write_text, writing

PACKAGES = ("jaxcell", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class Journal:
    """``WORKDIR/metrics.jsonl``, an object a line; a restart drops what lies after its step.

    Of many processes the first writes, the others write nothing.

    writers : whatever else takes the numbers, by ``write(step, {name: number})`` and ``close()``
    """

    def __init__(self, workdir, start, writers=()):
        self._path = Path(workdir) / run_file.JOURNAL
        self._writers = writers if processes.first() else ()
        if not processes.first():
            return
        kept = [one for one in run_file.journal(workdir) if one[1]["step"] <= start]
        # What closes a run is done again where it was stopped behind its line.
        self._there = [line.keys() for _, line in kept if line["step"] == start]
        self._start = start
        write_text(self._path, "".join(text for text, _ in kept))

    def write(self, step, **values):
        """Append one line with the step and plain numbers, unless it is there from before."""
        if not processes.first():
            return
        line = {"step": step, **values}
        if step != self._start or line.keys() not in self._there:
            with writing(self._path), open(self._path, "a") as file:
                file.write(json.dumps(line) + "\n")
        for writer in self._writers:
            writer.write(step, values)

    def close(self):
        """Close the writers."""
        for writer in self._writers:
            writer.close()


def share_explained(loss, mean_predictor, perfect):
    """How far a loss lies between the mean predictor's (0) and the perfect prediction's (1)."""
    return (mean_predictor - loss) / max(mean_predictor - perfect, 1e-12)


def show(means):
    """'loss -12.3 (mean predictor -9.8, perfect -20.1, 24% of the way)' of a dict of means.

    A loss that has a partner NAME_at_means is shown beside it, a label's loss alone.
    """
    text = f"loss {means['loss']:.2f}"
    if {"mean_predictor", "perfect"} <= means.keys():
        ends = means["mean_predictor"], means["perfect"]
        share = share_explained(means["expression"], *ends)
        text += f" (mean predictor {ends[0]:.2f}, perfect {ends[1]:.2f}: {share:.0%} of the way)"
    at_means = [k for k in means if f"{k}_at_means" in means]
    beside = [f"{k} {means[k]:.3f} (gene means {means[f'{k}_at_means']:.3f})" for k in at_means]
    ends = {"loss", "expression", "mean_predictor", "perfect", "grad_norm"}
    labels = set(means) - ends - set(at_means)
    beside += [f"{k} {means[k]:.3f}" for k in sorted(labels) if not k.endswith("_at_means")]
    return ", ".join([text, *beside])


def verdict(means):
    """A line when the model has learned no more than the mean of each gene, else None."""
    at_means = [(means[k], means[f"{k}_at_means"]) for k in means if f"{k}_at_means" in means]
    if {"mean_predictor", "perfect"} <= means.keys():
        share = share_explained(means["expression"], means["mean_predictor"], means["perfect"])
    elif at_means:
        share = max(1 - found / max(known, 1e-12) for found, known in at_means)
    else:
        return None
    if share >= 0.02:
        return None
    return (
        f"this run has not left the mean predictor ({share:.1%} of the way to a perfect "
        "prediction): its embeddings carry little. More steps, a higher learning rate or more "
        "visible genes may mend it"
    )


class Progress:
    """Steps, their rate, time left and the newest losses; on process 0."""

    def __init__(self, start, stop, batch_size):
        self._bar = bar(stop, "train", done=start)
        self._size, self._began, self._done = batch_size, None, 0

    def step(self):
        """One more step was computed."""
        self._bar.update()
        self._done += 1
        if self._began is None:  # the first one compiles
            self.lap()

    def lap(self):
        """Count the rate's steps from now on: what came before was no training."""
        self._began, self._done = time.monotonic(), 0

    def rate(self):
        """{'cells_per_s'} of training since the first step or the last `lap`; {} without steps."""
        if not self._done:
            return {}
        return {"cells_per_s": self._done * self._size / max(time.monotonic() - self._began, 1e-9)}

    def show(self, means):
        """Show the newest losses behind the bar, which tells the steps per second."""
        self._bar.note(show(means))

    def say(self, text):
        """Print a line above the bar."""
        if processes.first():
            self._bar.say(text)

    def close(self):
        """End the bar."""
        self._bar.close()


def inputs_of(ontologies, tables):
    """{'the ontology of cell_type': sha256, …}: what a run reads beside its store.

    ontologies : {label: Ontology}; tables : with vectors {field: [R, E]} and known {field: [R]}
    """
    found = {f"the ontology of {k}": one.to_json().encode() for k, one in ontologies.items()}
    for name, one in tables["vectors"].items():
        found[f"the vectors of {name}"] = one.tobytes() + tables["known"][name].tobytes()
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}


def check_data(workdir, store, inputs):
    """Raise ValueError when a run that goes on was started with other data.

    inputs : as `inputs_of` makes them; a run from before they were written down goes on with any
    """
    run = run_file.read(workdir)
    there = run["data"] if run else {}
    if there.get("content_hash", store.content_hash) != store.content_hash:
        raise ValueError(
            f"{workdir}: was trained on the store {there['store']} with content "
            f"{there['content_hash'][:12]}; {store.path} holds {store.content_hash[:12]}. Go on "
            "with the same data, or name another --workdir"
        )
    before = there.get("inputs", {})
    if other := [name for name in before if inputs.get(name) != before[name]]:
        raise ValueError(
            f"{workdir}: was trained with another content of {', '.join(other)} (in "
            f"{run_file.FILE}: {', '.join(before[name][:12] for name in other)}). Go on with the "
            "same files, or name another --workdir"
        )


def write_run(workdir, c, store, inputs, mesh, start, steps, warm=None, layout=None):
    """Add this session to ``WORKDIR/run.json``: config, versions, data, code and devices.

    inputs : as `inputs_of` makes them
    warm : where the parameters of step 0 came from; a session that goes on keeps what is there
    layout : what each device of this session holds of the parameters, see `sharding.table`

    Of many processes the first writes.
    """
    if not processes.first():
        return
    run = run_file.read(workdir) or {"sessions": []}
    if not start:
        run["init_from"] = warm
    run["config"] = json.loads(config.to_json(c))
    run["steps"] = steps
    run["sharding"] = layout
    run["data"] = {
        "store": str(store.path),
        "content_hash": store.content_hash,
        "vocabulary_sha256": store.vocabulary.sha256,
        "cells": store.sizes,
        "inputs": inputs,
    }
    run["sessions"].append(
        {
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "from_step": start,
            "cwd": os.getcwd(),  # the config's paths start there
            "workdir": os.path.abspath(workdir),  # it may be moved: some of them lie in it
            "python": platform.python_version(),
            "versions": {p: _version(p) for p in PACKAGES},
            "commit": commit(),
            "devices": [f"{d.platform}:{d.device_kind}" for d in jax.devices()],
            "processes": processes.count(),
            "mesh": dict(mesh.shape),
        }
    )
    write_text(Path(workdir) / run_file.FILE, json.dumps(run, indent=1))


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def commit():
    """The commit of the jaxcell checkout that runs, with '+' when it has changes; None outside."""
    here = Path(__file__).parent

    def git(*arguments):
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        head = git("rev-parse", "HEAD")
    except FileNotFoundError:  # no git on this machine
        return None
    return head and head + ("+" if git("status", "--porcelain") else "")

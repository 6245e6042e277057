"""``checkpoints/<step>/``: the states that a run goes on from, saved by Orbax."""

import json
import shutil
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

from jaxcell import config, processes
from jaxcell.training import checksums, formats, orbax_noise
from jaxcell.training.workdir import check_name
from jaxcell.writing import check_room, room, size, writing

VERSION = "format_version"  # a key in the config of a saved step


class Checkpoints:
    """``WORKDIR/checkpoints/<step>/``: best, last and every N-th state of a run, saved by Orbax."""

    def __init__(self, workdir, c):
        self._config = c
        metric, mode = c.best

        def goodness(found):
            return found[metric] if mode == "max" else -found[metric]

        best = managers.BestN(get_metric_fn=goodness, n=1, keep_checkpoints_without_metrics=False)
        rules = [managers.LatestN(1), best]
        if c.train.keep_every:
            rules.append(managers.EveryNSteps(c.train.keep_every))
        orbax_noise.hush()
        check_name(workdir)
        folder, self._bytes = Path(workdir).absolute() / "checkpoints", 0
        with writing(folder):
            if processes.first():
                _clear_unfinished(folder)
            self._manager = ocp.CheckpointManager(
                folder,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=managers.AnyPreservationPolicy(rules),
                    best_fn=goodness,  # without it Orbax writes no metrics
                    enable_async_checkpointing=True,
                    async_options=ocp.options.AsyncOptions(
                        post_finalization_callback=self._before_it_is_named
                    ),
                ),
            )

    def check_room(self, state, steps):
        """Refuse a run whose next step its disk has no room for, before anything is computed.

        Where it may fill up before the last of so many steps, say so.
        """
        one, folder = _size(state), self._manager.directory
        check_room(folder, one)
        every = self._config.train.keep_every
        # The newest, the best and the one that is being written; model/ and the one in its place.
        needs = (3 + (steps // every if every else 0)) * one + 2 * _size(state.params)
        if (free := room(folder)) < needs:
            processes.say(
                f"{folder}: {size(free)} are free, and all that this run keeps may take about "
                f"{size(needs)}; a full disk stops it at its last saved step"
            )

    def latest(self):
        """The newest complete step, or None."""
        return self._manager.latest_step()

    def best(self):
        """The best value of the config's metric among the saved steps, or None."""
        metric, mode = self._config.best
        found = [self._manager.metrics(step) or {} for step in self._manager.all_steps()]
        values = [m[metric] for m in found if metric in m]
        return (min if mode == "min" else max)(values) if values else None

    def save(self, step, state, metrics):
        """Start saving; returns before the bytes are on disk. A step that exists is left alone."""
        if step in self._manager.all_steps():
            return
        told = {**json.loads(config.to_json(self._config)), VERSION: formats.VERSION}
        self._bytes = _size(state)
        with self._writing():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), config=ocp.args.JsonSave(told)
                ),
                metrics=metrics or None,
                force=True,
            )

    def _before_it_is_named(self):
        # Orbax calls this when all files of a step are there, in a folder of another name.
        if processes.first():
            for folder in Path(self._manager.directory).glob("*.orbax-checkpoint-tmp"):
                checksums.write(folder)

    def _writing(self):
        # What an earlier step's save met with on its way to the disk comes up here too.
        return writing(self._manager.directory, needs=self._bytes)

    def check(self):
        """Raise ValueError when the newest step is damaged, or of another config (lists fields)."""
        newest = Path(self._manager.directory) / str(self.latest())
        processes.from_first(lambda: self._try(lambda: checksums.check(newest)))
        saved = self._read(ocp.args.Composite(config=ocp.args.JsonRestore()))["config"]
        saved = formats.upgrade(saved, saved.pop(VERSION, 1), self._manager.directory.parent)
        there = config.from_json(json.dumps(saved))
        found = config.differences(there, self._config)
        if found:
            raise ValueError(
                f"{self._manager.directory.parent}: holds a run with another config; go on with "
                "that config or name another --workdir. These fields differ:\n  "
                + "\n  ".join(found)
            )

    def restore(self, state):
        """The newest state, laid out as ``state`` is (which gives shapes, dtypes and shardings)."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        return self._read(ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))["state"]

    def _read(self, asked):
        """Of the newest step what Orbax is asked for."""
        return self._try(lambda: self._manager.restore(self.latest(), args=asked))

    def _try(self, read):
        """``read()``; a step that cannot be read is named."""
        step = self._manager.directory / str(self.latest())
        try:
            return read()
        except Exception as error:
            raise ValueError(
                f"{step}: cannot be read ({said(error)}). If it is damaged, move this folder away: "
                "the same command then goes on from an earlier step, if one was kept, or starts "
                "anew"
            ) from error

    def wait(self):
        """Until all that was saved is on disk."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self):
        """Wait and let go."""
        with self._writing():
            self._manager.close()


def _clear_unfinished(folder):
    """Remove steps whose saving was cut off, as Orbax does too; the run's lock is held.

    By several tries: a thread of a run that failed in this process may still write there.
    """
    for left in folder.glob("*.orbax-checkpoint-tmp"):
        for _ in range(50):
            shutil.rmtree(left, ignore_errors=True)
            if not left.exists():
                break
            time.sleep(0.1)


def _size(tree):
    return sum(x.nbytes for x in jax.tree.leaves(tree))


def host_arrays(path):
    """A saved tree as numpy arrays, whatever devices it was saved from."""
    path = path.absolute()
    # The handler by itself: a checkpointer warns of metadata that lie a folder above.
    reader = ocp.PyTreeCheckpointHandler()
    saved = reader.metadata(path).tree
    asked = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
    return reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=asked))


def said(error):
    """An error's kind and text, without the settings that TensorStore puts behind it."""
    return f"{type(error).__name__}: {str(error).partition(' [tensorstore_spec=')[0][:600]}"

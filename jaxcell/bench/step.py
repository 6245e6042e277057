"""What a training step costs on this machine.

    python -m jaxcell.bench.step --config=configs/txfm_b.py [--batch=32] [--config.dtype=bfloat16]

Synthetic batches of the config's shapes, so it needs nothing but what a training step imports.
--peer sets a plain PyTorch TxFM beside it, by turns; --profile=DIR writes an XProf trace and names
the longest kernels; --store=STORE runs the real pipeline and says how long the device waits for it;
--lengths=1024,4096,… compares one block of each encoder over the length of its sequences instead.

MFU = training FLOPs of a cell × cells/s ÷ the chip's published dense bf16 peak. FLOPs are those of
the model as published: 3 × its forward pass, matrix products alone, 2 a multiply-add, nothing that
is computed again. ``computed`` leaves out what jaxcell does not compute of the last block.
"""

import statistics
import time
from typing import NamedTuple

import jax
from absl import app, flags
from ml_collections import config_flags

from jaxcell import config, sharding
from jaxcell.bench import end_to_end, lengths, peer, profile, report, turns
from jaxcell.bench.synthetic import synthetic
from jaxcell.models.cell import count_parameters
from jaxcell.models.cost import training_flops
from jaxcell.training import optim
from jaxcell.training.machine import compute_dtype, model_of
from jaxcell.training.shapes import tokens_of
from jaxcell.training.step import compile_steps


class Ready(NamedTuple):
    """A compiled step with all that it takes; ``facts`` of it and of the machine."""

    step: object
    state: object
    batch: dict
    tables: dict
    mesh: object
    facts: dict

    def run(self, steps):
        """Mean seconds of so many steps in a row, the last one awaited; returns the new state."""
        state, began = self.state, time.perf_counter()
        for _ in range(steps):
            state, found = self.step(state, self.batch, self.tables)
        loss = float(found["loss"])
        return (time.perf_counter() - began) / steps, loss, self._replace(state=state)


def ready(c, cells, say=None):
    """Compile a config's training step for a synthetic batch of so many cells."""
    mesh = sharding.make_mesh(c.mesh)
    model = model_of(c, say=say)
    batch, tables = synthetic(c, model.rows, cells)
    c.train.batch_size = cells
    # The schedule needs a length; it does not change what a step costs.
    optimizer = optim.build(c, 1000)
    state, train_step, _, tables = compile_steps(model, c, optimizer, mesh, tables)
    batch = sharding.to_global(batch, mesh)
    began = time.perf_counter()
    with jax.set_mesh(mesh):
        compiled = train_step.lower(state, batch, tables).compile()
    facts = {
        "config": c.name,
        "device": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
        "dtype": str(compute_dtype(c.dtype)),
        "attention": model.kernel,
        "parameters": count_parameters(c.model),
        "batch": cells,
        "tokens": tokens_of(c),
        "compile_s": time.perf_counter() - began,
        "planned_gb": report.planned_gb(compiled.memory_analysis()),
        "jax": jax.__version__,
    }
    return Ready(compiled, state, batch, tables, mesh, facts)


def speed(c, cells, seconds):
    """Cells per second, TFLOP/s of all devices, and MFU (None for a chip of unknown peak)."""
    peak = report.peak_tflops(jax.devices()[0].device_kind)
    flops = [training_flops(c.model, tokens_of(c), whole=whole) for whole in (True, False)]
    tflops, computed = (cells * f / seconds / 1e12 for f in flops)
    peak = peak * jax.device_count() if peak else None
    return {
        "seconds": seconds,
        "cells_per_s": cells / seconds,
        "tflops": tflops,
        "computed": computed,
        "mfu": tflops / peak if peak else None,
    }


def measure(c, cells, steps, say=None):
    """Compile and time a training step.

    Returns
    -------
    dict with seconds (median of three times ``steps`` in a row), cells_per_s, tflops, computed and
    mfu as ``speed`` has them, compile_s, planned_gb and peak_gb (of the fullest device, None where
    not known), loss, and the setting
    """
    made = ready(c, cells, say)
    _, loss, made = made.run(2)  # warms up
    times = []
    for _ in range(3):
        seconds, loss, made = made.run(steps)
        times.append(seconds)
    found = speed(c, cells, statistics.median(times))
    return {**made.facts, **found, "peak_gb": report.peak_gb(), "loss": loss}


def serve(c, cells, steps):
    """Be one side of `bench.turns`."""
    made = ready(c, cells)
    _, _, made = made.run(3)

    def turn():
        nonlocal made
        seconds, _, made = made.run(steps)
        return speed(c, cells, seconds)

    turns.serve({**made.facts, "peak_gb": report.peak_gb()}, turn)


def main(_):
    """Print the result as a table, and write it where asked."""
    report.plainly(_main, flags.FLAGS)


def _main(asked):
    report.check_folder(asked.json)
    c = config.settled(asked.config)
    config.check(c)
    if asked.peer:  # this process leaves the device to them
        sized = [f"--batch={asked.batch or 32}", f"--steps={asked.steps}"]
        ours = ["jaxcell.bench.step", "--serve", *sized]
        theirs = ["jaxcell.bench.torch_txfm", *sized]
        return peer.beside_torch(c, ours, theirs, asked.turns, asked.out, "training step")
    cells = asked.batch or 32 * jax.device_count()
    if asked.lengths:
        least = 1 + len(c.model.front or c.model.specials)
        numbers = lengths.whole_numbers(asked.lengths, least)
        rows = lengths.over_lengths(c, numbers, measure, asked.batch or 1, min(asked.steps, 3))
        return lengths.write(rows, c, jax.devices()[0].device_kind, asked.out or "lengths")
    if asked.serve:
        return serve(c, cells, asked.steps)
    if asked.store:
        result = end_to_end.measure(c, asked.store, cells, asked.steps)
    elif asked.profile:
        result = profile.measure(ready(c, cells, print), asked.profile)
    else:
        result = measure(c, cells, asked.steps, print)
    report.show(result)
    report.write(result, asked.json)


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", "configs/txfm_b.py", "the config to time")
    flags.DEFINE_integer("batch", 0, "cells of a step; 0: 32 a device")
    flags.DEFINE_integer("steps", 10, "timed steps in a row")
    flags.DEFINE_string("json", "", "also write the result there")
    flags.DEFINE_bool("peer", False, "set a plain PyTorch TxFM beside it, by turns")
    flags.DEFINE_integer("turns", 5, "of each side with --peer")
    flags.DEFINE_bool("serve", False, "be one side of --peer")
    flags.DEFINE_string("profile", "", "folder for an XProf trace of three steps")
    flags.DEFINE_string("store", "", "run the real pipeline over this store")
    flags.DEFINE_list("lengths", [], "compare one block of each encoder at these lengths instead")
    flags.DEFINE_string("out", "", "folder for the table and picture of --lengths or --peer")
    app.run(main)

"""What a training step costs on this machine.

    python -m jaxcell.bench.step --config=configs/txfm_b.py [--batch=32] [--config.dtype=bfloat16]

Synthetic batches of the config's shapes, so it needs nothing but what a training step imports.
--lengths=1024,4096,… compares one block of each encoder over the length of its sequences instead.
MFU = training FLOPs of a cell (3 × forward, matrix products, 2 a multiply-add, nothing recomputed
counted) × cells/s ÷ the chip's published dense bf16 peak.
"""

import json
import statistics
import sys
import time

import jax
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from jaxcell import config, sharding
from jaxcell.bench.lengths import over_lengths, write
from jaxcell.models.cell import count_parameters
from jaxcell.models.cost import training_flops
from jaxcell.training import optim
from jaxcell.training.shapes import batch_shapes, table_shapes, tokens_of
from jaxcell.training.step import compile_steps, compute_dtype, model_of

# Dense bf16 TFLOP/s by the vendors' datasheets; the first name that a device kind contains counts.
PEAKS = (
    ("H200", 989), ("H100", 989), ("A100", 312), ("L40S", 362), ("L4", 121),
    ("v6 lite", 918), ("v6e", 918), ("v5p", 459), ("v5 lite", 197), ("v5e", 197), ("v4", 275),
)  # fmt: skip


def peak_tflops(device_kind):
    """Published dense bf16 peak of a device kind in TFLOP/s; None when it is not in the table."""
    return next((peak for name, peak in PEAKS if name.lower() in device_kind.lower()), None)


def synthetic(c, rows, cells, seed=0):
    """A batch and tables of a config's shapes, as the pipeline would make them.

    Every gene is measured; each cell has counts in 4 096 genes (or a third of a small panel).
    """
    random = np.random.default_rng(seed)
    genes, specials = c.model.vocabulary, list(c.model.specials)
    front = [specials.index(name) for name in c.model.front or specials]
    s, tokens = len(front), tokens_of(c)
    number, nonzero = tokens - s, min(4096, genes // 3)
    ids = np.stack([random.permutation(genes)[: max(number, nonzero)] for _ in range(cells)])
    counts = random.geometric(0.5, (cells, nonzero)).astype(np.float32)

    def drawn(shape):
        return random.uniform(size=shape.shape).astype(shape.dtype)

    def zeros(shape):
        return np.zeros(shape.shape, shape.dtype)

    batch = jax.tree.map(zeros, batch_shapes(c, cells, nonzero))
    batch |= {k: jax.tree.map(drawn, batch[k]) for k in ("draws",) if k in batch}
    special = np.broadcast_to(genes + np.array(front, int), (cells, s))
    values = random.gamma(0.5, 1.0, (cells, tokens)).astype(np.float32)
    if "bin" in c.data.transforms:  # whole numbers, which are compared as classes
        values = np.minimum(np.floor(4 * values), c.data.bin.number - 1)
    if c.model.combine == "sum":
        values[:, :s] = -1.0 - np.array(front)
    batch |= {
        "ids": np.concatenate([special, ids[:, :number]], axis=1).astype(np.int32),
        "values": values,
        "length": np.full(cells, tokens, np.int32),
        "panel_ids": np.sort(ids[:, :nonzero]).astype(np.int32),
        "panel_counts": counts,
        "total": counts.sum(axis=1),
        "real": np.ones(cells, bool),
    }
    measured = (np.arange(rows) < genes)[None]
    tables = jax.tree.map(zeros, table_shapes(c))
    tables["leaves"] = {k: np.eye(len(t), dtype=bool) for k, t in tables["leaves"].items()}
    tables |= {
        "measured": measured,
        "mean": (0.1 * measured[0]).astype(np.float32),
        "mask_rate": np.full(rows, c.data.draw_masks.ratio, np.float32),
    }
    return batch, tables


def measure(c, cells, steps):
    """Compile and time a training step.

    Returns
    -------
    dict with cells_per_s, tflops (all devices), mfu (None for an unknown chip), seconds (median of
    ``steps``), compile_s, peak_gb (of the fullest device, None where not known) and the setting
    """
    mesh = sharding.make_mesh(c.mesh)
    model = model_of(c, say=print)
    batch, tables = synthetic(c, model.rows, cells)
    tokens = batch["ids"].shape[1]
    c.train.batch_size = cells
    # The schedule needs a length; it does not change what a step costs.
    optimizer = optim.build(c, 1000)
    state, train_step, _, tables = compile_steps(model, c, optimizer, mesh, tables)
    batch = sharding.to_global(batch, mesh)
    began = time.perf_counter()
    with jax.set_mesh(mesh):
        compiled = train_step.lower(state, batch, tables).compile()
    compile_s = time.perf_counter() - began
    plan = compiled.memory_analysis()
    times, found = [], None
    for _ in range(steps + 2):  # the first two warm up
        began = time.perf_counter()
        state, found = compiled(state, batch, tables)
        jax.block_until_ready(found)
        times.append(time.perf_counter() - began)
    seconds = statistics.median(times[2:])
    device, devices = jax.devices()[0], jax.device_count()
    tflops = cells * training_flops(c.model, tokens) / seconds / 1e12
    peak = peak_tflops(device.device_kind)
    memory = [(d.memory_stats() or {}).get("peak_bytes_in_use") for d in jax.local_devices()]
    return {
        "config": c.name,
        "device": f"{devices} × {device.device_kind}",
        "dtype": str(compute_dtype(c.dtype)),
        "parameters": count_parameters(c.model),
        "batch": cells,
        "tokens": tokens,
        "cells_per_s": cells / seconds,
        "tflops": tflops,
        "mfu": tflops / (peak * devices) if peak else None,
        "seconds": seconds,
        "compile_s": compile_s,
        "planned_gb": _planned(plan),
        "peak_gb": max(memory) / 1e9 if all(memory) else None,
        "loss": float(found["loss"]),
        "jax": jax.__version__,
    }


def _planned(plan):
    """What XLA plans to hold on a device during the step, in GB; None where it does not say."""
    if plan is None:
        return None
    held = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return (held + plan.temp_size_in_bytes) / 1e9


def _whole_numbers(texts, least):
    for text in texts:
        if not text.strip().isdecimal() or int(text) < least:
            sys.exit(f"error: --lengths: found {text!r}, expected tokens, {least} at least")
    return [int(text) for text in texts]


def main(_):
    """Print the result as a table, and write it as JSON where asked."""
    asked = flags.FLAGS
    c = config.settled(asked.config)
    config.check(c)
    if asked.lengths:
        lengths = _whole_numbers(asked.lengths, 1 + len(c.model.front or c.model.specials))
        rows = over_lengths(c, lengths, measure, asked.batch or 1, min(asked.steps, 3))
        return write(rows, c, jax.devices()[0].device_kind, asked.out or "lengths")
    result = measure(c, asked.batch or 32 * jax.device_count(), asked.steps)
    unknown = {"mfu": "unknown peak of this device", "peak_gb": "not told by this device"}
    for name, value in result.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        print(f"{name:>12}  {unknown[name] if value is None else shown}")
    if asked.json:
        with open(asked.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", "configs/txfm_b.py", "the config to time")
    flags.DEFINE_integer("batch", 0, "cells of a step; 0: 32 a device")
    flags.DEFINE_integer("steps", 10, "timed steps")
    flags.DEFINE_string("json", "", "also write the result there")
    flags.DEFINE_list("lengths", [], "compare one block of each encoder at these lengths instead")
    flags.DEFINE_string("out", "", "folder for the table and picture of --lengths")
    app.run(main)

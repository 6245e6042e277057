"""How many cells per second this machine embeds.

    python -m jaxcell.bench.embed --config=configs/txfm_b.py [--cells=512] [--config.dtype=bfloat16]

The path of `jaxcell embed` from tokens in the host's memory to vectors there; synthetic cells.
--peer sets a plain PyTorch TxFM beside it, by turns, with its cells on the device already.
"""

import time

import jax
from absl import app, flags
from ml_collections import config_flags

from jaxcell import config
from jaxcell.bench import peer, report, turns
from jaxcell.bench.synthetic import synthetic
from jaxcell.forward import Forward
from jaxcell.models.cell import CellModel
from jaxcell.models.cost import forward_flops
from jaxcell.training.machine import compute_dtype
from jaxcell.training.shapes import tokens_of


class Ready:
    """A compiled embedding with its cells; ``run`` embeds them all once."""

    def __init__(self, c, cells):
        model = CellModel(c.model)
        batch, tables = synthetic(c, model.rows, cells)
        self.c, self.cells = c, cells
        self.batch = {k: batch[k] for k in ("ids", "values", "length", "labels")}
        self.batch |= {k: batch[k] for k in ("flags",) if k in batch}
        self.variables = jax.jit(model.init)(jax.random.key(0))
        dtype = str(compute_dtype(c.dtype))
        self.forward = Forward(c, dtype=dtype, tables=tables)
        began = time.perf_counter()
        self.forward(self.variables, self.batch)
        self.facts = {
            "config": c.name,
            "device": f"1 × {jax.devices()[0].device_kind}",
            "dtype": dtype,
            "micro_batch": c.embed.micro_batch,
            "batch": cells,
            "tokens": tokens_of(c),
            "compile_s": time.perf_counter() - began,
            "jax": jax.__version__,
        }

    def run(self):
        """Seconds and speed of embedding all cells once."""
        began = time.perf_counter()
        self.forward(self.variables, self.batch)
        seconds = time.perf_counter() - began
        peak = report.peak_tflops(jax.devices()[0].device_kind)
        tflops = self.cells * forward_flops(self.c.model, tokens_of(self.c)) / seconds / 1e12
        return {
            "seconds": seconds,
            "cells_per_s": self.cells / seconds,
            "tflops": tflops,
            "mfu": tflops / peak if peak else None,
        }


def main(_):
    """Print the result as a table, and write it where asked."""
    report.plainly(_main, flags.FLAGS)


def _main(asked):
    report.check_folder(asked.json)
    c = config.settled(asked.config)
    config.check(c)
    if asked.peer:  # this process leaves the device to them
        ours = ["jaxcell.bench.embed", "--serve", f"--cells={asked.cells}"]
        theirs = ["jaxcell.bench.torch_txfm", "--work=embed", "--steps=8"]
        theirs.append(f"--batch={asked.peer_batch}")
        return peer.beside_torch(c, ours, theirs, asked.turns, asked.out, "embedding")
    made = Ready(c, asked.cells)
    made.run()
    if asked.serve:
        return turns.serve({**made.facts, "peak_gb": report.peak_gb()}, made.run)
    times = sorted((made.run() for _ in range(asked.turns)), key=lambda one: one["seconds"])
    middle = times[len(times) // 2]
    result = {**made.facts, **middle, "peak_gb": report.peak_gb()}
    report.show(result)
    report.write(result, asked.json)


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", "configs/txfm_b.py", "the config to time")
    flags.DEFINE_integer("cells", 512, "cells of a turn")
    flags.DEFINE_integer("peer_batch", 64, "cells of a batch of --peer's other side")
    flags.DEFINE_integer("turns", 5, "timed turns")
    flags.DEFINE_string("json", "", "also write the result there")
    flags.DEFINE_bool("peer", False, "set a plain PyTorch TxFM beside it, by turns")
    flags.DEFINE_bool("serve", False, "be one side of --peer")
    flags.DEFINE_string("out", "", "folder for --peer's JSON and picture")
    app.run(main)

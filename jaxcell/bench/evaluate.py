"""How long the papers' whole evaluation of one embedding takes on this machine, and its memory.

    python -m jaxcell.bench.evaluate --cells 100000 --dims 768 --seeds 3

Made-up vectors with planted labels and batches. Per seed: scIB's scores on a subsample of 10 000
cells (TxFM, B.2: distances, neighbours, Louvain and Leiden at ten resolutions, silhouettes, iLISI,
PCR), and a linear probe on all cells, a quarter of them held out by whole batches.
"""

import argparse
import time
from contextlib import contextmanager

import numpy as np

from jaxcell.bench.host import peak_gb
from jaxcell.bench.report import check_folder, plainly, write
from jaxcell.evaluation import scib_protocol
from jaxcell.evaluation.trained_probes import batch_split, fit_probe

LABELS, BATCHES = 30, 12
TRUE = 20  # dimensions that tell the labels apart


def planted(cells, dims, seed=0):
    """Vectors f32 [cells, dims], labels str [cells] and batches str [cells].

    Labels of unequal size lie around centres in a subspace of 20 dimensions, batches shift all
    dimensions a little, and there is noise in all.
    """
    random = np.random.default_rng(seed)
    weight = 1 / np.arange(2, LABELS + 2)
    label = random.choice(LABELS, cells, p=weight / weight.sum())
    batch = random.integers(0, BATCHES, cells)
    axes = np.linalg.qr(random.normal(size=(dims, min(TRUE, dims))))[0].T.astype(np.float32)
    centres = 1.3 * random.normal(size=(LABELS, len(axes))).astype(np.float32) @ axes
    shift = 0.2 * random.normal(size=(BATCHES, dims)).astype(np.float32)
    x = random.standard_normal((cells, dims), dtype=np.float32)
    x += centres[label]
    x += shift[batch]
    names = [np.array([f"{what} {i}" for i in range(n)])
             for what, n in (("type", LABELS), ("batch", BATCHES))]  # fmt: skip
    return x, names[0][label], names[1][batch]


def measure(cells, dims, seeds, subsample, say=print):
    """Evaluate a made-up embedding.

    Returns
    -------
    dict
        Seconds of the clock in all and per step, of all cores together (`cpu_s`: what others at
        work on the machine leave as it is), peak memory in GB; means over seeds of some scores.
    """
    x, labels, batch = planted(cells, dims)
    found, seconds, before = [], {}, time.process_time()

    @contextmanager
    def timed(step):
        start = time.perf_counter()
        yield
        seconds[step] = seconds.get(step, 0.0) + time.perf_counter() - start

    for seed in range(seeds):
        with timed("scib_s"):
            scores = scib_protocol.scib_scores(x, labels, batch, cells=subsample, seed=seed)
        with timed("probe_s"):
            probed = fit_probe(x, labels, batch_split(labels, batch, seed), seed=seed)
        found.append(scores | {"accuracy": probed.accuracy, "macro_f1": probed.macro_f1})
        shown = ", ".join(f"{step[:-2]} {value:.0f} s" for step, value in seconds.items())
        say(f"seed {seed}: so far {shown}; {peak_gb():.2f} GB")
    kept = ("nmi", "ari", "asw_label", "asw_batch", "asw_within", "pcr", "accuracy", "macro_f1")
    means = {name: float(np.mean([scores[name] for scores in found])) for name in kept}
    size = {"cells": cells, "dims": dims, "seeds": seeds, "subsample": subsample}
    cost = {"total_s": sum(seconds.values()), "cpu_s": time.process_time() - before}
    return size | seconds | cost | {"peak_gb": peak_gb()} | means


def main(asked=None):
    """Parse, measure, print."""
    p = argparse.ArgumentParser(prog="python -m jaxcell.bench.evaluate", description=__doc__)
    p.add_argument("--cells", type=int, default=100_000, help="of the embedding")
    p.add_argument("--dims", type=int, default=768, help="of the embedding")
    p.add_argument("--seeds", type=int, default=3, help="subsamples and probes")
    p.add_argument("--subsample", type=int, default=scib_protocol.CELLS, help="cells of each")
    p.add_argument("--json", help="write the result here")
    options = p.parse_args(asked)
    check_folder(options.json)
    if min(options.dims, options.seeds) < 1 or min(options.cells, options.subsample) < 1000:
        raise ValueError("--dims and --seeds: expected 1 or more, --cells and --subsample 1000")
    result = measure(options.cells, options.dims, options.seeds, options.subsample)
    show_table(result)
    write(result, options.json)


def show_table(result):
    """Print the numbers, one a line."""
    for name, value in result.items():
        print(f"{name:>12}  {value:.3f}" if isinstance(value, float) else f"{name:>12}  {value}")


if __name__ == "__main__":
    plainly(main, None)

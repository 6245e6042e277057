"""Whether the accelerator waits for data: training steps from a real store."""

import time

import jax

from jaxcell import sharding


def measure(c, store, cells, steps):
    """Time steps on one batch again and again, then on what the pipeline gives.

    Parameters
    ----------
    c : a settled config
    store : folder that `jaxcell prepare` wrote
    cells : of a step
    steps : of either

    Returns
    -------
    dict with step_s (a step alone), pipeline_s (a step with its batch from the store), busy (their
    ratio, the share of the time that the device works), waited_s (seconds a step that the host
    waited for a batch) and cells_per_s
    """
    # Only here: they need grain and array_record, which a step does not.
    from jaxcell.data.pipeline import iterate
    from jaxcell.training.loop import Run

    c.data.store, c.train.batch_size, c.steps = str(store), cells, 2 * steps + 4
    run = Run(c, "unused")
    batches = run._batches("train", start=0, stop=c.steps)
    print(f"{store}: {run.store.sizes['train']:,} cells, {cells} a step")

    def step(batch):
        run.state, found = run.train_step(run.state, batch, run.tables)
        return found

    waited, pending = 0.0, []
    reading = iterate(batches, workers=c.data.workers, threads=c.data.threads)
    with reading as stream, jax.set_mesh(run.mesh):
        batch = sharding.to_global(next(iter(stream)), run.mesh)
        for _ in range(3):
            jax.block_until_ready(step(batch))
        began = time.perf_counter()
        for _ in range(steps):
            last = step(batch)
        jax.block_until_ready(last)
        alone = (time.perf_counter() - began) / steps
        began = time.perf_counter()
        for _ in range(steps):
            asked = time.perf_counter()
            batch = next(stream)
            waited += time.perf_counter() - asked
            pending.append(step(sharding.to_global(batch, run.mesh)))
            jax.block_until_ready(pending[-2:][0])  # as the training loop does
        jax.block_until_ready(pending)
        piped = (time.perf_counter() - began) / steps
    return {
        "step_s": alone,
        "pipeline_s": piped,
        "busy": alone / piped,
        "waited_s": waited / steps,
        "cells_per_s": cells / piped,
    }

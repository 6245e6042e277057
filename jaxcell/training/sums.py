"""Sums of what a step finds of each batch, as validation and errors per gene take them."""

import jax
import numpy as np

from jaxcell import sharding
from jaxcell.data.pipeline import iterate
from jaxcell.progress import bar


def summed(batches, step, mesh, what, threads):
    """The sums over all batches of a tree that ``step(batch)`` returns, on the host in float64.

    In float32 a sum of many batches loses the last digits.

    mesh : on which the batches are laid; what : of the progress bar; threads : that read
    """
    sums = None
    with (
        bar(len(batches), what, "batch", leave=False) as shown,
        iterate(batches, threads=threads) as stream,
        jax.set_mesh(mesh),
    ):
        for batch in stream:
            found = step(sharding.to_global(batch, mesh))
            found = jax.tree.map(np.float64, jax.device_get(found))
            sums = found if sums is None else jax.tree.map(np.add, sums, found)
            shown.update()
    return sums

"""Losses and gradients of a batch, at once or in micro-batches.

Imports what ``step`` does. ``parts`` is ``step.make_parts``'s function; ``params`` and ``frozen``
are the two sides of ``optim.split``. B cells, A micro-batches.
"""

import jax
import jax.numpy as jnp

from jaxcell import sharding
from jaxcell.losses import total as losses
from jaxcell.training.optim import merge


def make_gradients(parts, c):
    """(params, frozen, batch_stats, batch, tables, key, progress) -> losses, batch_stats, grads.

    losses : {name: (numerator, denominator)}, of the whole batch; grads : of the weighted sum
    of their means, by ``params`` alone
    """
    return _accumulated(parts, c) if c.train.accumulate > 1 else _whole(parts, c)


def _whole(parts, c):
    def gradients(params, frozen, stats, batch, tables, key, progress=1.0):
        def objective(params):
            variables = {"params": merge(params, frozen), "batch_stats": stats}
            more = dict(rngs={"dropout": key}, progress=progress)
            found, new = parts(variables, batch, tables, train=True, **more)
            loss = losses.weighted(c.losses, found, progress, c.normalise_weights)
            return loss, (found, new)

        grads, (found, new) = jax.grad(objective, has_aux=True)(params)
        return found, new, grads

    return gradients


def _accumulated(parts, c):
    """One micro-batch after the other, in the memory of one.

    Numerators and denominators are summed over micro-batches before the one division, so the result
    is the whole batch's but for the order of summation. Denominators count what masks let through
    and do not depend on parameters: they are the whole batch's (XLA drops the model from that
    pass), and the gradients of the numerators are summed over them. Micro-batch i draws its
    stochastic depth from fold_in(key, i): with drop path a step is another draw than the whole
    batch's.
    """
    if any(one.get("kind") in losses.OF_PAIRS for one in c.losses.values()):
        raise ValueError(
            "config.train.accumulate: a loss over pairs of cells would see a micro-batch's alone; "
            "take 1"
        )

    def gradients(params, frozen, stats, batch, tables, key, progress=1.0):
        if jax.tree.leaves(stats):
            raise ValueError(
                "config.train.accumulate: this model keeps statistics of its batch, which would be "
                "a micro-batch's; take 1"
            )

        def compute(params, batch, key):
            variables = {"params": merge(params, frozen), "batch_stats": stats}
            more = dict(rngs={"dropout": key}, progress=progress)
            return parts(variables, batch, tables, train=True, **more)[0]

        def add(sums, one):
            i, batch = one

            def objective(params):
                found = compute(params, batch, jax.random.fold_in(key, i))
                found = {k: (n, counted[k]) for k, (n, _) in found.items()}
                loss = losses.weighted(c.losses, found, progress, c.normalise_weights)
                return loss, {k: n for k, (n, _) in found.items()}

            return jax.tree.map(jnp.add, sums, jax.grad(objective, has_aux=True)(params)), None

        counted = {k: d for k, (_, d) in compute(params, batch, key).items()}
        each = jnp.arange(c.train.accumulate), micro_batches(batch, c.train.accumulate)
        zeros = jax.tree.map(jnp.zeros_like, (params, counted))
        (grads, summed), _ = jax.lax.scan(add, zeros, each)
        return {k: (n, counted[k]) for k, n in summed.items()}, stats, grads

    return gradients


def micro_batches(batch, number):
    """[B, …] -> [A, B / A, …] with A = ``number``; row r goes to micro-batch r mod A.

    So each device keeps its rows and has its share of every micro-batch: nothing is exchanged.
    """

    def one(x):
        x = x.reshape(x.shape[0] // number, number, *x.shape[1:]).swapaxes(0, 1)
        return sharding.shard(x, None, "batch", *(None,) * (x.ndim - 2))

    return jax.tree.map(one, batch)

"""Softmax regression or an MLP on given vectors, trained as one compiled loop.

B cells of a batch, m training cells, d features, C classes.
"""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax


def predict(weights, x):
    """The place of each cell's most probable class, int [.]."""
    return np.asarray(_logits(weights, x).argmax(axis=1))


def _logits(weights, x, dropout=0.0, key=None):
    """Logits [B, C] of x [B, d]; dropout behind each hidden layer, where there is a key."""
    for i, layer in enumerate(weights):
        x = x @ layer["kernel"] + layer["bias"]
        if i < len(weights) - 1:
            x = jax.nn.relu(x)
            if key is not None and dropout:
                keep = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - dropout, x.shape)
                x = jnp.where(keep, x / (1 - dropout), 0.0)
    return x


def _initial(key, sizes):
    """He's draw for hidden layers and zeros for the last: at first every class is alike."""
    draw, weights = jax.nn.initializers.he_normal(), []
    for i, shape in enumerate(pairwise(sizes)):
        hidden = i < len(sizes) - 2
        kernel = draw(jax.random.fold_in(key, i), shape) if hidden else jnp.zeros(shape)
        weights.append({"kernel": kernel, "bias": jnp.zeros((1, shape[1]))})
    return weights


def _batches(key, m, most):
    """An epoch's batches, of equal size: cells int [steps, B], whether each counts, and keys.

    The last one is filled up with cells that do not count.
    """
    steps = -(-m // most)
    size = -(-m // steps)
    order, drop = jax.random.split(key)
    at = jnp.pad(jax.random.permutation(order, m), (0, steps * size - m))
    counts = (jnp.arange(steps * size) < m).astype(jnp.float32)
    return at.reshape(steps, size), counts.reshape(steps, size), jax.random.split(drop, steps)


@partial(jax.jit, static_argnames=("classes", "how"))
def fit(x, y, valid_x, valid_y, rate, seed, *, classes, how):
    """Train at one rate until the validation loss falls no more.

    Parameters
    ----------
    x, valid_x : float32 [m, d], [., d]
    y, valid_y : int [m], [.]
    rate : float; seed : int
    classes : int
    how : Training

    Returns
    -------
    list of {'kernel' [., .], 'bias' [1, .]}, float, int
        The weights of the least validation loss, that loss, and its epoch, from 1 on; of a loss
        that was never a number: what training began with, infinity, 0.
    """
    adam = optax.adamw(rate, weight_decay=how.weight_decay)
    plateau = optax.contrib.reduce_on_plateau(how.factor, how.plateau)
    start, going = jax.random.split(jax.random.key(seed))

    def loss(weights, x, y, counts, key=None):
        logits = _logits(weights, x, how.dropout, key)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return jnp.sum(each * counts) / jnp.sum(counts)

    def step(carry, batch):
        weights, state, scale = carry
        at, counts, key = batch
        grads = jax.grad(loss)(weights, x[at], y[at], counts, key)
        updates, state = adam.update(grads, state, weights)
        updates = jax.tree.map(lambda u: scale * u, updates)
        return (optax.apply_updates(weights, updates), state, scale), None

    def epoch(now):
        batches = _batches(jax.random.fold_in(going, now["epoch"]), len(x), how.batch)
        carry = now["weights"], now["adam"], now["plateau"].scale
        (weights, state, _), _ = jax.lax.scan(step, carry, batches)
        seen = loss(weights, valid_x, valid_y, jnp.ones(len(valid_y)))
        better = seen < now["loss"]
        # optax counts calls: it is called once an epoch, and the steps take its scale themselves.
        _, slower = plateau.update(weights, now["plateau"], value=seen)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), weights, now["best"])
        return {
            **{"weights": weights, "adam": state, "plateau": slower, "epoch": now["epoch"] + 1},
            **{"best": best, "loss": jnp.where(better, seen, now["loss"])},
            "at": jnp.where(better, now["epoch"] + 1, now["at"]),
        }

    def go_on(now):
        return (now["epoch"] < how.most_epochs) & (now["epoch"] - now["at"] < how.patience)

    weights, zero = _initial(start, (x.shape[1], *how.widths, classes)), jnp.int32(0)
    first = {
        **{"weights": weights, "adam": adam.init(weights), "plateau": plateau.init(weights)},
        **{"epoch": zero, "best": weights, "loss": jnp.float32(jnp.inf), "at": zero},
    }
    last = jax.lax.while_loop(go_on, epoch, first)
    return last["best"], last["loss"], last["at"]

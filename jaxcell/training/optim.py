"""The optimizer and its schedule."""

import re

import jax
import optax

from jaxcell.sharding import path_of


def one_cycle(c, steps):
    """Step → learning rate: cosine up over ``warmup`` of the steps, cosine down to nearly 0.

    Starts at 1/25 of the top and ends at 1/250 000 (torch's and optax's defaults for one cycle).
    """
    o = c.optimizer
    return optax.cosine_onecycle_schedule(steps, o.learning_rate, pct_start=o.warmup)


def weight_decay(c, steps):
    """The decay of the config, or the paper's 1 / (lr · steps) (TxFM, Table 6)."""
    o = c.optimizer
    return 1 / (o.learning_rate * steps) if o.weight_decay is None else o.weight_decay


def adamw(c, steps):
    """AdamW over one cycle; only parameters whose path matches ``optimizer.decayed`` decay."""
    o = c.optimizer

    def decayed(params):
        return jax.tree_util.tree_map_with_path(
            lambda keys, _: re.search(o.decayed, path_of(keys)) is not None, params
        )

    return optax.adamw(
        one_cycle(c, steps),
        b1=o.b1,
        b2=o.b2,
        eps=o.eps,
        weight_decay=weight_decay(c, steps),
        mask=decayed,
    )

"""The optimizer and its schedule."""

import re

import jax
import jax.numpy as jnp
import optax

from jaxcell.sharding import path_of
from jaxcell.training import lora


def one_cycle(c, steps):
    """Step → learning rate: cosine up over ``warmup`` of the steps, cosine down to nearly 0.

    Starts at 1/25 of the top and ends at 1/250 000 (torch's and optax's defaults for one cycle).
    """
    o = c.optimizer
    return optax.cosine_onecycle_schedule(steps, o.learning_rate, pct_start=o.warmup)


def schedule(c, steps, epoch=0):
    """Step → learning rate, as ``optimizer.schedule`` says.

    Parameters
    ----------
    c : config
    steps : of the run
    epoch : steps of an epoch, at whose ends the schedule 'step' lowers the rate; 0: steps / epochs
    """
    o = c.optimizer
    if o.schedule == "one_cycle":
        return one_cycle(c, steps)
    rise = min(o.warmup_steps or round(o.warmup * steps), steps)
    rest, top = max(steps - rise, 1), o.learning_rate
    behind = {
        "constant": lambda: optax.constant_schedule(top),
        "linear": lambda: optax.linear_schedule(top, 0.0, rest),
        "cosine": lambda: optax.cosine_decay_schedule(top, rest),
        "step": lambda: _stairs(c, steps, epoch, rise),
    }[o.schedule]()
    if not rise:
        return behind
    return optax.join_schedules([optax.linear_schedule(0.0, top, rise), behind], [rise])


def short_of_warmup(c, steps):
    """A line where a run of so many steps ends before its learning rate has come down; or ''."""
    o = c.optimizer
    if o.schedule == "one_cycle" or o.warmup_steps <= steps // 2:
        return ""
    return (
        f"config.optimizer.warmup_steps: for {o.warmup_steps} of this run's {steps} steps the "
        "learning rate rises: more epochs, or a shorter warm-up"
    )


def _stairs(c, steps, epoch, rise):
    """Behind the warm-up: the top times ``decay`` for every ``decay_steps`` since the run began."""
    o = c.optimizer
    every = o.decay_steps or epoch or max(round(steps / max(c.epochs, 1)), 1)
    return lambda step: o.learning_rate * o.decay ** ((step + rise) // every)


def weight_decay(c, steps):
    """The decay of the config, or the paper's 1 / (lr · steps) (TxFM, Table 6)."""
    o = c.optimizer
    return 1 / (o.learning_rate * steps) if o.weight_decay is None else o.weight_decay


def build(c, steps, epoch=0):
    """AdamW or Adam on its schedule; see ``schedule`` for the arguments.

    Only parameters whose path matches ``optimizer.decayed`` decay: AdamW's by themselves, Adam's
    because weight_decay · θ joins the gradient before the moments, as in torch.optim.Adam. With
    ``optimizer.clip`` gradients are scaled down to that norm, over all parameters, first (torch
    adds 1e-6 to their norm).

    With ``optimizer.moments`` 'bfloat16' the first moment is kept in bfloat16, 2 bytes a parameter
    less. The second stays in float32: a step moves it by (1 - b2) = 0.1 % of what is new, and
    bfloat16 tells numbers 0.4 % apart from each other, so that it would come to a stand wherever
    the gradients' squares fall slowly. The first moves by (1 - b1) = 10 %.
    """
    o = c.optimizer

    def decayed(params):
        return jax.tree_util.tree_map_with_path(
            lambda keys, _: re.search(o.decayed, path_of(keys)) is not None, params
        )

    rate, decay = schedule(c, steps, epoch), weight_decay(c, steps)
    moments = {"b1": o.b1, "b2": o.b2, "eps": o.eps}
    if o.kind == "adam":
        penalty = optax.add_decayed_weights(decay, mask=decayed)
        steps_of = optax.chain(penalty, optax.adam(rate, **moments))
    else:
        steps_of = optax.adamw(rate, **moments, weight_decay=decay, mask=decayed)
    steps_of = _with_narrow_mu(steps_of) if o.moments == "bfloat16" else steps_of
    return optax.chain(optax.clip_by_global_norm(o.clip), steps_of) if o.clip else steps_of


def _with_narrow_mu(inner):
    """An optimizer whose first moment ``mu`` is bfloat16 between steps, and not within one.

    optax's own ``mu_dtype`` rounds b1 to bfloat16 as well, 0.9 to 0.8984: moments 1.6 % too small.
    """

    def cast(state, dtype):
        mu = optax.tree_utils.tree_get(state, "mu")
        return optax.tree_utils.tree_set(state, mu=jax.tree.map(lambda x: x.astype(dtype), mu))

    def update(updates, state, params=None):
        found, state = inner.update(updates, cast(state, jnp.float32), params)
        return found, cast(state, jnp.bfloat16)

    return optax.GradientTransformation(
        lambda params: cast(inner.init(params), jnp.bfloat16), update
    )


def split(params, frozen):
    """Parameters that train, and those whose path matches the regex ``frozen`` ('' freezes none).

    Low-rank updates (`training.lora`) always train.

    Returns
    -------
    trained, held : nested dicts that ``merge`` puts together again

    Raises
    ------
    ValueError
        When ``frozen`` is no regex, or matches no parameter or all of them.
    """
    if not frozen:
        return params, {}
    try:
        pattern = re.compile(frozen)
    except re.error as error:
        raise ValueError(
            f"config.optimizer.frozen: {frozen!r} is no regex: {error}; write one that names "
            "parameters, as encoder/"
        ) from None
    updates = {lora.ROOM: params[lora.ROOM]} if lora.ROOM in params else {}
    params = {k: v for k, v in params.items() if k != lora.ROOM}
    paths = [path_of(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(params)]
    matched = sum(pattern.search(path) is not None for path in paths)
    if matched == 0 or (matched == len(paths) and not updates):
        raise ValueError(
            f"config.optimizer.frozen: {frozen!r} matches {'every' if matched else 'no'} "
            f"parameter; there are {', '.join(paths)}"
        )
    trained, held = (_only(params, pattern, side, "") or {} for side in (False, True))
    return {**trained, **updates}, held


def _only(tree, pattern, side, above):
    """The part of a nested dict whose paths match (``side``) or do not; no empty dicts."""
    if not isinstance(tree, dict):
        return tree if (pattern.search(above[:-1]) is not None) == side else None
    parts = {k: _only(v, pattern, side, f"{above}{k}/") for k, v in tree.items()}
    return {k: v for k, v in parts.items() if v is not None} or None


def merge(a, b):
    """One nested dict of two that share no leaf."""
    both = {k: merge(a[k], b[k]) for k in a.keys() & b.keys()}
    return {**a, **b, **both}


def describe(params, frozen):
    """How many parameters train under ``optimizer.frozen``, padded gene rows included."""
    trained, held = (sum(x.size for x in jax.tree.leaves(p)) for p in split(params, frozen))
    return f"frozen: {trained:,} of {trained + held:,} parameters train (padded gene rows included)"

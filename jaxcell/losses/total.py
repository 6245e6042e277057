"""Losses as data: each spec names a kind and the paths of what it compares.

B cells; a path starts at ``heads.<name>``, ``cell``, ``tokens``, ``batch.`` or ``tables.``.
"""

import inspect

import jax.numpy as jnp

from jaxcell.losses.expression import mse, nb, poisson_log1p, smooth_l1, zinb
from jaxcell.registry import lookup

LOSSES = {
    "poisson_log1p": poisson_log1p,
    "mse": mse,
    "smooth_l1": smooth_l1,
    "nb": nb,
    "zinb": zinb,
}
FIELDS = ("kind", "pred", "target", "where", "reduce", "weight")  # of every spec


def _sum_then_mean(values, where, real):
    """Sum over a cell's entries, mean over cells (TxFM): values, where [B, …], real [B]."""
    per_cell = jnp.where(where, values, 0).reshape(values.shape[0], -1).sum(axis=1)
    return jnp.where(real, per_cell, 0).sum(), real.sum()


REDUCE = {"sum_then_mean": _sum_then_mean}


def total(spec, outputs, batch, tables):
    """Every loss of a config as a numerator and a denominator.

    Both are summed over devices and batches before the one division, so that a mean does not
    depend on how the cells were split. A mask that is all False gives 0.

    Parameters
    ----------
    spec : the config's ``losses``: name → {kind, pred, target, where, reduce, weight} and, by the
        names of the kind's own arguments, the paths of its further inputs or plain numbers
    outputs : what ``CellModel.apply`` returned
    batch : the batch, with panel [B, R] and measured [B, R] where a path names them
    tables : masks and statistics

    Returns
    -------
    dict of name to (numerator [], denominator []), in at least float32
    """
    tree = {**outputs, "batch": batch, "tables": tables}
    parts = {}
    for name, one in spec.items():
        where = f"config.losses.{name}"
        pred = resolve(tree, one["pred"], f"{where}.pred")
        target = resolve(tree, one["target"], f"{where}.target")
        mask = resolve(tree, one["where"], f"{where}.where")
        if pred.ndim < target.ndim:  # one prediction for all cells, from a table
            pred = jnp.broadcast_to(pred, target.shape)
        loss = lookup(LOSSES, one["kind"], f"{where}.kind")
        further = _further(loss, one, tree, where)
        real = batch["real"].reshape((-1,) + (1,) * (mask.ndim - 1))
        counted = mask & real
        pred, target = _blank(pred, counted), _blank(target, counted)
        values = loss(pred, target, **{k: _blank(v, counted) for k, v in further.items()})
        reduce = lookup(REDUCE, one["reduce"], f"{where}.reduce")
        numerator, denominator = reduce(values, mask, batch["real"])
        parts[name] = (numerator, denominator.astype(numerator.dtype))
    return parts


def _blank(x, counted):
    """0 where nothing is compared: what may lie there reaches neither the loss nor a gradient."""
    return jnp.where(counted, x, 0) if jnp.shape(x) == counted.shape else x


def _further(loss, one, tree, where):
    """What a loss takes beside prediction and target: {argument: array or number}."""
    kind, takes = one["kind"], list(inspect.signature(loss).parameters)[2:]
    given = [name for name in one if name not in FIELDS]
    unknown = [name for name in given if name not in takes]
    if unknown:
        known = ", ".join(takes) or "nothing"
        raise ValueError(
            f"{where}: beside {', '.join(FIELDS)} {kind!r} takes {known}; not {', '.join(unknown)}"
        )
    missing = [name for name in takes if name not in given]
    if missing:
        raise ValueError(f"{where}: {kind!r} takes {', '.join(takes)}; add {', '.join(missing)}")
    found = {}
    for name in given:
        value = one[name]
        if not isinstance(value, str | int | float):
            raise ValueError(f"{where}.{name}: found {value!r}, expected a path or a number")
        is_path = isinstance(value, str)
        found[name] = resolve(tree, value, f"{where}.{name}") if is_path else value
    return found


def divide(parts):
    """{name: (numerator, denominator)} -> {name: mean}; nothing counted gives 0."""
    return {k: n / jnp.maximum(d, 1) for k, (n, d) in parts.items()}


def weighted(spec, means):
    """The loss to minimise: Σ weight · mean; a loss of weight 0 is shown, not trained on."""
    return sum(one["weight"] * means[k] for k, one in spec.items() if one["weight"])


def resolve(tree, path, where):
    """The array at a dotted path; an unknown step lists what there is."""
    at = tree
    for step in path.split("."):
        if not isinstance(at, dict) or step not in at:
            known = ", ".join(sorted(at)) if isinstance(at, dict) else "an array"
            raise ValueError(f"{where}: {path!r} has no {step!r}; there is {known}")
        at = at[step]
    return at

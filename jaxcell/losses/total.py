"""Losses as data: each spec names a kind and the paths of what it compares.

B cells; a path starts at ``heads.<name>``, ``cell``, ``tokens``, ``batch.`` or ``tables.``.
"""

import jax.numpy as jnp

from jaxcell.losses.expression import poisson_log1p
from jaxcell.registry import lookup

LOSSES = {"poisson_log1p": poisson_log1p}


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
    spec : the config's ``losses``: name → {kind, pred, target, where, reduce, weight}
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
        values = lookup(LOSSES, one["kind"], f"{where}.kind")(pred, target)
        reduce = lookup(REDUCE, one["reduce"], f"{where}.reduce")
        numerator, denominator = reduce(values, mask, batch["real"])
        parts[name] = (numerator, denominator.astype(numerator.dtype))
    return parts


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

"""Losses as data: each spec names a kind and the paths of what it compares.

B cells; a path starts at ``heads.<name>``, ``cell``, ``tokens``, ``batch.`` or ``tables.``.
"""

import inspect

import jax.numpy as jnp

from jaxcell.losses.expression import is_zero, mae, mse, nb, poisson_log1p, smooth_l1, zinb
from jaxcell.losses.labels import (
    binary_cross_entropy,
    cross_entropy,
    focal,
    hierarchical_cross_entropy,
    independent_sigmoids,
)
from jaxcell.registry import lookup

LOSSES = {
    "poisson_log1p": poisson_log1p,
    "mse": mse,
    "mae": mae,
    "smooth_l1": smooth_l1,
    "nb": nb,
    "zinb": zinb,
    "is_zero": is_zero,
    "cross_entropy": cross_entropy,
    "focal": focal,
    "hierarchical": hierarchical_cross_entropy,
    "independent_sigmoids": independent_sigmoids,
    "binary_cross_entropy": binary_cross_entropy,
}
BY_CLASS = ("cross_entropy", "focal", "hierarchical", "independent_sigmoids")  # [B, n] to [B]
# Of every spec; ``after``: the share of the steps from which on the loss is trained on.
FIELDS = ("kind", "pred", "target", "where", "reduce", "weight", "after")


def _sum_then_mean(values, where, real):
    """Sum over a cell's entries, mean over cells (TxFM): values, where [B, …], real [B]."""
    per_cell = jnp.where(where, values, 0).reshape(values.shape[0], -1).sum(axis=1)
    return jnp.where(real, per_cell, 0).sum(), real.sum()


def _masked_mean(values, where, real):
    """Mean over all entries of all cells that the mask lets through (scFormer, BMFM-RNA)."""
    where = where & real.reshape((-1,) + (1,) * (where.ndim - 1))
    return jnp.where(where, values, 0).sum(), where.sum()


def _batch_mean(values, where, real):
    """Sum over the entries that the mask lets through, divided by all cells (HCE)."""
    return _masked_mean(values, where, real)[0], real.sum()


REDUCE = {
    "sum_then_mean": _sum_then_mean,
    "masked_mean": _masked_mean,
    "batch_mean": _batch_mean,
}


def total(spec, outputs, batch, tables):
    """Every loss of a config as a numerator and a denominator.

    Both are summed over devices and batches before the one division, so that a mean does not
    depend on how the cells were split. A mask that is all False gives 0.

    Parameters
    ----------
    spec : the config's ``losses``: name → {kind, pred, target, where, reduce, weight} and, by the
        names of the kind's own arguments, the paths of its further inputs or plain numbers.
        ``where`` is a path or several, of which all must hold: of a mask, of numbers (above 0) or
        of class codes (known, not −1); 'not PATH' negates.
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
        loss = lookup(LOSSES, one["kind"], f"{where}.kind")
        by_class = one["kind"] in BY_CLASS
        if pred.ndim < target.ndim:  # one prediction for all cells, from a table
            pred = jnp.broadcast_to(pred, target.shape)
        elif not by_class and pred.shape != target.shape:
            raise ValueError(f"{where}: pred has the shape {pred.shape}, target {target.shape}")
        mask = _mask(tree, one["where"], target.shape, f"{where}.where")
        further = _further(loss, one, tree, where)
        real = batch["real"].reshape((-1,) + (1,) * (mask.ndim - 1))
        counted = mask & real
        if by_class:  # −1 gives 0, in value and gradient
            target = jnp.where(counted, target, -1)
            shape, target, pred = target.shape, target.ravel(), pred.reshape(-1, pred.shape[-1])
            values = loss(pred, target, **further).reshape(shape)
        else:
            pred, target = _blank(pred, counted), _blank(target, counted)
            values = loss(pred, target, **{k: _blank(v, counted) for k, v in further.items()})
        reduce = lookup(REDUCE, one["reduce"], f"{where}.reduce")
        numerator, denominator = reduce(values, mask, batch["real"])
        parts[name] = (numerator, denominator.astype(numerator.dtype))
    return parts


def paths_of(spec):
    """Every path that a config's losses name."""
    for one in spec.values():
        where = one["where"]
        yield from (one["pred"], one["target"])
        yield from (w.removeprefix("not ") for w in ((where,) if isinstance(where, str) else where))


def _mask(tree, paths, shape, where):
    """Where every one of ``paths`` lets through: bool of ``shape``."""
    mask = jnp.ones((1,) * len(shape), bool)
    for path in (paths,) if isinstance(paths, str) else paths:
        x = resolve(tree, path.removeprefix("not "), where)
        if x.dtype != bool:
            x = x >= 0 if jnp.issubdtype(x.dtype, jnp.integer) else x > 0
        x = x.reshape(x.shape + (1,) * (len(shape) - x.ndim))  # of cells, for all their entries
        mask = mask & (~x if path.startswith("not ") else x)
    return jnp.broadcast_to(mask, shape)


def _blank(x, counted):
    """0 where nothing is compared: what may lie there reaches neither the loss nor a gradient."""
    return jnp.where(counted, x, 0) if jnp.shape(x) == counted.shape else x


def _further(loss, one, tree, where):
    """What a loss takes beside prediction and target: {argument: array or number}."""
    kind, takes = one["kind"], list(inspect.signature(loss).parameters.values())[2:]
    names = [p.name for p in takes]
    given = [name for name in one if name not in FIELDS]
    unknown = [name for name in given if name not in names]
    if unknown:
        known = ", ".join(names) or "nothing"
        raise ValueError(
            f"{where}: beside {', '.join(FIELDS)} {kind!r} takes {known}; not {', '.join(unknown)}"
        )
    missing = [p.name for p in takes if p.default is p.empty and p.name not in given]
    if missing:
        raise ValueError(f"{where}: {kind!r} takes {', '.join(names)}; add {', '.join(missing)}")
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
    return {k: n / (d + (d == 0)) for k, (n, d) in parts.items()}


def weighted(spec, parts, progress=1.0, normalise=False):
    """The loss to minimise: Σ weight · mean; a loss of weight 0 is shown, not trained on.

    parts : {name: (numerator, denominator)}, of the whole batch
    progress : share of the steps that is done, [] or a number: a loss counts once it has reached
        its ``after``; validation takes 1, so that its loss is the same quantity throughout
    normalise : divide by the weights of the losses that count (BMFM-RNA); one of which the batch
        has nothing to count, as a focal loss without any known label, does not. ``batch_mean``
        counts all cells, and so always does.
    """
    loss, weights, means = 0.0, 0.0, divide(parts)
    for name, one in spec.items():
        if one["weight"]:
            after = one.get("after", 0.0)
            weight = one["weight"] * (progress >= after) if after else one["weight"]
            loss = loss + weight * means[name]
            weights = weights + weight * (parts[name][1] > 0)
    return loss / (weights + (weights == 0)) if normalise else loss


def resolve(tree, path, where):
    """The array at a dotted path; an unknown step lists what there is."""
    at = tree
    for step in path.split("."):
        if not isinstance(at, dict) or step not in at:
            known = ", ".join(sorted(at)) if isinstance(at, dict) else "an array"
            raise ValueError(f"{where}: {path!r} has no {step!r}; there is {known}")
        at = at[step]
    if isinstance(at, dict):
        raise ValueError(f"{where}: {path!r} has several parts: {', '.join(sorted(at))}")
    return at

"""Losses as data: each spec names a kind and the paths of what it compares.

B cells; a path starts at ``heads.<name>``, ``cell``, ``tokens``, ``again.`` (a second pass with
other dropout), ``batch.`` or ``tables.``.
"""

import inspect

import jax.numpy as jnp

from jaxcell.losses.cells import contrastive, elastic, margin
from jaxcell.losses.expression import (
    is_nonzero,
    is_zero,
    mae,
    mse,
    nb,
    poisson_log1p,
    relative_error,
    smooth_l1,
    zinb,
)
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
    "relative_error": relative_error,
    "nb": nb,
    "zinb": zinb,
    "is_zero": is_zero,
    "is_nonzero": is_nonzero,
    "cross_entropy": cross_entropy,
    "focal": focal,
    "hierarchical": hierarchical_cross_entropy,
    "independent_sigmoids": independent_sigmoids,
    "binary_cross_entropy": binary_cross_entropy,
    "elastic": elastic,
    "margin": margin,
    "contrastive": contrastive,
}
BY_CLASS = ("cross_entropy", "focal", "hierarchical", "independent_sigmoids")  # [B, n] to [B]
EXCLUSIVE = ("cross_entropy", "focal")  # their targets are rows of the logits themselves
# Of the vectors of a batch's cells, and what stands for a target: None where there is none.
OF_PAIRS = {"elastic": None, "margin": "label", "contrastive": "again"}
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
    depend on how the cells were split (but for losses over pairs, which batches divide). A mask
    that is all False gives 0.

    Parameters
    ----------
    spec : the config's ``losses``: name → {kind, pred, target, where, reduce, weight} and, by the
        names of the kind's own arguments, the paths of its further inputs or plain numbers.
        ``where`` is a path or several, of which all must hold: of a mask, of numbers (above 0) or
        of class codes (known, not −1); 'not PATH' negates. A loss over pairs of cells may leave
        ``where`` out, masks cells by it, and is the mean over all pairs (contrastive: cells) that
        are left, whether ``reduce`` says masked_mean or nothing.
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
        loss = lookup(LOSSES, one["kind"], f"{where}.kind")
        of = _of_pairs if one["kind"] in OF_PAIRS else _of_entries
        numerator, denominator = of(loss, one, tree, where)
        parts[name] = (numerator, denominator.astype(numerator.dtype))
    return parts


def _of_entries(loss, one, tree, where):
    """Numerator and denominator of a loss of one entry or cell at a time."""
    pred = resolve(tree, one["pred"], f"{where}.pred")
    target = resolve(tree, one["target"], f"{where}.target")
    by_class, real = one["kind"] in BY_CLASS, tree["batch"]["real"]
    if pred.ndim < target.ndim:  # one prediction for all cells, from a table
        pred = jnp.broadcast_to(pred, target.shape)
    elif (pred.shape[:-1] if by_class else pred.shape) != target.shape:
        raise ValueError(f"{where}: pred has the shape {pred.shape}, target {target.shape}")
    mask = mask_of(tree, one["where"], target.shape, f"{where}.where")
    further = _further(loss, 2, one, tree, where)
    counted = mask & real.reshape((-1,) + (1,) * (mask.ndim - 1))
    if by_class:  # −1 gives 0, in value and gradient
        target = jnp.where(counted, _codes(target, one["kind"], where), -1)
        shape, target, pred = target.shape, target.ravel(), pred.reshape(-1, pred.shape[-1])
        values = loss(pred, target, **further).reshape(shape)
    else:
        pred, target = _blank(pred, counted), _blank(target, counted)
        values = loss(pred, target, **{k: _blank(v, counted) for k, v in further.items()})
    reduce = lookup(REDUCE, one["reduce"], f"{where}.reduce")
    return reduce(values, mask, real)


def _of_pairs(loss, one, tree, where):
    """Numerator and denominator of a loss over pairs of the batch's cells."""
    x, name = resolve(tree, one["pred"], f"{where}.pred"), OF_PAIRS[one["kind"]]
    if x.ndim != 2:
        raise ValueError(f"{where}: pred has the shape {x.shape}, expected a vector of each cell")
    if ("target" in one) != (name is not None):
        wanted = f"a target, its {name}" if name else "no target"
        raise ValueError(f"{where}: {one['kind']!r} takes {wanted}")
    if (reduce := one.get("reduce", "masked_mean")) != "masked_mean":
        raise ValueError(f"{where}.reduce: found {reduce!r}, expected masked_mean or none")
    compared = [resolve(tree, one["target"], f"{where}.target")] if name else []
    for target in compared:
        if target.shape != (x.shape if name == "again" else x.shape[:1]):
            raise ValueError(f"{where}: pred has the shape {x.shape}, target {target.shape}")
    counted = mask_of(tree, one.get("where", ()), x.shape[:1], f"{where}.where")
    further = _further(loss, 2 + len(compared), one, tree, where)
    values, counts = loss(x, *compared, counted & tree["batch"]["real"], **further)
    return jnp.where(counts, values, 0).sum(), counts.sum()


def _codes(target, kind, where):
    """Class codes i32; whole numbers in floating point are bins.

    What is no whole number becomes a code beyond all classes, of which the loss is NaN: log counts
    that no transform has binned stop the run.
    """
    if jnp.issubdtype(target.dtype, jnp.integer):
        return target
    if kind not in EXCLUSIVE:
        raise ValueError(f"{where}.target: found {target.dtype}, expected class codes for {kind!r}")
    beyond = jnp.iinfo(jnp.int32).max
    return jnp.where(target == jnp.floor(target), target, beyond).astype(jnp.int32)


def paths_of(spec):
    """Every path that a config's losses compare or mask by."""
    for one in spec.values():
        yield from (one[field] for field in ("pred", "target") if field in one)
        where = one.get("where", ())
        yield from (w.removeprefix("not ") for w in ((where,) if isinstance(where, str) else where))


def labels_read(spec):
    """{label: name of a loss}: labels that a config's losses compare with or mask by."""
    found = {}
    for name, one in spec.items():
        for path in paths_of({name: one}):
            if path.startswith("batch.labels."):
                found[path.removeprefix("batch.labels.")] = name
    return found


def mask_of(tree, paths, shape, where):
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


def _further(loss, compared, one, tree, where):
    """What a loss takes behind so many arrays that it compares: {argument: array or number}."""
    kind, takes = one["kind"], list(inspect.signature(loss).parameters.values())[compared:]
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

"""Low-rank updates of chosen kernels, which themselves stay as they are (Hu et al. 2021, LoRA).

Imports what ``step`` does. L stacked blocks, I inputs, O outputs of a kernel, r its rank. A kernel
W [L, I …, O …] counts as W + (alpha / r) · a · b, with a [L, I, r] and b [L, r, O] in
``params['lora']`` below W's own path. ``model/`` holds the sums, and so is a model like any other.
"""

import math
import re

import jax
import jax.numpy as jnp

from jaxcell.sharding import path_of

ROOM = "lora"


def add(params, key, lora):
    """Parameters with low-rank updates beside them: a drawn, b zero, and so no change at first.

    params : nested dict; lora : the config's ``train.lora``. Rank 0 adds nothing

    Raises
    ------
    ValueError
        ``paths`` is no regex, or matches no kernel.
    """
    if not lora.rank:
        return params
    try:
        pattern = re.compile(lora.paths)
    except re.error as error:
        raise ValueError(f"config.train.lora.paths: {lora.paths!r} is no regex: {error}") from None
    found, kernels = {}, {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = path_of(keys)
        if path.endswith("kernel") and leaf.ndim > 1:
            kernels[path] = leaf
    chosen = [path for path in sorted(kernels) if pattern.search(path)]
    if not chosen:
        raise ValueError(
            f"config.train.lora.paths: {lora.paths!r} matches no kernel; there are "
            f"{', '.join(sorted(kernels))}"
        )
    for number, path in enumerate(chosen):
        stack, inputs, outputs = sides(path, kernels[path].shape)
        draw = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", batch_axis=0)
        a = draw(jax.random.fold_in(key, number), (max(stack, 1), inputs, lora.rank))
        b = jnp.zeros((max(stack, 1), lora.rank, outputs))
        at = found
        for step in path.split("/"):
            at = at.setdefault(step, {})
        at["a"], at["b"] = a, b
    return {**params, ROOM: found}


def sides(path, shape):
    """(blocks in the stack or 0, inputs, outputs) of a kernel, its axes of either kind as one."""
    stack = shape[0] if re.search(r"encoder/(blocks|first)/", path) else 0
    rest = shape[1:] if stack else shape
    split = -1 if path.endswith("attention/out/kernel") else 1
    return stack, math.prod(rest[:split]), math.prod(rest[split:])


def merged(params, lora):
    """The model's own parameters: each kernel with its update, and no updates beside them."""
    if ROOM not in params:
        return params
    scale = lora.alpha / lora.rank

    def both(tree, updates):
        if not isinstance(tree, dict):
            change = jnp.matmul(updates["a"], updates["b"], precision="highest")
            return tree + (scale * change).reshape(tree.shape).astype(tree.dtype)
        return {k: both(v, updates[k]) if k in updates else v for k, v in tree.items()}

    return both({k: v for k, v in params.items() if k != ROOM}, params[ROOM])

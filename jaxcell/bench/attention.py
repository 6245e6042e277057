"""The attention kernel of this machine against plain XLA: what it costs and how far it is off.

    python -m jaxcell.bench.attention [--cells=32] [--tokens=2049]

Times a block's attention of TxFM-B forward, and forward and backward, on cells of all lengths up to
``tokens``, by the kernel that `models.kernels` takes here and by XLA. The error is ‖x − exact‖ ÷
‖exact‖ of outputs and of gradients at valid tokens, exact being XLA's in float32.
"""

import statistics
import time

import jax
import jax.numpy as jnp
from absl import app, flags

from jaxcell.models.attention import attention
from jaxcell.models.kernels import OF
from jaxcell.training.machine import compute_dtype

HEADS, CHANNELS = 12, 64


def arrays(cells, tokens, dtype):
    """q, k, v and the output's cotangent [B, T, H, C], and lengths [B] from half to all of T."""
    keys = jax.random.split(jax.random.key(0), 4)
    drawn = [jax.random.normal(k, (cells, tokens, HEADS, CHANNELS), dtype) for k in keys]
    return *drawn, jnp.linspace(tokens // 2, tokens, cells).astype(jnp.int32)


def both(kernel):
    """(forward, forward and backward) as jitted functions of q, k, v, cotangent, length."""

    def forward(q, k, v, length):
        tokens = q.shape[1]
        if kernel == "cudnn" and tokens % 2:  # as the encoder does, once for all blocks
            q, k, v = (jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (q, k, v))
        return attention(q, k, v, length, kernel=kernel)[:, :tokens]

    def whole(q, k, v, g, length):
        valid = (jnp.arange(q.shape[1])[None] < length[:, None])[..., None, None]
        out, back = jax.vjp(lambda *a: jnp.where(valid, forward(*a, length), 0), q, k, v)
        return out, back(jnp.where(valid, g, 0))

    return jax.jit(lambda q, k, v, g, length: forward(q, k, v, length)), jax.jit(whole)


def errors(found, exact):
    """Relative distances of (output, gradients), one for each array."""
    return [
        float(jnp.linalg.norm((a - b).astype(jnp.float32)) / jnp.linalg.norm(b))
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True)
    ]


def seconds(run, given, times=10):
    """Median seconds of a call."""
    jax.block_until_ready(run(*given))
    found = []
    for _ in range(times):
        began = time.perf_counter()
        jax.block_until_ready(run(*given))
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def main(_):
    """Print a line for each kernel."""
    cells, tokens = flags.FLAGS.cells, flags.FLAGS.tokens
    dtype = compute_dtype("auto")
    few = arrays(4, tokens, jnp.float32)
    with jax.default_matmul_precision("highest"):
        exact = both("xla")[1](*few)
    print(f"{jax.devices()[0].device_kind}: {cells} cells × {tokens} tokens, {dtype}")
    given = [x.astype(dtype) for x in few[:4]]
    kernel = OF.get(jax.default_backend())
    for name in ["xla", *([kernel] if kernel else [])]:
        forward, whole = both(name)
        off = max(errors(whole(*given, few[4]), exact))
        many = arrays(cells, tokens, dtype)
        one, two = seconds(forward, many), seconds(whole, many)
        flops = 4 * float((many[4].astype(jnp.float32) * tokens).sum()) * HEADS * CHANNELS
        print(
            f"{name:>6}: forward {1e3 * one:.2f} ms, both {1e3 * two:.2f} ms "
            f"({3.5 * flops / two / 1e12:.0f} TFLOP/s of valid keys), largest error {off:.1e}"
        )


if __name__ == "__main__":
    flags.DEFINE_integer("cells", 32, "cells")
    flags.DEFINE_integer("tokens", 2049, "tokens of a cell")
    app.run(main)

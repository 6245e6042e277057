"""How exact attention is computed on each kind of device, and which way is taken where.

B cells, T tokens, H heads, C channels of one head. Each kernel: q, k, v [B, T, H, C], length [B],
causal -> [B, T, H, C], as ``attention`` of models/attention.py without blocked tokens or dropout.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxcell.models.few_cells import few_cells
from jaxcell.registry import lookup

# Tokens a TPU kernel takes at a time, and what a score costs with them beside the largest.
TILES = {512: 1.0, 384: 1.05, 256: 1.15, 128: 1.5}


def cudnn(q, k, v, length, causal):
    """The flash attention of cuDNN, on a GPU from Ampere on, in bfloat16."""
    return jax.nn.dot_product_attention(
        q, k, v, is_causal=causal, key_value_seq_lengths=length, implementation="cudnn"
    )


def flash(q, k, v, length, causal):
    """The Pallas flash attention that JAX has for TPUs.

    It wants whole tiles: tokens are added behind and given a segment of their own, which the
    valid ones do not see. The tile is the one of least work (2 049 tokens: six of 384).
    """
    # Only here: it imports the TPU's part of Pallas.
    from jax.experimental.pallas.ops.tpu import flash_attention as tpu

    tokens, channels = q.shape[1], q.shape[-1]
    tile = min(TILES, key=lambda n: TILES[n] * _up_to(tokens, n) ** 2)
    padded = _up_to(tokens, tile)
    segments = (jnp.arange(padded)[None] >= length[:, None]).astype(jnp.int32)

    def tiled(x):
        return jnp.pad(x, ((0, 0), (0, padded - tokens), (0, 0), (0, 0))).swapaxes(1, 2)

    out = tpu.flash_attention(
        *map(tiled, (q, k, v)),
        segment_ids=tpu.SegmentIds(segments, segments),
        causal=causal,
        sm_scale=channels**-0.5,
        block_sizes=tpu.BlockSizes(
            **{f"block_{side}": tile for side in ("q", "k_major", "k")},
            block_b=1,
            **{f"block_{side}_dkv": tile for side in ("q_major", "k_major", "k", "q")},
            **{f"block_{side}_dq": tile for side in ("k_major", "k", "q")},
        ),
    )
    return out.swapaxes(1, 2)[:, :tokens]


KERNELS = {"cudnn": cudnn, "flash": flash, "cells": few_cells}
OF = {"gpu": "cudnn", "tpu": "flash", "cpu": "cells"}


def run(kernel, q, k, v, length, causal):
    """Run a kernel of ``KERNELS``; on a mesh each device runs it on its cells and heads."""
    # A padded row of a batch may have no token at all: a softmax over nothing is NaN.
    length = jnp.maximum(length, 1)
    one = functools.partial(KERNELS[kernel], causal=causal)
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.manual_axes:
        return one(q, k, v, length)
    rows = ("data", "fsdp")
    each = PartitionSpec(rows, None, "tensor", None)
    specs = dict(in_specs=(each, each, each, PartitionSpec(rows)), out_specs=each)
    return jax.shard_map(one, mesh=mesh, check_vma=False, **specs)(q, k, v, length)


def choose(c, dtype, platform, train=True):
    """The attention kernel of a config on a platform.

    Parameters
    ----------
    c : a settled config; ``c.attention`` names a kernel, or 'auto'
    dtype : of matrix products
    platform : 'cpu', 'gpu' or 'tpu'
    train : whether dropout is on; without, a kernel that the config names for the machine that it
        was trained on is taken only where there is one

    Returns
    -------
    kernel : 'xla', or one of ``KERNELS``
    reason : why, for the log

    Raises
    ------
    ValueError
        When the kernel that the config names cannot run there.
    """
    asked, fits = c.attention, OF.get(platform, "xla")
    lookup({"auto": 0, "xla": 0, **KERNELS}, asked, "config.attention")
    if asked == "xla":
        return asked, "as config.attention says"
    asked = asked if train else "auto"
    if (why := _needs_xla(c, train)) is not None:
        return "xla", why
    lacks = _lacks(c, jnp.dtype(dtype), platform)
    if asked == "auto":
        return ("xla", lacks) if lacks else (fits, f"for {dtype} on {platform}")
    if asked != fits or lacks:
        raise ValueError(
            f"config.attention: found {asked!r}, expected 'auto' or 'xla' "
            f"{lacks or f'on {platform}, whose kernel is {fits!r}'}"
        )
    return asked, "as config.attention says"


def _needs_xla(c, train):
    """Why a config's attention is none that a kernel computes; None where it is."""
    encoder = c.model.encoder
    if encoder.attention != "exact":
        return f"since encoder.attention = {encoder.attention!r} is of linear cost"
    if train and encoder.dropout:
        return f"since encoder.dropout = {encoder.dropout} drops attention weights"
    if "draw_masks" in c.data.transforms and c.data.draw_masks.blocked:
        return "since draw_masks.blocked hides tokens from each other"
    return None


def _lacks(c, dtype, platform):
    """What a platform lacks for its kernel, with this dtype and size of a head; or None."""
    if platform not in OF:
        return f"since {platform} has no kernel of its own"
    if platform == "cpu":
        return None
    if dtype != jnp.bfloat16:
        return f"since its kernel is for bfloat16 and dtype is {dtype}"
    channels = c.model.width // c.model.encoder.heads
    if platform == "gpu" and (channels > 256 or channels % 8):
        return f"since cuDNN has heads of 8, 16, … 256 channels, not {channels}"
    if platform == jax.default_backend() == "gpu" and (capability(jax.devices()[0]) or 0) < 8:
        return f"since {jax.devices()[0].device_kind} is older than Ampere, or no NVIDIA GPU"
    return None


def capability(device):
    """CUDA compute capability of a device as a number; None where it has none."""
    found = str(getattr(device, "compute_capability", None))
    return float(found) if found.replace(".", "").isdecimal() else None


def _up_to(n, multiple):
    return -(-n // multiple) * multiple

"""The transformer's parts: attention layer, MLP, block, encoder.

B cells, T tokens, D width, H heads, N layers.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcell.models.attention import attention
from jaxcell.registry import lookup
from jaxcell.sharding import shard

ACTIVATIONS = {"gelu": functools.partial(jax.nn.gelu, approximate=False), "relu": jax.nn.relu}
xavier = nn.initializers.xavier_uniform()


class Attention(nn.Module):
    """Multi-head self-attention with biases.

    x [B, T, D], length [B] -> x [B, T, D]. Parameters: qkv/kernel [D, 3, H, D/H], out/kernel
    [H, D/H, D]; heads have a dimension of their own so that they can be sharded.
    """

    heads: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, length):
        width = x.shape[-1]
        dense = functools.partial(nn.DenseGeneral, dtype=self.dtype, kernel_init=xavier)
        q, k, v = jnp.moveaxis(dense((3, self.heads, width // self.heads), name="qkv")(x), -3, 0)
        x = attention(q, k, v, length)
        return dense(width, axis=(-2, -1), name="out")(x)


class Mlp(nn.Module):
    """Two linear layers with an activation between them.

    x [..., D] -> x [..., D], hidden width ``hidden``.
    """

    hidden: int
    activation: str = "gelu"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=xavier)
        x = dense(self.hidden, name="in")(x)
        x = lookup(ACTIVATIONS, self.activation, "activation")(x)
        return dense(width, name="out")(x)


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch. Source: Touvron et al. 2021 (CaiT).

    x [..., D] -> x [..., D]
    """

    init: float

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.constant(self.init), (x.shape[-1],))
        return x * scale.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


class Block(nn.Module):
    """One pre-norm transformer layer with LayerScale and stochastic depth.

    x [B, T, D], length [B], rate [] (probability that a cell skips a branch) -> (x [B, T, D], None)

    The pair is what ``nn.scan`` asks of its body.
    """

    heads: int
    mlp_ratio: float
    layer_scale: float
    drop_path: bool
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, length, rate):
        # Without a constraint here FSDP rematerialises the activations of every layer.
        x = shard(x, "batch", None, None)
        norm = functools.partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        h = Attention(self.heads, dtype=self.dtype, name="attention")(norm(name="norm1")(x), length)
        x = x + self._branch(h, rate, "scale1")
        hidden = int(self.mlp_ratio * x.shape[-1])
        h = Mlp(hidden, dtype=self.dtype, name="mlp")(norm(name="norm2")(x))
        return x + self._branch(h, rate, "scale2"), None

    def _branch(self, h, rate, name):
        h = LayerScale(self.layer_scale, name=name)(h)
        if not self.drop_path:
            return h
        keep = 1.0 - rate
        kept = jax.random.bernoulli(self.make_rng("dropout"), keep, (h.shape[0], 1, 1))
        return jnp.where(kept, h / keep.astype(h.dtype), 0)


class Encoder(nn.Module):
    """A stack of blocks, scanned over stacked parameters [N, …], and a final norm.

    x [B, T, D], length [B] -> x [B, T, D]

    The rate of stochastic depth rises linearly from 0 at the first block to ``drop_path`` at the
    last (Huang et al. 2016). ``remat`` keeps only the input of each block for the backward pass;
    ``unroll`` blocks are compiled side by side instead of in a loop, with the same parameters and
    results.
    """

    layers: int
    heads: int
    mlp_ratio: float = 4.0
    layer_scale: float = 1e-4
    drop_path: float = 0.0
    remat: bool = False
    unroll: int = 1
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, length, *, train):
        stack = nn.scan(
            nn.remat(Block, prevent_cse=False) if self.remat else Block,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast, 0),
            length=self.layers,
            unroll=self.unroll,
        )(
            self.heads,
            self.mlp_ratio,
            self.layer_scale,
            drop_path=train and self.drop_path > 0,
            dtype=self.dtype,
            name="blocks",
        )
        x, _ = stack(x, length, jnp.linspace(0.0, self.drop_path, self.layers))
        return nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(x)

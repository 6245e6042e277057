"""The transformer's parts: attention layer, MLP, block, encoder.

B cells, T tokens, D width, H heads, N layers.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcell.models.attention import attention, attention_of_few
from jaxcell.registry import lookup
from jaxcell.sharding import shard

ACTIVATIONS = {"gelu": functools.partial(jax.nn.gelu, approximate=False), "relu": jax.nn.relu}
xavier = nn.initializers.xavier_uniform()


class Attention(nn.Module):
    """Multi-head self-attention with biases.

    x [B, T, D], length [B] -> x [B, Q, D], of the first ``queries`` = Q tokens (None: all T).
    Parameters: qkv/kernel [D, 3, H, D/H], out/kernel [H, D/H, D]; heads have a dimension of their
    own so that they can be sharded.
    """

    heads: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, length, queries=None):
        width = x.shape[-1]
        dense = functools.partial(nn.DenseGeneral, dtype=self.dtype, kernel_init=xavier)
        x, kernel, bias = _Qkv(self.heads, dtype=self.dtype, name="qkv")(x)

        def project(x, which):
            y = jnp.einsum("btd,dshc->btshc", x, kernel[:, which]) + bias[which][None, None]
            return jnp.moveaxis(y, 2, 0)

        if queries is None:
            x = attention(*project(x, slice(0, 3)), length)
        elif queries < width // self.heads:
            (q,) = project(x[:, :queries], slice(0, 1))
            x = attention_of_few(q, x, kernel[:, 1], kernel[:, 2], length) + bias[2][None, None]
        else:
            (q,) = project(x[:, :queries], slice(0, 1))
            x = attention(q, *project(x, slice(1, 3)), length)
        return dense(width, axis=(-2, -1), name="out")(x)


class _Qkv(nn.Module):
    """x, and kernel [D, 3, H, D/H] and bias [3, H, D/H] of all three, in the dtype of products."""

    heads: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        shape = (3, self.heads, width // self.heads)
        # As nn.DenseGeneral draws them: fan-in D, fan-out 3 D.
        flat = functools.partial(xavier, shape=(width, 3 * width))
        kernel = self.param("kernel", lambda key: flat(key).reshape(width, *shape))
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        return nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)


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

    x [B, T, D], length [B], rate [] (probability that a cell skips a branch) -> x [B, Q, D], the
    first ``queries`` = Q tokens (None: all T), which see all T.
    """

    heads: int
    mlp_ratio: float
    layer_scale: float
    drop_path: bool
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, length, rate, queries=None):
        # Without a constraint here FSDP rematerialises the activations of every layer.
        x = shard(x, "batch", None, None)
        norm = functools.partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        attend = Attention(self.heads, dtype=self.dtype, name="attention")
        h = attend(norm(name="norm1")(x), length, queries)
        x = x[:, :queries] + self._branch(h, rate, "scale1")
        hidden = int(self.mlp_ratio * x.shape[-1])
        h = Mlp(hidden, dtype=self.dtype, name="mlp")(norm(name="norm2")(x))
        return x + self._branch(h, rate, "scale2")

    def _branch(self, h, rate, name):
        h = LayerScale(self.layer_scale, name=name)(h)
        if not self.drop_path:
            return h
        keep = 1.0 - rate
        kept = jax.random.bernoulli(self.make_rng("dropout"), keep, (h.shape[0], 1, 1))
        return jnp.where(kept, h / keep.astype(h.dtype), 0)


class Encoder(nn.Module):
    """A stack of blocks, scanned over stacked parameters ``blocks`` [N, …], and a final norm.

    x [B, T, D], length [B] -> x [B, Q, D], the first ``queries`` = Q tokens (None: all T).

    The last block computes only the tokens that are asked for: where a pool reads CLS alone, that
    is all of its MLP and most of its attention saved (8 % of TxFM-B's operations), at no change.
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
    def __call__(self, x, length, *, train, queries=None, depth=None):
        """``depth``: stop behind that many blocks, before the final norm unless it is all."""
        depth = self.layers if depth is None else depth
        drop = train and self.drop_path > 0
        block = Block(
            self.heads, self.mlp_ratio, self.layer_scale, drop, dtype=self.dtype, parent=None
        )
        rates = jnp.linspace(0.0, self.drop_path, self.layers)
        stacked = self.param("blocks", self._init, block, x[:1, :1], length[:1])
        keys = jax.random.split(self.make_rng("dropout"), self.layers) if drop else rates

        def run(queries, x, one):
            params, rate, key = one
            rngs = {"dropout": key} if drop else None
            return block.apply({"params": params}, x, length, rate, queries, rngs=rngs)

        def of(queries, looped):
            one = functools.partial(run, queries)
            return jax.checkpoint(one, prevent_cse=not looped) if self.remat else one

        all_tokens, each = of(None, looped=True), (stacked, rates, keys)
        most = jax.tree.map(lambda a: a[: depth - 1], each)
        x, _ = jax.lax.scan(lambda x, one: (all_tokens(x, one), None), x, most, unroll=self.unroll)
        # The last block stands alone: what nobody reads of it is not computed.
        x = of(queries, looped=False)(x, jax.tree.map(lambda a: a[depth - 1], each))
        norm = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")
        return norm(x) if depth == self.layers else x

    def _init(self, key, block, x, length):
        """Every block's own draw: {…: [N, …]}."""

        def draw(key):
            return block.init({"params": key, "dropout": key}, x, length, jnp.zeros(()))["params"]

        return jax.vmap(draw)(jax.random.split(key, self.layers))

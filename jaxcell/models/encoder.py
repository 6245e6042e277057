"""A stack of blocks over stacked parameters. B cells, T tokens, D width, N layers."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcell.models.layers import KEPT, Block, Layer
from jaxcell.registry import lookup


def _products(*names):
    """Whether the backward pass finds what a primitive gave: what has a name, and cuDNN's."""
    named = jax.checkpoint_policies.save_only_these_names(*names)

    def keeps(prim, *_, **params):
        return prim.name.startswith("dot_product_attention_fwd") or named(prim, *_, **params)

    return keeps


# What the backward pass finds of each block; the rest it computes again.
REMAT = {
    "none": None,  # all that differentiation needs
    "full": jax.checkpoint_policies.nothing_saveable,  # the block's input
    "dots": _products(
        KEPT
    ),  # its matrix products: norms and activations cost less than their memory
}


def _kept(one, remat, looped):
    """A block as a function that keeps what ``remat`` says for its backward pass."""
    policy = lookup(REMAT, remat, "config.model.encoder.remat")
    return one if policy is None else jax.checkpoint(one, prevent_cse=not looped, policy=policy)


class Encoder(nn.Module):
    """A stack of blocks, scanned over stacked parameters ``blocks`` [N, …], and a final norm.

    x [B, T, D], length [B], blocked bool [B, T] or None -> x [B, Q, D], the first ``queries`` = Q
    tokens (None: all T).

    The last block computes only the tokens that are asked for: where a pool reads CLS alone, that
    is all of its MLP and most of its attention saved (8 % of TxFM-B's operations), at no change.
    ``causal``: a token sees those up to itself alone, and so all blocks compute only those that are
    asked for. ``dropout_inside`` drops the MLP's hidden layer too, as torch's layer does.
    The rate of stochastic depth rises linearly from 0 at the first block to ``drop_path`` at the
    last (Huang et al. 2016). ``remat`` says what is kept of a block for the backward pass, see
    ``REMAT``; ``unroll`` blocks are compiled side by side instead of in a loop, with the same
    parameters and results. A first block without its norm (``first_norm`` False) has parameters of
    its own, ``first`` [1, …], and ``blocks`` are the N - 1 others.
    """

    layers: int
    heads: int
    mlp_ratio: float = 4.0
    hidden: int = 0  # of the MLP; 0: mlp_ratio · D
    activation: str = "gelu"
    norm: str = "layer"
    norm_eps: float = 1e-6
    norm_first: bool = True
    first_norm: bool = True
    final_norm: bool = True
    bias: bool = True
    layer_scale: float = 0.0
    drop_path: float = 0.0
    dropout: float = 0.0
    dropout_inside: bool = False
    attention: str = "exact"
    causal: bool = False
    features: int = 256
    landmarks: int = 64
    iterations: int = 6
    kernels: str = "xavier"
    remat: str = "none"
    unroll: int = 1
    kernel: str = "xla"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(
        self,
        x,
        length,
        *,
        train,
        queries=None,
        depth=None,
        blocked=None,
        cache=None,
        weights=False,
    ):
        """``depth``: stop behind that many blocks, before the final norm unless it is all.

        ``cache``, a `Cache`: x are the next tokens, ``length`` [B] of each cell -> x, the cache
        with them. ``weights`` -> x, softmax weights [B, H, T, T] of the last block that is run.
        """
        if self.attention != "exact" and (weights or self.causal or cache is not None):
            what = "attention weights" if weights else "a causal encoder"
            raise ValueError(
                f"config.model.encoder.attention: found {self.attention!r}, expected 'exact' for "
                f"{what}"
            )
        if self.causal and queries is not None:  # they see no others
            x, queries = x[:, :queries], None
            blocked = None if blocked is None else blocked[:, : x.shape[1]]
        tokens, depth = x.shape[1], self.layers if depth is None else depth
        if self.kernel == "cudnn" and tokens % 2 and cache is None:
            # Some versions take no odd number. One more here is cheaper than copies in each block.
            x = jnp.pad(x, ((0, 0), (0, 1), (0, 0)))
            blocked = None if blocked is None else jnp.pad(blocked, ((0, 0), (0, 1)))
        drop_path, drop = train and self.drop_path > 0, train and self.dropout > 0
        layer = self._layer(x.shape[-1])
        make = functools.partial(Block, layer, drop_path, drop, dtype=self.dtype, parent=None)
        rates = jnp.linspace(0.0, self.drop_path, self.layers)
        random = drop_path or drop
        keys = jax.random.split(self.make_rng("dropout"), self.layers) if random else rates
        groups, own = [], int(not self.first_norm)
        if own:
            groups.append((make(normed=False), "first", slice(0, 1)))
        if self.layers > own:
            groups.append((make(), "blocks", slice(own, self.layers)))

        def run(block, queries, weights, x, cache, one):
            params, rate, key, number = one
            rngs = {"dropout": key} if random else None
            cache = None if cache is None else (cache, number)
            how = length, rate, queries, blocked, cache, weights
            return block.apply({"params": params}, x, *how, rngs=rngs)

        def of(block, queries, weights, looped):
            return _kept(functools.partial(run, block, queries, weights), self.remat, looped)

        unroll = max(self.unroll, 1)
        for block, name, which in groups:
            number = which.stop - which.start
            stacked = self.param(name, _init, block, number, x[:1, :1], length[:1])
            each = stacked, rates[which], keys[which], jnp.arange(which.start, which.stop)
            if depth <= which.start:  # its parameters are made all the same
                continue
            last = which.stop >= depth
            through = min(number, depth - which.start) - last
            if unroll >= through:  # no loop, which would copy what is kept into one array
                one = of(block, None, False, looped=False)
                for i in range(through):
                    x, cache = one(x, cache, jax.tree.map(lambda a, i=i: a[i], each))
            else:
                one = of(block, None, False, looped=True)
                most = jax.tree.map(lambda a, n=through: a[:n], each)
                step = functools.partial(lambda one, x, each: (one(*x, each), None), one)
                (x, cache), _ = jax.lax.scan(step, (x, cache), most, unroll=unroll)
            if last:  # it stands alone: what nobody reads of it is not computed
                final = jax.tree.map(lambda a, n=through: a[n], each)
                x, besides = of(block, queries, weights, looped=False)(x, cache, final)
        if self.final_norm and depth == self.layers:
            x = layer.make_norm("norm", self.dtype)(x)
        if cache is not None:
            return x, besides._replace(length=cache.length + length)
        x = x[:, :tokens]
        return (x, besides[:, :, :tokens, :tokens]) if weights else x

    def _layer(self, width):
        hidden = self.hidden or int(self.mlp_ratio * width)
        shared = {f: getattr(self, f) for f in Layer._fields if f != "hidden"}
        return Layer(hidden=hidden, **shared)


def _init(key, block, number, x, length):
    """Every block's own draw: {…: [number, …]}."""
    # One cell with one token, which a mesh cannot share out; and cuDNN's kernel has no vmap. (flax
    # asks for its shapes whenever the model is applied.)
    block = block.clone(layer=block.layer._replace(kernel="xla"))

    def draw(key):
        rngs = {"params": key, "dropout": key}
        return block.init(rngs, x, length, jnp.zeros(()))["params"]

    return jax.vmap(draw)(jax.random.split(key, number))

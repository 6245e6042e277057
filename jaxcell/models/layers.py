"""The transformer's parts: attention layer, MLP, block.

B cells, T tokens, D width, H heads, N layers.
"""

import functools
import logging
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from jaxcell.models.attention import attention, attention_of_few
from jaxcell.models.linear_attention import draw_features, nystrom, performer
from jaxcell.models.scores import attention_weights
from jaxcell.registry import lookup
from jaxcell.sharding import shard

LOG = logging.getLogger(__name__)

KEPT = "product"  # the name of what remat="dots" keeps: products with weights, bias added


@jax.custom_vjp
def gelu(x):
    """The exact GELU, x · Φ(x): x [...] -> [...], computed in float32 or wider.

    Autodiff would keep Φ(x) beside x, and jax.nn.gelu takes erfc, of three times erf's operations:
    together a sixth of TxFM-B's step on an H200.
    """
    wide = _up(x)
    return (wide * _below(wide)).astype(x.dtype)


def _below(x):
    """The standard normal distribution, Φ."""
    return 0.5 * (1 + jax.lax.erf(x * math.sqrt(0.5)))


def _gelu_forward(x):
    return gelu(x), x


def _gelu_backward(x, g):
    wide = _up(x)
    density = jnp.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi)
    return ((_up(g) * (_below(wide) + wide * density)).astype(x.dtype),)


def _up(a):
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))


gelu.defvjp(_gelu_forward, _gelu_backward)

ACTIVATIONS = {"gelu": gelu, "relu": jax.nn.relu}
GATED = {"swiglu": jax.nn.silu, "geglu": gelu}  # activation of one half, times the other
INITS = {  # how the kernels of linear layers are drawn
    "xavier": nn.initializers.xavier_uniform(),
    "torch": nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),  # U(±1/√fan-in)
    "bert": nn.initializers.normal(0.02),
}


def real_rows(x, number):
    """The table x [R, …] with zeros behind its first ``number`` rows: the others only pad it."""
    rows = jnp.arange(x.shape[0]).reshape(-1, *(1,) * (x.ndim - 1))
    return jnp.where(rows < number, x, 0)


def padded(draw, number):
    """The initialiser ``draw`` of a table of which the rows behind the first ``number`` are zero.

    Real rows are those that ``draw`` gives. No gradient reaches the others, and zeros do not decay:
    they stay zero, and what is converted without them comes back the same.
    """
    return lambda *how: real_rows(draw(*how), number)


class Layer(NamedTuple):
    """What every block of an encoder has in common; the fields are `Encoder`'s."""

    heads: int
    hidden: int
    activation: str = "gelu"
    norm: str = "layer"
    norm_eps: float = 1e-6
    norm_first: bool = True
    bias: bool = True
    layer_scale: float = 0.0
    dropout: float = 0.0
    dropout_inside: bool = False
    attention: str = "exact"
    causal: bool = False
    features: int = 256
    landmarks: int = 64
    iterations: int = 6
    kernels: str = "xavier"
    kernel: str = "xla"  # that computes exact attention; see `models.kernels`

    def kernel_init(self):
        """The initialiser of linear layers."""
        return lookup(INITS, self.kernels, "config.model.encoder.kernels")

    def make_norm(self, name, dtype):
        """Layer norm, or the norm by the root mean square alone."""
        where = "config.model.encoder.norm"
        kind = lookup({"layer": nn.LayerNorm, "rms": nn.RMSNorm}, self.norm, where)
        extra = {"use_bias": self.bias} if self.norm == "layer" else {}
        return kind(epsilon=self.norm_eps, dtype=dtype, name=name, **extra)


class Attention(nn.Module):
    """Multi-head self-attention, exact or of linear cost.

    x [B, T, D], length [B], blocked bool [B, T] or None -> x [B, Q, D], of the first ``queries`` =
    Q tokens (None: all T), and what was asked for besides or None. No token but itself sees a
    blocked one. Parameters: qkv/kernel [D, 3, H, D/H], out/kernel [H, D/H, D] (and biases); heads
    have a dimension of their own so that they can be sharded. Performer: features [m, D/H], drawn
    once and never trained.

    ``weights``: besides, the softmax weights [B, H, Q, T]. ``cache`` (`Cache`, number of the
    block): x are the tokens that follow those of the cache; besides, the cache with them.
    """

    layer: Layer
    drop: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, length, queries=None, blocked=None, cache=None, weights=False):
        layer, width, besides = self.layer, x.shape[-1], None
        x, kernel, bias = _Qkv(layer, dtype=self.dtype, name="qkv")(x)

        def project(x, which):
            return [_heads(x, kernel[:, i], None if bias is None else bias[i]) for i in which]

        if layer.attention != "exact":
            x = self._linear(*project(x, range(3)), length, queries)
        elif cache is not None:
            q, k, v = project(x, range(3))
            besides, k, v, start = cache[0].add(cache[1], k, v, length)
            x = attention(q, k, v, start + length, causal=True, start=start)
        elif queries is None or layer.causal or weights:
            q, k, v = project(x, range(3))
            q, how = q[:, :queries], dict(causal=layer.causal)
            way = layer.kernel if queries is None else "xla"
            x = attention(q, k, v, length, blocked, self._drop(), **how, kernel=way)
            if weights and way in ("cudnn", "flash"):
                LOG.warning("attention weights: computed by xla, since %s keeps none", way)
            besides = attention_weights(q, k, length, blocked, **how) if weights else None
        elif queries < width // layer.heads and blocked is None and not self.drop:
            (q,) = project(x[:, :queries], range(1))
            x = attention_of_few(q, x, kernel[:, 1], kernel[:, 2], length)
            x = x if bias is None else x + bias[2][None, None]
        else:
            (q,) = project(x[:, :queries], range(1))
            x = attention(q, *project(x, range(1, 3)), length, blocked, self._drop())
        out = nn.DenseGeneral(
            width,
            axis=(-2, -1),
            use_bias=layer.bias,
            dtype=self.dtype,
            kernel_init=layer.kernel_init(),
            name="out",
        )
        return checkpoint_name(out(x), KEPT), besides

    def _drop(self):
        return (self.make_rng("dropout"), self.layer.dropout) if self.drop else None

    def _linear(self, q, k, v, length, queries):
        layer = self.layer
        if layer.attention == "nystrom":
            return nystrom(q, k, v, length, layer.landmarks, layer.iterations, queries)
        if layer.attention != "performer":
            raise ValueError(f"config.model.encoder.attention: {layer.attention!r} is unknown")
        draw = functools.partial(draw_features, number=layer.features, channels=q.shape[-1])
        features = jax.lax.stop_gradient(self.param("features", draw))
        return performer(q[:, :queries], k, v, length, features)


def _heads(x, kernel, bias):
    """One product for q, k or v: as it leaves it, attention's kernels take it without a copy.

    x [B, T, D], kernel [D, H, C], bias [H, C] or None -> [B, T, H, C]
    """
    y = x @ kernel.reshape(kernel.shape[0], -1)
    y = y if bias is None else y + bias.reshape(1, 1, -1)
    return checkpoint_name(y, KEPT).reshape(*y.shape[:2], *kernel.shape[1:])


class _Qkv(nn.Module):
    """x, and kernel [D, 3, H, D/H] and bias [3, H, D/H] of all three, in the dtype of products."""

    layer: Layer
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x):
        width, heads = x.shape[-1], self.layer.heads
        shape = (3, heads, width // heads)
        # As nn.DenseGeneral draws them: fan-in D, fan-out 3 D.
        flat = functools.partial(self.layer.kernel_init(), shape=(width, 3 * width))
        kernel = self.param("kernel", lambda key: flat(key).reshape(width, *shape))
        bias = None
        if self.layer.bias:
            bias = self.param("bias", nn.initializers.zeros_init(), shape)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return x, shard(kernel, None, None, "tensor", None), bias


class Mlp(nn.Module):
    """Two linear layers with an activation between them, or a gated one (two side by side first).

    x [..., D] -> x [..., D], hidden width ``hidden``. Gated: out(act(in(x)) · gate(x)).
    ``dropout``: of the hidden layer; above 0 only in training.
    """

    hidden: int
    activation: str = "gelu"
    bias: bool = True
    kernels: str = "xavier"
    dropout: float = 0.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x):
        width, known = x.shape[-1], {**ACTIVATIONS, **GATED}
        activate = lookup(known, self.activation, "config.model.encoder.activation")
        dense = functools.partial(
            nn.Dense, use_bias=self.bias, dtype=self.dtype, kernel_init=INITS[self.kernels]
        )
        h = activate(checkpoint_name(dense(self.hidden, name="in")(x), KEPT))
        if self.activation in GATED:
            h = h * checkpoint_name(dense(self.hidden, name="gate")(x), KEPT)
        if self.dropout:
            h = nn.Dropout(self.dropout, deterministic=False)(h)
        return checkpoint_name(dense(width, name="out")(h), KEPT)


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch. Source: Touvron et al. 2021 (CaiT).

    x [..., D] -> x [..., D]
    """

    initial: float

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.constant(self.initial), (x.shape[-1],))
        return x * scale.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


class Block(nn.Module):
    """One transformer layer: norm first or behind the residual, with what `Layer` asks for.

    x [B, T, D], length [B], rate [] (probability that a cell skips a branch), blocked bool [B, T]
    or None -> x [B, Q, D], the first ``queries`` = Q tokens (None: all T), which see all T, and
    what of its attention was asked for besides (see `Attention`) or None. ``normed`` False leaves
    out the norm before attention.
    """

    layer: Layer
    drop_path: bool = False
    drop: bool = False
    normed: bool = True
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, length, rate, queries=None, blocked=None, cache=None, weights=False):
        # Without a constraint here FSDP rematerialises the activations of every layer.
        x = shard(x, "batch", None, None)
        layer, first = self.layer, self.layer.norm_first
        norm = functools.partial(layer.make_norm, dtype=self.dtype)
        attend = Attention(layer, drop=self.drop, dtype=self.dtype, name="attention")
        h = norm("norm1")(x) if first and self.normed else x
        h, besides = attend(h, length, queries, blocked, cache, weights)
        x = shard(x[:, :queries] + self._branch(h, rate, "scale1"), "batch", None, None)
        x = x if first else norm("norm1")(x)
        inside = layer.dropout if self.drop and layer.dropout_inside else 0.0
        kinds = layer.hidden, layer.activation, layer.bias, layer.kernels
        mlp = Mlp(*kinds, dropout=inside, dtype=self.dtype, name="mlp")
        x = x + self._branch(mlp(norm("norm2")(x) if first else x), rate, "scale2")
        x = shard(x, "batch", None, None)
        return x if first else norm("norm2")(x), besides

    def _branch(self, h, rate, name):
        if self.drop:
            h = nn.Dropout(self.layer.dropout, deterministic=False)(h)
        if self.layer.layer_scale:
            h = LayerScale(self.layer.layer_scale, name=name)(h)
        if not self.drop_path:
            return h
        keep = 1.0 - rate
        kept = jax.random.bernoulli(self.make_rng("dropout"), keep, (h.shape[0], 1, 1))
        return jnp.where(kept, h / keep.astype(h.dtype), 0)

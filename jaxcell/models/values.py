"""How the value of a token becomes a vector. B cells, T tokens, D width, S special tokens.

Values f32 [B, T] are expression or bins (≥ 0); at special and masked tokens they are codes,
−(k + 1) for the k-th special token (`code_of`), as the data's transforms write them. A hidden value
has the code of '<mask>', or, where that is no special token of the model, −(S + 1).
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcell.models.layers import INITS
from jaxcell.sharding import dot_of_whole

BASIS = 48  # frequencies of the periodic encoder
BASIS_SCALE = 0.01


def code_of(special):
    """The value that stands for special token number ``special``."""
    return -(special + 1)


def split_codes(values, specials):
    """Values [B, T] -> row of a table with S + 1 rows: of a special token, the last one for zero.

    Returns
    -------
    rows i32 [B, T], is_value bool [B, T] (a value above zero, which no row stands for)
    """
    is_value = values > 0
    rows = jnp.where(values < 0, -values - 1, specials).astype(jnp.int32)
    return jnp.clip(rows, 0, specials), is_value


class Scalar(nn.Module):
    """The value itself as one channel: [B, T] -> [B, T, 1], never rounded below float32."""

    input: str

    def __call__(self, batch):
        return batch[self.input][..., None]


class Periodic(nn.Module):
    """Sines and cosines of the value at 48 frequencies, projected; zero and specials have rows.

    values [B, T] -> [B, T, D]: kernel [96, D] of [sin(x ω_k), cos(x ω_k)], x > 0; a row of ``rows``
    [S + 1, D] for a special token and, the last one, for zero. Frequencies are fixed,
    ω_k = 2π · 0.01 · 2^k, or ``trainable``, parameter basis [48] drawn from N(0, (2π · 0.01)²). The
    largest is 8.8e12: the product is taken in the values' dtype, as the published model does, and
    what it keeps of the upper half is a hash of the value. Source: BMFM-RNA ('scale adapt').
    """

    input: str
    width: int
    specials: int
    kernels: str = "torch"
    trainable: bool = False
    scale: float = BASIS_SCALE
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, batch):
        x = batch[self.input]
        rows, is_value = split_codes(x, self.specials)
        table = self.param("rows", nn.initializers.normal(1.0), (self.specials + 1, self.width))
        if self.trainable:
            draw = nn.initializers.normal(2 * math.pi * self.scale)
            basis = self.param("basis", draw, (BASIS,))
        else:
            basis = [2 * math.pi * self.scale * 2.0**k for k in range(BASIS)]
        angle = jnp.where(is_value, x, 0)[..., None] * jnp.asarray(basis, x.dtype)[None, None]
        waves = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
        project = nn.Dense(
            self.width,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=INITS[self.kernels],
            dot_general=dot_of_whole,
            name="dense",
        )
        return jnp.where(is_value[..., None], project(waves), jnp.take(table, rows, axis=0))


class ValueMlp(nn.Module):
    """Two layers with leaky ReLUs from the value to a vector: values [B, T] -> [B, T, D].

    Without ``special_rows`` codes and zero are numbers like any other, and the last layer has a
    leaky ReLU too. With it special tokens and zero have rows of their own in the hidden layer
    (``rows`` [S + 1, hidden]), and the last layer has none. Source: BMFM-RNA ('mlp',
    'mlp_with_special_token_embedding').
    """

    input: str
    width: int
    specials: int
    hidden: int = 128
    special_rows: bool = False
    kernels: str = "torch"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, batch):
        x, draw = batch[self.input], INITS[self.kernels]
        # The first layer has one input: no matrix product, and the value keeps its precision.
        kernel = self.param("in_kernel", draw, (1, self.hidden))
        bias = self.param("in_bias", nn.initializers.zeros_init(), (self.hidden,))
        h = jax.nn.leaky_relu(x[..., None] * kernel[None] + bias[None, None], 0.01)
        if self.special_rows:
            shape = (self.specials + 1, self.hidden)
            table = self.param("rows", nn.initializers.normal(1.0), shape)
            rows, is_value = split_codes(x, self.specials)
            h = jnp.where(is_value[..., None], h, jnp.take(table, rows, axis=0))
            h = jax.nn.leaky_relu(h, 0.01)
        how = dict(dtype=self.dtype, kernel_init=draw, dot_general=dot_of_whole)
        out = nn.Dense(self.width, **how, name="out")(h)
        return out if self.special_rows else jax.nn.leaky_relu(out, 0.01)


def _shown(values, codes):
    """Values [B, T], and what ``codes`` say in place of each code, for S specials and a hidden one.

    Returns
    -------
    [B, T]: values ≥ 0 as they are, a code −(k + 1) as ``codes[k]``
    """
    row = jnp.clip(-values - 1, 0, len(codes) - 1).astype(jnp.int32)
    table = jnp.asarray(codes, values.dtype)
    return jnp.where(values < 0, jnp.take(table, row), values)


class Continuous(nn.Module):
    """Two layers with a ReLU between them and a layer norm: values [B, T] -> [B, T, D].

    The value is cut off at ``most``. Special tokens and hidden values are numbers like any other:
    ``codes``, one for each of the S special tokens and, the last, what a hidden value shows.
    Parameters in_kernel [1, D], in_bias, out/{kernel, bias}, norm/{scale, bias}. Source: scFormer,
    section 3.1 and its code.
    """

    input: str
    width: int
    codes: tuple
    most: float = 512.0
    kernels: str = "torch"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, batch):
        x, draw = _shown(batch[self.input], self.codes), INITS[self.kernels]
        x = jnp.minimum(x, self.most)
        # The first layer has one input: no matrix product, and the value keeps its precision.
        kernel = self.param("in_kernel", draw, (1, self.width))
        bias = self.param("in_bias", nn.initializers.zeros_init(), (self.width,))
        h = jax.nn.relu(x[..., None] * kernel[None] + bias[None, None])
        how = dict(dtype=self.dtype, kernel_init=draw, dot_general=dot_of_whole)
        h = nn.Dense(self.width, **how, name="out")(h)
        return nn.LayerNorm(epsilon=1e-5, name="norm")(h)


NO_ROW = -1  # of `Bins.codes`: a token without a value has no vector


class Bins(nn.Module):
    """A learned vector for each bin: values [B, T], whole numbers -> [B, T, D].

    Parameter rows [number, D], with ``norm`` a layer norm behind it. ``codes`` are the rows of the
    S special tokens and, the last, of a hidden value; −1: none, zero. Sources: BioFormer (a hidden
    value shows the bin of zero), scFormer's category style (rows of their own, and a norm).
    """

    input: str
    width: int
    number: int
    codes: tuple
    norm: bool = False

    @nn.compact
    def __call__(self, batch):
        if not all(NO_ROW <= row < self.number for row in self.codes):
            raise ValueError(
                f"config.model.fields.{self.name}.codes: found {self.codes}, expected rows below "
                f"number = {self.number}, or {NO_ROW} for none"
            )
        draw = nn.initializers.xavier_uniform()
        table = self.param("rows", draw, (self.number, self.width))
        if self.norm:
            table = nn.LayerNorm(epsilon=1e-5, name="norm")(table)
        rows = _shown(batch[self.input], self.codes).astype(jnp.int32)
        x = jnp.take(table, jnp.maximum(rows, 0), axis=0)  # beyond the last bin: NaN
        return jnp.where((rows >= 0)[..., None], x, 0)


VALUES = {
    "scalar": Scalar,
    "periodic": Periodic,
    "value_mlp": ValueMlp,
    "continuous": Continuous,
    "bins": Bins,
}

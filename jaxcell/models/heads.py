"""What is read from a cell's or a token's vector; each head returns an array or a dict of arrays.

B cells, D width, V genes (rows of a gene table are padded to R ≥ V). Every head is called with the
cells' vectors and the batch, of which most ask nothing.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcell.models.layers import INITS, Mlp, gelu
from jaxcell.registry import lookup


def rectified_tanh(z, upper):
    """A · max(0, tanh(z / 4e)) with A = ln(1 + upper), e Euler's number.

    z [...] -> [...]; bounded by A, the log1p of the library size ``upper``; no gradient at z ≤ 0,
    slope A / 4e = 1.06 just above it for upper = 1e5. Source: TxFM, eq. 1 and C.1.
    """
    return math.log1p(upper) * jax.nn.relu(jnp.tanh(z / (4 * math.e)))


def inverse_rectified_tanh(y, upper):
    """The z ≥ 0 with ``rectified_tanh(z, upper) = y`` for 0 ≤ y < ln(1 + upper)."""
    return 4 * math.e * jnp.arctanh(y / math.log1p(upper))


def relu(z, upper):
    """max(0, z), without a bound: z [...] -> [...]. Source: TxFM, C.1."""
    return jax.nn.relu(z)


def clamped_relu(z, upper):
    """The logit, cut off below 0 and above ln(1 + upper): z [...] -> [...]. Source: TxFM, C.1."""
    return jnp.minimum(jax.nn.relu(z), math.log1p(upper))


def softmax(z, upper):
    """ln(1 + upper · softmax(z)): the genes share out the library size. Source: TxFM, C.1.

    z [..., R] -> [..., R]. A logit of −inf takes no part and gets 0; where all are, all get 0.
    """
    takes_part = z > -jnp.inf
    z = jnp.where(takes_part, z, jnp.finfo(z.dtype).min / 2)
    shares = jax.nn.log_softmax(z, axis=-1)
    return jnp.where(takes_part, jax.nn.softplus(math.log(upper) + shares), 0)


def inverse_softmax(y, upper):
    """The logarithms of the shares whose ``softmax`` is y > 0."""
    return jnp.log(jnp.expm1(y) / upper)


class CountActivation(NamedTuple):
    """From logits to expression in log1p space, and back.

    ``apply(z, upper)``; ``inverse(y, upper)`` for 0 < y < ln(1 + upper); ``shared``: whether genes
    compete for one sum, so that those which a cell did not measure must take no part.
    """

    apply: Callable
    inverse: Callable
    shared: bool = False


COUNT_ACTIVATIONS = {
    "rectified_tanh": CountActivation(rectified_tanh, inverse_rectified_tanh),
    "relu": CountActivation(relu, lambda y, upper: y),
    "clamped_relu": CountActivation(clamped_relu, lambda y, upper: y),
    "softmax": CountActivation(softmax, inverse_softmax, shared=True),
}


def _gene_logits(cell, table, bias, dtype):
    """Product cell [B, D] · table [R, D] + bias [R] -> [B, R] in float32 or wider."""
    dtype = dtype or jnp.promote_types(cell.dtype, table.dtype)
    wide = jnp.promote_types(dtype, jnp.float32)
    logits = jnp.einsum(
        "bd,vd->bv", cell.astype(dtype), table.astype(dtype), preferred_element_type=wide
    )
    return logits + bias[None]


class VocabularyMlp(nn.Module):
    """Residual MLP from the cell's vector to one value for every gene.

    cell [B, D] -> [B, R] in float32 or wider: the expression in log1p space.

    ``blocks`` residual blocks of two D × D layers, then a gene table ``rows`` [R, D] and ``bias``
    [R] (the decoder's gene vectors), then the count activation. Padded rows get the logit −inf.
    The paper's sizes leave 9 D² for the token projection and this MLP: one D × D and four blocks.
    A softmax asks for ``batch["measured"]`` [B, R]. ``depth``: return the cell's vector [B, D]
    behind that many of the blocks instead.
    """

    rows: int
    vocabulary: int
    library_size: float
    blocks: int = 4
    activation: str = "rectified_tanh"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, cell, batch, *, depth=None):
        width = cell.shape[-1]
        for i in range(self.blocks if depth is None else depth):
            cell = cell + Mlp(width, dtype=self.dtype, name=f"blocks_{i}")(cell)
        if depth is not None:
            return cell
        table = self.param("rows", nn.initializers.normal(0.02), (self.rows, width))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.rows,))
        where = f"config.model.heads.{self.name}.activation"
        activation = lookup(COUNT_ACTIVATIONS, self.activation, where)
        real = (jnp.arange(self.rows) < self.vocabulary)[None]
        if activation.shared:
            real = real & batch["measured"]
        logits = jnp.where(real, _gene_logits(cell, table, bias, self.dtype), -jnp.inf)
        return activation.apply(logits, self.library_size)


class GeneLinear(nn.Module):
    """A linear layer from the cell's vector to one number for every gene, without an activation.

    cell [B, D] -> [B, R] in float32 or wider; padded rows hold what their weights give.
    """

    rows: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, cell, batch):
        table = self.param("rows", nn.initializers.normal(0.02), (self.rows, cell.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.rows,))
        return _gene_logits(cell, table, bias, self.dtype)


class GeneParameter(nn.Module):
    """One learned number for every gene, the same for all cells: -> [R]; 0 at the start."""

    rows: int

    @nn.compact
    def __call__(self, cell, batch):
        return self.param("values", nn.initializers.zeros_init(), (self.rows,))


@jax.custom_vjp
def gradient_reversal(x, strength):
    """The identity, whose gradient is −``strength`` times what comes back (Ganin et al. 2016).

    x [...], strength [] (no gradient flows to it) -> x
    """
    return x


def _reversal_forward(x, strength):
    return x, strength


def _reversal_backward(strength, g):
    return (-strength * g).astype(g.dtype), jnp.zeros_like(strength)


gradient_reversal.defvjp(_reversal_forward, _reversal_backward)


class _Transform(nn.Module):
    """Linear, GELU, layer norm: [..., D] -> [..., D], what BERT puts before its decoders."""

    kernels: str
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x):
        dense = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=INITS[self.kernels], name="in")
        return nn.LayerNorm(epsilon=1e-12, dtype=self.dtype, name="norm")(gelu(dense(x)))


class VocabularyParts(nn.Module):
    """A few numbers for every gene from a cell's vector, behind a transform.

    cell [B, D] -> {part: [B, R] in float32 or wider}. Parameters transform, rows [R', P · D] and
    bias [R', P] over genes and special tokens, of which the genes' are returned.
    Source: BMFM-RNA, whole-cell expression decoding: expression, and the logit of its being zero.
    """

    rows: int
    token_rows: int
    parts: tuple = ("expression", "is_zero")
    kernels: str = "torch"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, cell, batch):
        x = _Transform(self.kernels, dtype=self.dtype, name="transform")(cell)
        number, width = len(self.parts), x.shape[-1]
        draw = functools.partial(_rows, inputs=width, kernels=self.kernels)
        table = self.param("rows", draw, (self.token_rows, number * width))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.token_rows, number))
        flat = table[: self.rows].reshape(-1, width)
        logits = _gene_logits(x, flat, bias[: self.rows].reshape(-1), self.dtype)
        logits = logits.reshape(-1, self.rows, number)
        return {part: logits[..., i] for i, part in enumerate(self.parts)}


def _rows(key, shape, inputs, kernels):
    """Rows drawn as the kernel of a linear layer with so many inputs."""
    return INITS[kernels](key, (inputs, math.prod(shape) // inputs)).T.reshape(shape)


class TokenParts(nn.Module):
    """A few numbers for every token from its own vector, behind a transform.

    tokens [B, T, D] -> {part: [B, T] in float32 or wider}; with ``genes`` also 'genes'
    [B, P, R'], the logits of which gene it is, at the places ``batch['gene_places']`` i32 [B, P].
    """

    token_rows: int
    parts: tuple = ("expression", "is_zero")
    genes: bool = False
    kernels: str = "torch"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, tokens, batch):
        x = _Transform(self.kernels, dtype=self.dtype, name="transform")(tokens)
        number, width = len(self.parts), x.shape[-1]
        zeros = nn.initializers.zeros_init()
        draw = functools.partial(_rows, inputs=width, kernels=self.kernels)
        table = self.param("parts", draw, (number, width))
        bias = self.param("parts_bias", zeros, (number,))
        shape = x.shape[:2]
        values = _gene_logits(x.reshape(-1, width), table, bias, self.dtype)
        values = values.reshape(*shape, number)
        found = {part: values[..., i] for i, part in enumerate(self.parts)}
        if self.genes:
            table = self.param("rows", draw, (self.token_rows, width))
            bias = self.param("bias", zeros, (self.token_rows,))
            some = jnp.take_along_axis(x, batch["gene_places"][..., None], axis=1)
            logits = _gene_logits(some.reshape(-1, width), table, bias, self.dtype)
            found["genes"] = logits.reshape(*some.shape[:2], -1)
        return found


class Classifier(nn.Module):
    """Logits of the classes of one label: cell [B, D] -> [B, classes] in float32 or wider.

    A linear layer; with ``mlp`` another, GELU and dropout before it. ``reverse`` > 0: the
    gradient into the cell's vector is reversed and scaled by it, so that the vector forgets the
    label. Of a label of the ontology ``classes`` are its leaves.
    """

    label: str
    classes: int
    reverse: float = 0.0
    mlp: bool = False
    dropout: float = 0.0
    kernels: str = "torch"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, cell, batch, *, train=False):
        wide = jnp.promote_types(cell.dtype, jnp.float32)
        x = cell
        if self.reverse:
            x = gradient_reversal(x, jnp.asarray(self.reverse, x.dtype))
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=INITS[self.kernels])
        if self.mlp:
            x = gelu(dense(x.shape[-1], name="in")(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x) if self.dropout else x
        return dense(self.classes, name="out")(x).astype(wide)


HEADS = {
    "vocabulary_mlp": VocabularyMlp,
    "vocabulary_parts": VocabularyParts,
    "gene_linear": GeneLinear,
    "gene_parameter": GeneParameter,
    "token_parts": TokenParts,
    "classifier": Classifier,
}


def reads_of(head):
    """What a head reads: 'cell' (the pool's vector), 'pooled', 'tokens', or a special's name."""
    return head.get("reads", "tokens" if head["kind"] == "token_parts" else "cell")


def bias_at(spec, tables, bias):
    """The bias that makes a head with zero rows the mean predictor of ``tables`` (mean [R] …).

    None for a head that predicts no expression. bias : the head's own, for its shape
    """
    expression = tables["mean"]
    if spec["kind"] == "vocabulary_parts":
        parts = {"expression": expression, "is_zero": tables["zero_logit"]}
        known = [parts[p] for p in spec.get("parts", VocabularyParts.parts)]
        return bias.at[: len(expression)].set(jnp.stack(known, axis=1))
    if spec["kind"] != "vocabulary_mlp":
        return None
    name, upper = spec.get("activation", VocabularyMlp.activation), spec["library_size"]
    activation = COUNT_ACTIVATIONS[name]
    # A gene that takes a whole cell's counts lies at the bound, whose inverse is infinite. One that
    # no training cell shows lies at 0, where a rectifier has no slope to leave it by and a share no
    # logarithm: it starts at a thousandth of a count.
    top = 0.999 * math.log1p(upper)
    return activation.inverse(jnp.clip(expression, math.log1p(1e-3), top), upper)

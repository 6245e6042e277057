"""Heads that predict expression: from a cell's vector for every gene, or from a token's for itself.

B cells, T tokens, D width, V genes (rows of a gene table are padded to R ≥ V; R' of genes and
special tokens).
"""

import functools
import math

import jax.numpy as jnp
from flax import linen as nn

from jaxcell.models.count_activations import COUNT_ACTIVATIONS
from jaxcell.models.layers import INITS, Mlp, gelu, padded
from jaxcell.registry import lookup
from jaxcell.sharding import shard


def _gene_logits(cell, table, bias, dtype, rows="vocab"):
    """Product cell [B, D] · table [R, D] + bias [R] -> [B, R] in float32 or wider.

    Over 'vocab' each device multiplies by its own rows; their gradients meet in the cell's alone.
    ``rows`` None: of a table that no device needs to share.
    """
    dtype = dtype or jnp.promote_types(cell.dtype, table.dtype)
    wide = jnp.promote_types(dtype, jnp.float32)
    cell, table = shard(cell.astype(dtype), "batch", None), shard(table.astype(dtype), rows, None)
    logits = jnp.einsum("bd,vd->bv", cell, table, preferred_element_type=wide)
    return shard(logits + bias[None], "batch", rows)


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
            cell = shard(cell, "batch", None)
        if depth is not None:
            return cell
        draw = padded(nn.initializers.normal(0.02), self.vocabulary)
        table = self.param("rows", draw, (self.rows, width))
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

    cell [B, D] -> [B, R] in float32 or wider; 0 at padded rows.
    """

    rows: int
    vocabulary: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, cell, batch):
        draw = padded(nn.initializers.normal(0.02), self.vocabulary)
        table = self.param("rows", draw, (self.rows, cell.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.rows,))
        return _gene_logits(cell, table, bias, self.dtype)


class GeneParameter(nn.Module):
    """One learned number for every gene, the same for all cells: -> [R]; 0 at the start."""

    rows: int

    @nn.compact
    def __call__(self, cell, batch):
        return self.param("values", nn.initializers.zeros_init(), (self.rows,))


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
    tokens: int
    parts: tuple = ("expression", "is_zero")
    kernels: str = "torch"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, cell, batch):
        x = _Transform(self.kernels, dtype=self.dtype, name="transform")(cell)
        number, width = len(self.parts), x.shape[-1]
        draw = functools.partial(_rows, inputs=width, kernels=self.kernels)
        draw = padded(draw, self.tokens)
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
    [B, P, V + S], the logits of which gene or special token it is, at the places
    ``batch['gene_places']`` i32 [B, P].
    """

    token_rows: int
    tokens: int
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
        values = _gene_logits(x.reshape(-1, width), table, bias, self.dtype, rows=None)
        values = values.reshape(*shape, number)
        found = {part: values[..., i] for i, part in enumerate(self.parts)}
        if self.genes:
            table = self.param("rows", padded(draw, self.tokens), (self.token_rows, width))
            bias = self.param("bias", zeros, (self.token_rows,))
            some = jnp.take_along_axis(x, batch["gene_places"][..., None], axis=1)
            logits = _gene_logits(some.reshape(-1, width), table, bias, self.dtype)
            found["genes"] = logits.reshape(*some.shape[:2], -1)[..., : self.tokens]
        return found


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

"""What is read from a cell's or a token's vector; each head returns an array or a dict of arrays.

B cells, D width, V genes (rows of a gene table are padded to R ≥ V).
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcell.models.layers import Mlp
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


COUNT_ACTIVATIONS = {"rectified_tanh": (rectified_tanh, inverse_rectified_tanh)}


class VocabularyMlp(nn.Module):
    """Residual MLP from the cell's vector to one value for every gene.

    cell [B, D] -> [B, R] in float32 or wider: the expression in log1p space.

    ``blocks`` residual blocks of two D × D layers, then a gene table ``rows`` [R, D] and ``bias``
    [R] (the decoder's gene vectors), then the count activation. Padded rows get the logit −inf.
    The paper's sizes leave 9 D² for the token projection and this MLP: one D × D and four blocks.
    """

    rows: int
    vocabulary: int
    library_size: float
    blocks: int = 4
    activation: str = "rectified_tanh"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, cell):
        width = cell.shape[-1]
        for i in range(self.blocks):
            cell = cell + Mlp(width, dtype=self.dtype, name=f"blocks_{i}")(cell)
        table = self.param("rows", nn.initializers.normal(0.02), (self.rows, width))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.rows,))
        dtype = self.dtype or jnp.promote_types(cell.dtype, table.dtype)
        wide = jnp.promote_types(dtype, jnp.float32)
        logits = jnp.einsum(
            "bd,vd->bv", cell.astype(dtype), table.astype(dtype), preferred_element_type=wide
        )
        real = (jnp.arange(self.rows) < self.vocabulary)[None]
        logits = jnp.where(real, logits + bias[None], -jnp.inf)
        activation, _ = lookup(COUNT_ACTIVATIONS, self.activation, "activation")
        return activation(logits, self.library_size)


HEADS = {"vocabulary_mlp": VocabularyMlp}


def bias_at(spec, expression):
    """The bias that makes a vocabulary head with zero rows predict ``expression`` [R] (log1p)."""
    _, inverse = lookup(COUNT_ACTIVATIONS, spec.get("activation", "rectified_tanh"), "activation")
    # A gene that takes a whole cell's counts lies at the bound, whose inverse is infinite.
    top = 0.999 * math.log1p(spec["library_size"])
    return inverse(jnp.minimum(expression, top), spec["library_size"])

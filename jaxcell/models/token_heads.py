"""Heads that predict a token's value or bin: from its own vector, or from the cell's (MVC).

B cells, T tokens, D width, E width of what is read (with a condition more than D), n outputs.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcell.models.label_heads import Logits
from jaxcell.models.layers import INITS, padded
from jaxcell.registry import lookup

QUERY = 64  # channels of a concatenated query, and of the hidden layer that reads one


class TokenMlp(nn.Module):
    """Leaky-ReLU layers from each token's vector to one number, or to n logits.

    tokens [B, T, E] -> [B, T], or [B, T, n] for n > 1 ``outputs``, in float32 or wider. With
    ``zero`` {'value': that, 'nonzero': [B, T]}, the logit of the value's not being zero from layers
    of its own. Parameters hidden_i and out, zero_hidden_i and zero_out, {kernel, bias} each.
    Source: scFormer's expression decoder; ``layers`` 1: a linear layer, as BioFormer has it.
    """

    width: int
    outputs: int = 1
    layers: int = 3
    zero: bool = False
    kernels: str = "torch"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, tokens, batch):
        value = _squeezed(self._mlp(tokens, "", self.outputs))
        if not self.zero:
            return value
        return {"value": value, "nonzero": self._mlp(tokens, "zero_", 1)[..., 0]}

    def _mlp(self, x, prefix, outputs):
        draw = INITS[self.kernels]
        for i in range(self.layers - 1):
            name = f"{prefix}hidden_{i}"
            x = nn.Dense(self.width, dtype=self.dtype, kernel_init=draw, name=name)(x)
            x = jax.nn.leaky_relu(x)
        return Logits(outputs, self.kernels, self.dtype, name=f"{prefix}out")(x)


class TokenAffine(nn.Module):
    """An affine function of each token's own value x, by its vector h: a(h) · x + b(h).

    tokens [B, T, D], batch['values'] [B, T] -> [B, T] in float32 or wider. a and b are leaky-ReLU
    layers, a's last bias counts from 1: a new head nearly says that nothing changes. Parameters
    hidden_i and out of b, hidden_slope_i and out_slope of a, {kernel, bias} each. Source: scGPT's
    affine decoder of perturbed expression.
    """

    width: int
    layers: int = 3
    kernels: str = "torch"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, tokens, batch):
        slope, shift = (self._mlp(tokens, kind)[..., 0] for kind in ("_slope", ""))
        return (1 + slope) * batch["values"].astype(slope.dtype) + shift

    def _mlp(self, x, kind):
        draw = INITS[self.kernels]
        for i in range(self.layers - 1):
            name = f"hidden{kind}_{i}"
            x = nn.Dense(self.width, dtype=self.dtype, kernel_init=draw, name=name)(x)
            x = jax.nn.leaky_relu(x)
        return Logits(1, self.kernels, self.dtype, name=f"out{kind}")(x)


class TokenGenes(nn.Module):
    """Logits of which gene it is, for each token: tokens [B, T, D] -> [B, T, V] of the V genes.

    Parameters rows [R, D], bias [R], padded. Memory grows with T · V.
    """

    rows: int
    vocabulary: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, tokens, batch):
        draw = padded(nn.initializers.normal(0.02), self.vocabulary)
        table = self.param("rows", draw, (self.rows, tokens.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.rows,))
        dtype = self.dtype or jnp.promote_types(tokens.dtype, table.dtype)
        wide = jnp.promote_types(dtype, jnp.float32)
        logits = jnp.einsum(
            "btd,vd->btv", tokens.astype(dtype), table.astype(dtype), preferred_element_type=wide
        )
        return (logits + bias[None, None])[..., : self.vocabulary]


class GeneQuery(nn.Module):
    """Each token's value from the cell's vector and the token's gene alone (MVC).

    cell [B, E], batch['fields'][``field``] [B, T, D] (gene vectors, no values) -> as `TokenMlp`.

    A query q = sigmoid(linear(gene)) meets the cell's vector c by ``style``:

    - 'inner_product': q W · c, W [D, E]; for n > 1 outputs Σ_e (q W)_e c_e U_en + b_n. The logit of
      non-zero is (q W' + b') · c.
    - 'concat_query': linear, PReLU, linear of [c; q], q and the hidden layer of 64 channels.
    - 'sum_query': the same of c + q, q as wide as c.

    ``detach`` keeps the gradient from the gene vectors. Source: scFormer, eq. 8 and its code, where
    the latter two do not run.
    """

    style: str = "inner_product"
    field: str = "gene"
    outputs: int = 1
    zero: bool = False
    detach: bool = False
    kernels: str = "torch"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, cell, batch):
        styles = {"inner_product": self._inner, "concat_query": self._joint, "sum_query": self._sum}
        predict = lookup(styles, self.style, f"config.model.heads.{self.name}.style")
        genes = batch["fields"][self.field]
        genes = jax.lax.stop_gradient(genes) if self.detach else genes
        sizes = {"inner_product": genes.shape[-1], "concat_query": QUERY}
        width = sizes.get(self.style, cell.shape[-1])
        q = jax.nn.sigmoid(self._dense(width, "query")(genes))
        value, zero = predict(q, cell)
        value = _squeezed(value)
        return {"value": value, "nonzero": zero} if self.zero else value

    def _dense(self, width, name, bias=True):
        draw = INITS[self.kernels]
        return nn.Dense(width, use_bias=bias, dtype=self.dtype, kernel_init=draw, name=name)

    def _inner(self, q, cell):
        """The product with W is taken on the cell's side, once for all its tokens."""
        shape, draw = (q.shape[-1], cell.shape[-1]), INITS[self.kernels]
        kernel = self.param("product_kernel", draw, shape)
        dtype = self.dtype or jnp.promote_types(cell.dtype, kernel.dtype)
        wide = jnp.promote_types(dtype, jnp.float32)

        def product(equation, *operands):
            operands = (a.astype(dtype) for a in operands)
            return jnp.einsum(equation, *operands, preferred_element_type=wide)

        if self.outputs == 1:
            value = product("btd,bd->bt", q, product("de,be->bd", kernel, cell))[..., None]
        else:
            table = self.param("out_kernel", draw, (cell.shape[-1], self.outputs))
            bias = self.param("out_bias", nn.initializers.zeros_init(), (self.outputs,))
            both = product("de,be,en->bdn", kernel, cell, table)
            value = product("btd,bdn->btn", q, both) + bias[None, None]
        if not self.zero:
            return value, None
        kernel = self.param("zero_kernel", draw, shape)
        bias = self.param("zero_bias", nn.initializers.zeros_init(), (cell.shape[-1],))
        zero = product("btd,bd->bt", q, product("de,be->bd", kernel, cell))
        return value, zero + product("e,be->b", bias, cell)[:, None]

    def _joint(self, q, cell):
        # The cell's part of the layer is the same for all its tokens.
        hidden = self._dense(QUERY, "hidden")(q)
        return self._behind(hidden + self._dense(QUERY, "hidden_cell", bias=False)(cell)[:, None])

    def _sum(self, q, cell):
        return self._behind(self._dense(QUERY, "hidden")(q + cell[:, None]))

    def _behind(self, hidden):
        slope = self.param("slope", nn.initializers.constant(0.25), (1,))
        h = jnp.where(hidden >= 0, hidden, slope[None, None] * hidden)
        value = Logits(self.outputs, self.kernels, self.dtype, name="out")(h)
        if not self.zero:
            return value, None
        return value, Logits(1, self.kernels, self.dtype, name="zero_out")(h)[..., 0]


def _squeezed(value):
    """Predictions [B, T, n], or [B, T] where there is one."""
    return value[..., 0] if value.shape[-1] == 1 else value

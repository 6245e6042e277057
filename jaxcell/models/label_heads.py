"""Heads that predict a cell's labels, and the reversal of their gradient. B cells, D width."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcell.models.layers import INITS, gelu


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

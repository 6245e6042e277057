"""Heads that predict a cell's labels, and the reversal of their gradient. B cells, D width."""

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


class Logits(nn.Module):
    """A linear layer of which no logit is rounded to ``dtype``, only what is multiplied.

    x [B, D] -> [B, classes] in float32 or wider; parameters as ``nn.Dense`` has them.
    """

    classes: int
    kernels: str
    dtype: jnp.dtype | None

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", INITS[self.kernels], (x.shape[-1], self.classes))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.classes,))
        dtype = self.dtype or jnp.promote_types(x.dtype, kernel.dtype)
        wide = jnp.promote_types(dtype, jnp.float32)
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        return jnp.dot(x, kernel, preferred_element_type=wide) + bias[None]


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
        x = cell
        if self.reverse:
            x = gradient_reversal(x, jnp.asarray(self.reverse, x.dtype))
        if self.mlp:
            kernel_init = INITS[self.kernels]
            dense = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=kernel_init, name="in")
            x = gelu(dense(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x) if self.dropout else x
        return Logits(self.classes, self.kernels, self.dtype, name="out")(x)

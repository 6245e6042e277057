"""Heads that predict a cell's labels, and the reversal of their gradient. B cells, D width."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcell.models.layers import INITS, gelu
from jaxcell.registry import lookup


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


def reversed_by(x, strength, ramp, batch):
    """Gradient reversal by a constant ``strength`` (0: none), or one that rises to it from 0.

    ``ramp``: strength · (2 / (1 + exp(−10 p)) − 1), p = ``batch['progress']`` the share of the
    run's steps that is done. Source: Ganin et al. 2016, section 5.2.

    x [...] -> x
    """
    if not strength:
        return x
    strength = jnp.asarray(strength, x.dtype)
    if ramp:
        progress = jnp.asarray(batch.get("progress", 1.0), x.dtype)
        strength = strength * (2 / (1 + jnp.exp(-10 * progress)) - 1)
    return gradient_reversal(x, strength)


class Logits(nn.Module):
    """A linear layer of which no logit is rounded to ``dtype``, only what is multiplied.

    x [..., D] -> [..., classes] in float32 or wider; parameters as ``nn.Dense`` has them.
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
        bias = bias.reshape((1,) * (x.ndim - 1) + (-1,))
        return jnp.dot(x, kernel, preferred_element_type=wide) + bias


class Classifier(nn.Module):
    """Logits of the classes of one label: cell [B, D] -> [B, classes] in float32 or wider.

    A linear layer; with ``mlp`` another, GELU and dropout before it. ``reverse`` > 0: the
    gradient into the cell's vector is reversed and scaled by it, so that the vector forgets the
    label; with ``ramp`` the scale rises from 0 (`reversed_by`). Of a label of the ontology
    ``classes`` are its leaves.
    """

    label: str
    classes: int
    reverse: float = 0.0
    ramp: bool = False
    mlp: bool = False
    dropout: float = 0.0
    kernels: str = "torch"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, cell, batch, *, train=False):
        x = reversed_by(cell, self.reverse, self.ramp, batch)
        if self.mlp:
            kernel_init = INITS[self.kernels]
            dense = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=kernel_init, name="in")
            x = gelu(dense(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x) if self.dropout else x
        return Logits(self.classes, self.kernels, self.dtype, name="out")(x)


class MlpClassifier(nn.Module):
    """Logits of a label behind hidden layers of linear, activation, layer norm.

    cell [B, D] -> [B, classes] in float32 or wider. Parameters hidden_i/{kernel, bias},
    norm_i/{scale, bias}, out/{kernel, bias}. ``reverse`` and ``ramp`` as of `Classifier`. Source:
    scFormer's classifier (ReLU) and its discriminator of batches (leaky ReLU, reversed).
    """

    label: str
    classes: int
    reverse: float = 0.0
    ramp: bool = False
    layers: int = 3
    activation: str = "relu"
    kernels: str = "torch"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, cell, batch):
        where = f"config.model.heads.{self.name}.activation"
        known = {"relu": jax.nn.relu, "leaky_relu": jax.nn.leaky_relu}
        activate = lookup(known, self.activation, where)
        x, draw = reversed_by(cell, self.reverse, self.ramp, batch), INITS[self.kernels]
        for i in range(self.layers - 1):
            hidden = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=draw, name=f"hidden_{i}")
            x = nn.LayerNorm(epsilon=1e-5, name=f"norm_{i}")(activate(hidden(x)))
        return Logits(self.classes, self.kernels, self.dtype, name="out")(x)

"""From a head's logits to expression in log1p space, and back. B cells, R rows of a gene table."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


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

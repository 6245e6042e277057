"""From a cell's tokens to its vector. B cells, T tokens, D width; specials stand in front."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcell.models.layers import INITS

POOLS = ("cls", "mean", "weighted", "last", "first", "pooler")
OF_ALL = ("mean", "weighted", "last")  # they read all tokens


class Pooler(nn.Module):
    """A linear layer and tanh, on the first token's vector: [B, D] -> [B, D]."""

    kernels: str = "torch"
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, cell):
        draw = INITS[self.kernels]
        dense = nn.Dense(cell.shape[-1], dtype=self.dtype, kernel_init=draw, name="dense")
        return jnp.tanh(dense(cell))


def names_of(pool):
    """The pools that ``config.model.pool`` names: 'cls', or several to be joined, 'cls+mean'."""
    return tuple(pool.split("+")) if isinstance(pool, str) else tuple(pool)


def check(pool, spec):
    """Raise ValueError unless each name is a pool of this model or one of its front tokens.

    'first' is a cell's first token whatever it is: a gene's, where none stands in front of these.
    """
    known = ("cls", *OF_ALL, *(("pooler",) if spec.pooler else ()), *spec.front, "first")
    if not names_of(pool):
        raise ValueError(f"config.model.pool: found none, expected some of {', '.join(known)}")
    for name in names_of(pool):
        if name == "pooler" and not spec.pooler:
            raise ValueError("config.model.pool: 'pooler' asks for config.model.pooler = True")
        if name not in known:
            raise ValueError(f"config.model.pool: found {name!r}, expected {', '.join(known)}")
        if name not in (*OF_ALL, "first") and not spec.front:
            raise ValueError(f"config.model.front: no token for the pool {name!r}")
        _check_sight("config.model.pool", name, spec)


def check_reads(name, spec, where):
    """Raise ValueError unless a head's ``reads`` is something that this model has."""
    known = ("cell", "tokens", *OF_ALL, *spec.front, "first")
    known = (*known, "cls") if spec.front else known
    if name not in (*known, *(("pooled",) if spec.pooler else ())):
        hint = ", which asks for config.model.pooler = True" if name == "pooled" else ""
        raise ValueError(f"{where}: found {name!r}{hint}, expected {', '.join(known)}, pooled")
    if name not in ("cell", "tokens"):
        _check_sight(where, name, spec)


def _check_sight(where, name, spec):
    if spec.encoder.get("causal", False) and name not in OF_ALL:
        raise ValueError(
            f"{where}: found {name!r}, expected {' or '.join(OF_ALL)}: in a causal encoder the "
            "tokens in front of a cell's genes see none of them"
        )


def tokens_read(name, spec):
    """How many of the first tokens a pool, or a head's ``reads``, takes; None: all of them."""
    if name in (*OF_ALL, "tokens"):
        return None  # 'pooled' and 'pooler' take the first
    return spec.front.index(name) + 1 if name in spec.front else 1


def mean_of_genes(tokens, length, specials):
    """The mean over a cell's gene tokens: tokens [B, T, D], length [B] -> [B, D].

    A cell without any has zeros.
    """
    places = jnp.arange(tokens.shape[1])[None]
    valid = (places >= specials) & (places < length[:, None])
    wide = tokens.astype(jnp.promote_types(tokens.dtype, jnp.float32))
    number = jnp.maximum(valid.sum(axis=1), 1)[:, None]
    mean = jnp.where(valid[..., None], wide, 0).sum(axis=1) / number
    return mean.astype(tokens.dtype)


def weighted(tokens, values, length, specials):
    """The sum of a cell's gene tokens by their values, scaled to length 1 (zeros stay zeros).

    tokens [B, T, D], values [B, T] (of a hidden one: none), length [B] -> [B, D]. Source: scFormer.
    """
    places = jnp.arange(tokens.shape[1])[None]
    valid = (places >= specials) & (places < length[:, None])
    wide = tokens.astype(jnp.promote_types(tokens.dtype, jnp.float32))
    weights = jnp.where(valid, jnp.maximum(values, 0), 0).astype(wide.dtype)
    found = jnp.where(valid[..., None], wide * weights[..., None], 0).sum(axis=1)
    square = (found**2).sum(axis=1, keepdims=True)
    found = found / jnp.sqrt(jnp.where(square > 0, square, 1))  # no gradient of a root at zero
    return found.astype(tokens.dtype)


def last(tokens, length):
    """The vector at a cell's last valid token: tokens [B, T, D], length [B] -> [B, D].

    A cell without any has zeros.
    """
    found = jax.vmap(lambda x, n: x[jnp.maximum(n - 1, 0)])(tokens, length)
    return jnp.where(length[:, None] > 0, found, 0)

"""From a cell's tokens to its vector. B cells, T tokens, D width; specials stand in front."""

import jax.numpy as jnp
from flax import linen as nn

from jaxcell.models.layers import INITS

POOLS = ("cls", "mean", "pooler")


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
    """Raise ValueError unless each name is a pool of this model or one of its front tokens."""
    known = ("cls", "mean", *(("pooler",) if spec.pooler else ()), *spec.front)
    if not names_of(pool):
        raise ValueError(f"config.model.pool: found none, expected some of {', '.join(known)}")
    for name in names_of(pool):
        if name == "pooler" and not spec.pooler:
            raise ValueError("config.model.pool: 'pooler' asks for config.model.pooler = True")
        if name not in known:
            raise ValueError(f"config.model.pool: found {name!r}, expected {', '.join(known)}")
        if name != "mean" and not spec.front:
            raise ValueError(f"config.model.front: no token for the pool {name!r}")


def check_reads(name, spec, where):
    """Raise ValueError unless a head's ``reads`` is something that this model has."""
    known = ("cell", "tokens", "mean", *spec.front)
    known = (*known, "cls") if spec.front else known
    if name not in (*known, *(("pooled",) if spec.pooler else ())):
        hint = ", which asks for config.model.pooler = True" if name == "pooled" else ""
        raise ValueError(f"{where}: found {name!r}{hint}, expected {', '.join(known)}, pooled")


def tokens_read(name, spec):
    """How many of the first tokens a pool, or a head's ``reads``, takes; None: all of them."""
    if name in ("mean", "tokens"):
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

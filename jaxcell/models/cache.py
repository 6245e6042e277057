"""Keys and values of the tokens so far, so that a causal model reads its next tokens alone.

N layers, B cells, T places for tokens, n tokens that are added, H heads, C channels of one head.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcell.models.pools import names_of


class Cache(NamedTuple):
    """``keys``, ``values`` [N, B, T, H, C]; ``length`` i32 [B]: places of each cell in use."""

    keys: jax.Array
    values: jax.Array
    length: jax.Array

    def add(self, layer, k, v, number):
        """Put the first ``number`` [B] of n tokens of a layer behind each cell's own.

        k, v [B, n, H, C] -> the cache, the layer's keys and values [B, T, H, C], and the places
        [B] of the first of the new tokens. ``length`` is as before: other layers come.
        """
        cells, added = k.shape[:2]
        step = jnp.arange(added)[None]
        places = jnp.where(step < number[:, None], self.length[:, None] + step, self.keys.shape[2])
        cell = jnp.broadcast_to(jnp.arange(cells)[:, None], places.shape)
        at = jnp.broadcast_to(layer, places.shape), cell, places

        def put(whole, new):
            return whole.at[at].set(new.astype(whole.dtype), mode="drop")

        more = self._replace(keys=put(self.keys, k), values=put(self.values, v))
        return more, more.keys[layer], more.values[layer], self.length


def empty(encoder, width, cells, tokens, dtype):
    """A cache without tokens for a config's ``encoder``: {'keys', 'values', 'length'}."""
    shape = (encoder.layers, cells, tokens, encoder.heads, width // encoder.heads)
    return Cache(
        jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.zeros(cells, jnp.int32)
    )._asdict()


def check(spec, reads):
    """Raise ValueError unless tokens can come one by one, and each head reads such alone.

    spec : of a model; reads : {head: what it reads}
    """
    if not spec.encoder.get("causal", False):
        raise ValueError(
            "config.model.encoder.causal: found False, expected True: with a cache, tokens do not "
            "see those that come later"
        )
    if spec.combine != "sum":
        raise ValueError(
            f"config.model.combine: found {spec.combine!r}, expected 'sum': the special tokens of "
            "other models stand in front of every batch"
        )
    for name, one in spec.metadata.items():
        if one.get("place", "cls") in ("cls", "token"):
            raise ValueError(
                f"config.model.metadata.{name}.place: found {one.get('place', 'cls')!r}, which is "
                "of a cell's first tokens; expected none where tokens come one by one"
            )
    for name, read in reads.items():
        if not set(names_of(spec.pool) if read == "cell" else (read,)) <= {"tokens", "last"}:
            raise ValueError(
                f"config.model.heads.{name}.reads: found {read!r}, expected tokens or last where "
                "tokens come one by one"
            )

"""Softmax attention as it is written, in one piece or in chunks of queries.

B cells, Q query tokens, T tokens, H heads, C channels of one head.
"""

import jax
import jax.numpy as jnp

CHUNK = 4096  # queries at a time, at most


def plain(q, k, v, length, blocked=None, drop=None, causal=False, start=0):
    """``attention`` of models/attention.py, whose arguments these are, in one piece."""
    weights = attention_weights(q, k, length, blocked, causal=causal, start=start)
    if drop is not None:
        key, rate = drop
        kept = jax.random.bernoulli(key, 1 - rate, weights.shape)
        weights = jnp.where(kept, weights / (1 - rate), 0)
    return jnp.einsum("bhqk,bkhc->bqhc", weights.astype(v.dtype), v)


def in_chunks(q, k, v, length, size, blocked=None, drop=None, causal=False, start=0):
    """The same, ``size`` queries at a time: one after the other, forward and backward."""
    cells, queries, heads, channels = q.shape
    chunks = -(-queries // size)
    q = jnp.pad(q, ((0, 0), (0, chunks * size - queries), (0, 0), (0, 0)))
    q = jnp.moveaxis(q.reshape(cells, chunks, size, heads, channels), 1, 0)
    starts = size * jnp.arange(chunks)
    keys = starts if drop is None else jax.random.split(drop[0], chunks)

    def one(part):
        q, first, key = part
        own = None if drop is None else (key, drop[1])
        return plain(q, k, v, length, blocked, own, causal, start + first)

    # Scores are recomputed in the backward pass; kept, they would be as large as without chunks.
    some = jax.checkpoint(one, prevent_cse=False)
    out = jnp.moveaxis(jax.lax.map(some, (q, starts, keys)), 0, 1)
    return out.reshape(cells, chunks * size, heads, channels)[:, :queries]


def attention_weights(q, k, length, blocked=None, *, causal=False, start=0):
    """The softmax weights of `attention`, before dropout: [B, H, Q, T] in float32 or wider."""
    scores = jnp.einsum("bqhc,bkhc->bhqk", q, k, preferred_element_type=wide(q))
    if causal or blocked is not None:
        places = jnp.reshape(start, (-1, 1)) + jnp.arange(q.shape[1])[None]  # [B or 1, Q]
        own, keys = places[..., None], jnp.arange(k.shape[1])[None, None]
        hidden = keys > own if causal else jnp.zeros((), bool)
        if blocked is not None:
            hidden = hidden | (blocked[:, None, :] & (keys != own))
        scores = jnp.where(hidden[:, None], jnp.finfo(scores.dtype).min, scores)
    return weights_of(scores, q, length)


def wide(q):
    """The dtype of scores."""
    return jnp.promote_types(q.dtype, jnp.float32)


def weights_of(scores, q, length):
    """Softmax over the valid tokens: scores [B, H, Q, T] in wide precision -> [B, H, Q, T]."""
    scores = scores * q.shape[-1] ** -0.5
    valid = jnp.arange(scores.shape[-1])[None, :] < length[:, None]
    scores = jnp.where(valid[:, None, None, :], scores, jnp.finfo(scores.dtype).min)
    return jax.nn.softmax(scores, axis=-1)

"""Attention behind one function; padding is told by each cell's number of valid tokens.

B cells, Q query tokens, T tokens, H heads, C channels of one head.
"""

import jax
import jax.numpy as jnp

from jaxcell.models import kernels

CHUNK = 4096  # queries at a time, at most
SCORES = 2**29  # of a chunk, at most: 2 GB in float32


def attention(q, k, v, length, blocked=None, drop=None, *, causal=False, start=0, kernel="xla"):
    """Softmax attention of query tokens to the valid tokens of their cell.

    q [B, Q, H, C] (the first Q tokens), k, v [B, T, H, C], length [B] (valid prefix) ->
    [B, Q, H, C] in the dtype of ``v``. Above 4 096 queries they go through in chunks, forward and
    backward, so that memory no longer grows with T². ``blocked`` bool [B, T]: tokens that none but
    themselves may see. ``drop`` (key, rate): dropout of the weights. ``causal``: a query sees the
    tokens up to its own place alone. ``start``: the place of the first query, a number or i32 [B].
    ``kernel``: of `models.kernels`, which computes the same for as many queries as tokens, without
    ``blocked``, ``drop`` and ``start``.

    Scores and softmax are kept in at least float32, also for bfloat16 inputs; in float64 they stay
    float64, which jax.nn.dot_product_attention does not offer. Rows beyond ``length`` hold numbers
    without meaning: no valid token attends to them and no pool reads them.
    """
    if kernel != "xla" and blocked is None and drop is None:
        return kernels.run(kernel, q, k, v, length, causal)
    if q.shape[1] <= CHUNK:
        return _whole(q, k, v, length, blocked, drop, causal, start)
    cells, queries, heads, channels = q.shape
    size = max(min(CHUNK, SCORES // (cells * heads * k.shape[1])), 1)
    chunks = -(-queries // size)
    q = jnp.pad(q, ((0, 0), (0, chunks * size - queries), (0, 0), (0, 0)))
    q = jnp.moveaxis(q.reshape(cells, chunks, size, heads, channels), 1, 0)
    starts = size * jnp.arange(chunks)
    keys = starts if drop is None else jax.random.split(drop[0], chunks)

    def one(part):
        q, first, key = part
        own = None if drop is None else (key, drop[1])
        return _whole(q, k, v, length, blocked, own, causal, start + first)

    # Scores are recomputed in the backward pass; kept, they would be as large as without chunks.
    some = jax.checkpoint(one, prevent_cse=False)
    out = jnp.moveaxis(jax.lax.map(some, (q, starts, keys)), 0, 1)
    return out.reshape(cells, chunks * size, heads, channels)[:, :queries]


def _whole(q, k, v, length, blocked, drop, causal, start):
    weights = attention_weights(q, k, length, blocked, causal=causal, start=start)
    if drop is not None:
        key, rate = drop
        kept = jax.random.bernoulli(key, 1 - rate, weights.shape)
        weights = jnp.where(kept, weights / (1 - rate), 0)
    return jnp.einsum("bhqk,bkhc->bqhc", weights.astype(v.dtype), v)


def attention_weights(q, k, length, blocked=None, *, causal=False, start=0):
    """The softmax weights of `attention`, before dropout: [B, H, Q, T] in float32 or wider."""
    scores = jnp.einsum("bqhc,bkhc->bhqk", q, k, preferred_element_type=_wide(q))
    if causal or blocked is not None:
        places = jnp.reshape(start, (-1, 1)) + jnp.arange(q.shape[1])[None]  # [B or 1, Q]
        own, keys = places[..., None], jnp.arange(k.shape[1])[None, None]
        hidden = keys > own if causal else jnp.zeros((), bool)
        if blocked is not None:
            hidden = hidden | (blocked[:, None, :] & (keys != own))
        scores = jnp.where(hidden[:, None], jnp.finfo(scores.dtype).min, scores)
    return _weights(scores, q, length)


def attention_of_few(q, x, keys, values, length):
    """The same for few queries, not causal, where keys and values of all tokens would cost most.

    q [B, Q, H, C], tokens x [B, T, D], kernels keys, values [D, H, C], length [B]
    -> [B, Q, H, C], as ``attention(q, x·keys, x·values, length)``.

    A query is taken back through the keys' kernel to the tokens' space, and the weighted tokens go
    through the values' kernel: 4 Q H D operations a token instead of 4 D² + 4 Q D. A bias of the
    keys would shift all scores of a query alike, which softmax does not see; one of the values is
    the caller's to add.
    """
    back = jnp.einsum("bqhc,dhc->bqhd", q, keys)
    weights = _weights(
        jnp.einsum("bqhd,bkd->bhqk", back, x, preferred_element_type=_wide(q)), q, length
    )
    read = jnp.einsum("bhqk,bkd->bqhd", weights.astype(x.dtype), x)
    return jnp.einsum("bqhd,dhc->bqhc", read, values)


def _wide(q):
    return jnp.promote_types(q.dtype, jnp.float32)


def _weights(scores, q, length):
    """Softmax over the valid tokens: scores [B, H, Q, T] in wide precision -> [B, H, Q, T]."""
    scores = scores * q.shape[-1] ** -0.5
    valid = jnp.arange(scores.shape[-1])[None, :] < length[:, None]
    scores = jnp.where(valid[:, None, None, :], scores, jnp.finfo(scores.dtype).min)
    return jax.nn.softmax(scores, axis=-1)

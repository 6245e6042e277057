"""Attention behind one function; padding is told by each cell's number of valid tokens.

B cells, Q query tokens, T tokens, H heads, C channels of one head.
"""

import jax
import jax.numpy as jnp

CHUNK = 4096  # queries at a time, at most
SCORES = 2**29  # of a chunk, at most: 2 GB in float32


def attention(q, k, v, length):
    """Softmax attention of query tokens to the valid tokens of their cell.

    q [B, Q, H, C], k, v [B, T, H, C], length [B] (valid prefix) -> [B, Q, H, C] in the dtype of
    ``v``. Above 4 096 queries they go through in chunks, forward and backward, so that memory no
    longer grows with T².

    Scores and softmax are kept in at least float32, also for bfloat16 inputs; in float64 they stay
    float64, which jax.nn.dot_product_attention does not offer. Rows beyond ``length`` hold numbers
    without meaning: no valid token attends to them and no pool reads them.
    """
    if q.shape[1] <= CHUNK:
        return _whole(q, k, v, length)
    cells, queries, heads, channels = q.shape
    size = max(min(CHUNK, SCORES // (cells * heads * k.shape[1])), 1)
    chunks = -(-queries // size)
    q = jnp.pad(q, ((0, 0), (0, chunks * size - queries), (0, 0), (0, 0)))
    q = jnp.moveaxis(q.reshape(cells, chunks, size, heads, channels), 1, 0)
    # Scores are recomputed in the backward pass; kept, they would be as large as without chunks.
    some = jax.checkpoint(lambda part: _whole(part, k, v, length), prevent_cse=False)
    out = jnp.moveaxis(jax.lax.map(some, q), 0, 1)
    return out.reshape(cells, chunks * size, heads, channels)[:, :queries]


def _whole(q, k, v, length):
    wide = jnp.promote_types(q.dtype, jnp.float32)
    scores = jnp.einsum("bqhc,bkhc->bhqk", q, k, preferred_element_type=wide)
    scores = scores * q.shape[-1] ** -0.5
    valid = jnp.arange(k.shape[1])[None, :] < length[:, None]
    scores = jnp.where(valid[:, None, None, :], scores, jnp.finfo(wide).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("bhqk,bkhc->bqhc", weights, v)

"""Attention behind one function; padding is told by each cell's number of valid tokens.

B cells, Q query tokens, T tokens, H heads, C channels of one head.
"""

import jax.numpy as jnp

from jaxcell.models import kernels
from jaxcell.models.scores import CHUNK, in_chunks, plain, weights_of, wide

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
    few = q.shape[1] <= CHUNK
    if kernel != "xla" and blocked is None and drop is None and (few or kernel != "cells"):
        return kernels.run(kernel, q, k, v, length, causal)
    if few:
        return plain(q, k, v, length, blocked, drop, causal, start)
    size = max(min(CHUNK, SCORES // (q.shape[0] * q.shape[2] * k.shape[1])), 1)
    return in_chunks(q, k, v, length, size, blocked, drop, causal, start)


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
    weights = weights_of(
        jnp.einsum("bqhd,bkd->bhqk", back, x, preferred_element_type=wide(q)), q, length
    )
    read = jnp.einsum("bhqk,bkd->bqhd", weights.astype(x.dtype), x)
    return jnp.einsum("bqhd,dhc->bqhc", read, values)

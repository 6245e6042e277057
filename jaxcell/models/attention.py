"""Attention behind one function; padding is told by each cell's number of valid tokens.

B cells, T tokens, H heads, C channels of one head.
"""

import jax
import jax.numpy as jnp


def attention(q, k, v, length):
    """Softmax attention of every token to the valid tokens of its cell.

    q, k, v [B, T, H, C], length [B] (valid prefix) -> [B, T, H, C] in the dtype of ``v``.

    Scores and softmax are kept in at least float32, also for bfloat16 inputs; in float64 they stay
    float64, which jax.nn.dot_product_attention does not offer. Rows beyond ``length`` hold numbers
    without meaning: no valid token attends to them and no pool reads them.
    """
    wide = jnp.promote_types(q.dtype, jnp.float32)
    scores = jnp.einsum("bqhc,bkhc->bhqk", q, k, preferred_element_type=wide)
    scores = scores * q.shape[-1] ** -0.5
    valid = jnp.arange(k.shape[1])[None, :] < length[:, None]
    scores = jnp.where(valid[:, None, None, :], scores, jnp.finfo(wide).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("bhqk,bkhc->bqhc", weights, v)

"""Exact attention for processors: a few heads of a few cells at a time, with its own gradient.

XLA's scores of a whole batch go through memory a dozen times. Here they are made piece by piece,
stay in the cache, and are made again for the gradient, as flash attention does; on two idle cores
a third of the time or less. N pairs of a cell and a head, T tokens, C channels.
"""

import functools

import jax
import jax.numpy as jnp

from jaxcell.models.scores import wide

CACHE = 2**22  # scores at a time: 16 MB in float32


def few_cells(q, k, v, length, causal):
    """``attention`` of models/attention.py: q, k, v [B, T, H, C], length [B] -> [B, T, H, C]."""
    cells, tokens, heads, channels = q.shape

    def pairs(x):
        return x.swapaxes(1, 2).reshape(cells * heads, tokens, channels)

    out = _attend(*map(pairs, (q, k, v)), jnp.repeat(length, heads), causal)
    return out.reshape(cells, heads, tokens, channels).swapaxes(1, 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(q, k, v, length, causal):
    """q, k, v [N, T, C], length [N] -> [N, T, C]."""
    return _forward(q, k, v, length, causal)[0]


def _forward(q, k, v, length, causal):
    def some(q, k, v, length):
        scores = _scores(q, k, length, causal)
        most = scores.max(axis=-1, keepdims=True)
        shares = jnp.exp(scores - most)
        total = shares.sum(axis=-1, keepdims=True)
        out = jnp.einsum("nqk,nkc->nqc", shares.astype(v.dtype), v, preferred_element_type=wide(v))
        return (out / total).astype(v.dtype), (most + jnp.log(total))[..., 0]

    out, total = _in_pieces(some, q, k, v, length)
    return out, (q, k, v, length, out, total)


def _backward(causal, saved, g):
    def some(q, k, v, length, out, total, g):
        weights = jnp.exp(_scores(q, k, length, causal) - total[..., None])
        dv = jnp.einsum("nqk,nqc->nkc", weights.astype(g.dtype), g)
        slope = jnp.einsum("nqc,nkc->nqk", g, v, preferred_element_type=wide(v))
        mean = (g.astype(slope.dtype) * out).sum(axis=-1, keepdims=True)
        slope = (weights * (slope - mean) * q.shape[-1] ** -0.5).astype(q.dtype)
        dq = jnp.einsum("nqk,nkc->nqc", slope, k)
        return dq, jnp.einsum("nqk,nqc->nkc", slope, q), dv

    return *_in_pieces(some, *saved, g), None


_attend.defvjp(_forward, _backward)


def _scores(q, k, length, causal):
    """Scaled scores [N, Q, T] in float32 or wider, the least number where a key is hidden."""
    scores = jnp.einsum("nqc,nkc->nqk", q, k, preferred_element_type=wide(q))
    place = jnp.arange(k.shape[1])
    seen = (place[None] < length[:, None])[:, None]
    if causal:
        seen = seen & (place[None] <= place[:, None])[None]
    return jnp.where(seen, scores * q.shape[-1] ** -0.5, jnp.finfo(scores.dtype).min)


def _in_pieces(some, *arrays):
    """``some`` over the pairs [N, …] of all arrays, as many at a time as the cache holds."""
    number, tokens = arrays[0].shape[:2]
    few = max(
        n for n in range(1, number + 1) if number % n == 0 and (n == 1 or n * tokens**2 <= CACHE)
    )
    if few == number:
        return some(*arrays)
    split = [x.reshape(number // few, few, *x.shape[1:]) for x in arrays]
    found = jax.lax.map(lambda part: some(*part), split)
    return jax.tree.map(lambda x: x.reshape(number, *x.shape[2:]), found)

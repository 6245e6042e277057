"""Losses of labels, by cell: logits and a class -> [B].

B cells, C classes, L leaves of an ontology, n labels (coarse ones among them), each with its row
of ``leaves`` [n, L], the leaves that descend from it. A target of -1 is unknown: it costs 0 and
has no gradient, whatever its logits hold. Without leaves a target of C or above costs NaN.
"""

import jax
import jax.numpy as jnp


def _up(a):
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))


def cross_entropy(logits, target, smoothing=0.0):
    """-ln softmax(logits)[target]; with smoothing s: (1 - s) of it, s of its mean over classes.

    logits [B, C], target i32 [B] -> [B]
    """
    known = target >= 0
    log_p = jax.nn.log_softmax(_only(known, logits))
    own = jax.vmap(lambda row, k: row[k])(log_p, jnp.where(known, target, 0))
    own = jnp.where(target < logits.shape[1], own, jnp.nan)  # an index beyond reads the last class
    return jnp.where(known, -(1 - smoothing) * own - smoothing * log_p.mean(axis=1), 0)


def focal(logits, target, gamma=2.0):
    """Cross-entropy that counts less the surer a cell is: -(1 - p)^gamma ln p, p of the target.

    Finite for any logits. BMFM-RNA's code takes ln(p + eps), which stops at -ln eps (16 in
    float32) with no gradient left for the worst errors; this one goes on growing as they do.

    logits [B, C], C ≥ 2, target i32 [B] -> [B]. Source: Lin et al. 2017.
    """
    known = target >= 0
    odds = _log_odds_against(_only(known, logits), _one_hot(target, logits.shape[1]))
    odds = jnp.where(target < logits.shape[1], odds, jnp.nan)
    return jnp.where(known, jax.nn.softplus(odds) * jnp.exp(-gamma * jax.nn.softplus(-odds)), 0)


def hierarchical_cross_entropy(logits, target, leaves):
    """-ln of the probability that a softmax over the leaves gives to all leaves of the label.

    logsumexp over all leaves less that over the label's, as ln(1 + outside / inside), so that
    large logits do not cancel. A label without leaves costs 0; so does one that has them all.

    Parameters
    ----------
    logits : [B, L]
    target : i32 [B], rows of ``leaves``
    leaves : bool [n, L]

    Returns
    -------
    [B]. Source: BMFM-RNA, eqs. 1-3.
    """
    inside = leaves[jnp.maximum(target, 0)]
    known = (target >= 0) & inside.any(axis=1) & ~inside.all(axis=1)
    odds = _log_odds_against(_only(known, logits), inside)
    return jnp.where(known, jax.nn.softplus(odds), 0)


def independent_sigmoids(logits, target, leaves):
    """A binary cross-entropy per leaf, without a softmax: the mean over all L leaves.

    The leaves outside of the label are pushed to 0, and the logsumexp of those inside to 1: of a
    leaf, its own logit; of a coarse label, a smooth maximum, so that no single one of its leaves is
    asked for. Every term weighs 1 / L, whatever the label: as in scPRINT's mean over leaves.

    logits [B, L], target i32 [B], leaves bool [n, L] -> [B]. Source: scPRINT (Kalfon et al. 2025)
    as BMFM-RNA, section 4.2.1, describes it.
    """
    inside = leaves[jnp.maximum(target, 0)]
    known = (target >= 0) & inside.any(axis=1)
    z = _only(known, logits)
    own = jax.nn.softplus(-sum(_logsumexp(z, inside)))
    others = jnp.where(inside, 0, jax.nn.softplus(z)).sum(axis=1)
    return jnp.where(known, (own + others) / logits.shape[1], 0)


def binary_cross_entropy(logits, targets):
    """Binary cross-entropy with logits, for labels that do not exclude each other.

    logits [...], targets [...] of 0 … 1, -1 unknown -> [...]
    """
    known = targets >= 0
    z, t = jnp.where(known, _up(logits), 0), _up(targets)
    return jnp.where(known, t * jax.nn.softplus(-z) + (1 - t) * jax.nn.softplus(z), 0)


def _only(known, logits):
    """The logits of known cells, 0 elsewhere: 0 times the gradient of a NaN would be NaN."""
    return jnp.where(known[:, None], _up(logits), 0)


def _one_hot(target, classes):
    return target[:, None] == jnp.arange(classes)[None]


def _log_odds_against(z, inside):
    """ln((1 - p) / p), p the softmax's share of what is inside: z, inside [B, L] -> [B]."""
    (high, more), (own_high, own_more) = _logsumexp(z, ~inside), _logsumexp(z, inside)
    return (high - own_high) + (more - own_more)


def _logsumexp(z, where):
    """Over a part of each row, [B, L] -> the part's highest value [B], what is to be added [B].

    Apart, because near 1e4 their float32 sum is rounded to a thousandth. Of a row without any part
    both are finite, and meaningless.
    """
    where = where | ~where.any(axis=1, keepdims=True)
    high = jax.lax.stop_gradient(jnp.where(where, z, -jnp.inf).max(axis=1))
    return high, jnp.log(jnp.exp(jnp.where(where, z - high[:, None], -jnp.inf)).sum(axis=1))

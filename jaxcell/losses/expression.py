"""Losses between predicted and measured expression; elementwise, [B, R] -> [B, R].

B cells, R rows of a gene table. The counts' likelihoods are whole: the terms of the data are in.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

# Counts' likelihoods are of integers; the training loop asks the store whether it holds them.
INTEGER_COUNTS = ("nb", "zinb")

# In normalised counts. Below it the logarithm of a mean goes on along its tangent: a mean of 0
# under a count above 0 costs a finite loss, and its gradient is at most 1 000 times the count.
SMALLEST_MEAN = 1e-3
# Of log θ. Beyond it the likelihood is a Poisson's, or that of an infinite variance, to rounding.
WIDEST_DISPERSION = 20.0
# From here on the series of ln Γ is exact to 1e-13.
SERIES_FROM = 16.0


def _up(a):
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))


@jax.custom_vjp
def poisson_log1p(z, t):
    """Poisson negative log-likelihood with rate and target in log1p space: exp(z) - exp(t) z.

    z, t [...] -> [...]; least at z = t; the target gets no gradient. Source: TxFM, eq. 2.
    """
    return jnp.exp(_up(z)) - jnp.exp(_up(t)) * _up(z)


def _forward(z, t):
    return poisson_log1p(z, t), (z, t)


def _backward(saved, g):
    # Autodiff would keep exp(z) and exp(t) [B, V] as well; recomputing is cheaper than storing.
    z, t = saved
    return (g * (jnp.exp(_up(z)) - jnp.exp(_up(t)))).astype(z.dtype), jnp.zeros_like(t)


poisson_log1p.defvjp(_forward, _backward)


def mse(z, t):
    """Squared difference in log1p space, (z - t)².  z, t [...] -> [...]"""
    return (_up(z) - _up(t)) ** 2


def mae(z, t):
    """Distance in log1p space, |z - t|.  z, t [...] -> [...]"""
    d = _up(z) - _up(t)
    return jnp.maximum(d, -d)  # of gradient 0 at d = 0, where that of jnp.abs is 1


def smooth_l1(z, t):
    """d² / 2 up to a distance d = |z - t| of 1, d - 1/2 beyond it.  z, t [...] -> [...]"""
    d = jnp.abs(_up(z) - _up(t))
    return jnp.where(d < 1, d**2 / 2, d - 0.5)


def is_zero(logits, values):
    """Binary cross-entropy with logits of whether a value is 0: -ln sigmoid(±logits).

    logits, values [...] -> [...]; values are counts or normalised. Source: BMFM-RNA, section 4.4.
    """
    z = _up(logits)
    return jax.nn.softplus(jnp.where(values == 0, -z, z))


def is_nonzero(logits, values):
    """The same with logits of whether a value is above 0: its Bernoulli likelihood, negative.

    logits, values [...] -> [...]. Source: scFormer, explicit zero probability, whose code takes the
    logarithm of a probability kept 1.2e-7 away from 0 and 1.
    """
    z = _up(logits)
    return jax.nn.softplus(jnp.where(values > 0, -z, z))


def relative_error(z, t):
    """Distance in units of the target, |z - t| / (t + 1e-6), t ≥ 0: scFormer shows it.

    z, t [...] -> [...]; a prediction of 1 where the target is 0 counts for a million.
    """
    return mae(z, t) / (_up(t) + 1e-6)


def nb(z, k, dispersion, total, library_size):
    """Negative log-likelihood of counts under a negative binomial.

    Mean μ = expm1(z) · total / library_size, inverse dispersion θ = exp(dispersion), variance
    μ + μ² / θ. Finite with finite gradients at μ = 0 too, see ``SMALLEST_MEAN``.

    Parameters
    ----------
    z : [B, R], predicted expression in log1p space
    k : [B, R], raw counts
    dispersion : [R], ln θ of each gene
    total : [B], what a cell's counts are divided by; 0 in a cell without counts
    library_size : what they are scaled to

    Returns
    -------
    [B, R]. Source: TxFM, A.3, eq. 13; Risso et al. 2018.
    """
    z, k = _up(z), _up(k)
    log_theta = jnp.clip(_up(dispersion), -WIDEST_DISPERSION, WIDEST_DISPERSION)[None]
    theta = jnp.exp(log_theta)
    size = _up(total)[:, None] / library_size
    mean = jnp.expm1(z) * size
    floor = SMALLEST_MEAN * jnp.where(size > 0, size, 1)
    of_counts = _log_rising(*jnp.broadcast_arrays(theta, k)) - gammaln(k + 1)
    of_counts = jnp.where(k > 0, of_counts, 0)  # without the rounding of ln Γ(1), over many genes
    spread = (theta + k) * jnp.log1p(mean / theta)
    return spread - of_counts + k * (log_theta - _log_from(mean, floor))


def zinb(z, k, logits, dispersion, total, library_size):
    """Negative log-likelihood of counts under a negative binomial with additional zeros.

    A count is 0 with probability π = sigmoid(logits), else drawn from ``nb``'s distribution.

    Parameters
    ----------
    logits : [B, R], of π
    z, k, dispersion, total, library_size : as for ``nb``

    Returns
    -------
    [B, R]. Source: TxFM, A.3, eqs. 14 and 19; Lopez et al. 2018.
    """
    drawn, logits = nb(z, k, dispersion, total, library_size), _up(logits)
    # -ln(1 - π) = softplus(logits), ln π = logits - softplus(logits)
    kept = jax.nn.softplus(logits)
    return kept + jnp.where(k > 0, drawn, -jnp.logaddexp(logits, -drawn))


def _log_from(x, floor):
    """The logarithm of x for x ≥ floor, below it the tangent at floor."""
    at = jnp.maximum(x, floor)
    return jnp.log(at) + (x - at) / at


def _log_rising(x, k):
    """The difference ln Γ(x + k) - ln Γ(x) for x > 0 and k ≥ 0, of one shape.

    For large x the two are nearly equal, and so are their derivatives: in float32 the difference
    would be noise from x = 1e4 on. There Stirling's series is subtracted term by term.
    """
    large = x >= SERIES_FROM
    near, far = jnp.where(large, 1, x), jnp.where(large, x, SERIES_FROM)
    series = (far - 0.5) * jnp.log1p(k / far) + k * jnp.log(far + k) - k
    series = series + _stirling(far + k) - _stirling(far)
    return jnp.where(large, series, gammaln(near + k) - gammaln(near))


def _stirling(x):
    """1/12x - 1/360x³ + 1/1260x⁵ - 1/1680x⁷, what ln Γ adds to its leading terms."""
    y = 1 / x**2
    return (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y / 1680))) / x

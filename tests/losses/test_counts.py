"""Likelihoods of counts and losses of differences: parity, extremes, and the paper's A.4."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxcell.losses.expression import SMALLEST_MEAN, mse, nb, poisson_log1p, smooth_l1, zinb
from tests.reference import txfm as reference

L = 1e5


def draw(log_theta=(-5, 6)):
    """Predictions, counts, logits, ln θ and totals; means of 0 and near the floor among them."""
    random = np.random.default_rng(0)
    z = random.uniform(0, 11, (6, 40))
    z[:, :8] = 0
    z[:, 8:12] = SMALLEST_MEAN * random.uniform(0.1, 3, (6, 4))
    k = random.poisson(random.choice([0.1, 3, 500], (6, 40))).astype(float)
    k[:, ::5] = 0
    total = np.array([500.0, 3e3, 1e5, 4e6, 1.0, 0.0])
    k[5] = 0  # the cell without counts
    return z, k, random.normal(0, 4, (6, 40)), random.uniform(*log_theta, 40), total


def parity(ours, theirs, arrays, constants):
    """Values and gradients with respect to every array, of sums weighted at random."""
    weights = np.random.default_rng(1).normal(size=arrays[0].shape)
    with jax.enable_x64(True):
        given = [jnp.asarray(a) for a in arrays]
        value = jax.jit(lambda *a: ours(*a, *constants))(*given)
        loss = lambda *a: (weights * ours(*a, *constants)).sum()
        gradients = jax.jit(jax.grad(loss, range(len(given))))(*given)
    leaves = [torch.from_numpy(np.array(a)).requires_grad_() for a in arrays]
    expected = theirs(*leaves, *(torch.as_tensor(c) for c in constants))
    np.testing.assert_allclose(value, expected.detach(), rtol=1e-9, atol=1e-9)
    (torch.from_numpy(weights) * expected).sum().backward()
    for found, leaf in zip(gradients, leaves, strict=True):
        wanted = leaf.grad.numpy()
        scale = max(1, np.abs(wanted).max())
        np.testing.assert_allclose(np.asarray(found) / scale, wanted / scale, rtol=0, atol=1e-9)
        assert np.abs(wanted).max() > 0


@pytest.mark.parametrize("kind", ["mse", "smooth_l1"])
def test_differences_in_float64(kind):
    z, _, t, _, _ = draw()
    ours = {"mse": mse, "smooth_l1": smooth_l1}[kind]
    theirs = getattr(torch.nn.functional, f"{kind}_loss")
    parity(ours, functools.partial(theirs, reduction="none"), [z, t], [])
    np.testing.assert_array_equal(ours(jnp.ones(3), jnp.array([1.0, 1.5, 4.0])), {
        "mse": [0, 0.25, 9], "smooth_l1": [0, 0.125, 2.5]
    }[kind])  # fmt: skip


def test_negative_binomials_in_float64():
    z, k, logits, log_theta, total = draw()
    one = lambda z, d: nb(z, k, d, total, L)
    counts, totals = torch.from_numpy(k), torch.from_numpy(total)
    parity(one, lambda z, d: reference.nb(z, counts, d, totals, L), [z, log_theta], [])
    two = lambda z, g, d: zinb(z, k, g, d, total, L)
    theirs = lambda z, g, d: reference.zinb(z, counts, g, d, totals, L)
    parity(two, theirs, [z, logits, log_theta], [])


def by_product(z, k, log_theta, total):
    """-ln NB(k) with Γ(θ + k) / Γ(θ) as the product of k factors, which cancels nothing."""
    theta, mean = np.exp(log_theta), np.expm1(z) * total / L
    rising = sum(math.log1p(i / theta) for i in range(int(k)))  # less k ln θ
    spread = (theta + k) * math.log1p(mean / theta)
    return spread - rising + math.lgamma(k + 1) - k * math.log(mean)


@pytest.mark.parametrize("log_theta", [-15.0, 2.7, 2.8, 6.0, 12.0, 18.0])
def test_any_dispersion_is_exact_and_its_float32_gradient_is_no_noise(log_theta):
    """Differences of ln Γ lose all digits of a float32 from θ = 1e4 on; ours may not."""
    k = np.array([[0.0, 1, 2, 9, 60, 300]])
    z = np.log1p(np.array([[0.5, 3, 1, 12, 40, 200]]))
    d, total = np.full(6, log_theta), np.array([L])
    with jax.enable_x64(True):
        value = np.asarray(nb(z, k, d, total, L))
        wide = np.asarray(jax.grad(lambda d: nb(z, k, d, total, L).sum())(d))
    expected = [by_product(y, c, log_theta, L) for y, c in zip(z[0], k[0], strict=True)]
    np.testing.assert_allclose(value[0], expected, rtol=1e-9, atol=1e-12)
    roundings = 1e-6 * (np.expm1(z[0]) + k[0] + 1)
    z, k, d, total = (jnp.asarray(a, jnp.float32) for a in (z, k, d, total))
    narrow = np.asarray(jax.grad(lambda d: nb(z, k, d, total, L).sum())(d))
    np.testing.assert_array_less(np.abs(narrow - wide), roundings)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_is_finite_at_the_ends(dtype):
    """Means of 0 under counts, no counts at all, dispersions and logits far out."""
    ends = np.meshgrid([0, 1e-30, 1e-3, 11.5], [0, 1, 1e5], [-300, 0, 300.0], [-80, 0, 80.0])
    z, k, log_theta, logits = (np.ravel(a).astype(dtype)[None] for a in ends)
    with jax.enable_x64(dtype == "float64"):
        for total in (0.0, 1.0, 1e7):
            size = jnp.full(1, total, dtype), L
            f = lambda z, g, d: zinb(z, k, g, d, *size).sum()  # noqa: B023
            value = zinb(z, k, logits, log_theta[0], *size)
            assert value.dtype == dtype
            found = jax.grad(f, (0, 1, 2))(z, logits, log_theta[0])
            for array in (value, *found):
                assert np.isfinite(array).all()


@pytest.mark.parametrize("loss", [mse, smooth_l1])
def test_bfloat16_is_widened(loss):
    assert loss(*jnp.ones((2, 1), jnp.bfloat16)).dtype == jnp.float32


def test_zero_mean_and_zero_count_cost_nothing():
    zeros = jnp.zeros((1, 3))
    np.testing.assert_array_equal(nb(zeros, zeros, jnp.arange(3.0), jnp.ones(1), L), 0)


# Appendix A.4: what the paper says of the gradients. One count, seen as a function of the mean.


def of_mean(loss, mean, k, **further):
    """Value and gradient with respect to the mean, [n] each, of a cell of size factor 1."""
    with jax.enable_x64(True):
        size = dict(total=jnp.ones(1), library_size=1.0)

        def one(m):
            z, counts = jnp.log1p(m)[None], jnp.full((1, len(mean)), float(k))
            return loss(z, counts, **further, **size)[0]

        mean = jnp.asarray(mean, jnp.float64)
        return np.asarray(one(mean)), np.asarray(jax.grad(lambda m: one(m).sum())(mean))


def test_with_an_overestimated_mean_poissons_gradient_tends_to_1_and_nbs_to_0():
    mean, k = np.array([1e2, 1e4, 1e6]), 5
    with jax.enable_x64(True):  # of the rate exp(z); the target is a rate too
        f = lambda m: poisson_log1p(jnp.log(m), jnp.full(3, math.log(k))).sum()
        poisson = np.asarray(jax.grad(f)(jnp.asarray(mean)))
    np.testing.assert_allclose(poisson, 1 - k / mean, rtol=1e-12)
    before = poisson
    for theta in (100.0, 10.0, 1.0, 0.1):  # ever more dispersed, ever less gradient
        d = np.full(3, math.log(theta))
        _, found = of_mean(nb, mean, k, dispersion=d)
        np.testing.assert_allclose(found, poisson * theta / (theta + mean), rtol=1e-9)
        assert (found < before).all()
        before = found
    assert before[-1] < 1e-6 < 0.99 < poisson[-1]


def test_with_an_underestimated_mean_both_gradients_stay_strong():
    _, found = of_mean(nb, np.array([0.05, 0.5]), 5, dispersion=np.full(2, math.log(0.1)))
    assert (found < [-60, -1.4]).all()


@pytest.mark.parametrize("pi", [0.01, 0.5, 0.9])
def test_zinbs_loss_at_a_zero_count_saturates(pi):
    mean = np.array([0.0, 1.0, 1e12])
    further = {"logits": np.full((1, 3), math.log(pi / (1 - pi)))}
    value, gradient = of_mean(zinb, mean, 0, dispersion=np.zeros(3), **further)
    np.testing.assert_allclose(value[0], 0, atol=1e-12)
    np.testing.assert_allclose(value[2], -math.log(pi), rtol=1e-9)
    assert value[1] < value[2]
    assert abs(gradient[2]) < 1e-12 < gradient[1]
    _, plain = of_mean(nb, mean, 0, dispersion=np.zeros(3))
    assert (gradient < plain).all()  # beside NB's own vanishing


def test_above_zero_zinbs_gradient_is_nbs():
    mean, d = np.array([0.5, 4.0, 90.0]), np.zeros(3)
    value, gradient = of_mean(zinb, mean, 4, dispersion=d, logits=np.full((1, 3), 1.5))
    plain, expected = of_mean(nb, mean, 4, dispersion=d)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)
    np.testing.assert_allclose(value - plain, math.log1p(math.exp(1.5)), rtol=1e-12)

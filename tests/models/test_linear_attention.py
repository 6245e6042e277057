"""Performer and Nyströmformer: against the papers' formulas, exact attention and statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxcell.models.attention import attention
from jaxcell.models.linear_attention import draw_features, log_features, nystrom, performer
from tests.reference import linear_attention as reference

B, T, H, C, M, L = 4, 13, 2, 8, 24, 5
LENGTH = np.array([13, 7, 3, 1], np.int32)  # more than, and fewer than landmarks
NAMES = ("performer", "nystrom")
WEIGHT = np.random.default_rng(5).normal(size=(B, T, H, C))
FEATURES = np.random.default_rng(1).normal(size=(M, C))


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def qkv():
    return draw()


def draw(seed=0, scale=1.0):
    random = np.random.default_rng(seed)
    q, k, v = random.normal(size=(3, B, T, H, C))
    return scale * q, scale * k, v


@functools.partial(jax.jit, static_argnums=(0, 5))
def ours(name, q, k, v, length, queries=None):
    if name == "performer":
        return performer(q[:, :queries], k, v, length, jnp.asarray(FEATURES))
    return nystrom(q, k, v, length, L, queries=queries)


def theirs(name, q, k, v):
    if name == "performer":
        return reference.performer(q, k, v, torch.from_numpy(FEATURES))
    return reference.nystrom(q, k, v, L, 6)


@functools.partial(jax.jit, static_argnums=(0, 3))
def value_and_gradients(name, arrays, length, queries=None):
    """Results, and gradients of the valid ones' weighted sum."""

    def loss(arrays):
        out = ours(name, *arrays, length, queries)[:, :T]
        valid = jnp.arange(out.shape[1])[None, :] < length[:, None]
        return jnp.where(valid[:, :, None, None], out * WEIGHT[:, :queries], 0).sum(), out

    (_, out), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(arrays)
    return out, gradients


@pytest.mark.parametrize("queries", [None, 1, 6])
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_equal_the_formula_cell_by_cell(name, queries, qkv):
    out, gradients = value_and_gradients(name, qkv, LENGTH, queries)
    assert out.shape == (B, queries or T, H, C)
    for cell, n in enumerate(LENGTH):
        one = [torch.tensor(a[cell, :n], requires_grad=True) for a in qkv]
        expected = theirs(name, *one)[:queries]
        (expected * torch.from_numpy(WEIGHT[cell, : len(expected)])).sum().backward()
        found = out[cell, : len(expected)]
        np.testing.assert_allclose(found, expected.detach().numpy(), rtol=0, atol=1e-9)
        for gradient, a in zip(gradients, one, strict=True):
            np.testing.assert_allclose(gradient[cell, :n], a.grad.numpy(), rtol=0, atol=1e-9)
            assert not np.asarray(gradient[cell, n:]).any()


@pytest.mark.parametrize("filling", [0.0, 1e6, np.nan, np.inf])
@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing_whatever_its_width_and_content(name, filling, qkv):
    valid = (np.arange(T) < LENGTH[:, None])[:, :, None, None]
    wider = [np.pad(np.where(valid, a, filling), ((0, 0), (0, 6), (0, 0), (0, 0))) for a in qkv]
    before, after = (value_and_gradients(name, a, LENGTH) for a in (qkv, wider))
    for a, b in zip([before[0], *before[1]], [after[0], *after[1]], strict=True):
        a, b = np.where(valid, a, 0), np.where(valid, b[:, :T], 0)
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_neighbours_change_nothing(name, qkv):
    together = ours(name, *qkv, LENGTH)
    loud = [np.concatenate([a[:1], 30 * a[1:]]) for a in qkv]
    assert not np.allclose(ours(name, *loud, LENGTH)[1], together[1])
    np.testing.assert_allclose(ours(name, *loud, LENGTH)[0], together[0], rtol=0, atol=1e-12)
    for cell, n in enumerate(LENGTH):
        alone = ours(name, *(a[cell : cell + 1, :n] for a in qkv), LENGTH[cell : cell + 1])
        np.testing.assert_allclose(alone[0], together[cell, :n], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_of_one_token_reads_that_token(name, qkv):
    np.testing.assert_allclose(ours(name, *qkv, LENGTH)[3, 0], qkv[2][3, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_without_tokens_reads_zeros(name, qkv):
    out, gradients = value_and_gradients(name, qkv, np.array([13, 0, 0, 1], np.int32))
    np.testing.assert_array_equal(out[1:3], 0)
    assert all(np.isfinite(a).all() for a in (out, *gradients))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_narrow_inputs(name, dtype, qkv):
    """Held to float64 of the same rounded inputs; float32 to 1e-5, bfloat16 to a few roundings."""
    narrow = [jnp.asarray(a, dtype) for a in qkv]
    out, gradients = value_and_gradients(name, narrow, LENGTH)
    assert out.dtype == dtype
    assert all(a.dtype == dtype for a in gradients)
    expected, theirs = value_and_gradients(name, [a.astype(jnp.float64) for a in narrow], LENGTH)
    valid = (np.arange(T) < LENGTH[:, None])[:, :, None, None]
    atol = {jnp.float32: 1e-5, jnp.bfloat16: 0.05}[dtype]
    for a, b in zip([out, *gradients], [expected, *theirs], strict=True):
        a, b = (np.where(valid, x.astype(jnp.float64), 0) for x in (a, b))
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_performer_keeps_its_denominator_where_features_underflow(dtype):
    """Queries opposite to the keys, φ over hundreds of powers of ten: still a weighted mean."""
    _, k, v = draw()
    k, v = jnp.asarray(40 * k, dtype), jnp.asarray(v, dtype)
    q = -k
    ones = performer(q, k, jnp.ones_like(v), LENGTH, jnp.asarray(FEATURES))
    valid = (np.arange(T) < LENGTH[:, None])[:, :, None, None]
    one = np.where(valid, ones.astype(jnp.float64), 1)
    np.testing.assert_allclose(one, 1, atol={jnp.float32: 1e-5, jnp.bfloat16: 0.01}[dtype])
    _, gradients = value_and_gradients("performer", (q, k, v), LENGTH)
    assert all(np.isfinite(a.astype(jnp.float64)).all() for a in gradients)


def test_features_are_orthogonal_in_blocks_and_as_long_as_gaussian_vectors():
    features = np.asarray(draw_features(jax.random.key(0), 2 * C + 3, C))
    assert features.shape == (2 * C + 3, C)
    products = features @ features.T
    for block in (slice(0, C), slice(C, 2 * C), slice(2 * C, None)):
        own = products[block, block]
        np.testing.assert_allclose(own, np.diag(np.diag(own)), atol=1e-12)
    assert np.abs(products[:C, C:]).max() > 0.1  # but not across
    many = np.asarray(draw_features(jax.random.key(1), 8000, C))
    square = (many**2).sum(axis=1)  # χ² of C degrees: mean C, variance 2 C
    assert abs(square.mean() - C) < 4 * np.sqrt(2 * C / 8000)
    assert square.var() == pytest.approx(2 * C, rel=0.1)
    np.testing.assert_allclose(many.T @ many / 8000, np.eye(C), atol=0.06)


def over_draws(f, draws, number, seed=2):
    """f(features) of that many independent draws of features, stacked."""
    one = lambda key: f(draw_features(key, number, C))
    return jax.jit(functools.partial(jax.lax.map, one))(
        jax.random.split(jax.random.key(seed), draws)
    )


def assert_mean_is(drawn, expected):
    """Within four standard errors, which are small enough to tell."""
    drawn = np.asarray(drawn)
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    assert error.max() < 0.05 * np.abs(expected).max()
    assert np.abs((drawn.mean(axis=0) - expected) / error).max() < 4


def test_numerator_and_denominator_are_unbiased():
    """Few features, so that a bias of the order 1/m would show; their ratio has one."""
    q, k, v = draw(scale=0.7)
    q, k, v = q[:1, :3], k[:1], v[:1]

    def sums(features):
        kernel = jnp.exp(
            log_features(q, features)[:, :, None] + log_features(k, features)[:, None]
        ).mean(axis=-1)  # [1, Q, T, H]
        return kernel.sum(axis=2), jnp.einsum("bqth,bthc->bqhc", kernel, v)

    kernel = np.exp(np.einsum("bqhc,bthc->bqth", q, k) / np.sqrt(C))
    denominator, numerator = over_draws(sums, 4000, C)
    assert_mean_is(denominator, kernel.sum(axis=2))
    assert_mean_is(numerator, np.einsum("bqth,bthc->bqhc", kernel, v))


def test_the_mean_over_draws_is_exact_attention():
    """With features enough that the ratio's bias, of order 1/m, is below the mean's error."""
    q, k, v = draw(scale=0.5)
    drawn = over_draws(lambda f: performer(q[:, :3], k, v, LENGTH, f)[:3], 200, 1024)
    assert_mean_is(drawn, attention(q[:, :3], k, v, LENGTH)[:3])


def test_the_error_falls_as_the_root_of_the_number_of_features():
    q, k, v = draw(scale=0.3)  # where q·k is large, few of many features carry the sum
    expected = attention(q, k, v, LENGTH)[:2, :7]
    numbers = [C * 4**i for i in range(1, 4)]  # whole blocks; 32 to 512
    errors = [
        np.sqrt(
            np.square(
                over_draws(lambda f: performer(q, k, v, LENGTH, f)[:2, :7], 100, m) - expected[None]
            ).mean()
        )
        for m in numbers
    ]
    slope = np.polyfit(np.log(numbers), np.log(errors), 1)[0]
    assert -0.6 < slope < -0.4


def test_nystrom_with_a_landmark_for_each_token_is_exact_attention():
    """Also of shorter cells in the batch, and with more landmarks than there are tokens."""
    random = np.random.default_rng(3)
    # Nearly orthogonal keys, queries beside them: the attention matrix is far from singular.
    channels = 16
    k = np.linalg.qr(random.normal(size=(B, H, channels, channels)))[0].swapaxes(1, 2)[:, :T]
    q, k = 8 * k + 0.1 * random.normal(size=k.shape), 2 * k
    v = random.normal(size=k.shape)
    expected = attention(q, k, v, LENGTH)
    valid = (np.arange(T) < LENGTH[:, None])[:, :, None, None]
    assert np.abs(expected - v)[0].max() > 0.1  # no identity either
    for landmarks in (T, T + 4):
        found = jax.jit(nystrom, static_argnums=(4, 5))(q, k, v, LENGTH, landmarks, 30)
        np.testing.assert_allclose(
            np.where(valid, found, 0), np.where(valid, expected, 0), rtol=0, atol=1e-9
        )


def test_nystrom_is_exact_where_the_tokens_of_a_segment_are_alike():
    """Then a landmark loses nothing of its segment; the values may differ within it."""
    length, landmarks = np.array([12, 8, 4, 4], np.int32), 4
    q, k, v = draw(scale=2.0)
    for x in (q, k):
        for cell, n in enumerate(length):
            x[cell, :n] = np.repeat(x[cell, :landmarks], n // landmarks, axis=0)
    found = jax.jit(nystrom, static_argnums=(4, 5))(q, k, v, length, landmarks, 25)
    expected = attention(q, k, v, length)
    valid = (np.arange(T) < length[:, None])[:, :, None, None]
    np.testing.assert_allclose(
        np.where(valid, found, 0), np.where(valid, expected, 0), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("name", NAMES)
def test_memory_grows_with_the_tokens_not_with_their_square(name):
    """What XLA plans for value and gradients, from its own analysis: nothing is run."""

    def planned(tokens):
        x = jax.ShapeDtypeStruct((1, tokens, H, C), jnp.float32)
        loss = lambda q, k, v: ours(name, q, k, v, jnp.full(1, tokens)).sum()
        compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, x, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert planned(16384) < 4.4 * planned(4096)

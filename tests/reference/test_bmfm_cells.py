"""The reference of BMFM-RNA's cells, against worked examples, scipy and drawn cells."""

import math

import numpy as np
import pytest
import scipy.stats

from tests.reference import bmfm_cells as cells

V = 40


def test_codes():
    assert len(cells.SPECIALS) == 36
    assert [cells.code(n) for n in ("UNK", "SEP", "PAD", "CLS", "MASK")] == [-1, -2, -3, -4, -5]
    assert [cells.code(n) for n in ("CLS_0", "CLS_3", "CLS_30")] == [-6, -9, -36]


def test_interleave():
    present, absent = [f"x{i}" for i in range(20)], [f"0{i}" for i in range(4)]
    nine_to_one = cells.interleave(present, absent, 0.9)
    want = [*present[:9], "00", *present[9:18], "01", *present[18:], "02", "03"]
    assert nine_to_one == want
    assert cells.interleave(present, [], 0.9) == present
    assert cells.interleave([], absent, 0.9) == absent
    assert cells.interleave("abc", "xyz", None) == list("abcxyz")
    # Zeros are used up first: the rest is non-zero.
    assert cells.interleave("abcdefgh", "x", 0.2) == list("abxcdefgh")
    assert cells.interleave("abcd", "uvwxyz", 0.25) == list("abuvwxyzcd")


@pytest.mark.parametrize(
    ("p", "ones", "zeros"),
    [(0.9, 9, 1), (0.8, 8, 1), (0.7, 7, 3), (0.5, 5, 5), (0.1, 1, 9), (0.05, 1, 9), (1, 10, 1)],
)
def test_cycles(p, ones, zeros):
    got = cells.interleave([1] * 50, [0] * 50, p)
    assert got[: 2 * (ones + zeros)] == 2 * ([1] * ones + [0] * zeros)
    assert sorted(got) == [0] * 50 + [1] * 50


def test_one_in_five_shows_no_zeros():
    assert [cells.shows_zeros(u) for u in (0.0, 0.1999, 0.2, 0.9)] == [False, False, True, True]


def test_chosen_genes():
    counts, order = np.array([0, 5, 0, 1, 0, 2]), [4, 3, 1, 0, 5]  # gene 2 is not measured
    want = {
        "excluded": [3, 1, 5],
        "all": [4, 3, 1, 0, 5],
        "interleaved": [3, 1, 5, 4, 0],
        "random": [3, 1, 5, 4, 0],
    }
    for zeros, genes in want.items():
        for room in (0, 2, 4, 9):
            assert cells.chosen_genes(order, counts, room, zeros) == genes[:room]
    assert cells.chosen_genes(order, counts, 9, "interleaved", 0.1) == [3, 4, 0, 1, 5]
    with pytest.raises(ValueError, match="zeros='none' is not excluded"):
        cells.chosen_genes(order, counts, 9, "none")


def test_sequence():
    counts, order = np.zeros(V), list(range(V))[::-1]
    counts[[2, 7, 30]] = 3, 1, 5
    kwargs = {"specials": cells.WCED, "max_length": 8, "zeros": "excluded"}
    ids, values, length = cells.sequence(order, counts, V, **kwargs)
    assert length == 8
    assert ids.tolist() == [V + 3, V + 5, V + 6, V + 7, V + 8, V + 1, 30, 7, *[V + 2] * 8]
    # Gene 2 found no room: the total is 6, not 9.
    want = [-4, -6, -7, -8, -9, -2, math.log1p(5e4 / 7), math.log1p(1e4 / 7), *[-3] * 8]
    np.testing.assert_allclose(values, want, rtol=1e-12)

    kwargs = {"specials": cells.MLM, "max_length": 8192, "zeros": "all"}
    ids, values, length = cells.sequence(order, counts, V, **kwargs)
    assert (length, len(ids)) == (42, 48)
    assert ids[:5].tolist() == [V + 3, V + 1, 39, 38, 37]
    assert (values[2:42] == 0).sum() == 37
    np.testing.assert_allclose(values[2 + 9], math.log1p(5e4 / 10), rtol=1e-12)


def test_wced_targets():
    counts, order = np.zeros(V), [30, 7, 2, 3]
    counts[[2, 7, 30, 31]] = 3, 1, 5, 9  # 31 is not measured
    got = cells.wced_targets(order, counts, [V + 3, 30, 3, V + 2], V)
    want = {30: math.log1p(5e4 / 10), 7: math.log1p(1e4 / 10), 2: math.log1p(3e4 / 10), 3: 0.0}
    parts = {"all": [30, 7, 2, 3], "input": [30, 3], "non_input": [7, 2]}
    assert got.keys() == parts.keys()
    for name, genes in parts.items():
        assert got[name].shape == (V + 36,)
        assert np.flatnonzero(got[name] != -100).tolist() == sorted(genes)
        np.testing.assert_allclose(got[name][genes], [want[g] for g in genes], rtol=1e-12)


def test_mask():
    ids = [V + 3, V + 1, 5, 6, 7, 8, V, V + 2]  # V is an unknown gene, V + 2 padding
    values = [-4, -2, 1.5, 0.0, 2.5, 3.5, 4.5, -3]
    uniforms = [0.0, 0.0, 0.1424, 0.0, 0.1426, 0.15, 0.0, 0.0]
    seen, labels, masked = cells.mask(ids, values, uniforms, V)
    np.testing.assert_array_equal(seen, [-4, -2, -5, -5, 2.5, 3.5, 4.5, -3])
    np.testing.assert_array_equal(labels, [-100, -100, 1.5, 0.0, 2.5, -100, -100, -100])
    np.testing.assert_array_equal(masked, [False, False, True, True, False, False, False, False])


def test_mask_weights():
    ids, values, weights = [V + 3, 0, 1, 2, 3], [-4.0, 1, 2, 3, 4], np.zeros(V)
    weights[[0, 1, 2, 3, 4]] = 1, 2, 5, 0, 100  # gene 4 is not in the cell
    below, above = np.array([0, 0.149, 0.299, 0.749, 0]), np.array([0, 0.151, 0.301, 0.751, 0])
    kwargs = {"ratio": 0.3, "mask_ratio": 1.0, "weights": weights}  # the mean weight is 2
    assert cells.mask(ids, values, below, V, **kwargs)[2].tolist() == [0, 1, 1, 1, 0]
    assert cells.mask(ids, values, above, V, **kwargs)[2].tolist() == [0] * 5
    assert cells.mask(ids, values, [0, 1, 1, 0.99, 1], V, **kwargs | {"ratio": 0.5})[2][3]


def test_mask_takes_the_stated_share():
    """14.25 % masked and 0.75 % only asked for: the paper's 95 %."""
    ids, values = np.zeros(200_000, int), np.ones(200_000)
    uniforms = np.random.default_rng(0).random(200_000)
    _, labels, masked = cells.mask(ids, values, uniforms, V)
    assert abs(masked.mean() - 0.1425) < 0.004
    assert abs(((labels != -100) & ~masked).mean() - 0.0075) < 0.001


def test_rda_moments():
    for n in (0, 1, 2, 9, 500):
        law = scipy.stats.betabinom(n, 2, 2)
        np.testing.assert_allclose(cells.rda_moments(n, 1), law.stats("mv"), rtol=1e-9)
        np.testing.assert_allclose(cells.rda_moments(n, 0), (n, 0), atol=1e-9)
        p = 0.5 * law.pmf(np.arange(n + 1)) + 0.5 * (np.arange(n + 1) == n)
        mean = (p * np.arange(n + 1)).sum()
        want = mean, (p * (np.arange(n + 1) - mean) ** 2).sum()
        np.testing.assert_allclose(cells.rda_moments(n), want, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(cells.rda_moments(8), (6, 0.0875 * 64 + 0.1 * 8), rtol=1e-12)
    assert cells.binomial_moments(10, 0.25) == (2.5, 1.875)


def test_rda_covariance():
    """Genes of a cell share b; and so the total has the variance N(N + 4)/20 as well."""
    n = np.array([3, 10, 40])
    covariance = np.outer(n, n) / 20
    np.fill_diagonal(covariance, [cells.rda_moments(k, 1)[1] for k in n])
    np.testing.assert_allclose(covariance.sum(), cells.rda_moments(n.sum(), 1)[1])
    random = np.random.default_rng(0)
    drawn = random.binomial(n, random.beta(2, 2, (200_000, 1)))
    np.testing.assert_allclose(np.cov(drawn.T), covariance, rtol=0.03)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 300])
def test_poisson_moments(n):
    rate = 0.33
    mean, variance = cells.poisson_moments(n)
    law = scipy.stats.poisson(rate * n)
    lost = np.arange(n + 1)
    first = n * law.cdf(n - 1) - rate * n * law.cdf(n - 2)  # E max(0, n − K), in closed form
    np.testing.assert_allclose(mean, (1 - rate) * first, rtol=1e-9, atol=1e-12)
    second = (law.pmf(lost) * (n - lost) ** 2).sum()
    np.testing.assert_allclose(variance, (1 - rate) * second - mean**2, rtol=1e-9, atol=1e-12)
    random = np.random.default_rng(n)
    kept = np.maximum(0, n - random.poisson(rate * n, 200_000)) * (random.random(200_000) >= rate)
    np.testing.assert_allclose(kept.mean(), mean, rtol=0.02, atol=1e-12)
    np.testing.assert_allclose(kept.var(), variance, rtol=0.03, atol=1e-12)
    if n == 300:  # far from the floor, where the mean is (1 − r)²n
        np.testing.assert_allclose(mean, (1 - rate) ** 2 * n, rtol=1e-9)

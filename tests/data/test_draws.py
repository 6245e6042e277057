"""Draws against the distributions that they claim, and that each key's draw is its own."""

import itertools

import numpy as np
import pytest
from scipy import stats

from jaxcell.data import draws


def keys(cells, seed=0):
    return np.stack([np.full(cells, seed, np.uint64), np.arange(cells, dtype=np.uint64)], axis=1)


def p_value(observed, expected):
    return stats.chisquare(observed, expected).pvalue


def test_words_are_splitmix64_from_the_keys_state():
    # The first numbers of SplitMix64 with seed 1234567, as its authors' C code prints them.
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    steps = np.arange(1, 5, dtype=np.uint64) * draws.GOLDEN
    assert draws.mix(np.uint64(1234567) + steps).tolist() == known
    state = int(draws.states(keys(1))[0])
    first = int(draws.mix(np.array([(state + int(draws.GOLDEN)) % 2**64], np.uint64))[0])
    assert draws.words(keys(1), 3)[0, :2].tolist() == [first % 2**32, first >> 32]
    assert draws.words(keys(2), 3).shape == (2, 3)


def test_bits_of_the_words_are_fair_and_unrelated():
    words = draws.words(keys(2000), 64)
    bits = np.unpackbits(words.view(np.uint8), axis=1).astype(float)  # [2000, 2048]
    n = bits.size
    assert abs(bits.sum() - n / 2) < 4 * n**0.5 / 2
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / 2000**0.5
    # A cell's neighbours in the order of keys have other streams.
    flipped = (bits[1:] != bits[:-1]).mean(axis=1)
    assert abs(flipped.mean() - 0.5) < 4 * 0.5 / (1999 * 2048) ** 0.5


@pytest.mark.parametrize(("number", "of"), [(2, 5), (3, 5), (1, 7), (4, 8), (3, 9)])
def test_every_subset_is_equally_likely(number, of):
    drawn = np.sort(draws.subsets(keys(50_000), number, of), axis=1)
    subsets = list(itertools.combinations(range(of), number))
    code = drawn @ (of ** np.arange(number))
    observed = [(code == np.dot(s, of ** np.arange(number))).sum() for s in subsets]
    assert sum(observed) == 50_000  # distinct, and within [0, of)
    assert p_value(observed, np.full(len(subsets), 50_000 / len(subsets))) > 1e-3


@pytest.mark.parametrize(("number", "of"), [(2048, 20_000), (2048, 44_349), (700, 1000), (8, 8)])
def test_large_subsets_hold_distinct_positions_evenly(number, of):
    drawn = draws.subsets(keys(200, seed=3), number, of)
    assert drawn.shape == (200, number)
    assert drawn.min() >= 0
    assert drawn.max() < of
    assert all(len(np.unique(row)) == number for row in drawn)
    seen = np.bincount(drawn.ravel() * 50 // of, minlength=50)
    if number < of:
        assert p_value(seen, np.full(50, drawn.size / 50)) > 1e-3  # conservative: no repetition
    else:
        assert (np.sort(drawn, axis=1) == np.arange(of)).all()


def naive(key, number, of, draws):
    """The first K distinct of a key's draws, written anew: a repeated one stands at its last."""
    drawn = [int(word) * of >> 32 for word in draws_of(key, draws)]
    once = [p for i, p in enumerate(drawn) if p not in drawn[i + 1 :]][:number]
    return once if len(once) == number else naive(key, number, of, 2 * draws)


def draws_of(key, number):
    return draws.words(key[None], number)[0]


@pytest.mark.parametrize(("number", "of"), [(1, 2), (5, 10), (40, 90), (30, 3000), (0, 7)])
def test_subsets_are_the_first_distinct_draws(number, of):
    mean = -of * np.log1p(-number / of)
    many = int(mean + 6 * np.sqrt(mean * number / of)) + 16
    some, names = keys(40, seed=5), np.random.default_rng(0).permutation(of).astype(np.int32) + 9
    found = draws.subsets(some, number, of)
    assert found.tolist() == [naive(key, number, of, many) for key in some]
    named = draws.subsets(some, number, names)
    assert named.dtype == np.int32
    np.testing.assert_array_equal(named, names[found])


@pytest.mark.parametrize(("number", "of"), [(6, 10), (9, 10), (10, 10), (1, 1)])
def test_above_half_what_is_left_out_is_drawn(number, of):
    some, names = keys(40, seed=6), np.arange(of, dtype=np.int32)[::-1] * 3
    left = draws.subsets(some, of - number, of)
    for row, rest in zip(draws.subsets(some, number, of), left, strict=True):
        assert row.tolist() == sorted(set(range(of)) - set(rest.tolist()))
    found = draws.subsets(some, number, names)
    np.testing.assert_array_equal(found, names[draws.subsets(some, number, of)])


def test_a_draw_that_falls_short_goes_on_for_that_key_alone():
    alone, together = np.empty((1, 40), np.int64), np.empty((300, 40), np.int64)
    draws._distinct(keys(300)[123:124], np.arange(80), 45, alone)
    draws._distinct(keys(300), np.arange(80), 45, together)  # 45 hold 34 distinct on average
    np.testing.assert_array_equal(together[123], alone[0])
    assert all(len(np.unique(row)) == 40 for row in together)
    assert together[123].tolist() == naive(keys(300)[123], 40, 80, 45)


def test_more_draws_than_16_bits_count_hold_distinct_positions():
    drawn = draws.subsets(keys(3, seed=8), 40_000, 100_000)
    assert all(len(np.unique(row)) == 40_000 for row in drawn)
    assert drawn.max() < 100_000


def test_a_keys_draw_does_not_hang_on_its_neighbours(monkeypatch):
    weights = np.arange(1, 301.0)
    whole = draws.subsets(keys(64), 30, 300), draws.weighted_subsets(keys(64), 30, weights)
    order = np.random.default_rng(0).permutation(64)
    monkeypatch.setattr(draws, "SCRATCH", 1000)  # blocks of three cells
    np.testing.assert_array_equal(draws.subsets(keys(64)[order], 30, 300), whole[0][order])
    parts = draws.weighted_subsets(keys(64)[order], 30, weights)
    np.testing.assert_array_equal(np.sort(parts), np.sort(whole[1][order]))


def test_weighted_subsets_have_the_chances_of_drawing_one_after_the_other():
    weights = np.array([1.0, 2, 4, 0.5])
    drawn = np.sort(draws.weighted_subsets(keys(60_000), 2, weights), axis=1)
    expected = {}
    for i, j in itertools.permutations(range(4), 2):
        chance = weights[i] / weights.sum() * weights[j] / (weights.sum() - weights[i])
        pair = min(i, j), max(i, j)
        expected[pair] = expected.get(pair, 0) + chance
    observed = [((drawn == pair).all(axis=1)).sum() for pair in expected]
    assert sum(observed) == 60_000
    assert p_value(observed, 60_000 * np.array(list(expected.values()))) > 1e-3


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 99, 100, 101, 4097])
def test_shuffled_is_a_permutation(size):
    for seed in range(3):
        one_key = np.repeat(keys(1, seed), size, axis=0)
        found = draws.shuffled(np.arange(size), size, one_key)
        np.testing.assert_array_equal(np.sort(found), np.arange(size))


def test_permutations_of_five_are_equally_likely():
    n, size = 24_000, 5
    each = np.repeat(keys(n), size, axis=0)
    found = draws.shuffled(np.tile(np.arange(size), n), size, each).reshape(n, size)
    code = found @ (size ** np.arange(size))
    _, observed = np.unique(code, return_counts=True)
    assert len(observed) == 120
    assert p_value(observed, np.full(120, n / 120)) > 1e-3


def test_a_long_permutation_keeps_no_neighbours_and_no_order():
    size = 20_000
    found = draws.shuffled(np.arange(size), size, np.repeat(keys(1, 9), size, axis=0))
    assert abs(np.corrcoef(np.arange(size), found)[0, 1]) < 4 / size**0.5
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 4 / size**0.5
    steps = np.diff(found)
    assert (np.abs(steps) == 1).sum() < 12  # two expected of a random order
    # Each tenth of the stream takes a tenth of each tenth.
    table = np.histogram2d(np.arange(size), found, bins=10)[0]
    assert p_value(table.ravel(), np.full(100, size / 100)) > 1e-3


@pytest.mark.parametrize("weights", [None, np.array([1.0, 1e-30, 7, 7, 1e30, 0.5])])
def test_ranks_order_positions_as_their_waits_do(weights, monkeypatch):
    some = keys(2000)
    ranks, waits = draws.ranks(some, 6, weights), draws.waits(some, 6, weights)
    np.testing.assert_array_equal(ranks & draws.PLACE, np.tile(np.arange(6), (2000, 1)))
    np.testing.assert_array_equal(np.argsort(ranks, axis=1), np.argsort(waits, axis=1))
    # Positions of equal words wait as long, and stand one behind the other.
    monkeypatch.setattr(
        "jaxcell.data.draws.words", lambda keys, n: np.full((len(keys), n), 9, "<u4")
    )
    order = np.argsort(draws.ranks(some[:1], 6, weights), axis=1)[0].tolist()
    assert order == ([0, 1, 2, 3, 4, 5] if weights is None else [4, 2, 3, 0, 5, 1])

"""At most so many cells of a class, over all sources."""

import numpy as np
import pytest

from jaxcell.data.corpora.caps import draw, drawn_share, priorities


@pytest.fixture
def corpus():
    random = np.random.default_rng(0)
    sizes = (300, 200)
    kept = [random.random(n) < 0.9 for n in sizes]
    priority = [priorities(name, n, 0) for name, n in zip("ab", sizes, strict=True)]
    codes = [
        {
            "dataset": np.full(n, i),
            "type": random.integers(-1, 4, n),
            "tissue": random.integers(0, 2, n),
        }
        for i, n in enumerate(sizes)
    ]
    return kept, priority, codes


def counts(left, codes, column):
    code = np.concatenate([of[column][one] for of, one in zip(codes, left, strict=True)])
    return {int(c): int(n) for c, n in zip(*np.unique(code, return_counts=True), strict=True)}


def test_every_cap_holds(corpus):
    kept, priority, codes = corpus
    caps = {"dataset": 120, "type": 30, "tissue": 40}
    left = draw(kept, priority, codes, caps)
    for column, most in caps.items():
        assert max(n for c, n in counts(left, codes, column).items() if c >= 0) <= most
    assert all((one <= k).all() for one, k in zip(left, kept, strict=True))


def test_a_cap_is_reached_over_all_sources_and_unknown_is_no_class(corpus):
    kept, _, codes = corpus
    before, after = counts(kept, codes, "type"), counts(draw(*corpus, {"type": 30}), codes, "type")
    assert after == {-1: before[-1], **dict.fromkeys(range(4), 30)}


def test_those_with_the_least_priority_are_drawn(corpus):
    kept, priority, codes = corpus
    left = draw(kept, priority, codes, {"dataset": 50})
    for one, k, p in zip(left, kept, priority, strict=True):
        assert p[one].max() < p[k & ~one].min()


def test_a_cap_beyond_all_changes_nothing(corpus):
    for one, k in zip(draw(*corpus, {"type": 10**6}), corpus[0], strict=True):
        np.testing.assert_array_equal(one, k)
    assert (
        draw([np.zeros(3, bool)], [np.zeros(3)], [{"a": np.zeros(3, int)}], {"a": 1})[0].sum() == 0
    )


def test_draws_go_by_seed_and_name_alone():
    first = priorities("a", 100, 0)
    np.testing.assert_array_equal(first, priorities("a", 100, 0))
    np.testing.assert_array_equal(first[:50], priorities("a", 50, 0))
    assert (first != priorities("a", 100, 1)).all()
    assert (first != priorities("b", 100, 0)).all()


def test_a_share_is_a_share_and_independent_of_the_caps():
    drawn = drawn_share("a", 20_000, 0, 0.1)
    assert abs(drawn.mean() - 0.1) < 0.01
    assert abs(priorities("a", 20_000, 0)[drawn].mean() - 0.5) < 0.02

"""The tests of the ablation against numbers by hand."""

import numpy as np
import pytest
from scipy import stats

from jaxcell.evaluation.significance import paired_draws, stars, t_test, two_proportions


def test_two_proportions_by_hand():
    # 60 of 100 against 40 of 100: pooled .5, spread sqrt(.25 · 2 / 100) = .070711, z = 2.828427.
    assert two_proportions(60, 100, 40, 100) == pytest.approx(0.00467773, abs=1e-8)
    assert two_proportions(40, 100, 60, 100) == two_proportions(60, 100, 40, 100)
    # The square of z is the chi-square of the 2 × 2 table without correction.
    table = [[13, 27], [31, 29]]
    expected = stats.chi2_contingency(table, correction=False).pvalue
    assert two_proportions(13, 40, 31, 60) == pytest.approx(expected, abs=1e-12)
    assert two_proportions(5, 5, 7, 7) == two_proportions(0, 5, 0, 7) == 1
    with pytest.raises(ValueError, match="6 of 5"):
        two_proportions(6, 5, 1, 5)


def test_t_test_by_hand():
    # Means 2 and 5, variances 1 and 1: t = 3 / sqrt(2/3) = 3.674, 4 degrees: p = .02131.
    assert t_test([1, 2, 3], [4, 5, 6]) == pytest.approx(0.0213117, abs=1e-7)
    assert t_test([1, 1], [1, 1]) == 1
    assert t_test([1, 1], [2, 2]) == 0


def test_paired_draws_do_not_sharpen_with_their_number():
    rng = np.random.default_rng(0)
    common, own = rng.normal(0, 1, (2, 4000))
    a, b = 10 + common, 10.5 + common + 0.25 * own
    p = paired_draws(10.0, 10.5, a, b, 1000)
    assert p == pytest.approx(2 * stats.t.sf(0.5 / np.std(0.25 * own, ddof=1), 999), rel=1e-9)
    assert p == pytest.approx(paired_draws(10.0, 10.5, a[:500], b[:500], 1000), abs=0.03)
    assert paired_draws(1.0, 1.0, a, a, 1000) == 1
    assert paired_draws(1.0, 2.0, a, a, 1000) == 0


def test_benjamini_hochberg_by_hand():
    # Sorted: .01 ≤ .05/5, .02 ≤ .1/5, .03 ≤ .15/5, .2 > .2/5, .5: three arms differ.
    p = {"a": 0.03, "b": 0.5, "c": 0.01, "d": 0.2, "e": 0.02}
    assert stars(p) == {"a": True, "b": False, "c": True, "d": False, "e": True}
    # .04 alone would pass at .05; as the second of four (.04 > .025) it does not.
    assert stars({"a": 0.04, "b": 0.9, "c": 0.8, "d": 0.001}) == {
        "a": False, "b": False, "c": False, "d": True,
    }  # fmt: skip
    # All pass where the largest does (.05 ≤ .05), whatever the ranks of the others.
    assert all(stars({"a": 0.04, "b": 0.045, "c": 0.03, "d": 0.05}).values())
    assert stars({}) == {}

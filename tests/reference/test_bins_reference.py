"""The bins' reference itself: the worked examples of SYSTEMS.md, edge cases, other formulas."""

import numpy as np
import pytest

from tests.reference import bins

COUNTS = [0, 1, 1, 1, 2, 2, 3, 5, 0, 8]


def test_worked_examples():
    assert bins.scformer(COUNTS).tolist() == [0, 15, 15, 15, 29, 29, 36, 43, 0, 50]
    assert bins.bioformer(COUNTS).tolist() == [0, 1, 1, 1, 22, 22, 36, 43, 0, 50]
    x = [0, 0.4, 1, 1.6, 7.6, 8, 8.1, 16, 100, 1000]
    assert bins.value(x).tolist() == [0, 1, 1, 2, 8, 8, 9, 11, 19, 29]
    assert bins.value(x, printed=True).tolist() == [0, 1, 1, 2, 8, 8, 1, 3, 11, 21]
    assert bins.value([0.5, 1.5, 2.5, 3.5, 4.1], b=2, c=4).tolist() == [1, 2, 2, 4, 5]


def test_scgpt_spreads_ties():
    """Value 1 over 1 … 15, 2 over 22 … 29; what is not tied with an edge has one bin."""
    grid = np.linspace(0, 1, 997, endpoint=False)
    found = np.stack([bins.scgpt(COUNTS, [u] * len(COUNTS)) for u in grid])
    assert sorted(set(found[:, 1])) == list(range(1, 16))
    assert sorted(set(found[:, 4])) == list(range(22, 30))
    assert [set(found[:, i]) for i in (0, 6, 7, 9)] == [{0}, {36}, {43}, {50}]
    share = np.bincount(found[:, 1], minlength=16)[1:] / 997
    assert np.abs(share - 1 / 15).max() < 2e-3
    np.testing.assert_array_equal(found[0], bins.scformer(COUNTS))
    assert bins.scgpt([0, 3, 3], [0.5, 0, 0.999]).tolist() == [0, 50, 1]


def test_segments_hold_equal_shares():
    x = np.random.default_rng(0).permutation(np.r_[np.zeros(7), np.linspace(1, 9, 100)])
    found = bins.segment(x, 11)
    np.testing.assert_array_equal(np.bincount(found), [7] + [10] * 10)
    order = np.argsort(x)
    assert (np.diff(found[order]) >= 0).all()
    assert bins.segment([0, 1, 1, 1, 8], 3).tolist() == [0, 2, 2, 2, 2]
    assert bins.segment([0, 1, 1, 2, 8], 3).tolist() == [0, 1, 1, 2, 2]


def test_quantile_bins_are_monotone_and_scale_free():
    x = np.random.default_rng(1).poisson(2.0, 200)
    for rule in (bins.scformer, bins.bioformer, bins.segment):
        found = rule(x, 17)
        assert (np.diff(found[np.argsort(x)]) >= 0).all()
        assert found.max() == 16
        assert ((found == 0) == (x == 0)).all()
        np.testing.assert_array_equal(rule(4 * x, 17), found)
    edges = np.quantile(x[x > 0].astype(float), np.linspace(0, 1, 16))
    np.testing.assert_array_equal(bins.scformer(x, 17), np.digitize(x, edges) * (x > 0))
    low = 1 + np.searchsorted(np.quantile(x[x > 0], np.arange(1, 17) / 16), x, side="left")
    np.testing.assert_array_equal(bins.bioformer(x, 17), low * (x > 0))


def test_degenerate_cells():
    zero, constant = np.zeros(4), [0, 3, 3, 0]
    for rule in (bins.scformer, bins.bioformer, bins.segment, bins.value):
        assert rule(zero).tolist() == [0] * 4
        with pytest.raises(ValueError, match="must be >= 0"):
            rule([1, -1])
    assert bins.scgpt(zero, zero).tolist() == [0] * 4
    assert bins.scformer(constant).tolist() == [0, 50, 50, 0]
    assert bins.bioformer(constant).tolist() == [0, 1, 1, 0]
    assert bins.bioformer([0, 7]).tolist() == [0, 1]
    assert bins.segment(constant).tolist() == [0, 50, 50, 0]


def test_by_gene_and_normalised():
    x = np.array([[0, 1, 4], [2, 1, 0], [5, 1, 9], [9, 0, 9]])
    want = np.stack([bins.bioformer(x[:, g], 5) for g in range(3)], 1)
    np.testing.assert_array_equal(bins.by_gene(x, 5), want)
    np.testing.assert_allclose(bins.normalised([1, 0, 3], 10), [2.5, 0, 7.5])
    assert bins.normalised([0, 0], 10).tolist() == [0, 0]

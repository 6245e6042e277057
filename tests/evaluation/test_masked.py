import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from jaxcell.evaluation import masked

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 3, 9, 12])
SAID = np.array([0, 0, 1, 2, 1, 0, 2, 3, 10, 14])


def test_the_metrics_by_hand():
    assert masked.scores(TRUTH, SAID, cut=8) == {
        "sensitivity": pytest.approx(2 / 6),  # a 1 and the 3
        "hel_sensitivity": 0.5,  # 9 → 10, not 12 → 14
        "npv_50": pytest.approx((2 / 4) / (2 / 4 + 1 / 6)),
        "one_as_one": pytest.approx(1 / 3),
        "one_as_zero": pytest.approx(1 / 3),
        "one_as_more": pytest.approx(1 / 3),
        "n_entries": 10,
        "n_nonzero": 6,
        "n_high": 2,
        "n_one": 3,
        "n_predicted_zero": 3,
    }
    # The last bin of single counts is not a high one.
    assert masked.scores(TRUTH, SAID, cut=9)["n_high"] == 1


def test_npv_50_does_not_depend_on_how_many_zeros_were_masked():
    random = np.random.default_rng(0)
    truth = np.repeat([0, 1], 50)
    said = random.integers(0, 2, 100)
    balanced = masked.scores(truth, said, 8)["npv_50"]
    assert balanced == pytest.approx((truth[said == 0] == 0).mean())  # the plain share, of halves
    more = np.repeat(truth, np.where(truth == 0, 9, 1)), np.repeat(said, np.where(truth == 0, 9, 1))
    assert masked.scores(*more, 8)["npv_50"] == pytest.approx(balanced)


def test_what_no_entry_can_tell_is_none():
    zeros = masked.scores(np.zeros(3), np.ones(3), 8)
    unknown = ("sensitivity", "hel_sensitivity", "npv_50", "one_as_one", "one_as_zero")
    assert all(zeros[name] is None for name in (*unknown, "one_as_more"))
    assert masked.scores([0, 1], [1, 1], 8)["npv_50"] is None  # nothing is predicted as zero


@pytest.mark.parametrize(
    ("truth", "said", "text"),
    [
        ([0, 1], [0], r"found \[2\] and \[1\], expected"),
        ([], [], r"found \[0\] and \[0\]"),
        ([0, 1], [0, 0.5], "predicted: found values that are no bins"),
        ([0, -3], [0, 0], "truth: found values that are no bins"),
        ([0, np.nan], [0, 0], "truth: found values that are no bins"),
    ],
)
def test_what_is_no_pair_of_bins_is_refused(truth, said, text):
    with pytest.raises(ValueError, match=text):
        masked.scores(np.array(truth, float), np.array(said, float), 8)


@pytest.fixture(scope="module")
def bins():
    """Cells [200, 30] of correlated bins; gene 4 is constant, 7 and 8 are the same."""
    random = np.random.default_rng(1)
    hidden = random.normal(size=(200, 4))
    rates = np.exp(hidden @ random.normal(scale=0.5, size=(4, 30)))
    x = np.minimum(random.poisson(rates), 12).astype(np.float32)
    x[:, 4], x[:, 8] = 3, x[:, 7]
    return x


def naive(train, cells, row, gene, k):
    """One entry: correlations, neighbours and regression of scikit-learn."""
    others = [j for j in range(train.shape[1]) if j != gene and train[:, j].std() > 0]
    by = {j: np.corrcoef(train[:, gene], train[:, j])[0, 1] for j in others}
    near = sorted(others, key=lambda j: -by[j])[:k]
    model = LinearRegression().fit(train[:, near].astype(float), train[:, gene].astype(float))
    return model.predict(cells[row, near][None].astype(float))[0]


@pytest.mark.parametrize("k", [5, 28, 300])
def test_the_regression_is_that_of_each_gene_on_its_nearest(bins, k):
    train, cells = bins[:150], bins[150:]
    found = masked.fit(train, k)
    rows = np.random.default_rng(2).integers(0, 50, 60)
    genes = np.concatenate([np.arange(4), np.arange(5, 30)] * 3)[:60]
    expected = [naive(train, cells, r, g, k) for r, g in zip(rows, genes, strict=True)]
    clear = np.abs(np.mod(expected, 1) - 0.5) > 1e-6
    rounded = np.clip(np.rint(expected), 0, train.max())
    said = found.predict(cells, rows, genes)
    assert said.dtype == np.int64
    np.testing.assert_array_equal(said[clear], rounded[clear])
    assert clear.sum() > 55
    assert found.genes.shape == (30, min(k, 29))


def test_the_correlation_is_signed(bins):
    against = np.column_stack([bins[:, 0], 12 - bins[:, 0], bins[:, 1]])
    assert masked.fit(against, 1).genes[0] == [2]


def test_a_constant_gene_is_its_constant_and_no_neighbour(bins):
    found = masked.fit(bins, 29)
    assert (found.predict(bins, np.arange(5), np.full(5, 4)) == 3).all()
    assert (found.weights[found.genes == 4] == 0).all()


def test_genes_that_are_the_same_and_more_genes_than_cells_are_no_obstacle(bins):
    found = masked.fit(bins, 29)
    rows = np.arange(200)
    np.testing.assert_array_equal(found.predict(bins, rows, np.full(200, 7)), bins[:, 8])
    few = masked.fit(bins[:10], 29)
    assert np.isfinite(few.weights).all()
    every = np.setdiff1d(np.arange(30), [4])
    cell, gene = np.repeat(np.arange(10), 29), np.tile(every, 10)
    # Nine independent differences of ten cells: what was fitted is met exactly.
    np.testing.assert_array_equal(few.predict(bins[:10], cell, gene), bins[cell, gene])


def test_predictions_are_bins_of_the_training_cells(bins):
    found = masked.fit(bins, 5)
    far = np.full((1, 30), 1000.0)
    said = found.predict(np.vstack([far, -far]), np.repeat([0, 1], 30), np.tile(np.arange(30), 2))
    assert {0, int(bins.max())} <= set(said)
    assert said.min() >= 0
    assert said.max() <= bins.max()


def test_nothing_to_regress_on_is_refused(bins):
    for train, k in ((bins, 0), (bins[:1], 3), (bins[:, :1], 3)):
        with pytest.raises(ValueError, match="linear regression: found k = "):
            masked.fit(train, k)

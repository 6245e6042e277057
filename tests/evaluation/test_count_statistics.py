"""R² of count moments and gene vectors: against scikit-learn, by construction, at chance."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from jaxcell.evaluation import baselines, count_statistics


def draw(genes=300, width=12, seed=0):
    rng = np.random.default_rng(seed)
    mean = rng.gamma(1.0, 2.0, genes)
    return rng.standard_normal((genes, width)), np.stack([mean, mean + 0.4 * mean**2], axis=1), rng


@pytest.mark.parametrize("components", [None, 5])
def test_both_readings_equal_scikit_learn(components):
    noise, y, _ = draw()
    vectors = noise + 0.5 * y[:, :1] * np.arange(12)
    found = count_statistics.explained(vectors, y, components=components, shuffles=2)
    pcs = PCA(components or 12).fit_transform(vectors)
    assert (found["genes"], found["components"]) == (300, components or 12)

    def r2(x, response):  # of several responses: of their total variance
        fitted = LinearRegression().fit(x, response).predict(x)
        return r2_score(response, fitted, multioutput="variance_weighted")

    scaled = y / y.std(axis=0)
    expected = {
        "vectors": [r2(y[:, :1], pcs), r2(y[:, 1:], pcs), r2(y, pcs)],
        "statistics": [r2(pcs, y[:, :1]), r2(pcs, y[:, 1:]), r2(pcs, scaled)],
    }
    expected["vectors"].append(expected["vectors"][2] - max(expected["vectors"][:2]))
    for reading, parts in count_statistics.READINGS.items():
        got = [found[reading][part]["r2"] for part in parts]
        np.testing.assert_allclose(got, expected[reading], atol=1e-10)


def test_vectors_made_of_the_statistics_are_explained_in_full():
    _, y, rng = draw()
    y[:, 1] *= rng.gamma(2.0, size=300)  # of its own, beyond the mean
    vectors = y / y.std(axis=0) @ rng.standard_normal((2, 6)) + 3.0
    found = count_statistics.explained(vectors, y, shuffles=19)
    for reading in count_statistics.READINGS:
        assert found[reading]["joint"]["r2"] == pytest.approx(1.0, abs=1e-9)
        assert found[reading]["joint"]["p"] == 1 / 20
    assert found["vectors"]["gain"]["r2"] > 0.01  # neither statistic suffices alone
    assert found["vectors"]["gain"]["p"] == 1 / 20
    # Vectors of the mean alone: the variance adds nothing to it.
    found = count_statistics.explained(y[:, :1] * [1.0, -2.0], y, shuffles=19)
    assert found["vectors"]["mean"]["r2"] == pytest.approx(1.0)
    assert found["vectors"]["gain"]["r2"] == pytest.approx(0.0, abs=1e-12)


def test_random_vectors_are_at_chance():
    p = []
    for seed in range(40):
        x, y, _ = draw(seed=seed)
        found = count_statistics.explained(x, y, seed=seed)
        p += [found[r][part]["p"] for r in count_statistics.READINGS for part in ("mean", "joint")]
        # A shuffled fit of k predictors of V genes explains k / (V − 1) on average.
        for part, k in (("mean", 1), ("joint", 2)):
            assert np.mean(found["vectors"][part]["null"]) == pytest.approx(k / 299, rel=0.3)
        assert np.mean(found["statistics"]["joint"]["null"]) == pytest.approx(12 / 299, rel=0.2)
    assert 0.4 < np.mean(p) < 0.6
    assert np.mean(np.array(p) <= 0.05) < 0.12


def test_a_shuffle_moves_rows_and_nothing_else():
    x, y, _ = draw()
    found = count_statistics.explained(x, y, shuffles=3, seed=7)
    rng, pcs = np.random.default_rng(7), PCA().fit_transform(x)
    for one in range(3):
        moved = pcs[rng.permutation(300)]
        expected = LinearRegression().fit(moved, y[:, 1]).score(moved, y[:, 1])
        assert found["statistics"]["variance"]["null"][one] == pytest.approx(expected)


def test_moments_are_those_of_the_cells():
    counts = np.random.default_rng(0).poisson(0.7, (50, 9)).astype(np.float32)
    counts[:, 3] = 0
    x = baselines.normalise(sp.csr_matrix(counts))
    found = count_statistics.moments(sp.csr_matrix(counts), x)
    expected = np.stack([counts.mean(axis=0), counts.var(axis=0)], axis=1)
    np.testing.assert_allclose(found["counts"], expected, atol=1e-6)
    np.testing.assert_allclose(found["log"][:3], np.log(expected[:3]), atol=1e-6)
    assert np.isnan(found["log"][3]).all()
    dense = x.toarray().astype(np.float64)
    expected = np.stack([dense.mean(axis=0), dense.var(axis=0)], axis=1)
    np.testing.assert_allclose(found["normalised"], expected, atol=1e-6)
    vectors = np.random.default_rng(1).standard_normal((9, 2))
    assert count_statistics.explained(vectors, found["log"], shuffles=1)["genes"] == 8


def test_what_cannot_be_fitted_is_refused():
    x, y, _ = draw(genes=10)
    with pytest.raises(ValueError, match=r"found statistics \[9, 2\] of 10 genes"):
        count_statistics.explained(x, y[:9])
    with pytest.raises(ValueError, match="codebook: found 10 genes for 8 components"):
        count_statistics.explained(x, y, name="codebook", components=8)
    assert count_statistics.explained(x, y, shuffles=1)["components"] == 5  # of 9
    with pytest.raises(ValueError, match="is the same for all 10 genes"):
        count_statistics.explained(x[:, :3], np.ones((10, 2)))
    with pytest.raises(ValueError, match="shuffles: found 0"):
        count_statistics.explained(x, y, components=3, shuffles=0)

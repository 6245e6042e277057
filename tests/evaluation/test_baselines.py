import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.evaluation import baselines


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    x = rng.poisson(np.exp(rng.normal(size=30)), size=(50, 30)).astype(np.float32)
    x[3] = 0
    return sp.csr_matrix(x)


def test_normalise_is_log1p_of_ten_thousand(counts):
    dense = counts.toarray().astype(np.float64)
    total = dense.sum(axis=1, keepdims=True)
    expected = np.log1p(1e4 * dense / np.where(total == 0, 1, total))
    np.testing.assert_allclose(baselines.normalise(counts).toarray(), expected, rtol=1e-5)
    assert baselines.normalise(counts)[3].sum() == 0


def test_principal_components_equal_the_svd(counts):
    x = baselines.normalise(counts)
    found = baselines.principal_components(x, 5)
    dense = x.toarray().astype(np.float64)
    u, s, _ = np.linalg.svd(dense - dense.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(found.singular, s[:5], rtol=1e-9)
    np.testing.assert_allclose(np.abs(found.scores(x)), np.abs(u[:, :5] * s[:5]), atol=1e-4)
    assert baselines.principal_components(x, 500).scores(x).shape == (50, 29)


def test_other_cells_are_projected_on_the_components_of_the_fitted_ones(counts):
    x = baselines.normalise(counts)
    found = baselines.principal_components(x[:30], 4)
    dense = x.toarray().astype(np.float64)
    mean = dense[:30].mean(axis=0)
    _, _, axes = np.linalg.svd(dense[:30] - mean, full_matrices=False)
    expected = (dense[30:] - mean) @ axes[:4].T
    np.testing.assert_allclose(np.abs(found.scores(x[30:])), np.abs(expected), atol=1e-4)


def test_ridge_pca_is_the_reduced_rank_ridge_regression_of_the_cells_on_themselves(counts):
    # Ridge regression as least squares on rows that are added; then the best rank 4 of its fit.
    k, ridge = 4, 0.7
    x = baselines.normalise(counts)
    y = x.toarray().astype(np.float64)
    y -= y.mean(axis=0)
    penalty = ridge * np.linalg.svd(y, compute_uv=False)[k - 1] ** 2
    inputs = np.vstack([y, np.sqrt(penalty) * np.eye(30)])
    outputs = np.vstack([y, np.zeros((30, 30))])
    full = np.linalg.lstsq(inputs, outputs, rcond=None)[0]
    _, _, axes = np.linalg.svd(inputs @ full, full_matrices=False)
    encoder = full @ axes[:k].T
    found = baselines.principal_components(x, k)
    code = found.scores(x, ridge)
    np.testing.assert_allclose(np.abs(code), np.abs(y @ encoder), atol=1e-4)
    np.testing.assert_allclose(code @ found.axes, y @ encoder @ axes[:k], atol=1e-4)

    shrunk = code.std(axis=0) / found.scores(x).std(axis=0)
    assert shrunk[-1] == pytest.approx(1 / (1 + ridge), rel=1e-5)
    assert (np.diff(shrunk) < 0).all()  # weak components most


def test_ridge_pca_of_cells_with_few_directions_is_finite():
    x = sp.csr_matrix(np.outer(np.arange(20), np.ones(8)).astype(np.float32))
    code = baselines.principal_components(x, 3).scores(x, ridge=1.0)
    assert np.isfinite(code).all()


def test_highly_variable_prefers_the_genes_that_vary():
    rng = np.random.default_rng(0)
    rate = np.tile(np.linspace(0.5, 4, 300), (200, 1))
    rate[:, ::60] *= np.where(np.arange(200) % 2, 1.95, 0.05)[:, None]
    x = np.log1p(rng.poisson(rate)).astype(np.float32)
    chosen = baselines.highly_variable(sp.csr_matrix(x), 20)
    assert chosen.sum() == 20
    assert chosen[::60].all()

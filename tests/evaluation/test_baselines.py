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
    found = baselines.principal_components(x, 5, seed=0)
    dense = x.toarray().astype(np.float64)
    u, s, _ = np.linalg.svd(dense - dense.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs(u[:, :5] * s[:5]), atol=1e-3)
    assert baselines.principal_components(x, 500, seed=0).shape == (50, 29)


def test_views(counts):
    made = baselines.views(counts, n_hvg=10, n_pcs=4, seed=0)
    assert {name: x.shape for name, x in made.items()} == {
        "(Lib+Log)Norm": (50, 30),
        "(Lib+Log)Norm + HVG": (50, 10),
        "PCA": (50, 4),
        "Shuffled labels": (50, 4),
    }
    everything = baselines.views(counts, n_hvg=30, n_pcs=4, seed=0)
    assert everything["(Lib+Log)Norm + HVG"] is everything["(Lib+Log)Norm"]


def test_highly_variable_prefers_the_genes_that_vary():
    rng = np.random.default_rng(0)
    rate = np.tile(np.linspace(0.5, 4, 300), (200, 1))
    rate[:, ::60] *= np.where(np.arange(200) % 2, 1.95, 0.05)[:, None]
    x = np.log1p(rng.poisson(rate)).astype(np.float32)
    chosen = baselines.highly_variable(sp.csr_matrix(x), 20)
    assert chosen.sum() == 20
    assert chosen[::60].all()

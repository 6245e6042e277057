import numpy as np
import pytest
import scipy.sparse as sp
import torch

from jaxcell.evaluation import autoencoder


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(60, 3)) @ rng.normal(size=(3, 20)), 0)
    x[:, 7] = 0  # a gene that nobody has
    return sp.csr_matrix(x.astype(np.float32))


def standardised(x):
    x = x.toarray().astype(np.float64)
    sd = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(sd == 0, 1, sd)


def test_standardisation_is_the_genes_mean_and_sd(cells):
    mean, sd = autoencoder.standardisation(cells)
    dense = cells.toarray().astype(np.float64)
    np.testing.assert_allclose(mean, dense.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(sd[[0, 5]], dense.std(axis=0)[[0, 5]], rtol=1e-6)
    assert sd[7] == 1


def test_a_few_steps_equal_torch_adam(cells, monkeypatch):
    monkeypatch.setattr(autoencoder, "STEPS", 7)
    monkeypatch.setattr(autoencoder, "BATCH", 25)
    code = autoencoder.fit(cells, 3, seed=4)(cells)

    rng = np.random.default_rng(4)
    z = torch.tensor(standardised(cells))
    encoder = torch.tensor(rng.uniform(-1, 1, (20, 3)) / 20**0.5, requires_grad=True)
    decoder = torch.tensor(rng.uniform(-1, 1, (3, 20)) / 3**0.5, requires_grad=True)
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(20, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([encoder, decoder, shift, bias], lr=1e-3)
    order = np.concatenate([rng.permutation(60) for _ in range(3)])  # epochs run into each other
    for s in range(7):
        rows = z[order[25 * s : 25 * (s + 1)]]
        adam.zero_grad()
        torch.nn.functional.mse_loss((rows @ encoder + shift) @ decoder + bias, rows).backward()
        adam.step()
    expected = (z @ encoder + shift).detach().numpy()
    np.testing.assert_allclose(code, expected, atol=1e-5)


def test_the_code_holds_what_principal_components_hold(cells, monkeypatch):
    monkeypatch.setattr(autoencoder, "LEARNING_RATE", 1e-2)
    code = autoencoder.fit(cells, 5, seed=0)(cells)
    z = standardised(cells)
    code = np.column_stack([code, np.ones(60)])
    left = np.square(z - code @ np.linalg.lstsq(code, z, rcond=None)[0]).sum()
    best = np.square(np.linalg.svd(z, compute_uv=False)[5:]).sum()
    assert best <= left < 1.02 * best + 1e-6


def test_the_seed_decides(cells, monkeypatch):
    monkeypatch.setattr(autoencoder, "STEPS", 5)
    first, again, other = (autoencoder.fit(cells, 2, seed)(cells) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1

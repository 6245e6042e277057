import importlib.util

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import silhouette_score

from jaxcell.evaluation import baselines, integration, scvi_fit


@pytest.fixture(scope="module")
def cells():
    """Counts [240, 40] of two types in two batches, with an effect of the batch; types, batch."""
    random = np.random.default_rng(0)
    kind, batch = np.arange(240) % 2, np.arange(240) // 2 % 2
    rates = np.exp(random.normal(size=(2, 40)))[kind] * np.exp(
        0.3 * random.normal(size=(2, 40))[batch]
    )
    counts = sp.csr_matrix(random.poisson(rates).astype(np.float32))
    return counts, kind, np.array(["a", "b"])[batch]


def test_pca_is_that_of_the_normalised_counts(cells):
    x = baselines.normalise(cells[0])
    expected = baselines.principal_components(x, 6).scores(x)
    np.testing.assert_array_equal(integration.pca(cells[0], 6), expected)


def test_harmony_mixes_the_batches_and_keeps_the_types(cells):
    counts, kind, batch = cells
    before, after = integration.pca(counts, 5), integration.harmony(counts, batch, 5)
    assert after.shape == (240, 5)
    assert after.dtype == np.float32
    np.testing.assert_array_equal(after, integration.harmony(counts, batch, 5))
    assert abs(silhouette_score(after, batch)) < 0.5 * silhouette_score(before, batch)
    assert silhouette_score(after, kind) > silhouette_score(before, kind)


def test_what_is_not_possible_is_said(cells, monkeypatch):
    with pytest.raises(ValueError, match="baseline harmony: found 1 batches, expected two"):
        integration.harmony(cells[0], np.full(240, "a"))
    with pytest.raises(ValueError, match="found 0 batches"):
        integration.check(["harmony"], None)
    integration.check(["pca"], None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, package in (("harmony", "harmonypy"), ("scvi", "scvi")):
        text = rf'baseline {name} needs {package}, not installed: pip install "jaxcell\[{name}\]"'
        with pytest.raises(ImportError, match=text):
            integration.check([name], cells[2])


@pytest.mark.slow
def test_scvi_is_quiet_and_decided_by_its_seed(cells, capfd):
    pytest.importorskip("scvi", reason="the extra scvi (torch and lightning) is not in test")
    counts, kind, batch = cells
    found = integration.scvi(counts, batch, 0, epochs=40)
    assert (found.shape, found.dtype) == ((240, 10), np.float32)
    np.testing.assert_array_equal(found, integration.scvi(counts, batch, 0, epochs=40))
    assert np.abs(found - integration.scvi(counts, batch, 1, epochs=1)).max() > 0.1
    assert silhouette_score(found, kind) > silhouette_score(found, batch)
    assert integration.scvi(counts, None, 0, epochs=1).shape == (240, 10)
    assert capfd.readouterr().err == ""


SMALL = dict(latent=4, hidden=16, epochs=2)


def scvi_here():
    pytest.importorskip("scvi", reason="the extra scvi (torch and lightning) is not in test")


def test_presets_are_the_papers():
    how = scvi_fit.PRESETS["paper_inductive"]
    assert (how.latent, how.hidden, how.likelihood, how.optimizer) == (768, 1024, "nb", "AdamW")
    assert (how.learning_rate, how.weight_decay, how.genes) == (5e-4, 1e-6, None)
    poisson = scvi_fit.PRESETS["paper_inductive_poisson"]
    assert (poisson.likelihood, poisson.learning_rate, poisson.hidden) == ("poisson", 1e-4, 1024)
    how = scvi_fit.PRESETS["paper_transductive"]
    assert (how.genes, how.latent, how.hidden, how.dropout) == (8000, 256, 512, 0.0)
    assert (how.likelihood, how.dispersion) == ("zinb", "gene")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"preset": "paper"}, "preset 'paper' is unknown; known are default, paper_inductive"),
        ({"layers": 2}, "layers is no setting; known are latent, hidden"),
        ({"likelihood": "normal"}, "likelihood is 'normal', expected one of nb, zinb, poisson"),
        ({"latent": 0}, "latent is 0, expected 1 or more"),
    ],
)
def test_odd_settings_of_scvi_are_refused(cells, given, said):
    with pytest.raises(ValueError, match=f"scvi: {said}"):
        integration.scvi_inductive(cells[0], cells[0], 0, **given)


@pytest.mark.slow
def test_scvi_embeds_other_cells_with_the_weights_it_was_fitted_on(cells, capfd):
    scvi_here()
    counts = cells[0]
    found = integration.scvi_inductive(counts[:200], counts[200:], 0, **SMALL)
    assert (found.shape, found.dtype) == ((40, 4), np.float32)
    # A cell's code depends on no other cell, and that of a fitted cell is the fit's own.
    again = integration.scvi_inductive(counts[:200], counts[190:205], 0, **SMALL)
    np.testing.assert_allclose(again[10:], found[:5], atol=1e-6)
    how = scvi_fit.settings("paper_inductive", **SMALL)
    own = scvi_fit.fit(counts[:200], None, 0, how).own()
    np.testing.assert_allclose(own[190:], again[:10], atol=1e-6)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_gene_vectors_of_scvi_are_the_weights_that_it_reads_and_writes_genes_by(cells):
    scvi_here()
    import torch

    counts = cells[0]
    how = scvi_fit.settings("paper_transductive", **SMALL, genes=30)
    fitted = scvi_fit.fit(counts, cells[2], 0, how)
    assert 30 <= fitted.genes.sum() < 40
    found = fitted.gene_vectors()
    for name in ("codebook", "decoder"):
        assert found[name].shape == (40, 16)
        np.testing.assert_array_equal(np.isfinite(found[name]).all(axis=1), fitted.genes)
    # One gene more or less in the input moves the first layer by that gene's vector.
    module, k = fitted.model.module, int(fitted.genes.sum())
    linear = module.z_encoder.encoder.fc_layers[0][0]
    with torch.no_grad():
        moved = linear(torch.eye(k)) - linear(torch.zeros(1, k))
    expected = found["codebook"][fitted.genes]
    np.testing.assert_allclose(moved.numpy(), expected, atol=1e-6)
    # Its logit is the hidden layer times the gene's vector, but for the bias and the batch.
    hidden = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    linear = module.decoder.px_scale_decoder[0]
    rest = torch.zeros(5, linear.in_features - 16)
    with torch.no_grad():
        logits = linear(torch.cat([hidden, rest], dim=1)) - linear.bias
    expected = hidden.numpy() @ found["decoder"][fitted.genes].T
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("preset", sorted(scvi_fit.PRESETS))
def test_every_preset_trains(cells, preset):
    scvi_here()
    found = integration.scvi_gene_vectors(cells[0], 0, preset, epochs=1)
    assert found["decoder"].shape == (40, scvi_fit.PRESETS[preset].hidden)
    assert np.isfinite(found["codebook"]).all()

import importlib.util

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import silhouette_score

from jaxcell.evaluation import baselines, integration


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

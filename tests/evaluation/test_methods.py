import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.evaluation import autoencoder, integration, methods, probes
from jaxcell.evaluation import baselines as b
from jaxcell.evaluation.inputs import Cells

from .cells import adata


def cells_of(counts):
    n = counts.shape[0]
    return Cells(np.zeros(n, str), None, np.ones(n, bool), {}, counts=counts)


@pytest.fixture(scope="module")
def data():
    return adata()


@pytest.fixture(scope="module")
def folds(data):
    labels, batch = (data.obs[c].to_numpy().astype(str) for c in ("cell_type", "batch"))
    return probes.folds(labels, batch)[0]


def fits(counts):
    return methods.Fits(cells_of(counts), n_pcs=4, ridge=1.0, seeded_folds=False)


@pytest.mark.parametrize("short", ["pca_inductive", "ridge_inductive", "ae_inductive"])
def test_an_inductive_baseline_does_not_see_what_is_held_out(short, data, folds, monkeypatch):
    monkeypatch.setattr(autoencoder, "STEPS", 20)
    fold, counts = folds[1], sp.csr_matrix(data.X)
    changed = data.X.copy()
    changed[fold.test] = np.random.default_rng(0).poisson(3, changed[fold.test].shape)
    one = fits(counts).method(short)
    before = one.spaces(0, folds)
    after = fits(sp.csr_matrix(changed)).method(short).spaces(0, folds)
    assert (one.per_fold, one.fitted, len(before)) == (True, "each fold's training cells", 3)
    np.testing.assert_array_equal(before[1].x[fold.train], after[1].x[fold.train])
    assert np.abs(before[1].x[fold.test] - after[1].x[fold.test]).max() > 0.1
    assert np.abs(before[0].x[fold.train] - after[0].x[fold.train]).max() > 1e-3
    assert before[0].x.shape == (120, 4)


@pytest.mark.parametrize("short", ["pca", "ridge", "ae"])
def test_a_transductive_baseline_is_one_matrix_of_all_cells(short, data, folds):
    one = fits(sp.csr_matrix(data.X)).method(short)
    (space,) = one.spaces(0, folds)
    assert space.x.shape == (120, 4)
    assert (one.per_fold, one.fitted) == (False, "the evaluated cells")
    assert one.seeded == (short == "ae")


def test_full_views_and_shuffled_labels(data, folds):
    made = fits(sp.csr_matrix(data.X))
    (raw,) = made.method("raw").spaces(0, folds)
    np.testing.assert_array_equal(raw.x, data.X)
    (hvg,) = made.method("hvg20").spaces(0, folds)
    assert hvg.x.shape == (120, 20)
    pca, shuffled = made.method("pca"), made.method("shuffled")
    assert shuffled.shuffled
    assert pca.spaces(0, folds)[0] is shuffled.spaces(1, folds)[0]  # measured on one graph


def test_what_is_measured_by_default():
    counts = sp.csr_matrix(np.ones((40, 3000), np.float32))
    chosen, notes = methods.choose((), cells_of(counts))
    assert chosen == [s for s in methods.DEFAULT if s != "hvg5000"]
    assert "has 3000 genes, not more than 5000" in notes[0]
    many = sp.csr_matrix((100_000, 20_000), dtype=np.float32)
    chosen, (note,) = methods.choose((), cells_of(many))
    assert not {"raw", "log"} & set(chosen)
    assert {"hvg5000", "pca", "ae_inductive"} <= set(chosen)
    assert "more than 2 GiB: raw, log. Name them with baselines=" in note
    assert methods.choose(["raw"], cells_of(many)) == (["raw"], [])


def test_baselines_of_chosen_genes_see_those_alone(data):
    cells = cells_of(sp.csr_matrix(data.X))
    cells.chosen = np.arange(40) < 12
    made = methods.Fits(cells, n_pcs=4, ridge=1.0, seeded_folds=False)
    log = b.normalise(cells.counts)
    for short, columns in (("genes", cells.chosen), ("hvg20", b.highly_variable(log, 20))):
        (view,) = made.method(short).spaces(0, [])
        np.testing.assert_array_equal(view.x, log[:, columns].toarray())
        (space,) = made.method(f"{short}_pca").spaces(0, [])
        expected = b.principal_components(log[:, columns], 4).scores(log[:, columns])
        np.testing.assert_array_equal(space.x, expected)
    harmony, scvi = made.method("harmony"), made.method("hvg20_scvi")
    assert (harmony.name, scvi.name) == ("Harmony", "scVI, 20 HVG")
    assert harmony.seeded
    assert harmony.picture
    assert not made.method("hvg20_pca").seeded


def test_scvi_gets_the_raw_counts_of_the_genes_and_the_seed(data, monkeypatch):
    given = []
    monkeypatch.setattr(integration, "scvi", lambda *a: given.append(a) or np.eye(120, 10))
    cells = cells_of(sp.csr_matrix(data.X))
    cells.batch, cells.chosen = np.array(["a", "b"])[np.arange(120) % 2], np.arange(40) < 12
    methods.Fits(cells, 4, 1.0, False).method("genes_scvi").spaces(7, [])
    ((counts, batch, seed),) = given
    np.testing.assert_array_equal(counts.toarray(), data.X[:, :12])
    assert (batch is cells.batch, seed) == (True, 7)


def test_a_choice_of_all_genes_is_the_full_view():
    counts = sp.csr_matrix(np.ones((40, 30), np.float32))
    chosen, (note,) = methods.choose(["hvg50", "pca"], cells_of(counts))
    assert chosen == ["pca", "log"]
    assert methods.choose(["hvg50_pca", "hvg30_pca"], cells_of(counts))[0] == ["pca"]
    assert "(Lib+Log)Norm is that view" in note

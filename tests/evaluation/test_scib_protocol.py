import warnings

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import OneHotEncoder

from jaxcell.evaluation import clustering, scib_protocol

from .cells import blobs


@pytest.fixture(scope="module")
def shifted():
    """Blobs whose batches differ, along a direction of their own."""
    x, labels, batch = blobs(360, classes=4, d=8, batches=3, gap=3.0)
    x[:, 7] += 4 * (batch == "b1") - 2 * (batch == "b2")
    return x, labels, batch


def by_regressions(x, batch, k):
    """PCR, a linear regression per component."""
    codes = OneHotEncoder(sparse_output=False).fit_transform(np.asarray(batch)[:, None])
    pca = PCA(k, svd_solver="full").fit(x)
    scores = pca.transform(x)
    r2 = [LinearRegression().fit(codes, s).score(codes, s) for s in scores.T]
    return np.dot(r2, pca.explained_variance_) / pca.explained_variance_.sum()


@pytest.mark.parametrize("k", [3, 8])
def test_pcr_equals_a_regression_per_component_and_scibs(shifted, k):
    x, _, batch = shifted
    found = scib_protocol.pcr(x, batch, k)
    assert found == pytest.approx(by_regressions(x.astype(np.float64), batch, k), abs=1e-9)
    assert scib_protocol.pcr(sp.csr_matrix(x), batch, 3) == pytest.approx(
        by_regressions(x.astype(np.float64), batch, 3), abs=1e-5
    )
    scib = clustering.scib()
    with jax.numpy_rank_promotion("allow"):
        theirs = scib.utils.principal_component_regression(
            x, batch, categorical=True, n_components=k
        )
    assert found == pytest.approx(theirs, abs=1e-4)


def test_pcr_comparison_equals_scibs(shifted):
    after, _, batch = shifted
    before = after.copy()
    before[:, 7] *= 3
    own = scib_protocol.pcr_comparison(
        scib_protocol.pcr(before, batch, 8), scib_protocol.pcr(after, batch, 8)
    )
    scib = clustering.scib()
    with jax.numpy_rank_promotion("allow"):
        theirs = scib.pcr_comparison(before, after, batch, categorical=True, n_components=8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that it is negative
            worse = scib.pcr_comparison(after, before, batch, categorical=True, n_components=8)
    assert own == pytest.approx(theirs, abs=1e-4)
    assert 0.2 < own < 1
    assert worse == scib_protocol.pcr_comparison(0.2, 0.6) == 0
    assert scib_protocol.pcr_comparison(0.0, 0.1) == 0


def test_pcr_of_one_value_per_batch_is_all_and_of_equal_batches_none():
    batch = np.repeat(["a", "b", "c"], 20)
    x = np.random.default_rng(0).normal(size=(3, 4))
    assert scib_protocol.pcr(np.repeat(x, 20, axis=0), batch) == pytest.approx(1)
    assert scib_protocol.pcr(
        np.tile(np.random.default_rng(1).normal(size=(20, 4)), (3, 1)), batch
    ) == pytest.approx(0, abs=1e-12)
    assert scib_protocol.pcr(np.ones((60, 4)), batch) == 0


def test_wide_views_have_the_same_components(shifted, monkeypatch):
    x, _, batch = shifted
    expected = scib_protocol.pcr(x, batch, 4)
    monkeypatch.setattr(scib_protocol, "WIDE", 1)
    assert scib_protocol.pcr(x, batch, 4) == pytest.approx(expected, abs=1e-9)


def test_scores_equal_those_of_all_distances(shifted):
    x, labels, batch = shifted
    found = scib_protocol.scib_scores(x, labels, batch, seed=4, before=0.5)
    space = clustering.Space(x)
    assert found["asw_label"] == pytest.approx(clustering.asw_label(x, labels), abs=1e-6)
    assert found["asw_batch"] == pytest.approx(clustering.asw_batch(x, labels, batch), abs=1e-6)
    assert found["graph_connectivity"] == clustering.graph_connectivity(space.neighbours, labels)
    assert found["ilisi"] == pytest.approx(clustering.ilisi(space.neighbours, batch), abs=1e-6)
    for algorithm, prefix in (("louvain", ""), ("leiden", "leiden_")):
        clusters = space.clusterings(algorithm, 4, scib_protocol.RESOLUTIONS)
        best, _ = clustering.best_clustering(clusters, labels)
        assert {m: found[prefix + m] for m in best} == pytest.approx(best)
    assert found["pcr"] == scib_protocol.pcr(x, batch)
    assert found["pcr_comparison"] == pytest.approx((0.5 - found["pcr"]) / 0.5)
    bio = np.mean([found["nmi"], found["ari"], found["asw_label"]])
    mixing = np.mean([found["graph_connectivity"], found["asw_batch"]])
    assert found["avg_bio"] == pytest.approx(bio)
    assert found["overall"] == pytest.approx(0.6 * bio + 0.4 * mixing)
    assert set(scib_protocol.METRICS) < set(found)


def test_perfect_separation_and_mixing(shifted):
    x, labels, batch = blobs(300, gap=40.0)
    found = scib_protocol.scib_scores(x, labels, batch)
    assert found["nmi"] == pytest.approx(1)
    assert found["ari"] == found["graph_connectivity"] == 1
    assert min(found["asw_label"], found["asw_within"], found["asw_batch"]) > 0.93
    assert found["pcr"] < 0.05


def test_shuffled_labels_score_at_chance(shifted):
    x, labels, batch = shifted
    labels = np.random.default_rng(0).permutation(labels)
    found = scib_protocol.scib_scores(x, labels, batch)
    assert abs(found["ari"]) < 0.03
    assert found["nmi"] < 0.08
    assert found["asw_label"] == pytest.approx(0.5, abs=0.02)
    assert found["asw_within"] == pytest.approx(0.5, abs=0.02)


def test_without_batches_what_is_about_them_is_none(shifted):
    x, labels, _ = shifted
    found = scib_protocol.scib_scores(x, labels)
    of_one = scib_protocol.scib_scores(x, labels, np.full(len(x), "b"), before=0.3)
    assert found == of_one
    absent = {name for name, value in found.items() if value is None}
    assert absent == {
        *("asw_batch", "asw_within", "graph_connectivity", "ilisi"),
        *("pcr", "pcr_comparison", "avg_batch", "overall"),
    }


def test_the_subsample_is_drawn_by_the_seed():
    assert (scib_protocol.subsample(5, 10) == np.arange(5)).all()
    first, again, other = (scib_protocol.subsample(1000, 100, seed) for seed in (0, 0, 1))
    assert len(np.unique(first)) == 100
    assert (first == again).all()
    assert (first != other).any()
    x, labels, batch = blobs(300, gap=2.0)
    found = scib_protocol.scib_scores(x, labels, batch, cells=120, seed=1)
    own = scib_protocol.subsample(300, 120, 1)
    assert found == scib_protocol.scib_scores(x[own], labels[own], batch[own], seed=1)
    assert found["cells"] == 120


def test_neighbours_given_are_the_graph_of_a_space(shifted):
    space = clustering.Space(shifted[0])
    found = space.neighbours
    given = clustering.Neighbours.of_others(found.indices[:, 1:], found.distances[:, 1:])
    assert (given.graph != space.graph).nnz == 0
    assert connected_components(given.graph)[0] >= 1

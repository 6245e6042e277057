import tracemalloc

import jax
import numpy as np
import pytest
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import NearestNeighbors

from jaxcell.evaluation import clustering
from jaxcell.evaluation import group_distances as gd
from jaxcell.evaluation.scib_protocol import asw_batch

from .cells import blobs


@pytest.fixture(scope="module")
def cells():
    """Uneven labels and batches, some of them alone, shuffled; as far from 0 as raw counts."""
    random = np.random.default_rng(3)
    x, labels, batch = blobs(400, classes=5, d=8, batches=4, gap=1.5)
    keep = random.permutation(400)[: 400 - 37]
    x, labels, batch = x[keep] + 30, labels[keep].astype(object), batch[keep].astype(object)
    x[batch == "b1"] += 0.7
    labels[:3], batch[:5], batch[7] = "rare", "b9", "alone"
    labels[5] = "single"
    return x, labels.astype(str), batch.astype(str)


@pytest.fixture(params=[0.05, 32])
def chunk(request, monkeypatch):
    monkeypatch.setattr(gd, "CHUNK_MB", request.param)  # 18 rows, and all of them


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_silhouettes_of_labels_equal_scikit_learns(cells, metric, chunk):
    x, labels, batch = cells
    found = gd.group_distances(x, labels, batch, neighbours=5, metric=metric)
    expected = silhouette_samples(x.astype(np.float64), labels, metric=metric)
    np.testing.assert_allclose(found.label, expected, atol=1e-6)
    alone = gd.group_distances(x, labels, neighbours=5, metric=metric)
    np.testing.assert_allclose(alone.label, expected, atol=1e-6)
    assert alone.batch is None
    assert alone.within is None


def test_silhouettes_of_batches_equal_scikit_learns_within_each_label(cells, chunk):
    x, labels, batch = cells
    found = gd.group_distances(x, labels, batch, neighbours=5).batch
    for name in np.unique(labels):
        own = labels == name
        if len(np.unique(batch[own])) == 1:
            assert np.isnan(found[own]).all()
        elif len(np.unique(batch[own])) < own.sum():
            expected = silhouette_samples(x[own].astype(np.float64), batch[own])
            np.testing.assert_allclose(found[own], expected, atol=1e-6)


def test_the_mean_of_silhouettes_of_batches_is_scibs():
    x, labels, batch = blobs(120, gap=2.0)  # labels of one size: scib-metrics compiles once
    x[batch == "b1"] += 0.7
    found = gd.group_distances(x, labels, batch, neighbours=5).batch
    with jax.numpy_rank_promotion("allow"):
        theirs = clustering.scib().silhouette_batch(x - x.mean(axis=0), labels, batch)
    assert asw_batch(found, labels, batch) == pytest.approx(float(theirs), abs=1e-5)


def test_silhouettes_within_batches_equal_brute_force(cells, chunk):
    x, labels, batch = cells
    found = gd.group_distances(x, labels, batch, neighbours=5).within
    distance = np.linalg.norm(x[:, None].astype(np.float64) - x[None], axis=-1)
    others = ~np.eye(len(x), dtype=bool)
    kinds = set()
    for i in range(len(x)):
        here = batch == batch[i]
        same, different = here & (labels == labels[i]) & others[i], here & (labels != labels[i])
        if not different.any():
            kinds.add("one label")
            assert np.isnan(found[i])
        elif not same.any():
            kinds.add("alone")
            assert found[i] == 0
        else:
            a, b = distance[i, same].mean(), distance[i, different].mean()
            assert found[i] == pytest.approx((b - a) / max(a, b), abs=1e-6)
    assert kinds == {"one label", "alone"}  # both occur among these cells


def test_with_two_labels_within_a_batch_it_is_scikit_learns_silhouette():
    x, labels, batch = blobs(120, classes=2, gap=2.0)
    found = gd.group_distances(x, labels, batch, neighbours=3).within
    for name in np.unique(batch):
        own = batch == name
        np.testing.assert_allclose(found[own], silhouette_samples(x[own], labels[own]), atol=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbours_equal_scikit_learns(cells, metric, chunk):
    x, labels, batch = cells
    found = gd.group_distances(x, labels, batch, neighbours=20, metric=metric)
    x = x.astype(np.float64)
    search = NearestNeighbors(n_neighbors=20, algorithm="brute", metric=metric).fit(x)
    distances, indices = search.kneighbors()
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-5)


def test_equal_cells_and_few_cells():
    x = np.ones((6, 2), np.float32)
    labels, batch = np.array(list("aabbab")), np.array(list("xyxyxy"))
    found = gd.group_distances(x, labels, batch, neighbours=90)
    assert found.indices.shape == (6, 5)
    assert (found.label == 0).all()
    assert (found.batch == 0).all()
    assert (found.within == 0).all()
    with pytest.raises(ValueError, match="found one only, 'a'"):
        gd.group_distances(x, np.full(6, "a"), neighbours=2)


def test_memory_is_that_of_chunks(monkeypatch):
    # 3 000 cells: all distances are 72 MB in float64. A chunk of 2 MiB and what is made of it.
    monkeypatch.setattr(gd, "CHUNK_MB", 2)
    x, labels, batch = blobs(3000, classes=8, d=16, batches=5)
    tracemalloc.start()
    try:
        gd.group_distances(x, labels, batch, neighbours=89)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 15e6

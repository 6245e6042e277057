import jax
import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import silhouette_samples

from jaxcell.evaluation import clustering

from .cells import blobs


@pytest.fixture(scope="module")
def overlapping():
    return blobs(150, gap=2.5, d=5)


@pytest.fixture(scope="module")
def space(overlapping):
    return clustering.Space(overlapping[0])


def test_neighbours_are_exact_and_start_with_the_cell_itself(overlapping, space):
    x = overlapping[0]
    distance = np.linalg.norm(x[:, None] - x[None], axis=-1)
    expected = np.sort(distance, axis=1)[:, :90]
    np.testing.assert_allclose(space.neighbours.distances, expected, atol=1e-4)
    assert (space.neighbours.indices[:, 0] == np.arange(len(x))).all()
    far = np.take_along_axis(distance, space.neighbours.indices, axis=1)
    np.testing.assert_allclose(far, expected, atol=1e-4)


def test_duplicated_cells_keep_themselves_first():
    x = np.repeat(np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), 2, axis=0)
    found = clustering.Space(x).neighbours
    assert (found.indices[:, 0] == np.arange(40)).all()
    assert all(len(set(row)) == len(row) for row in found.indices)


def test_without_room_for_all_distances_the_neighbours_and_silhouettes_are_the_same(
    overlapping, space, monkeypatch
):
    monkeypatch.setattr(clustering, "MOST_DISTANCES", 149)
    x, labels, batch = overlapping
    small = clustering.Space(x)
    assert small.distances is None
    np.testing.assert_array_equal(small.neighbours.indices, space.neighbours.indices)
    np.testing.assert_allclose(
        small.neighbours.distances, space.neighbours.distances, rtol=1e-5, atol=1e-5
    )
    assert (np.diag(space.distances) == 0).all()
    far = space.distances, labels
    assert clustering.asw_label(x, labels) == pytest.approx(
        clustering.asw_label(*far, metric="precomputed"), abs=1e-6
    )
    assert clustering.asw_batch(x, labels, batch) == pytest.approx(
        clustering.asw_batch(*far, batch, metric="precomputed"), abs=1e-6
    )


def test_distances_are_freed_and_come_back(overlapping):
    space = clustering.Space(overlapping[0])
    kept = space.distances
    space.forget()
    assert space.distances is not kept
    np.testing.assert_array_equal(space.distances, kept)


def test_asw_label_equals_scib_metrics_and_the_definition(overlapping):
    x, labels, _ = overlapping
    found = clustering.asw_label(x, labels)
    with jax.numpy_rank_promotion("allow"):
        theirs = clustering.scib().silhouette_label(x, labels)
    assert found == pytest.approx(float(theirs), abs=1e-5)

    distance = np.linalg.norm(x[:, None] - x[None], axis=-1)
    widths = []
    for i, own in enumerate(labels):
        mean = {c: distance[i, labels == c].sum() / (labels == c).sum() for c in set(labels)}
        inside = distance[i, labels == own].sum() / ((labels == own).sum() - 1)
        outside = min(v for c, v in mean.items() if c != own)
        widths.append((outside - inside) / max(inside, outside))
    assert found == pytest.approx((np.mean(widths) + 1) / 2, abs=1e-6)


def test_asw_batch_equals_scib_metrics(overlapping):
    x, labels, batch = overlapping
    shifted = x + (batch == "b1")[:, None].astype(np.float32)
    found = clustering.asw_batch(shifted, labels, batch)
    with jax.numpy_rank_promotion("allow"):
        theirs = clustering.scib().silhouette_batch(shifted, labels, batch)
    assert found == pytest.approx(float(theirs), abs=1e-5)
    per_label = [
        1 - np.abs(silhouette_samples(shifted[labels == c], batch[labels == c])).mean()
        for c in np.unique(labels)
    ]
    assert found == pytest.approx(np.mean(per_label))
    assert clustering.asw_batch(x, labels, labels) is None  # no label is in two batches


def test_graph_connectivity_equals_components_of_the_graph(overlapping, space):
    labels = overlapping[1]
    indices = space.neighbours.indices[:, :15]
    edges = np.zeros((len(labels), len(labels)), bool)
    np.put_along_axis(edges, indices, True, axis=1)
    shares = []
    for name in np.unique(labels):
        own = labels == name
        _, parts = connected_components(edges[own][:, own], connection="strong")
        shares.append(np.bincount(parts).max() / own.sum())
    found = clustering.graph_connectivity(space.neighbours, labels)
    assert found == pytest.approx(np.mean(shares))


def test_ilisi_tells_mixed_from_separated_batches(space):
    n = len(space.x)
    mixed = clustering.ilisi(space.neighbours, np.array(["a", "b"])[np.arange(n) % 2])
    order = np.argsort(space.x[:, 0])
    halves = np.full(n, "a")
    halves[order[n // 2 :]] = "b"
    assert 0 <= clustering.ilisi(space.neighbours, halves) < mixed <= 1
    assert mixed > 0.85
    with jax.numpy_rank_promotion("raise"), jax.enable_x64(True):
        assert clustering.ilisi(space.neighbours, halves) < mixed


def test_ilisi_by_hand():
    # Thirty near neighbours of equal weight (perplexity 30), ten of them of the other batch.
    n = 120
    indices = (np.arange(n)[:, None] + np.arange(90)) % n
    distances = np.tile(np.repeat([0.0, 1.0, 1e3], [1, 30, 59]), (n, 1)).astype(np.float32)
    neighbours = clustering.scib().nearest_neighbors.NeighborsResults(indices, distances)
    batch = np.where(np.arange(n) % 3 == 0, "b", "a")
    expected = 1 / ((10 / 30) ** 2 + (20 / 30) ** 2) - 1
    assert clustering.ilisi(neighbours, batch) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("algorithm", ["leiden", "louvain"])
def test_separate_blobs_are_found_and_the_seed_decides(algorithm):
    x, labels, _ = blobs(120, gap=12.0)
    space = clustering.Space(x)
    found, again = (space.clusterings(algorithm, seed=1) for _ in range(2))
    assert tuple(found) == clustering.RESOLUTIONS
    assert clustering.RESOLUTIONS[0] == 0.1
    assert clustering.RESOLUTIONS[-1] == 2.0
    for resolution, clusters in found.items():
        assert (clusters == again[resolution]).all()
    mixed = clustering.Space(np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32))
    one, two = (mixed.clusterings(algorithm, seed)[2.0] for seed in (0, 1))
    assert (one != two).any()
    found, sweep = clustering.best_clustering(found, labels)
    assert found == {
        "nmi": pytest.approx(1.0),
        "ari": 1.0,
        "resolution": found["resolution"],
        "clusters": 3,
    }
    assert len(sweep) == 20


def test_louvain_at_resolution_one_is_the_multilevel_optimum_of_modularity(space):
    # The partition's modularity, by hand, is igraph's, and above that of any one merge or split.
    weights = space.graph.toarray()
    degree = weights.sum(axis=1)
    clusters = space.clusterings("louvain", 0)[1.0]

    def modularity(clusters):
        same = clusters[:, None] == clusters
        return ((weights - np.outer(degree, degree) / degree.sum()) * same).sum() / degree.sum()

    reached = modularity(clusters)
    assert reached > 0.3
    for a in np.unique(clusters):
        for b in np.unique(clusters)[np.unique(clusters) > a]:
            assert modularity(np.where(clusters == b, a, clusters)) <= reached + 1e-9


def test_best_clustering_is_the_one_of_highest_nmi():
    labels = np.array(["a", "a", "b", "b"])
    clusterings = {0.1: np.zeros(4, int), 0.2: np.array([0, 0, 1, 1]), 0.3: np.arange(4)}
    found, sweep = clustering.best_clustering(clusterings, labels)
    assert found == {"nmi": 1.0, "ari": 1.0, "resolution": 0.2, "clusters": 2}
    assert sweep[0.1] == (0.0, 0.0)
    # Four clusters of one: I = ln 2, H = ln 2 and ln 4; arithmetic mean of the entropies.
    assert sweep[0.3] == (pytest.approx(2 / 3), 0.0)


def test_the_layout_is_repeatable_and_keeps_blobs_apart():
    x, labels, _ = blobs(90, gap=12.0)
    layout = clustering.Space(x).layout(seed=2)
    assert layout.shape == (90, 2)
    assert np.isfinite(layout).all()
    np.testing.assert_array_equal(layout, clustering.Space(x).layout(seed=2))
    assert silhouette_samples(layout, labels).mean() > 0.7


@pytest.mark.parametrize("d", [1, 2])
def test_the_layout_of_few_dimensions(d):
    x = blobs(60, classes=2, d=3, gap=12.0)[0][:, :d]
    assert np.isfinite(clustering.Space(x).layout(0)).all()


def test_aggregates_by_hand():
    scores = {"nmi": 0.6, "ari": 0.3, "asw_label": 0.9, "graph_connectivity": 0.8, "asw_batch": 0.4}
    scores |= {"louvain_nmi": 0.5, "louvain_ari": 0.1}
    assert clustering.aggregates(scores) == {
        "avg_bio": pytest.approx(0.6),
        "louvain_avg_bio": pytest.approx(0.5),
        "avg_batch": pytest.approx(0.6),
        "overall": pytest.approx(0.6),
    }
    alone = clustering.aggregates(scores | {"asw_batch": None})
    assert (alone["avg_bio"], alone["avg_batch"], alone["overall"]) == (
        pytest.approx(0.6),
        None,
        None,
    )

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_samples

from jaxcell import config
from jaxcell.evaluation import clustering, protocols

from .cells import blobs


@pytest.fixture(scope="module")
def cells():
    x, labels, batch = blobs(150, gap=2.5, d=5)
    return x + 0.6 * (batch == "b1")[:, None].astype(np.float32), labels, batch


@pytest.fixture(scope="module")
def space(cells):
    return clustering.Space(cells[0])


def test_the_config_knows_the_protocols():
    assert set(config.PROTOCOLS) == set(protocols.PROTOCOLS)
    assert protocols.choose(["bioformer", "bioformer"]) == ["bioformer"]
    with pytest.raises(ValueError, match="found 'scgpt', expected some of scformer, bioformer"):
        protocols.choose(["scgpt"])


def test_cosine_neighbours_are_exact_with_and_without_all_distances(cells, monkeypatch):
    x = cells[0]
    distance = cdist(x, x, "cosine")
    expected = np.sort(distance, axis=1)[:, 1:90]
    for most in (10_000, 100):
        monkeypatch.setattr(clustering, "MOST_DISTANCES", most)
        space = clustering.Space(x).cosine
        found = np.take_along_axis(distance, space.neighbours.indices, axis=1)
        np.testing.assert_allclose(found[:, 1:], expected, atol=1e-6)
        assert (space.neighbours.indices[:, 0] == np.arange(150)).all()
        far, metric = space.far()
        assert metric == ("precomputed" if most > 150 else "cosine")
        silhouette = clustering.asw_label(far, cells[1], metric)
        widths = silhouette_samples(distance * (1 - np.eye(150)), cells[1], metric="precomputed")
        assert silhouette == pytest.approx((widths.mean() + 1) / 2, abs=1e-6)


def test_scformer_takes_the_batches_over_all_cells_and_scib_within_types(cells, space):
    x, labels, batch = cells
    expected = 1 - abs(silhouette_samples(x, batch).mean())
    assert protocols.batch_silhouette(x, batch) == pytest.approx(expected)
    far = space.far()
    assert protocols.batch_silhouette(far[0], batch, far[1]) == pytest.approx(expected, abs=1e-6)
    assert abs(clustering.asw_batch(x, labels, batch) - expected) > 0.01


def test_component_share_by_hand():
    # a: 0-1, 2 alone; b: 3-4-5; the edges 2-3 and 0-3 are between types. One direction is enough.
    rows, columns = [0, 3, 4, 2, 0], [1, 4, 5, 3, 3]
    graph = sp.csr_matrix((np.ones(5), (rows, columns)), (6, 6))
    labels = np.array(list("aaabbb"))
    assert protocols.component_share(graph, labels) == pytest.approx((2 / 3 + 1) / 2)


def test_study_mixing_equals_the_formula(cells, space):
    _, labels, batch = cells
    near = space.cosine.neighbours.indices
    shares, some = [], []
    for i, row in enumerate(near):
        others = [j for j in row[:20] if j != i]
        hits = [labels[j] == labels[i] and batch[j] != batch[i] for j in others]
        shares.append(sum(hits) / 19)
        some.append(any(hits))
    found = protocols.study_mixing(near, labels, batch, k=20)
    assert found == (pytest.approx(np.mean(shares)), pytest.approx(np.mean(some)))
    assert found[0] < found[1]
    # All neighbours: of two equal studies and one type, (n / 2) / (n - 1).
    all_of = np.array([np.roll(np.arange(10), -i) for i in range(10)])
    halves = np.arange(10) % 2
    mean, some = protocols.study_mixing(all_of, np.zeros(10, int), halves)
    assert (mean, some) == (pytest.approx(5 / 9), 1.0)
    assert protocols.study_mixing(all_of, halves, halves) == (0.0, 0.0)


HOUSE = {"louvain_nmi": 0.8, "louvain_ari": 0.5, "asw_label": 0.6, "asw_batch": 0.7}
HOUSE |= {"nmi": 0.1, "ari": 0.1}


def test_scformers_averages_by_hand():
    view = HOUSE | {"graph_conn": 0.9, "batch_all": 0.8}
    found = protocols.PROTOCOLS["scformer"].drawn(None, None, None, 0, view, None)
    bio = (0.8 + 0.5 + 0.6) / 3
    assert found == {
        "nmi": 0.8,
        "ari": 0.5,
        "asw_cell": 0.6,
        "avg_bio": pytest.approx(bio),
        "graph_conn": 0.9,
        "asw_batch": 0.8,
        "avg_batch": pytest.approx(0.85),
        "overall": pytest.approx(0.6 * bio + 0.4 * 0.85),
        "asw_batch_within": 0.7,
        "avg_batch_within": pytest.approx(0.8),
        "overall_within": pytest.approx(0.6 * bio + 0.4 * 0.8),
    }


def test_without_two_batches_nothing_is_said_of_mixing(cells, space):
    _, labels, _ = cells
    for batch in (None, np.full(150, "b")):
        paper = protocols.PROTOCOLS["scformer"]
        fixed = paper.fixed(space, labels, batch)
        view = HOUSE | {"asw_batch": None} | fixed
        found = paper.drawn(space, labels, batch, 0, view, None)
        mixing = [m for m in found if "batch" in m or "conn" in m or "overall" in m]
        assert [m for m in found if found[m] is None] == mixing
        assert len(mixing) == 7
        assert protocols.PROTOCOLS["bioformer"].fixed(space, labels, batch)["gc"] is None


def test_bioformer_on_the_embedding_and_on_its_map(cells, space):
    _, labels, batch = cells
    paper = protocols.PROTOCOLS["bioformer"]
    angle = np.linspace(0, 6, 150)  # types in turn around a centre that is far from the origin
    layout = np.column_stack([np.cos(angle), np.sin(angle)]) * 3 + [40, 7]
    fixed = paper.fixed(space, labels, batch)
    found = paper.drawn(space, labels, batch, 0, HOUSE | fixed, layout)
    for group in paper.groups.values():
        assert set(group) <= set(found)
    clusters = space.cosine.clusterings("leiden", 0)[1.0]
    best, _ = clustering.best_clustering({1.0: clusters}, labels)
    assert (found["nmi"], found["ari"]) == (best["nmi"], best["ari"])
    assert found["avg_bio"] == pytest.approx((best["nmi"] + best["ari"] + found["silhouette"]) / 3)
    near = space.cosine.neighbours.indices
    assert (found["gc"], found["gc_any"]) == protocols.study_mixing(near, labels, batch, 50)

    centred = layout - layout.mean(axis=0)
    widths = silhouette_samples(centred, labels, metric="cosine")
    assert found["map_silhouette"] == pytest.approx((1 + widths.mean()) / 2, abs=1e-5)
    near = np.argsort(cdist(centred, centred, "cosine"), axis=1, kind="stable")
    expected = protocols.study_mixing(near, labels, batch)
    assert (found["map_gc"], found["map_gc_any"]) == pytest.approx(expected, abs=2e-3)

"""Metrics against the libraries' definitions, within their bounds, and blind to order and names."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats

from jaxcell.evaluation.annotation import wilson
from jaxcell.evaluation.clustering import asw_batch, asw_label, averages, best_clustering
from jaxcell.evaluation.perturbation.metrics import (
    cell_pearson,
    condition_scores,
    discrimination,
    pearson,
)
from jaxcell.evaluation.probes import nearest, score

NUMBERS = some.floats(-100, 100, width=32)
SEEDS = some.integers(0, 2**32 - 1)


@some.composite
def pairs(draw, least=2):
    n = draw(some.integers(least, 12))
    return tuple(np.array(draw(some.lists(NUMBERS, min_size=n, max_size=n))) for _ in range(2))


@given(pairs())
def test_pearson_is_scipys(given_pair):
    a, b = given_pair
    found = pearson(a, b)
    assert -1 <= found <= 1
    assert found == pearson(b, a)
    if np.ptp(a) > 1e-3 and np.ptp(b) > 1e-3:
        assert found == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-6)
        assert pearson(3 * a + 1, b) == pytest.approx(found, abs=1e-6)
        assert pearson(-a, b) == pytest.approx(-found, abs=1e-9)
        assert pearson(a, a) == pytest.approx(1)
    order = np.random.default_rng(0).permutation(len(a))
    assert pearson(a[order], b[order]) == pytest.approx(found, abs=1e-6)


@given(SEEDS, some.integers(2, 6), some.integers(3, 9))
def test_cell_pearson_is_scipys_over_expressed_genes(seed, n, genes):
    random = np.random.default_rng(seed)
    dense = random.poisson(1.0, (n, genes)) * random.uniform(0.5, 2, (n, genes))
    predicted = random.normal(size=(n, genes))
    found = cell_pearson(predicted, sp.csr_matrix(dense))
    for i in range(n):
        there = dense[i] > 0
        if there.sum() < 2:
            assert found[i] == 0
        else:
            wanted = stats.pearsonr(predicted[i, there], dense[i, there]).statistic
            assert found[i] == pytest.approx(wanted, abs=1e-9)


@given(SEEDS, some.integers(2, 8))
def test_scores_of_a_condition(seed, n):
    random = np.random.default_rng(seed)
    predicted, truth, control = random.normal(size=(3, n))
    top = random.permutation(n)[: max(1, n // 2)]
    found = condition_scores(predicted, truth, control, top, top)
    assert found["mse"] == pytest.approx(np.mean((predicted - truth) ** 2))
    assert found["mse"] >= 0
    assert 0 <= found["direction_de"] <= 1
    best = condition_scores(truth, truth, control, top, top)
    assert best["mse"] == best["mse_de"] == 0
    assert best["direction_de"] == 1
    order = random.permutation(n)
    again = condition_scores(
        predicted[order], truth[order], control[order], *[np.argsort(order)[top]] * 2
    )
    assert again == pytest.approx(found)


@given(SEEDS, some.integers(2, 7), some.integers(2, 6))
def test_discrimination_is_a_rank(seed, conditions, genes):
    random = np.random.default_rng(seed)
    truth, predicted = random.normal(size=(2, conditions, genes))
    own = [[int(random.integers(genes))] for _ in range(conditions)]
    found = discrimination(predicted, truth, own)
    assert ((found > 0) & (found <= 1)).all()
    np.testing.assert_array_equal(discrimination(truth, truth, own), 1)
    order = random.permutation(conditions)
    again = discrimination(predicted[order], truth[order], [own[i] for i in order])
    np.testing.assert_array_equal(again, found[order])
    for i in range(conditions):
        kept = np.setdiff1d(np.arange(genes), own[i])
        distance = np.abs(truth[:, kept] - predicted[i, kept]).sum(axis=1)
        assert found[i] == pytest.approx(1 - np.sum(distance < distance[i]) / conditions)


@some.composite
def labelled(draw, most=4):
    n = draw(some.integers(4, 20))
    one = some.lists(some.integers(0, most - 1), min_size=n, max_size=n)
    return np.array(draw(one)), np.array(draw(one))


@given(labelled(), SEEDS)
def test_scores_of_labels_are_sklearns_and_blind_to_order(both, seed):
    truth, predicted = both
    accuracy, f1 = score(truth.astype(str), predicted.astype(str))
    assert accuracy == np.mean(truth == predicted)
    # By hand: F1 of each class that is there.
    hand = []
    for c in np.unique(truth):
        hit = np.sum((truth == c) & (predicted == c))
        hand.append(2 * hit / (np.sum(truth == c) + np.sum(predicted == c)))
    assert f1 == pytest.approx(np.mean(hand))
    order = np.random.default_rng(seed).permutation(len(truth))
    again = score(truth[order].astype(str), predicted[order].astype(str))
    assert again == pytest.approx((accuracy, f1))


@given(labelled(), SEEDS)
def test_clusterings_have_bounds_and_names_say_nothing(both, seed):
    labels, clusters = both
    best, _ = best_clustering({0.5: clusters, 1.0: labels}, labels.astype(str))
    assert best["nmi"] == pytest.approx(1)
    found, _ = best_clustering({0.5: clusters}, labels.astype(str))
    assert -1e-9 <= found["nmi"] <= 1 + 1e-9
    assert -0.5 <= found["ari"] <= 1
    renamed = np.random.default_rng(seed).permutation(9)[clusters]
    again, _ = best_clustering({0.5: renamed}, labels.astype(str))
    assert again == pytest.approx(found)


@given(SEEDS, some.integers(8, 20))
def test_silhouettes_by_hand(seed, n):
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 3)).astype(np.float32)
    labels, batch = np.resize([0, 1], n), random.permutation(np.resize([0, 0, 1, 1], n))
    found = asw_label(x, labels)
    far = np.linalg.norm(x[:, None].astype(float) - x[None], axis=-1)
    silhouettes = []
    for i in range(n):
        same, others = labels == labels[i], labels != labels[i]
        a, b = far[i, same].sum() / (same.sum() - 1), far[i, others].mean()
        silhouettes.append((b - a) / max(a, b))
    assert found == pytest.approx((np.mean(silhouettes) + 1) / 2, abs=1e-5)
    order = random.permutation(n)
    assert asw_label(x[order], labels[order]) == pytest.approx(found, abs=1e-5)
    mixed = asw_batch(x, labels, batch)
    assert mixed is None or 0 <= mixed <= 1
    assert mixed is None or asw_batch(x[order], labels[order], batch[order]) == pytest.approx(
        mixed, abs=1e-5
    )


@given(SEEDS)
def test_averages_lie_between_their_parts(seed):
    names = ("nmi", "ari", "asw_label", "graph_connectivity", "asw_batch")
    scores = dict(zip(names, np.random.default_rng(seed).uniform(size=5), strict=True))
    found = averages(scores)
    values = list(scores.values())
    for value in found.values():
        assert min(values) <= value <= max(values)
    assert averages({**scores, "asw_batch": None})["overall"] is None


@given(some.integers(1, 500), some.data())
def test_wilson_is_scipys(of, data):
    found = data.draw(some.integers(0, of))
    interval = wilson(found, of)
    wanted = stats.binomtest(found, of).proportion_ci(0.95, method="wilson")
    assert interval["low"] == pytest.approx(wanted.low, abs=1e-9)
    assert interval["high"] == pytest.approx(wanted.high, abs=1e-9)
    assert interval["low"] <= interval["share"] <= interval["high"]


@settings(max_examples=3)
@given(SEEDS, some.integers(16, 30))
def test_a_cell_s_nearest_are_its_own_kind_where_kinds_lie_apart(seed, n):
    random = np.random.default_rng(seed)
    labels = np.resize(["a", "b"], n)
    x = (random.normal(size=(n, 2)) + 100 * (labels == "b")[:, None]).astype(np.float32)
    test = random.normal(size=(4, 2)).astype(np.float32)
    assert (nearest(x, labels, test) == "a").all()
    assert (nearest(x, labels, test + 100) == "b").all()

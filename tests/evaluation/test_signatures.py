"""Signatures in clusters: scores and tests against scipy and brute force, chance, a file's form."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from jaxcell.evaluation import signatures

GENES = [f"G{i}" for i in range(60)]
SIGNATURE = {"up": ("G3", "G7", "absent"), "down": ("G10", "G11")}


def matrix(n=90, seed=0):
    random = np.random.default_rng(seed)
    return sp.csr_matrix(np.log1p(random.poisson(random.uniform(0.2, 3, 60), (n, 60))), dtype="f4")


def test_a_score_is_mean_z_up_less_mean_z_down():
    x = matrix()
    w, absent = signatures.weights(SIGNATURE, GENES)
    assert absent == ["absent"]
    z = stats.zscore(x.toarray().astype(np.float64))
    own = z[:, [3, 7]].mean(axis=1) - z[:, [10, 11]].mean(axis=1)
    np.testing.assert_allclose(signatures.scores(x, w), own, atol=1e-6)
    both = signatures.scores(x, np.stack([w, -2 * w], axis=1))
    np.testing.assert_allclose(both, np.stack([own, -2 * own], axis=1), atol=1e-6)


def test_a_gene_without_spread_counts_as_nothing():
    x = matrix().toarray()
    x[:, 3] = 1.5
    w, _ = signatures.weights({"up": ("G3", "G7"), "down": ()}, GENES)
    expected = stats.zscore(x[:, 7].astype(np.float64)) / 2
    np.testing.assert_allclose(signatures.scores(sp.csr_matrix(x), w), expected, atol=1e-6)


def test_no_gene_of_the_signature():
    with pytest.raises(ValueError, match=r"none of its genes \(GFAP, CD44.*among the 60 of the"):
        signatures.weights(signatures.DAA, GENES)


def test_random_signatures_are_other_genes_of_the_same_levels():
    x = matrix(400)
    w, _ = signatures.weights(SIGNATURE, GENES)
    found = signatures.random_weights(x, w, 200, seed=1)
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(w)[:, None].repeat(200, 1))
    assert not found[w != 0].any()  # none of its own genes
    large = np.concatenate([np.linspace(0, 5, 599), [2.5]])  # one gene amid 599
    x = sp.csr_matrix(np.stack([large, large]))
    one = signatures.random_weights(x, (np.arange(600) == 599) * 1.0, 300)
    drawn = large[one.nonzero()[0]]
    assert np.abs(drawn - 2.5).max() < 0.25
    assert len(set(drawn)) > 30
    with pytest.raises(ValueError, match="too few others"):
        signatures.random_weights(matrix()[:, :5], np.array([1, 1, -1, -1, 0.0]))


def test_clusters_are_tested_as_scipy_tests_them():
    random = np.random.default_rng(0)
    members = random.integers(0, 4, 200)
    score = np.round(random.normal(size=200) + (members == 2), 1)  # with ties
    diseased = random.random(200) < np.where(members == 2, 0.8, 0.4)
    others = np.round(random.normal(size=(200, 150)), 1)
    rows = signatures.by_cluster(score, others, members, diseased)
    for k, row in enumerate(rows):
        own = members == k
        u = stats.mannwhitneyu(score[own], score[~own])
        pairs = score[own][:, None] - score[~own][None]
        effect = (pairs > 0).mean() + (pairs == 0).mean() / 2
        assert row["effect"] == pytest.approx(effect)
        assert row["p"] == pytest.approx(u.pvalue)
        beyond = 0
        for other in others.T:
            d = other[own][:, None] - other[~own][None]
            beyond += (d > 0).mean() + (d == 0).mean() / 2 >= effect - 1e-12
        assert row["random_p"] == pytest.approx((1 + beyond) / 151)
        table = np.array([[(s & w).sum() for w in (diseased, ~diseased)] for s in (own, ~own)])
        odds, p = stats.fisher_exact(table)
        assert row["odds_ratio"] == pytest.approx(odds)
        assert row["disease_p"] == pytest.approx(p)
        assert row["diseased"] == pytest.approx(diseased[own].mean())
    for name in ("q", "random_q", "disease_q"):
        p = [row[name.replace("q", "p")] for row in rows]
        expected = stats.false_discovery_control(p)
        np.testing.assert_allclose([row[name] for row in rows], expected)
    assert signatures.carrier(rows)["cluster"] == 2


def test_what_carries_nothing():
    """Where no cluster differs, a test is wrong in a twentieth of all cases; none is large."""
    random = np.random.default_rng(3)
    members, wrong, others = random.integers(0, 4, 300), [0, 0], random.normal(size=(300, 200))
    for _ in range(40):
        score = random.normal(size=300)
        rows = signatures.by_cluster(score, others, members, score > 0)
        assert signatures.carrier(rows) is None
        wrong[0] += any(row["q"] < 0.05 for row in rows)
        wrong[1] += any(row["random_q"] < 0.05 for row in rows)
    assert max(wrong) <= 5
    low = score - 3.0 * (members == 1)  # far below the rest: not what is asked
    rows = signatures.by_cluster(low, others, members, score > 0)
    assert rows[1]["q"] < 1e-20
    assert signatures.carrier(rows) is None
    alone = signatures.by_cluster(score, score[:, None], np.zeros(300, int), score > 0)
    assert alone[0]["p"] is None
    assert signatures.carrier(alone) is None


def test_clusters_come_by_size_and_are_the_planted_groups():
    group = np.repeat([0, 1, 2], [60, 25, 40])
    x = np.random.default_rng(1).normal(size=(125, 6)) + 12 * group[:, None]
    found, _ = signatures.clusters(x, resolution=0.1)
    assert np.bincount(found).tolist() == [60, 40, 25]
    assert (found == np.array([0, 2, 1])[group]).all()


def test_a_file_of_a_signature(tmp_path):
    file = tmp_path / "own.tsv"
    file.write_text("gene\tdirection\nA\tup\nB\tDown\nC\tup\n")
    assert signatures.read_signature(file) == {"up": ("A", "C"), "down": ("B",)}
    for text, message in (
        ("A\tup\n", "expected a tab-separated header with gene and direction"),
        ("gene\tdirection\nA\thigh\n", "line 2: direction 'high', expected up or down"),
        ("gene\tdirection\nA\tup\nA\tdown\n", "line 3: the gene A is there twice"),
        ("gene\tdirection\n", "holds no gene"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            signatures.read_signature(file)

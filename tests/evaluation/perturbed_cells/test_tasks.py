"""The tasks: against independent implementations, and where the answer is known."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import top_k_accuracy_score
from sklearn.preprocessing import StandardScaler

from jaxcell.evaluation import clustering, relations
from jaxcell.evaluation.perturbed_cells import (
    aggregate,
    interpretability,
    mixing,
    ranking,
    recall,
    retrieval,
    separability,
    tasks,
)
from tests.evaluation.perturbed_cells.simulated import cells, labels

METRICS = [name for names in tasks.TASKS.values() for name in names]


def test_ties_are_at_chance():
    scores = np.zeros((3, 10))
    found = ranking.hits(scores, np.array([0, 5, 9]), (1, 5))
    np.testing.assert_allclose(found, [[0.1, 0.5]] * 3)
    scores = np.array([[3.0, 1.0, 2.0, 2.0], [0.0, 1.0, 1.0, 1.0]])
    np.testing.assert_allclose(ranking.hits(scores, np.array([3, 0]), (1, 2, 3)), [
        [0, 0.5, 1], [0, 0, 0]])  # fmt: skip
    assert ranking.tops(6) == (1, 5)
    assert ranking.tops(5) == (1,)


def test_ilisi_is_scib_metrics_batch_by_batch():
    rng = np.random.default_rng(0)
    batch = np.array(["a", "b", "c"])[rng.integers(0, 3, 300)]
    x = rng.standard_normal((300, 5)) + (batch == "a")[:, None]
    _, code = np.unique(batch, return_inverse=True)
    each = mixing.lisi(x.astype(np.float32), code)
    near = clustering.Space(x.astype(np.float32)).neighbours
    whole = clustering.ilisi(near, batch)  # scib_metrics.ilisi_knn: the median of all cells
    assert (np.median(each) - 1) / 2 == pytest.approx(whole, abs=1e-4)
    expected = np.mean([(np.median(each[batch == b]) - 1) / 2 for b in "abc"])
    assert mixing.ilisi(x, batch) == pytest.approx(expected, abs=1e-6)
    assert mixing.ilisi(x, np.full(300, "a")) is None
    assert mixing.ilisi(x + 1000 * code[:, None], batch) == pytest.approx(0, abs=1e-3)


def test_retrieval_is_a_search_by_hand(monkeypatch):
    monkeypatch.setattr(retrieval, "QUERIES", 7)
    rng = np.random.default_rng(1)
    names, batch, _ = cells(each=10, controls=5)
    names[batch == "b0"] = np.where(names[batch == "b0"] == "G6", "alone", names[batch == "b0"])
    x = rng.standard_normal((len(names), 3)) + 100
    one, five, scored = 0, 0, 0
    for i in range(len(x)):
        others = batch != batch[i]
        far = {
            name: np.linalg.norm(x[others & (names == name)] - x[i], axis=1).min()
            for name in np.unique(names[others])
        }
        if names[i] not in far:
            continue
        place = sorted(far, key=far.get).index(names[i])
        one, five, scored = one + (place < 1), five + (place < 5), scored + 1
    assert scored < len(x)
    found = retrieval.retrieve(x, names, batch)
    assert found == {"top1": one / scored, "top5": five / scored, "scored": scored}


def test_separability_is_sklearns_on_each_fold():
    rng = np.random.default_rng(2)
    names, batch, hot = cells(batches=3)
    x = (hot @ rng.standard_normal((8, 5)) + rng.standard_normal((len(hot), 5))).astype(np.float32)
    hits = {1: [], 5: []}
    for b in np.unique(batch):
        train, test = batch != b, batch == b
        scaler = StandardScaler().fit(x[train])
        model = LogisticRegression(C=0.1, max_iter=1000)
        model.fit(scaler.transform(x[train]), names[train])
        p = model.predict_proba(scaler.transform(x[test]))
        for k, found in hits.items():
            share = top_k_accuracy_score(names[test], p, k=k, labels=model.classes_)
            found.append(share * test.sum())
    found = separability.separate(x, names, batch)
    assert found["top1"] == pytest.approx(sum(hits[1]) / len(x), abs=1e-9)
    assert found["top5"] == pytest.approx(sum(hits[5]) / len(x), abs=1e-9)
    assert found["scored"] == len(x)
    assert found["converged"]


def test_folds_hold_out_whole_batches():
    batch = np.repeat([f"b{i}" for i in range(12)], np.arange(10, 22))
    fold = separability.folds_of_batches(batch, seed=0)
    assert set(fold) == set(range(5))
    assert all(len(set(fold[batch == b])) == 1 for b in set(batch))
    assert not np.array_equal(fold, separability.folds_of_batches(batch, seed=1))
    assert separability.folds_of_batches(np.full(5, "a")) is None


def test_recall_takes_both_ends_and_leaves_out_small_databases():
    names = np.array(["ctrl", "ctrl", "A", "A", "B", "C", "A+B"])
    x = np.array([[9, 9], [9, 9], [1, 0], [3, 0], [2, 0.1], [-1, 0], [0, 1.0]])
    pairs = {
        "big": [("A", "B"), ("A", "C"), ("B", "X")],
        "small": [("B", "C")],
        "none": [("X", "Y")],
    }
    known, few = recall.known_relations(pairs, names, "ctrl", fewest=2)
    assert recall.treatments(names, "ctrl") == ["A", "A+B", "B", "C"]
    assert {k: v.tolist() for k, v in known.items()} == {"big": [[0, 2], [0, 3]]}
    assert few == {"small": 1, "none": 0}
    means = recall.mean_embeddings(x, names, "ctrl")
    np.testing.assert_allclose(means, [[2, 0], [0, 1], [2, 0.1], [-1, 0]])
    # One pair at each end: A and B at the top, A and C at the bottom.
    assert recall.relationship_recall(x, names, "ctrl", known, share=1 / 6)["mean"] == 1.0
    assert recall.relationship_recall(x, names, "ctrl", {})["mean"] is None
    hit = relations.predicted(means, known, 1 / 6, "top")["big"]
    assert hit.tolist() == [True, False]


@pytest.mark.parametrize("d", [3, 400])
def test_ridge_is_sklearns_either_way(d):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, d)), rng.standard_normal((60, 4))
    found = interpretability._ridge(x[:50], y[:50], x[50:], 0.1)
    weight = 0.1 * 50 * ((x[:50] - x[:50].mean(0)) ** 2).mean()
    expected = Ridge(alpha=weight).fit(x[:50], y[:50]).predict(x[50:])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_spearman_is_scipys_mean_over_genes_that_vary():
    rng = np.random.default_rng(0)
    truth, predicted = rng.poisson(1.0, (50, 6)).astype(float), rng.standard_normal((50, 6))
    truth[:, 5], predicted[:, 4] = 2.0, 1.0
    each = [spearmanr(truth[:, i], predicted[:, i]).statistic for i in range(4)] + [0]
    assert interpretability.spearman(truth, predicted) == pytest.approx(np.mean(each))
    assert interpretability.spearman(np.ones((5, 2)), np.ones((5, 2))) is None


def test_integrity_is_one_of_the_truth_and_zero_of_the_control_mean():
    rng = np.random.default_rng(0)
    names, batch, hot = cells()
    control, truth = names == "ctrl", hot @ rng.standard_normal((8, 20))
    truth += rng.standard_normal(truth.shape)
    assert interpretability.integrity(truth, truth, control, batch) == 1
    means = np.stack([truth[control & (batch == b)].mean(0) for b in batch])
    assert interpretability.integrity(truth, means, control, batch) == pytest.approx(0)
    assert interpretability.integrity(truth, -truth, control, batch) == 0  # worse than nothing
    # What is added to a whole batch is none of the change.
    offset = 5 * (batch == "b0")[:, None]
    assert interpretability.integrity(truth, truth + offset, control, batch) == pytest.approx(1)
    half = means + (truth - means) / 2
    assert interpretability.integrity(truth, half, control, batch) == pytest.approx(0.5)
    assert interpretability.integrity(truth, truth, control & False, batch) is None


def measured(x, given, **options):
    found = tasks.measure(x, given, **options)
    return found, aggregate.row([found])


PAIRS = {"near": [(f"G{i}", f"G{j}") for i in range(4) for j in range(i)]}


@pytest.fixture(scope="module")
def planted():
    """Perturbations whose cells are told apart, in mixed batches; expression is read off them."""
    rng = np.random.default_rng(0)
    names, batch, hot = cells(perturbations=12, each=40)
    x = 8 * hot + 0.3 * rng.standard_normal(hot.shape)
    expression = (x @ rng.standard_normal((13, 30))).astype(np.float32)
    return x, labels(names, batch, expression)


def test_perfect_embeddings_are_perfect(planted):
    x, given = planted
    found, row = measured(x, given)
    assert found["none"]["lin_top1"] == found["none"]["knn_top1"] == 1
    assert found["none"]["consistency"] == 1
    assert row["inv"]["metrics"]["spearman"] > 0.99
    assert row["inv"]["metrics"]["integrity"] > 0.95
    assert row["lin"]["mean"] == row["knn"]["mean"] == row["p.cst"]["mean"] == 1
    assert row["bmdb"] is None
    assert row["avg"]["mean"] == pytest.approx(
        np.mean([row[t]["mean"] for t in tasks.TASKS if row[t]])
    )


def test_random_embeddings_are_at_chance(planted):
    _, given = planted
    x = np.random.default_rng(3).standard_normal((len(given.batch), 6))
    found = tasks.measure(x, given)["none"]
    control = given.is_control.mean()
    # Nothing is learned, so the classifier says 'control', a quarter of the cells.
    assert found["lin_top1"] == pytest.approx(control, abs=0.06)
    assert found["knn_top1"] < control
    assert found["consistency"] < 0.2
    # Below 0: what a fold is predicted to be is the mean of all others, so less where it is more.
    assert -0.1 < found["spearman"] < 0.05
    assert found["integrity"] < 0.05
    assert found["ilisi"] > 0.75


def test_batches_hide_perturbations_until_post_processing(planted):
    x, given = planted
    rng = np.random.default_rng(4)
    code = np.unique(given.batch, return_inverse=True)[1]
    found = tasks.measure(x + 200 * rng.standard_normal((4, x.shape[1]))[code], given)
    assert found["none"]["ilisi"] < 0.01
    assert found["none"]["knn_top1"] < 0.4
    assert found["centre"]["ilisi"] > 0.5
    assert found["centre"]["knn_top1"] == 1


def test_shuffled_labels_are_at_chance(planted):
    x, given = planted
    share = given.is_control.mean()
    many = {f"d{k}": [(f"G{i}", f"G{j}") for i in range(12) for j in range(i)] for k in range(2)}
    given = labels(given.perturbation, given.batch, given.expression, many)
    for seed in range(2):
        other = tasks.shuffled(given, seed)
        assert sorted(other.perturbation) == sorted(given.perturbation)
        for kind, one in tasks.measure(x, other, seed=seed).items():
            assert one["lin_top1"] == pytest.approx(share, abs=0.07), kind
            assert one["knn_top1"] < share + 0.07, kind
            assert one["consistency"] <= 1 / 12, kind
            # All pairs are known: what is recalled is what is predicted, 5 % at each end.
            assert one["recall"] == pytest.approx(0.1, abs=0.03), kind


def test_a_subsample_keeps_the_shares_and_ends_are_seen_by_all(planted):
    x, given = planted
    some = tasks.drawn(given.perturbation, 200, seed=1)
    assert len(some) == len(set(some)) == 200
    names, count = np.unique(given.perturbation[some], return_counts=True)
    whole = np.unique(given.perturbation, return_counts=True)[1]
    np.testing.assert_allclose(count, whole * 200 / len(x), atol=1)
    assert len(names) == 13
    assert tasks.drawn(given.perturbation, 0, seed=1).tolist() == list(range(len(x)))
    one, whole = (tasks.measure(x, given, cells=k, kinds=("centre",))["centre"] for k in (200, 0))
    assert one["consistency"] == whole["consistency"]
    assert one["ilisi"] != whole["ilisi"]


def test_what_is_not_defined_is_none():
    names, batch, hot = cells(perturbations=2)
    given = labels(names, np.full(len(batch), "one"), hot.astype(np.float32), PAIRS)
    found, row = measured(hot + 0.1 * np.random.default_rng(0).random(hot.shape), given)
    for name in ("ilisi", "lin_top1", "lin_top5", "knn_top1", "knn_top5", "recall"):
        assert found["none"][name] is None
    assert [task for task in tasks.TASKS if row[task] is None] == ["ilisi", "lin", "knn", "bmdb"]
    with pytest.raises(ValueError, match="NaN"):
        tasks.measure(hot * np.nan, given)
    with pytest.raises(ValueError, match="found shape"):
        tasks.measure(hot[1:], given)


def test_the_best_post_processing_is_chosen_by_task():
    base = dict.fromkeys(METRICS, 0.0) | {"lin_top5": None, "recall": None}
    seeds = [
        {"none": base | {"ilisi": a, "spearman": 0.4}, "tvn": base | {"ilisi": b}}
        for a, b in ((0.1, 0.3), (0.2, 0.6))
    ]
    row = aggregate.row(seeds)
    assert row["ilisi"] == {
        "mean": pytest.approx(0.45),
        "sd": pytest.approx(np.std([0.3, 0.6], ddof=1)),
        "kind": "tvn",
        "metrics": {"ilisi": pytest.approx(0.45)},
    }
    assert (row["inv"]["kind"], row["inv"]["mean"]) == ("none", pytest.approx(0.2))
    assert row["lin"]["metrics"] == {"lin_top1": 0.0, "lin_top5": None}
    assert row["bmdb"] is None
    assert row["avg"]["mean"] == pytest.approx((0.45 + 0.2) / 5)
    assert aggregate.over_data([row, row])["mean"] == pytest.approx(row["avg"]["mean"])

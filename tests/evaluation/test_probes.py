import numpy as np
import pytest
import scipy.optimize
import scipy.special

from jaxcell.evaluation import probes
from jaxcell.evaluation.clustering import Space

from .cells import blobs


def test_separable_cells_are_read_and_shuffled_ones_are_not():
    x, labels, batch = blobs()
    folds, _ = probes.folds(labels, batch)
    scores = probes.averages([probes.probe(x, labels, fold)[0] for fold in folds])
    assert set(scores) == set(probes.PROBE_METRICS)
    assert min(scores.values()) == 1.0
    shuffled = np.random.default_rng(0).permutation(labels)
    scores = probes.averages([probes.probe(x, shuffled, fold)[0] for fold in folds])
    assert max(scores.values()) < 0.6


def test_one_batch_is_left_out_at_a_time():
    _, labels, batch = blobs()
    folds, protocol = probes.folds(labels, batch)
    assert protocol == "leave one batch out (3 batches)"
    assert [fold.name for fold in folds] == ["b0", "b1", "b2"]
    for fold in folds:
        assert set(batch[fold.test]) == {fold.name}
        assert fold.name not in batch[fold.train]
        assert len(fold.test) + len(fold.train) == len(labels)


def test_a_label_leaking_through_the_batch_does_not_help():
    # The only feature is the class within the batch: what one batch teaches is wrong in another.
    code = np.arange(80) % 2
    batch = np.repeat(["b0", "b1"], 40)
    x = np.where(batch == "b0", code, 1 - code)[:, None].astype(np.float32)
    labels = np.array([f"type {c}" for c in code])
    folds, _ = probes.folds(labels, batch)
    assert [probes.probe(x, labels, fold)[0]["linear_accuracy"] for fold in folds] == [0.0, 0.0]


def test_more_than_ten_batches_are_held_out_in_groups():
    labels = np.array(["a", "b"] * 60)
    batch = np.array([f"b{i:02d}" for i in np.arange(120) // 10])
    folds, protocol = probes.folds(labels, batch)
    assert protocol == "10 folds of whole batches (12 batches)"
    assert len(folds) == 10
    for fold in folds:
        assert not set(batch[fold.train]) & set(batch[fold.test])
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(120))


def test_given_test_batches_are_the_only_test_set():
    _, labels, batch = blobs()
    (fold,), protocol = probes.folds(labels, batch, ["b1"])
    assert protocol == "the given batches are held out, all others train"
    assert set(batch[fold.test]) == {"b1"}
    assert set(batch[fold.train]) == {"b0", "b2"}


@pytest.mark.parametrize(
    ("wanted", "batch", "text"),
    [
        (["b9"], True, r"no cell is of batch \['b9'\]; the batches are \['b0', 'b1', 'b2'\]"),
        (["b0", "b1", "b2"], True, "holds out every batch: nothing is left to train on"),
        (["b0"], False, "needs a batch column: name it with batch="),
    ],
)
def test_refused_test_batches(wanted, batch, text):
    _, labels, batches = blobs()
    with pytest.raises(ValueError, match=text):
        probes.folds(labels, batches if batch else None, wanted)


def test_stratified_folds_where_there_is_no_batch():
    labels = np.array(["a"] * 40 + ["b"] * 20 + ["rare"] * 2)
    folds, protocol = probes.folds(labels, None, seed=3)
    assert protocol == "stratified 5-fold over cells (no batch column): no batch is held out"
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(62))
    assert all((labels[fold.test] == "a").sum() == 8 for fold in folds)
    again, _ = probes.folds(labels, None, seed=3)
    assert all((f.test == g.test).all() for f, g in zip(folds, again, strict=True))
    _, protocol = probes.folds(labels, np.full(62, "only"))
    assert "one batch only, 'only'" in protocol


def test_linear_is_the_regularised_multinomial_model():
    # The same convex problem, solved directly: sum of cross-entropies + |w|^2 / (2 C).
    x, labels, _ = blobs(90, gap=1.0)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    code = np.unique(labels, return_inverse=True)[1]

    def loss(w):
        w = w.reshape(3, -1)
        logits = z @ w[:, :-1].T + w[:, -1]
        nll = (scipy.special.logsumexp(logits, axis=1) - logits[np.arange(90), code]).sum()
        return nll + (w[:, :-1] ** 2).sum() / (2 * probes.C)

    w = scipy.optimize.minimize(loss, np.zeros(3 * 7)).x.reshape(3, -1)
    expected = np.unique(labels)[(z @ w[:, :-1].T + w[:, -1]).argmax(axis=1)]
    predicted, converged = probes.linear(x, labels, x)
    assert converged
    assert (predicted == expected).mean() > 0.98
    assert 0.4 < (predicted == labels).mean() < 1.0


def test_nearest_is_the_majority_of_fifteen():
    x, labels, _ = blobs(90, gap=1.5)
    train, test = np.arange(60), np.arange(60, 90)
    distance = np.linalg.norm(x[test][:, None] - x[train][None], axis=-1)
    near = labels[train][np.argsort(distance, axis=1)[:, :15]]
    names = np.unique(labels)
    votes = (near[:, :, None] == names).sum(axis=1)
    expected = names[votes.argmax(axis=1)]
    assert (probes.nearest(x[train], labels[train], x[test]) == expected).all()
    known = distance.astype(np.float32)
    assert (probes.nearest(None, labels[train], None, known) == expected).all()


def test_of_equally_many_votes_the_first_label_wins():
    x = np.array([[-1.0], [1.0]], np.float32)
    assert probes.nearest(x, np.array(["b", "a"]), np.zeros((1, 1), np.float32)) == ["a"]


def test_pooled_scores_count_every_cell_once():
    # Batch one: 8 of 8 right; batch two: 0 of 2. Mean over folds 1/2, pooled 8/10.
    labels = np.array(["a"] * 4 + ["b"] * 4 + ["a", "b"])
    folds = [
        probes.Fold("one", np.array([8, 9]), np.arange(8)),
        probes.Fold("two", np.arange(8), np.array([8, 9])),
    ]
    wrong = np.array(["b", "a"])
    said = [{"linear": labels[:8], "knn": labels[:8]}, {"linear": wrong, "knn": labels[8:]}]
    found = probes.pooled(labels, folds, said)
    assert found == {
        "linear_pooled_accuracy": pytest.approx(0.8),
        "linear_pooled_macro_f1": pytest.approx(0.8),
        "knn_pooled_accuracy": 1.0,
        "knn_pooled_macro_f1": 1.0,
    }


def test_each_fold_is_probed_in_its_own_space_and_many_threads_change_nothing():
    x, labels, batch = blobs()
    noise = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    folds, _ = probes.folds(labels, batch)
    scores, pools = probes.probe_all([Space(x), Space(noise), Space(noise)], labels, folds)
    assert [fold["held_out"] for fold in scores] == ["b0", "b1", "b2"]
    assert scores[0]["linear_accuracy"] == scores[0]["knn_accuracy"] == 1.0
    assert max(fold["linear_accuracy"] for fold in scores[1:]) < 0.6
    for one, view, fold in zip(scores, (x, noise, noise), folds, strict=True):
        assert one == probes.probe(view, labels, fold)[0]
    sizes = [len(fold.test) for fold in folds]
    right = [one["linear_accuracy"] * n for one, n in zip(scores, sizes, strict=True)]
    assert pools["linear_pooled_accuracy"] == pytest.approx(sum(right) / sum(sizes))


def test_macro_f1_by_hand():
    # a: precision 2/3, recall 1; b: 1, 1/2; c never predicted: 0; 'd' is in no truth: no class.
    truth = np.array(["a", "a", "b", "b", "c"])
    predicted = np.array(["a", "a", "b", "a", "d"])
    accuracy, macro = probes.score(truth, predicted)
    assert accuracy == pytest.approx(3 / 5)
    assert macro == pytest.approx((0.8 + 2 / 3 + 0) / 3)


def test_a_class_absent_from_training_is_an_error_and_is_named():
    x, labels, batch = blobs()
    labels = labels.copy()
    odd = np.flatnonzero(batch == "b2")[:10]
    labels[odd] = "new"
    folds, _ = probes.folds(labels, batch)
    result, _ = probes.probe(x, labels, folds[2])
    assert result["absent"] == ["new"]
    assert result["linear_accuracy"] == pytest.approx(1 - 10 / result["n_test"])
    assert result["linear_macro_f1"] < 0.76  # three classes at most 1, 'new' at 0
    assert probes.probe(x, labels, folds[0])[0]["absent"] == []


def test_training_cells_of_one_class_predict_it():
    x, labels, _ = blobs(60, classes=2)
    fold = probes.Fold("f", np.flatnonzero(labels == "type 0"), np.arange(60))
    result, _ = probes.probe(x, labels, fold)
    assert result["linear_accuracy"] == 0.5
    assert result["absent"] == ["type 1"]


def test_a_solver_that_stops_early_says_so(monkeypatch):
    monkeypatch.setattr(probes, "MAX_ITERATIONS", 1)
    x, labels, batch = blobs(60, gap=1.0)
    scores, _ = probes.probe_all([Space(x)], labels, probes.folds(labels, batch)[0])
    assert not any(fold["converged"] for fold in scores)


def test_without_distances_the_predictions_are_the_same():
    x, labels, batch = blobs(gap=2.0)
    folds, _ = probes.folds(labels, batch)
    scores, said = probes.predict_all([probes.Vectors(x)], labels, folds)
    kept_scores, kept = probes.predict_all([Space(x)], labels, folds)
    assert scores == kept_scores
    for one, other in zip(said, kept, strict=True):
        assert all((one[kind] == other[kind]).all() for kind in probes.KINDS)
    assert probes.probe_all([Space(x)], labels, folds) == (
        scores, probes.pooled(labels, folds, said)
    )  # fmt: skip

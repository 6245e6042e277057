import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from jaxcell.evaluation.trained_probes import batch_split, fit_probe

from .cells import blobs


def split_of(labels, batch, seed=0):
    return batch_split(labels, batch, seed)


def test_whole_batches_are_held_out_and_a_fifth_of_the_rest_validates():
    rng = np.random.default_rng(0)
    batch = np.array([f"b{i}" for i in rng.integers(0, 12, 1000)])
    labels = np.array([f"t{i}" for i in rng.integers(0, 3, 1000)])
    held = set()
    for seed in range(5):
        split = batch_split(labels, batch, seed)
        assert set(batch[split.test]) == set(split.held_out)
        rest = np.concatenate([split.train, split.valid])
        assert not set(batch[rest]) & set(split.held_out)
        both = np.concatenate([rest, split.test])
        assert sorted(both.tolist()) == list(range(1000))
        assert 0.15 <= len(split.test) / 1000 <= 0.35
        assert len(split.valid) == round(0.2 * len(rest))
        assert len(set(batch[split.valid])) > 1  # drawn by cells
        held.add(split.held_out)
    assert len(held) > 1
    again = batch_split(labels, batch, 3)
    assert all(
        np.array_equal(getattr(again, part), getattr(batch_split(labels, batch, 3), part))
        for part in ("train", "valid", "test")
    )


@pytest.mark.parametrize("sizes", [(900, 100), (500, 500), (980, 10, 10)])
def test_however_large_the_batches_there_is_one_on_each_side(sizes):
    batch = np.repeat([f"b{i}" for i in range(len(sizes))], sizes)
    labels = np.tile(["a", "b"], 500)
    for seed in range(4):
        split = batch_split(labels, batch, seed)
        assert 0 < len(split.held_out) < len(sizes)
        near = min(sizes, key=lambda size: abs(size - 250)) if len(sizes) == 2 else 20
        assert len(split.test) == near


def test_without_a_second_batch_cells_are_drawn_and_that_is_said():
    labels = np.array(["a"] * 80 + ["b"] * 40)
    for batch, why in ((None, "no batch column"), (np.full(120, "x"), "one batch only, 'x'")):
        split = batch_split(labels, batch, 1)
        assert split.protocol == f"25% of the cells ({why}): no batch is held out"
        assert (labels[split.test] == "a").sum() == 20
        assert (labels[split.test] == "b").sum() == 10
    labels[0] = "alone"  # no class of one cell can be on both sides
    assert len(batch_split(labels, None, 0).test) == 30
    with pytest.raises(ValueError, match="test: found 1.5, expected a share"):
        batch_split(labels, None, 0, test=1.5)
    with pytest.raises(ValueError, match="leave 1 to test and 0 to validate"):
        batch_split(labels[:3], None, 0)


@pytest.mark.parametrize("widths", [(), (16,)])
def test_separable_cells_are_read_and_shuffled_ones_are_not(widths):
    x, labels, batch = blobs(400, batches=4)
    split = split_of(labels, batch)
    found = fit_probe(x, labels, split, widths=widths, rates=(1e-2,))
    assert found.accuracy == found.macro_f1 == 1.0
    assert found.absent == ()
    shuffled = np.random.default_rng(0).permutation(labels)
    found = fit_probe(x, shuffled, split, widths=widths, rates=(1e-2,))
    chance, sd = 1 / 3, np.sqrt(2 / 9 / len(split.test))
    assert abs(found.accuracy - chance) < 3.5 * sd


def test_a_linear_probe_is_sklearns_logistic_regression():
    x, labels, batch = blobs(1500, classes=4, d=10, gap=2.5)
    x = x * np.arange(1, 11, dtype=np.float32) + 3  # scales that standardising takes away
    split = split_of(labels, batch)
    scaler = StandardScaler().fit(x[split.train])
    model = LogisticRegression(C=1e4, max_iter=1000)
    model.fit(scaler.transform(x[split.train]), labels[split.train])
    wanted = model.predict(scaler.transform(x[split.test]))
    found = fit_probe(x, labels, split, rates=(1e-2,), weight_decay=0.0)
    assert (found.predictions == wanted).mean() > 0.98
    assert 0.7 < found.accuracy < 0.99  # no trivial problem
    assert found.accuracy == pytest.approx((found.predictions == labels[split.test]).mean())


def test_an_mlp_sees_what_no_plane_divides():
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], (600, 2)) + 0.2 * rng.normal(size=(600, 2))
    labels = np.where(x[:, 0] * x[:, 1] > 0, "same", "other")
    split = split_of(labels, None)
    line = fit_probe(x, labels, split)
    bent = fit_probe(x, labels, split, widths=(32,), dropout=0.1)
    assert line.accuracy < 0.75  # three of four corners at best
    assert bent.accuracy > 0.98


def test_an_absent_class_is_an_error_and_is_named():
    x, labels, batch = blobs(300, batches=3)
    split = split_of(labels, batch)
    labels = labels.copy()
    new = split.test[:20]
    labels[new] = "new"
    labels[split.valid[0]] = "only validated"
    found = fit_probe(x, labels, split, rates=(1e-2,))
    assert found.absent == ("new",)
    assert found.accuracy == pytest.approx(1 - 20 / len(split.test))
    assert found.macro_f1 < 0.76  # of four classes three are right at most
    assert found.grid[0]["accuracy"] == pytest.approx(1 - 1 / len(split.valid))
    assert not set(found.predictions) & {"new", "only validated"}


def test_labels_of_test_cells_change_no_prediction():
    x, labels, batch = blobs(300, gap=1.5)
    split = split_of(labels, batch)
    other = labels.copy()
    other[split.test] = np.random.default_rng(0).permutation(labels[split.test])
    one, two = (fit_probe(x, y, split, rates=(1e-3, 1e-2)) for y in (labels, other))
    np.testing.assert_array_equal(one.predictions, two.predictions)
    assert one.grid == two.grid


def test_the_same_seed_is_the_same_probe():
    x, labels, batch = blobs(300, gap=1.5)
    split = split_of(labels, batch)
    how = dict(widths=(8,), dropout=0.5, rates=(1e-2, 1e-3))
    one, two = (fit_probe(x, labels, split, seed=4, **how) for _ in range(2))
    assert one.grid == two.grid
    np.testing.assert_array_equal(one.predictions, two.predictions)
    assert fit_probe(x, labels, split, seed=5, **how).grid != one.grid


def test_the_rate_that_validates_best_is_taken():
    x, labels, batch = blobs(300, gap=3.0)
    split = split_of(labels, batch)
    # One epoch of one batch at 1e-12 leaves all weights at zero, whose first class is the answer.
    slow = fit_probe(x, labels, split, rates=(1e-12,), most_epochs=1)
    found = fit_probe(x, labels, split, rates=(1e-12, 1e-1))
    assert slow.epochs == 1
    assert found.rate == 1e-1
    assert found.grid[1]["macro_f1"] > found.grid[0]["macro_f1"]
    assert 1 <= found.epochs <= 200
    twice = fit_probe(x, labels, split, rates=(1e-1, 1e-1))
    assert twice.grid[0] == twice.grid[1]
    with pytest.raises(ValueError, match="rates: found none"):
        fit_probe(x, labels, split, rates=())


def test_it_stops_when_validation_gets_no_better():
    """Noise to learn: the least validation loss comes early, and its weights are taken."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(200, 50)), np.tile(["a", "b"], 100)
    split = split_of(labels, None)
    early = fit_probe(x, labels, split, rates=(1e-2,), widths=(16,))
    assert early.epochs < 60
    stopped = fit_probe(
        x, labels, split, rates=(1e-2,), widths=(16,), most_epochs=early.epochs, patience=1000
    )
    assert stopped.grid == early.grid  # what came after it changed nothing
    np.testing.assert_array_equal(stopped.predictions, early.predictions)


def test_a_loss_that_is_no_number_is_no_choice():
    x, labels, batch = blobs(200)
    split = split_of(labels, batch)
    found = fit_probe(x, labels, split, rates=(np.inf, 1e-2))
    assert found.rate == 1e-2
    assert found.grid[0]["loss"] is None

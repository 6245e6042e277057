import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import accuracy_score, f1_score

from jaxcell.evaluation import intervals, probes


def cells(n=300, classes=4, right=0.7, seed=0):
    """Labels and predictions, right for so many; the last class is rare."""
    rng = np.random.default_rng(seed)
    p = np.array([*[1.0] * (classes - 1), 0.03])
    truth = rng.choice(classes, n, p=p / p.sum())
    predicted = np.where(rng.random(n) < right, truth, rng.integers(0, classes, n))
    return truth.astype(str), predicted.astype(str)


def test_scores_of_a_resample_are_sklearns():
    truth, predicted = cells(60)
    true, guessed, counts = intervals.pairs(truth, predicted)
    names = np.unique(np.concatenate([truth, predicted]))
    draws = np.random.default_rng(1).multinomial(60, counts / 60, size=50)
    got = intervals.of_pairs(true, guessed, draws)
    rare = 0
    for draw, accuracy, f1 in zip(draws, *got, strict=True):
        t, g = names[np.repeat(true, draw)], names[np.repeat(guessed, draw)]
        rare += len(np.unique(t)) < 4
        assert accuracy == pytest.approx(accuracy_score(t, g), abs=1e-12)
        wanted = f1_score(t, g, labels=np.unique(t), average="macro", zero_division=0)
        assert f1 == pytest.approx(wanted, abs=1e-12)
        assert (accuracy, f1) == pytest.approx(probes.score(t, g), abs=1e-12)
    assert rare  # some resamples lack a class


def test_the_intervals_are_scipys():
    """Of as many resamples of cells: they differ by what drawing them leaves."""
    truth, predicted = cells()
    got = intervals.bootstrap(truth, predicted, resamples=20_000)
    code = np.unique(np.stack([truth, predicted]), return_inverse=True)[1].reshape(2, -1)

    def accuracy(t, g, axis):
        return (t == g).mean(axis=axis)

    def f1(t, g, axis):
        found, there = 0.0, 0
        for c in range(4):
            own, said = (t == c).sum(axis=axis), (g == c).sum(axis=axis)
            both = ((t == c) & (g == c)).sum(axis=axis)
            found = found + np.where(own > 0, 2 * both / np.maximum(own + said, 1), 0.0)
            there = there + (own > 0)
        return found / there

    for name, statistic in (("accuracy", accuracy), ("macro_f1", f1)):
        wanted = scipy.stats.bootstrap(
            tuple(code), statistic, paired=True, n_resamples=20_000, method="percentile",
            confidence_level=0.95, rng=np.random.default_rng(5), batch=2000,
        ).confidence_interval  # fmt: skip
        width = wanted.high - wanted.low
        assert np.abs(np.subtract(got[name], wanted)).max() < 0.04 * width


def test_it_covers_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = []
    for seed in range(300):
        truth = rng.integers(0, 2, 200).astype(str)
        predicted = np.where(rng.random(200) < 0.8, truth, "2")
        low, high = intervals.bootstrap(truth, predicted, resamples=300, seed=seed)["accuracy"]
        covered.append(low <= 0.8 <= high)
    assert 0.90 < np.mean(covered) < 0.985


def test_analytic_cases_and_the_seed():
    truth, predicted = cells()
    assert intervals.bootstrap(truth, truth) == {"accuracy": (1.0, 1.0), "macro_f1": (1.0, 1.0)}
    none = intervals.bootstrap(truth, np.full(len(truth), "other"))
    assert none == {"accuracy": (0.0, 0.0), "macro_f1": (0.0, 0.0)}
    low, high = intervals.bootstrap(truth, predicted)["accuracy"]
    p = accuracy_score(truth, predicted)
    half = 1.96 * np.sqrt(p * (1 - p) / len(truth))  # of the normal approximation
    assert (low, high) == pytest.approx((p - half, p + half), abs=0.01)
    once, again = (intervals.bootstrap(truth, predicted, seed=s) for s in (4, 4))
    assert once == again != intervals.bootstrap(truth, predicted, seed=5)


def test_what_is_no_sample():
    with pytest.raises(ValueError, match="found 2 true and 1 predicted labels"):
        intervals.bootstrap(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="found 0 true and 0 predicted"):
        intervals.bootstrap([], [])
    with pytest.raises(ValueError, match="level and resamples: found 1.0 and 10"):
        intervals.bootstrap(["a"], ["a"], level=1.0, resamples=10)

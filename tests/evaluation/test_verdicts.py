import numpy as np
import pytest
import statsmodels.stats.contingency_tables as tables
from scipy import stats
from sklearn.metrics import f1_score
from statsmodels.stats.multitest import multipletests

from jaxcell.evaluation import verdicts

SCORES = {
    "one": {"a": 0.9, "b": 0.8, "c": 0.8},
    "two": {"a": 0.5, "b": 0.5, "c": 0.4},
    "three": {"a": 0.1, "b": 0.7, "c": 0.3},
    "partial": {"a": 1.0, "b": None, "c": 0.2},
}


def test_verdict_by_hand():
    assert verdicts.verdict(SCORES) == {
        "a": {"mean": pytest.approx(0.5), "rank": pytest.approx(5.5 / 3), "wins": 2, "datasets": 3},
        "b": {"mean": pytest.approx(2 / 3), "rank": pytest.approx(5 / 3), "wins": 2, "datasets": 3},
        "c": {"mean": pytest.approx(0.5), "rank": pytest.approx(7.5 / 3), "wins": 0, "datasets": 3},
    }
    nothing = {"mean": None, "rank": None, "wins": 0, "datasets": 0}
    assert verdicts.verdict({"one": {"a": None, "b": 1.0}}) == {"a": nothing, "b": nothing}


def test_ranks_equal_scipys():
    values = np.round(np.random.default_rng(0).normal(size=30), 1)  # with ties
    found = verdicts.ranks(dict(enumerate(values)))
    np.testing.assert_array_equal(list(found.values()), stats.rankdata(-values))


def test_overall_rank_is_over_metrics_and_data_sets():
    metrics = {"m": SCORES, "n": {"one": {"a": 3, "b": 2, "c": 1}}}
    found = verdicts.overall_rank(metrics)
    assert found == pytest.approx({"a": 6.5 / 4, "b": 7 / 4, "c": 10.5 / 4})
    assert sum(found.values()) == pytest.approx(6)


def test_wilcoxon_equals_the_count_of_all_signs():
    random = np.random.default_rng(1)
    a, b = random.normal(0.4, 1, 9), random.normal(0, 1, 9)
    difference = a - b
    rank = stats.rankdata(np.abs(difference))
    signs = np.array(np.meshgrid(*[[0, 1]] * 9)).reshape(9, -1)
    sums, seen = rank @ signs, rank[difference > 0].sum()
    expected = min(1, 2 * min(np.mean(sums <= seen), np.mean(sums >= seen)))
    assert verdicts.wilcoxon(a, b) == pytest.approx(expected)
    assert verdicts.wilcoxon(np.arange(6.0) + 1, np.arange(6.0)) == pytest.approx(2 / 64)
    assert verdicts.wilcoxon(a, a) == 1


def test_mcnemar_equals_statsmodels():
    random = np.random.default_rng(2)
    a, b = random.random(200) < 0.8, random.random(200) < 0.7
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert verdicts.mcnemar(a, b) == pytest.approx(tables.mcnemar(table, exact=True).pvalue)
    assert verdicts.mcnemar(a, a) == 1


def test_holm_equals_statsmodels():
    p = dict(enumerate(np.random.default_rng(3).random(12) ** 3))
    expected = multipletests(list(p.values()), method="holm")[1]
    assert list(verdicts.holm(p).values()) == pytest.approx(expected)


def test_paired_tests_of_methods_that_differ_and_that_do_not():
    random = np.random.default_rng(4)
    base = random.random(12)
    scores = {
        f"set {i}": {"good": base[i] + 0.2, "plain": base[i], "noisy": base[i] + e}
        for i, e in enumerate(random.normal(0, 0.05, 12))
    }
    right = {"set 0": {m: random.random(400) < q for m, q in (("good", 0.9), ("plain", 0.6))}}
    rows = {(r["a"], r["b"]): r for r in verdicts.paired_tests(scores, right)}
    assert set(rows) == {("good", "plain"), ("good", "noisy"), ("plain", "noisy")}
    first = rows["good", "plain"]
    assert first["difference"] == pytest.approx(0.2)
    assert (first["wins_a"], first["wins_b"]) == (12, 0)
    assert first["p"] == pytest.approx(2 / 2**12)
    assert first["p_holm"] == pytest.approx(3 * first["p"])
    assert first["mcnemar_holm"]["set 0"] == verdicts.mcnemar(*right["set 0"].values()) < 1e-6
    assert rows["plain", "noisy"]["p_holm"] > 0.05
    assert rows["plain", "noisy"]["mcnemar_holm"] == {}
    assert "mcnemar_holm" not in verdicts.paired_tests(scores)[0]
    assert verdicts.paired_tests({"one": {"a": None, "b": 1.0}}) == []


def guesses(n, right, seed):
    random = np.random.default_rng(seed)
    truth = random.choice(["x", "y", "z", "rare"], n, p=[0.5, 0.3, 0.19, 0.01])
    return truth, np.where(random.random(n) < right, truth, random.choice(["x", "y"], n))


def test_resamples_score_as_scikit_learn_scores_them():
    truth, a = guesses(60, 0.7, 0)
    a[:3] = "never true"
    b = guesses(60, 0.5, 9)[1]
    names, codes = np.unique(np.r_[truth, a, b], return_inverse=True)
    kinds, count = np.unique(codes.reshape(3, -1), axis=1, return_counts=True)
    drawn = np.random.default_rng(7).multinomial(60, count / 60, 5)
    found = verdicts._macro_f1(truth, a, b, 7, 5)
    for i, times in enumerate(drawn):
        real, *said = names[np.repeat(kinds, times, axis=1)]
        macro = [f1_score(real, s, labels=np.unique(real), average="macro") for s in said]
        assert [f1[i] for f1 in found] == pytest.approx(macro)


def test_the_difference_is_seen_and_so_is_its_absence():
    truth, worse = guesses(1000, 0.5, 2)
    better = np.where(np.random.default_rng(5).random(1000) < 0.5, truth, worse)
    one, other = (truth, better, worse), (*guesses(500, 0.6, 8), guesses(500, 0.6, 9)[1])
    found = verdicts.difference([one])
    assert found["p"] == 1 / verdicts.RESAMPLES
    assert 0 < found["low"] < found["difference"] < found["high"]
    assert verdicts.difference([(truth, worse, worse)]) == dict(difference=0, low=0, high=0, p=1)
    both, alone = verdicts.difference([one, other]), verdicts.difference([other])
    assert both["difference"] == pytest.approx((found["difference"] + alone["difference"]) / 2)
    assert both["low"] < both["difference"] < both["high"]


def test_pareto_front_equals_brute_force():
    random = np.random.default_rng(6)
    sizes = {i: int(s) for i, s in enumerate(random.integers(1, 12, 40))}
    scores = {i: round(float(s), 1) for i, s in enumerate(random.normal(size=40))}

    def beaten(i):
        """By one no larger and no worse that is better in one of the two."""
        return any(
            sizes[j] <= sizes[i]
            and scores[j] >= scores[i]
            and (sizes[j] < sizes[i] or scores[j] > scores[i])
            for j in sizes
        )

    found = verdicts.pareto(sizes, scores)
    expected = {(sizes[i], scores[i]) for i in sizes if not beaten(i)}
    assert {(sizes[i], scores[i]) for i in found} == expected
    assert sorted(sizes[i] for i in found) == [sizes[i] for i in found]
    assert verdicts.pareto({"a": None, "b": 3, "c": 2}, {"a": 1, "b": 1, "c": None}) == ["b"]

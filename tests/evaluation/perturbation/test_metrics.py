import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from jaxcell.evaluation.perturbation import metrics
from jaxcell.evaluation.perturbation.conditions import perturbations
from jaxcell.evaluation.perturbation.differential import differential, non_dropout
from tests.evaluation.perturbation import planted


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_those_of_loops(seed):
    random = np.random.default_rng(seed)
    predicted, truth, control = random.gamma(1.0, 1.0, (3, 40))
    top, measured = random.permutation(40)[:20], random.permutation(40)[:15]
    truth[top[0]] = control[top[0]]  # a gene without direction
    found = metrics.condition_scores(predicted, truth, control, top, measured)

    def corr(a, b):
        return stats.pearsonr(a, b).statistic

    right = asked = 0
    for g in top:
        if truth[g] != control[g]:
            asked += 1
            right += (predicted[g] > control[g]) == (truth[g] > control[g])
    wanted = {
        "pearson": corr(predicted, truth),
        "pearson_delta": corr(predicted - control, truth - control),
        "pearson_de": corr(predicted[top], truth[top]),
        "pearson_delta_de": corr((predicted - control)[top], (truth - control)[top]),
        "pearson_delta_nd": corr((predicted - control)[measured], (truth - control)[measured]),
        "mse": sum((p - t) ** 2 for p, t in zip(predicted, truth, strict=True)) / 40,
        "mse_de": sum((predicted[g] - truth[g]) ** 2 for g in top) / 20,
        "direction_de": right / asked,
    }
    assert asked == 19
    assert found == pytest.approx(wanted, abs=1e-12)


def test_no_change_has_no_correlation_and_no_direction():
    random = np.random.default_rng(0)
    truth, control = random.gamma(1.0, 1.0, (2, 30))
    found = metrics.condition_scores(control, truth, control, np.arange(20), np.arange(20))
    assert found["pearson_delta"] == found["pearson_delta_de"] == found["direction_de"] == 0
    assert metrics.pearson(np.ones(5), np.arange(5)) == 0
    assert metrics.pearson([1.0], [2.0]) == 0
    assert metrics.pearson(np.arange(5), 3 - 2 * np.arange(5)) == -1


def test_a_perfect_prediction():
    random = np.random.default_rng(0)
    truth, control = random.gamma(1.0, 1.0, (2, 30))
    found = metrics.condition_scores(truth, truth, control, np.arange(20), np.arange(20))
    for metric, value in found.items():
        assert value == pytest.approx(0 if metric in metrics.LOWER else 1)


@pytest.mark.parametrize("seed", range(3))
def test_discrimination_equals_a_loop(seed):
    random = np.random.default_rng(seed)
    predicted, truth = random.standard_normal((2, 7, 12))
    truth[3] = truth[4]  # a tie: not strictly closer
    own = [[], [0], [1, 2], [3], [3], [5], [11]]
    found = metrics.discrimination(predicted, truth, own)
    for i in range(7):
        kept = [g for g in range(12) if g not in own[i]]
        distance = [sum(abs(predicted[i][g] - truth[j][g]) for g in kept) for j in range(7)]
        assert found[i] == 1 - sum(d < distance[i] for d in distance) / 7
    assert (metrics.discrimination(truth, truth, own) == 1).all()
    assert np.isnan(metrics.discrimination(truth[:1], truth[:1], [[]])).all()


def test_discrimination_leaves_out_the_perturbed_gene():
    truth = np.array([[5.0, 0, 1], [0, 0, 1.2]])
    predicted = np.array([[5.0, 0, 1.3], [0, 0, 1.3]])  # right by the gene itself alone
    assert metrics.discrimination(predicted, truth, [[], []])[0] == 1
    assert metrics.discrimination(predicted, truth, [[0], []])[0] == 0.5


def test_discrimination_by_chance():
    random = np.random.default_rng(0)
    found = [
        metrics.discrimination(*random.standard_normal((2, 20, 30)), [[]] * 20).mean()
        for _ in range(50)
    ]
    assert np.mean(found) == pytest.approx(21 / 40, abs=0.02)


def test_pearson_of_each_cell_over_what_it_expresses():
    random = np.random.default_rng(0)
    cells = random.gamma(1.0, 1.0, (6, 20)) * (random.random((6, 20)) < 0.5)
    cells[5] = 0
    predicted = random.gamma(1.0, 1.0, (6, 20))
    sparse = sp.csr_matrix(cells)
    sparse.data[0] = 0  # stored, and still no expression
    cells = sparse.toarray()
    found = metrics.cell_pearson(predicted, sparse)
    for i in range(5):
        on = cells[i] > 0
        assert found[i] == pytest.approx(stats.pearsonr(predicted[i][on], cells[i][on]).statistic)
    assert found[5] == 0
    one = metrics.cell_pearson(predicted[0], sparse)
    assert one[0] == found[0]
    assert one[1] == pytest.approx(metrics.cell_pearson(predicted[[0] * 6], sparse)[1])


def test_means_of_groups():
    scores = {"a": {"m": 1.0, "n": None}, "b": {"m": 2.0, "n": 1.0}, "c": {"m": 6.0, "n": 1.0}}
    found = metrics.summary(scores, {"all": "abc", "one": "c", "none": "x"})
    assert found["all"]["m"] == {"mean": 3.0, "sd": pytest.approx(np.sqrt(7)), "n": 3}
    assert found["all"]["n"]["mean"] is None
    assert found["one"]["m"] == {"mean": 6.0, "sd": None, "n": 1}
    assert "none" not in found


def test_genes_are_ranked_as_by_a_t_test():
    data = perturbations(planted.additive(perturbed=4, doubles=2, genes=30))
    names = ["G0", next(c for c in data.conditions if "+" in c)]
    found = differential(data, names)
    x = data.x.toarray().astype(np.float64)
    for name in names:
        own = x[data.code == data.place(name)]
        t = stats.ttest_ind(own, x[data.control], equal_var=False).statistic
        np.testing.assert_array_equal(found.ranking[name], np.argsort(-np.abs(t), kind="stable"))
        np.testing.assert_array_equal(found.top(name), found.ranking[name][:20])


def test_genes_that_drop_out_are_passed_over():
    control, mean = np.array([0, 0, 1, 1.0]), np.array([0, 1, 0, 1.0])
    np.testing.assert_array_equal(non_dropout(mean, control), [True, True, False, True])
    adata = planted.additive(perturbed=3, doubles=0, genes=30)
    x = adata.X.toarray()
    x[adata.obs["condition"].str.contains("G1"), 5] = 0  # seen in the control alone
    x[:, 7] = 0
    adata.X = sp.csr_matrix(x)
    found = differential(perturbations(adata), ["G1"])
    assert found.ranking["G1"][0] == 5
    top = found.top_non_dropout("G1", 40)
    assert 5 not in top
    assert 7 in top
    assert len(top) == 29


def test_one_cell_cannot_be_ranked():
    adata = planted.additive(perturbed=3, doubles=0, genes=10)
    lost = np.flatnonzero(adata.obs["condition"].str.contains("G1"))[1:]
    data = perturbations(adata[np.setdiff1d(np.arange(adata.n_obs), lost)].copy())
    with pytest.raises(ValueError, match="condition 'G1': found fewer than 2 cells"):
        differential(data, ["G0", "G1"])

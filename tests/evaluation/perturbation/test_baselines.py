import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from jaxcell.evaluation.perturbation import baselines, regressions, splits
from jaxcell.evaluation.perturbation.conditions import perturbations
from jaxcell.evaluation.perturbation.files import read_predictions
from jaxcell.evaluation.perturbation.metrics import pearson
from tests.evaluation.perturbation import planted

FITTED = ("linear", "indicator", "mlp")


def by_hand(conditions=None):
    """Two singles and a double in training, over four genes of which A and B are two."""
    conditions = conditions or {"A": ("A",), "B": ("B",), "B+C": ("B", "C")}
    means = np.array([[1.0, 0, 2, 0], [0, 3, 0, 0], [0, 1, 1, 4]])
    return baselines.Training(conditions, means, np.array([0.5, 0.5, 0, 0]), {"A": 0, "B": 1})


ASKED = {"A+B": ("A", "B"), "A+D": ("A", "D"), "D": ("D",)}


def test_by_hand():
    training = by_hand()
    mean = training.means.mean(axis=0)
    found = baselines.predict("no_change", training, ASKED).means
    assert all((found[c] == training.control.astype(np.float32)).all() for c in ASKED)
    found = baselines.predict("mean", training, ASKED).means
    np.testing.assert_allclose(found["D"], mean, rtol=1e-6)
    found = baselines.predict("additive", training, ASKED)
    np.testing.assert_allclose(found.means["A+B"], [0.5, 2.5, 2, 0])  # A + B - control
    np.testing.assert_allclose(found.means["A+D"], training.means[0])
    np.testing.assert_allclose(found.means["D"], mean, rtol=1e-6)
    assert found.instead == {
        "A+D": "not all genes seen alone: Δ of those that were",
        "D": "no gene of it seen alone: mean",
    }
    assert all(vector.dtype == np.float32 for vector in found.means.values())


def test_the_linear_model_equals_its_formula():
    training = by_hand()
    y, e = training.means.T, regressions.gene_components(training.means)
    assert e.shape == (4, 3)
    centred = y - y.mean(axis=0)
    np.testing.assert_allclose(e @ e.T, centred @ centred.T, atol=1e-12)
    b = y.mean(axis=1)
    r = np.stack([e[0], e[1], e[1]])  # C has no column
    ridge = 0.1 * np.eye(3)
    inverse = np.linalg.inv
    w = inverse(e.T @ e + ridge) @ e.T @ (y - b[:, None]) @ r @ inverse(r.T @ r + ridge)
    found = baselines.predict("linear", training, ASKED)
    np.testing.assert_allclose(found.means["A+B"], e @ w @ (e[0] + e[1]) + b, rtol=1e-5)
    np.testing.assert_allclose(found.means["A+D"], e @ w @ e[0] + b, rtol=1e-5)
    np.testing.assert_allclose(found.means["D"], b, rtol=1e-6)
    assert list(found.instead) == ["D"]


def test_indicator_is_ridge_regression_on_genes():
    from sklearn.linear_model import Ridge

    training = by_hand()
    z = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]])
    model = Ridge(0.1, fit_intercept=False).fit(z, training.means - training.control)
    found = baselines.predict("indicator", training, ASKED)
    wanted = training.control + model.predict([[1, 1, 0]])[0]
    np.testing.assert_allclose(found.means["A+B"], wanted, rtol=1e-5)
    assert list(found.instead) == ["D"]


def test_without_any_measured_gene_the_fitted_ones_do_not_extrapolate():
    training = by_hand()
    training = baselines.Training(training.conditions, training.means, training.control, {"D": 3})
    mean = training.means.mean(axis=0)
    for name in FITTED:
        found = baselines.predict(name, training, ASKED)
        np.testing.assert_allclose(found.means["D"], mean, rtol=1e-5)
        assert "D" in found.instead


def test_mlp_fits_what_it_has_seen():
    training = by_hand()
    found = baselines.predict("mlp", training, training.conditions)
    for name, mean in zip(training.conditions, training.means, strict=True):
        np.testing.assert_allclose(found.means[name], mean, atol=0.05)
    again = baselines.predict("mlp", training, training.conditions)
    assert all((found.means[c] == again.means[c]).all() for c in found.means)


def test_one_training_condition_is_enough():
    training = by_hand()
    training = baselines.Training({"A": ("A",)}, training.means[:1], training.control, {"A": 0})
    for name in baselines.OF_CONDITIONS:
        found = baselines.predict(name, training, ASKED).means
        assert all(np.isfinite(vector).all() for vector in found.values()), name


@pytest.mark.parametrize("kind", ["simulation", "cells"])
def test_held_out_cells_never_enter(kind):
    adata = planted.additive(perturbed=8, doubles=10, genes=20, cells=10)
    data = perturbations(adata)
    split = splits.make(data, kind)
    _, test = split.rows(data)
    spoiled = adata.copy()
    x = spoiled.X.toarray()
    x[test] = 15 + np.arange(20) % 3 + 0.5
    spoiled.X = sp.csr_matrix(x)
    asked = {c: data.conditions[c] for c in split.test}
    before = baselines.training_of(data, split)
    after = baselines.training_of(perturbations(spoiled), split)
    if kind == "simulation":
        assert list(before.conditions) == list(split.train)
    for name in baselines.chosen((), split):
        a = baselines.predict(name, before, asked).means
        b = baselines.predict(name, after, asked).means
        assert all((a[c] == b[c]).all() for c in asked), name


def test_seen_is_the_mean_of_the_training_cells():
    data = perturbations(planted.additive(perturbed=4, doubles=2, genes=10, cells=10))
    split = splits.make(data, "cells")
    train, _ = split.rows(data)
    training = baselines.training_of(data, split)
    found = baselines.predict("seen", training, {"G1": ("G1",)}).means["G1"]
    own = data.x.toarray()[train & (data.code == data.place("G1"))]
    np.testing.assert_allclose(found, own.mean(axis=0), rtol=1e-5)
    with pytest.raises(ValueError, match="'seen' needs training cells"):
        baselines.predict("seen", by_hand(), ASKED)


def test_unknown_names_are_refused():
    split = splits.Split("list", 0, ("A",), ("B",), {})
    with pytest.raises(ValueError, match="found 'best', expected some of no_change"):
        baselines.chosen(["best"], split)
    assert baselines.chosen(["mean", "mean"], split) == ("mean",)


def test_effects_of_coexpression_are_predicted_for_unseen_genes():
    """By the linear model alone; a mean knows nothing of the gene."""
    data = perturbations(planted.coexpressed())
    split = splits.make(data, "single", held_out=0.3)
    training = baselines.training_of(data, split)
    asked = {c: data.conditions[c] for c in split.test}
    truth, control, _ = data.means()

    def score(name):
        said = baselines.predict(name, training, asked).means
        return np.mean([
            pearson(said[c] - control, truth[data.place(c)] - control) for c in asked
        ])  # fmt: skip

    assert score("linear") > 0.9
    assert abs(score("mean")) < 0.5


@pytest.fixture(scope="module")
def data():
    return perturbations(planted.additive(perturbed=4, doubles=2, genes=10, cells=5))


def predicted(names, genes, rows=None, cells=None):
    rows = np.arange(len(names) * len(genes)).reshape(len(names), -1) if rows is None else rows
    obs = pd.DataFrame({"condition": names}, index=cells or [f"p{i}" for i in range(len(names))])
    return anndata.AnnData(np.asarray(rows, np.float32), obs=obs, var=pd.DataFrame(index=genes))


def test_a_file_in_another_order_with_cells_to_average(data, tmp_path):
    genes = [*data.genes[::-1], "extra"]
    adata = predicted(["ctrl+G1", "G1+ctrl", "G0"], genes)
    adata.write_h5ad(tmp_path / "p.h5ad")
    said = read_predictions(
        tmp_path / "p.h5ad", data, ["G1", "G0"], np.zeros(10), name="other tool"
    )
    assert list(said.means) == ["G1", "G0"]
    np.testing.assert_allclose(said.means["G1"], adata.X[:2].mean(axis=0)[9::-1])
    np.testing.assert_allclose(said.means["G0"], adata.X[2][9::-1])
    assert not said.notes


def test_genes_that_a_file_lacks_are_unchanged(data, tmp_path):
    predicted(["G1"], list(data.genes[:8])).write_h5ad(tmp_path / "p.h5ad")
    control = np.arange(10, dtype=np.float32)
    said = read_predictions(tmp_path / "p.h5ad", data, ["G1"], control, name="tool")
    np.testing.assert_array_equal(said.means["G1"][8:], [8, 9])
    assert said.notes == ["tool: 2 of 10 genes are not in its file, and taken as unchanged."]


def test_cells_by_their_names(data, tmp_path):
    tested = data.code == data.place("G1")
    cells = data.cells[tested][::-1]
    adata = predicted(["G1"] * 5, list(data.genes), cells=list(cells))
    adata.write_h5ad(tmp_path / "p.h5ad")
    said = read_predictions(
        tmp_path / "p.h5ad", data, ["G1"], np.zeros(10), name="tool", tested=tested
    )
    np.testing.assert_array_equal(said.cells.toarray(), adata.X[::-1])


@pytest.mark.parametrize(
    ("names", "genes", "rows", "text"),
    [
        (["G1"], range(10), None, "no prediction for 1 of 2 tested conditions: G0; it has G1"),
        (["G1", "G0"], range(4), None, "var has 4 of the 10 genes.*at least half"),
        (["G1", "G0"], range(10), np.full((2, 10), np.nan), "NaN or infinite values for"),
        (["G1", "G0"], [0] * 10, None, "names 'G0' twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_files_that_do_not_fit_are_refused(data, tmp_path, names, genes, rows, text):
    predicted(names, [f"G{i}" for i in genes], rows).write_h5ad(tmp_path / "p.h5ad")
    with pytest.raises(ValueError, match=f"tool: .*{text}"):
        read_predictions(tmp_path / "p.h5ad", data, ["G1", "G0"], np.zeros(10), name="tool")


def test_what_is_no_prediction_is_refused(data, tmp_path):
    with pytest.raises(FileNotFoundError, match="tool: .*no such file"):
        read_predictions(tmp_path / "no.h5ad", data, ["G1"], np.zeros(10), name="tool")
    with pytest.raises(ValueError, match=r"shape \[3\], expected \[10\]"):
        read_predictions({"G1": np.zeros(3)}, data, ["G1"], np.zeros(10), name="tool")
    adata = predicted(["G1"], list(data.genes))
    del adata.obs["condition"]
    adata.write_h5ad(tmp_path / "p.h5ad")
    with pytest.raises(ValueError, match="tool: .*no condition column 'condition'"):
        read_predictions(tmp_path / "p.h5ad", data, ["G1"], np.zeros(10), name="tool")
    said = read_predictions({"ctrl+G1": np.zeros(10)}, data, ["G1"], np.zeros(10), name="tool")
    assert list(said.means) == ["G1"]

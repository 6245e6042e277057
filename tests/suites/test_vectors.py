"""The vectors that suites compare: models' are kept, baselines are fitted on what they say."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from jaxcell import embed
from jaxcell.evaluation import baselines
from jaxcell.suites import vectors
from jaxcell.suites.suite import Asked
from jaxcell.training import loop
from tests.conftest import draw_cells
from tests.training.test_training import tiny


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    loop.train(tiny(store, **{"embed.genes": 32, "steps": 2}), workdir)
    return workdir


@pytest.fixture
def cells():
    return draw_cells(5, 60, 300)


def found(asked, cells, *names, **options):
    return {m.name: m for m in vectors.methods(asked, cells, baselines=names, **options)}


def test_a_models_vectors_are_embeds_and_are_computed_once(cells, trained, tmp_path, monkeypatch):
    asked = Asked({"mine": str(trained)}, (), tmp_path)
    method = found(asked, cells)["mine"]
    assert method.kind == "model"
    assert method.parameters > 0
    mine = embed(cells.copy(), trained, key="X", progress=False).obsm["X"]
    np.testing.assert_array_equal(method.matrix(0), mine)
    monkeypatch.setattr(vectors, "embed_cells", None)
    np.testing.assert_array_equal(found(asked, cells)["mine"].matrix(1), mine)
    with pytest.raises(TypeError):  # other cells are embedded anew
        found(asked, cells[:40].copy())["mine"].matrix(0)


def test_baselines_are_views_of_the_same_cells(cells, tmp_path):
    asked, log = Asked({}, (), tmp_path), baselines.normalise(cells.X).toarray()
    made = found(asked, cells, "raw", "log", "hvg20", "pca", "pca5", "ae3")
    assert list(made) == [
        "Raw counts",
        "(Lib+Log)Norm",
        "(Lib+Log)Norm + 20 HVG",
        "PCA (transductive)",
        "PCA 5 (transductive)",
        "Linear AE 3 (transductive)",
    ]
    shapes = [m.matrix(0).shape for m in made.values()]
    assert shapes == [(60, 300), (60, 300), (60, 20), (60, 50), (60, 5), (60, 3)]
    np.testing.assert_array_equal(made["(Lib+Log)Norm"].matrix(0), log)
    ours = made["PCA 5 (transductive)"].matrix(0)
    np.testing.assert_allclose(np.abs(ours), np.abs(PCA(5).fit_transform(log)), atol=1e-3)


def test_inductive_ones_are_fitted_on_the_train_file(cells, tmp_path):
    train, path = draw_cells(9, 80, 300), tmp_path / "train.h5ad"
    train.write_h5ad(path)
    made = found(Asked({}, (), tmp_path), cells, "pca4_inductive", train=path)
    [method] = made.values()
    assert method.name == "PCA 4 (inductive)"
    assert method.fitted == "the train file"
    fit = PCA(4).fit(baselines.normalise(train.X).toarray())
    theirs = fit.transform(baselines.normalise(cells.X).toarray())
    np.testing.assert_allclose(np.abs(method.matrix(0)), np.abs(theirs), atol=1e-3)
    train[:70].copy().write_h5ad(path)
    [again] = found(Asked({}, (), tmp_path), cells, "pca4_inductive", train=path).values()
    assert again.mark != method.mark


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (["pca_transductive"], {}, "baselines: 'pca_transductive' is unknown"),
        (["pca_inductive"], {}, "pca_inductive: needs cells to be fitted on"),
        (["harmony"], {}, "found 0 batches"),
        (["genept=/no/such"], {}, "no such file of gene vectors"),
    ],
)
def test_what_cannot_be_made_is_refused(cells, names, options, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        vectors.methods(Asked({}, (), Path(tmp_path)), cells, baselines=names, **options)


def test_the_fingerprint_is_of_the_content(cells, tmp_path):
    other = cells.copy()
    assert vectors.fingerprint(cells) == vectors.fingerprint(other)
    changes = [
        lambda a: a.X.__setitem__((0, 0), 99),
        lambda a: a.obs.__setitem__("batch", "another"),
        lambda a: a.var.__setitem__("symbol", a.var_names[::-1]),
        lambda a: a.layers.__setitem__("counts", a.X),
        lambda a: setattr(a, "raw", a),
    ]
    for change in changes:
        other = cells.copy()
        change(other)
        assert vectors.fingerprint(cells) != vectors.fingerprint(other)
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("x")
    assert vectors.fingerprint(tmp_path / "a") == vectors.fingerprint(tmp_path / "b")

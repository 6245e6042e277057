"""Every arm of the ablation trains, starts as the best constant, and is refused what it cannot."""

import functools
import re

import jax
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from jaxcell import config, sharding
from jaxcell.data.pipeline import Batches
from jaxcell.data.prepare import prepare
from jaxcell.data.sampling import order
from jaxcell.losses.total import divide
from jaxcell.models.cell import CellModel
from jaxcell.training import loop, metrics, optim
from jaxcell.training.checkpoint import load_model
from jaxcell.training.panel import add_panel
from jaxcell.training.step import compile_steps, make_forward
from tests.conftest import config_of, draw_cells
from tests.training.test_training import lines

# Each arm of the ablation once; those that do not meet are tried together.
MORE = (
    "mse,relu,mlp1_decoder",
    "smooth_l1,clamped_relu",
    "nb",
    "softmax,mlp8_decoder",
    "no_library",
)
ARMS = (
    "zinb,softmax,linear_decoder",
    *(pytest.param(names, marks=pytest.mark.slow) for names in MORE),
)


def arm(store, names, steps=20):
    c = config_of(f"txfm_b:tiny,{names}")
    c.data.store, c.steps, c.mesh.data = str(store.path), steps, 1
    loop.adopt(c, store, print)
    model = CellModel(c.model)
    tables = loop.tables_of(store, c, model.rows)
    mesh = sharding.make_mesh(c.mesh, jax.devices()[:1])
    return c, mesh, compile_steps(model, c, optim.build(c, steps), mesh, tables)


@pytest.mark.parametrize("names", ARMS)
def test_an_arm_starts_at_the_mean_predictor_and_its_loss_falls(store, names):
    c, mesh, (state, train, evaluate, tables) = arm(store, names)
    batches = Batches(store, c, "train", c.train.batch_size, stop=2)
    two = [sharding.to_global(batches[i], mesh) for i in range(2)]
    with jax.set_mesh(mesh):
        params = {**state.params, "heads": {**state.params["heads"]}}
        head = params["heads"]["expression"]
        params["heads"]["expression"] = {**head, "rows": head["rows"] * 0}
        found = divide(evaluate(params, state.batch_stats, two[0], tables))
        ends = float(found["mean_predictor"]), float(found["perfect"])
        if "softmax" in names:  # shares out among a panel's genes what the means share among all
            forward = functools.partial(make_forward(CellModel(c.model), c), train=False)
            _, seen, _ = jax.jit(forward)({"params": params, "batch_stats": {}}, two[0], tables)
            means = np.maximum(np.expm1(tables["mean"]), 1e-3)  # no gene starts below
            panel = np.asarray(tables["measured"])[np.asarray(tables["gene_set"])]
            panel = panel[np.asarray(two[0]["dataset"])]
            shares = means / (means * panel).sum(axis=1, keepdims=True)
            expected = np.where(panel, np.log1p(1e5 * shares), 0)
            np.testing.assert_allclose(seen["heads"]["expression"], expected, atol=1e-3)
        else:  # what the bias rounds: 1e-6 of the scale between the ends, or of the loss itself
            share = metrics.share_explained(float(found["expression"]), *ends)
            assert abs(share) < 1e-5
        losses = []
        for i in range(20):
            state, shown = train(state, two[i % 2], tables)
            losses.append(float(shown["loss"]))
            assert np.isfinite(float(shown["grad_norm"]))
    assert np.mean(losses[-2:]) < np.mean(losses[:2])


@pytest.mark.slow
def test_a_run_with_new_heads_keeps_what_a_run_promises(store, tmp_path):
    c = config_of("txfm_b:tiny,zinb")
    c.data.store, c.steps, c.train.validate_every = str(store.path), 4, 2
    assert loop.train(c, tmp_path)
    line = [line for line in lines(tmp_path) if "val/loss" in line][-1]  # errors of genes follow
    assert line["val/perfect"] < line["val/loss"] == line["val/expression"]
    params = load_model(tmp_path).variables["params"]["heads"]
    assert params["dispersion"]["values"].shape == (384,)
    assert np.abs(params["dispersion"]["values"][:300]).min() > 0  # all of them are trained
    assert not params["dispersion"]["values"][300:].any()  # and no padded row


@pytest.mark.parametrize("names", ["", "no_library"])
def test_tokens_are_normalised_as_the_panel_is(store, names):
    c = config_of(f"txfm_b:tiny,{names}".rstrip(","))
    batch, tables = Batches(store, c, "train", 16, stop=1)[0], loop.tables_of(store, c, 384)
    how = c.data.normalise
    panel = np.asarray(add_panel(batch, tables, 384, how.library_size, how.scale)["panel"])
    shown = np.take_along_axis(panel, batch["ids"][:, 1:], axis=1)
    np.testing.assert_allclose(batch["values"][:, 1:], shown, rtol=1e-6)
    assert (shown.max() < 4) == (names == "no_library")


def dense(store, c):
    """Targets in log1p space [cells, V] of all training cells, NaN where not measured."""
    rows = store.read("train", np.arange(store.sizes["train"]))
    counts = np.zeros((len(rows), len(store.vocabulary)))
    for b in range(len(rows)):
        mine = slice(rows.indptr[b], rows.indptr[b + 1])
        counts[b, rows.ids[mine]] = rows.counts[mine]
    size = 1e5 / counts.sum(axis=1, keepdims=True) if c.data.normalise.scale else 1
    return np.where(store.measured[store.gene_set[rows.dataset]], np.log1p(size * counts), np.nan)


POINTWISE = {
    "poisson_log1p": lambda y, x: np.exp(y) - np.exp(x) * y,
    "mse": lambda y, x: (y - x) ** 2,
    "smooth_l1": lambda y, x: np.where(
        np.abs(y - x) < 1, (y - x) ** 2 / 2, np.abs(y - x) - 0.5
    ),
}  # fmt: skip


@pytest.mark.parametrize("mixture", [(), ("first*=0.05", "*=0.95")], ids=["evenly", "mixture"])
@pytest.mark.parametrize("arm", ["", "mse", "smooth_l1", "no_library", "mse,no_library"])
def test_no_constant_does_better_than_the_means_table(store, arm, mixture):
    """Over the cells as often as they come; 72 of the first dataset and 48 of the second."""
    c = config_of(f"txfm_b:tiny,{arm}".rstrip(","))
    c.data.mixture = mixture
    x, dataset = dense(store, c), store.index("train", "dataset")
    often = np.where(dataset == 0, 0.05, 0.95) / np.bincount(dataset)[dataset]
    often = often[:, None] * len(dataset) if mixture else 1.0
    nothing_is_better(store, c, x, often)


def nothing_is_better(store, c, x, often):
    """No constant than the means table's, for targets x [cells, V] that come so ``often``."""
    mean = loop.tables_of(store, c, 384)["mean"].astype(float)
    loss = POINTWISE[c.losses.expression.kind]
    for gene in range(0, 300, 7):
        of = lambda y, g=gene: np.nansum(often * loss(y, x[:, [g]]))
        best = minimize_scalar(of, bounds=(0, 11.5), method="bounded", options={"xatol": 1e-9})
        assert of(mean[gene]) <= best.fun + 1e-6 * abs(best.fun)
    assert not mean[300:].any()


@pytest.mark.parametrize("arm", ["", "mse", "smooth_l1", "no_library"])
def test_the_means_table_is_of_the_cells_that_sampling_shows(store, arm):
    """Of each kind of cell 10, also where one dataset has few of a kind."""
    c = config_of(f"txfm_b:tiny,{arm}".rstrip(","))
    c.data.sampling, c.data.cap.by, c.data.cap.cells = ("cap",), ("kind",), 10
    cells = order(store, c.data, c.seed, 8)(np.arange(30))[1]
    assert np.bincount(store.index("train", "labels")[cells, 0]).tolist() == [10, 10, 10]
    nothing_is_better(store, c, dense(store, c)[cells], 1.0)
    c.data.cap.by = ("dataset",)  # of these nothing is drawn: the store's statistics tell
    dataset = store.index("train", "dataset")
    often = 10 / np.bincount(dataset)[dataset][:, None]
    nothing_is_better(store, c, dense(store, c), often)


def test_the_centre_of_a_large_store_is_of_evenly_spaced_cells(store, monkeypatch):
    monkeypatch.setattr("jaxcell.data.statistics.CELLS", 10)
    monkeypatch.setattr("jaxcell.data.statistics.AT_ONCE", 4)
    c = config_of("txfm_b:tiny,mse")
    size = store.sizes["train"]
    x = dense(store, c)[np.linspace(0, size - 1, 10).astype(int)]
    seen = ~np.isnan(x).all(axis=0)
    found = loop.tables_of(store, c, 384)["mean"][:300]
    np.testing.assert_allclose(found[seen], np.nanmean(x[:, seen], axis=0), atol=1e-6)
    assert not found[~seen].any()


def test_likelihoods_of_counts_refuse_other_values(tmp_path):
    cells = draw_cells(3, 40, 60)
    cells.X = cells.X * 1.5
    cells.write_h5ad(tmp_path / "scaled.h5ad")
    files, out = [tmp_path / "scaled.h5ad"], tmp_path / "store"
    with pytest.warns(UserWarning, match="non-integer values taken as they are"):
        odd = prepare(out, files, allow_non_integer=True, progress=False)
    c = config_of("txfm_b:tiny,zinb")
    c.data.store = str(odd.path)
    with pytest.raises(ValueError) as error:
        loop.train(c, tmp_path / "run")
    said = str(error.value)
    assert said.startswith("config.losses.expression.kind: 'zinb' is a likelihood of integer count")
    assert "scaled.h5ad" in said
    assert not (tmp_path / "run").exists()
    loop.adopt(config_of("txfm_b:tiny,mse"), odd, print)


@pytest.mark.parametrize(
    ("names", "where"),
    [
        ("softmax,no_library", "model.heads.expression.activation = 'softmax'"),
        ("no_library,nb", "losses.expression.kind = 'nb'"),
    ],
)
def test_what_needs_the_library_size_refuses_to_go_without(names, where):
    text = f"config.data.normalise.scale: found False, expected True for {where}"
    with pytest.raises(ValueError, match=re.escape(text)):
        loop.check(config_of(f"txfm_b:tiny,{names}"))


def test_a_loss_of_another_library_size_is_refused():
    c = config_of("txfm_b:tiny,nb")
    c.data.normalise.library_size = 1e4  # which the losses follow
    config.check(c)
    c.losses.perfect.library_size = 1e5
    with pytest.raises(ValueError, match="config.losses.perfect.library_size: found 100000.0, exp"):
        config.check(c)

"""The Poisson loss: value, gradient, minimum; and sums that do not care how cells are split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from ml_collections import ConfigDict

from jaxcell import config
from jaxcell.losses.expression import poisson_log1p
from jaxcell.losses.total import divide, total, weighted
from jaxcell.sharding import make_mesh, to_global
from jaxcell.systems.txfm import reconstruction
from tests.reference import txfm as reference

SPEC = {
    "expression": dict(
        kind="poisson_log1p",
        pred="heads.expression",
        target="batch.panel",
        where="batch.measured",
        reduce="sum_then_mean",
        weight=2.0,
    ),
    "mean": dict(
        kind="poisson_log1p",
        pred="tables.mean",
        target="batch.panel",
        where="batch.measured",
        reduce="sum_then_mean",
        weight=0.0,
    ),
}


KINDS = ("poisson_log1p", "mse", "mae", "smooth_l1", "nb", "zinb")  # of expression


def draw(cells=16, genes=12):
    random = np.random.default_rng(0)
    outputs = {"heads": {"expression": random.uniform(0, 5, (cells, genes))}}
    batch = {
        "panel": random.uniform(0, 5, (cells, genes)),
        "measured": random.random((cells, genes)) < 0.7,
        "real": random.random(cells) < 0.8,
        "panel_raw": random.poisson(2, (cells, genes)).astype(float),
        "total": random.uniform(20, 90, cells),
    }
    tables = {"mean": random.uniform(0, 5, genes)}
    outputs["heads"]["dispersion"] = random.normal(size=genes)
    outputs["heads"]["zero_inflation"] = random.normal(size=(cells, genes))
    return outputs, batch, tables


def spec_of(kind):
    """The losses of a config that trains on this kind."""
    return reconstruction(config.defaults(), kind).losses.to_dict()


def test_value_and_gradient_equal_autodiff_of_the_formula():
    with jax.enable_x64(True):
        z, t = jnp.linspace(0, 11, 50), jnp.linspace(11, 0, 50)
        theirs = reference.poisson_log1p(*(torch.from_numpy(np.array(a)) for a in (z, t)))
        np.testing.assert_allclose(poisson_log1p(z, t), theirs.numpy(), rtol=1e-14)
        plain = lambda z: (jnp.exp(z) - jnp.exp(t) * z).sum()
        ours, target = jax.grad(lambda z, t: poisson_log1p(z, t).sum(), (0, 1))(z, t)
        np.testing.assert_allclose(ours, jax.grad(plain)(z), rtol=1e-12)
        np.testing.assert_array_equal(target, 0)


def test_least_where_prediction_is_target():
    t = 3.0
    z = jnp.linspace(0, 6, 601)
    assert z[jnp.argmin(poisson_log1p(z, jnp.full_like(z, t)))] == pytest.approx(t)
    assert poisson_log1p(jnp.zeros(1), jnp.zeros(1)) == 1.0  # (1 - t) exp(t) at t = 0


def test_bfloat16_inputs_are_widened_before_exp():
    z = jnp.asarray([9.03125], jnp.bfloat16)
    assert poisson_log1p(z, jnp.zeros_like(z)).dtype == jnp.float32


def test_total_by_hand():
    outputs, batch, tables = draw()
    with jax.enable_x64(True):
        found = total(SPEC, outputs, batch, tables)
        means = divide(found)
        z, t, w = outputs["heads"]["expression"], batch["panel"], batch["measured"]
        by_cell = ((np.exp(z) - np.exp(t) * z) * w).sum(axis=1)
        np.testing.assert_allclose(means["expression"], by_cell[batch["real"]].mean(), rtol=1e-12)
        np.testing.assert_allclose(weighted(SPEC, found), 2 * means["expression"], rtol=1e-15)


def mean_of(kind, batch, tables):
    """Heads -> the mean of the loss that such a config trains on."""
    spec = spec_of(kind)
    return lambda heads: divide(total(spec, {"heads": heads}, batch, tables))["expression"]


@pytest.mark.parametrize("kind", KINDS)
def test_masked_entries_and_padded_rows_count_for_nothing_whatever_they_hold(kind):
    """Not even in a gradient, where 0 times NaN would be NaN."""
    outputs, batch, tables = draw()
    counted = batch["measured"] & batch["real"][:, None]
    spoil = lambda t: {
        k: np.where(counted, v, np.nan) if v.shape == counted.shape and v.dtype == float else v
        for k, v in t.items()
    }
    with jax.enable_x64(True):
        before = jax.value_and_grad(mean_of(kind, batch, tables))(outputs["heads"])
        heads, spoiled = spoil(outputs["heads"]), {**batch, **spoil(batch)}
        assert np.isnan(heads["expression"]).any()
        assert np.isnan(spoiled["panel_raw"]).any()
        after = jax.value_and_grad(mean_of(kind, spoiled, tables))(heads)
        jax.tree.map(np.testing.assert_array_equal, after, before)
        assert not np.asarray(after[1]["expression"])[~counted].any()


@pytest.mark.parametrize("kind", KINDS)
def test_all_masked_gives_zero_and_no_gradient(kind):
    outputs, batch, tables = draw()
    outputs = jax.tree.map(jnp.float32, outputs)
    for nothing in ("measured", "real"):
        batch = {**batch, nothing: np.zeros_like(batch[nothing])}
        value, found = jax.value_and_grad(mean_of(kind, batch, tables))(outputs["heads"])
        assert value == 0
        assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("kind", KINDS)
def test_eight_devices_give_the_sums_of_one(kind):
    outputs, batch, tables = draw()
    spec = spec_of(kind)
    with jax.enable_x64(True):
        mesh = make_mesh(ConfigDict(dict(data=8, fsdp=1, tensor=1)))
        dispersion = outputs["heads"].pop("dispersion")  # of genes, so it lies on every device

        @jax.jit
        def f(heads, d, b, t):
            return total(spec, {"heads": {**heads, "dispersion": d}}, b, t)["expression"]

        one = f(outputs["heads"], dispersion, batch, tables)
        cells = to_global(outputs["heads"], mesh), dispersion, to_global(batch, mesh)
        np.testing.assert_allclose(f(*cells, tables), one, rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_the_perfect_prediction_costs_least(kind):
    """And beside it the mean predictor; both share all but the mean with the model."""
    outputs, batch, tables = draw()
    with jax.enable_x64(True):
        raw, cells = batch["panel_raw"], batch["total"][:, None]
        batch["panel"] = np.log1p(1e5 * raw / cells)
        for change in (-0.02, 0.02):
            heads = {**outputs["heads"], "expression": np.maximum(batch["panel"] + change, 0)}
            found = divide(total(spec_of(kind), {"heads": heads}, batch, tables))
            assert found["perfect"] < found["expression"] < found["mean_predictor"]
        heads["expression"] = np.broadcast_to(tables["mean"], batch["panel"].shape)
        found = divide(total(spec_of(kind), {"heads": heads}, batch, tables))
        assert found["expression"] == found["mean_predictor"]


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        (
            "kind",
            "poison",
            "config.losses.expression.kind: 'poison' is unknown; known are binary_cross_entropy",
        ),
        ("pred", "heads.expresion", "'heads.expresion' has no 'expresion'; there is dispersion, e"),
        ("where", "batch.mask", "there is measured, panel, panel_raw, real, total"),
        ("reduce", "mean", "'mean' is unknown; known are batch_mean, masked_mean, sum_then_mean"),
    ],
)
def test_a_wrong_spec_says_what_there_is(field, value, text):
    outputs, batch, tables = draw()
    spec = {"expression": {**SPEC["expression"], field: value}}
    with pytest.raises(ValueError, match=text):
        total(spec, outputs, batch, tables)


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        (
            "nb",
            {"dispersion": "heads.dispersion", "total": "batch.total"},
            "config.losses.expression: 'nb' takes dispersion, total, library_size; add library_siz",
        ),
        ("mse", {"dispersion": "heads.dispersion"}, "'mse' takes nothing; not dispersion"),
        (
            "nb",
            {"dispersion": "heads.dispersion", "total": "batch.total", "size": 3.0},
            "reduce, weight, after 'nb' takes dispersion, total, library_size; not size",
        ),
        (
            "nb",
            {"dispersion": "heads.spread", "total": "batch.total", "library_size": 1e5},
            "config.losses.expression.dispersion: 'heads.spread' has no 'spread'; there is disper",
        ),
        (
            "nb",
            {"dispersion": (1, 2), "total": "batch.total", "library_size": 1e5},
            r"config.losses.expression.dispersion: found \(1, 2\), expected a path or a number",
        ),
    ],
)
def test_a_wrong_further_input_says_what_the_kind_takes(kind, fields, text):
    outputs, batch, tables = draw()
    spec = {"expression": {**SPEC["expression"], "kind": kind, **fields}}
    with pytest.raises(ValueError, match=text):
        total(spec, outputs, batch, tables)

"""The Poisson loss: value, gradient, minimum; and sums that do not care how cells are split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from ml_collections import ConfigDict

from jaxcell.losses.expression import poisson_log1p
from jaxcell.losses.total import divide, total, weighted
from jaxcell.sharding import make_mesh, to_global
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


def draw(cells=16, genes=12):
    random = np.random.default_rng(0)
    return (
        {"heads": {"expression": random.uniform(0, 5, (cells, genes))}},
        {
            "panel": random.uniform(0, 5, (cells, genes)),
            "measured": random.random((cells, genes)) < 0.7,
            "real": random.random(cells) < 0.8,
        },
        {"mean": random.uniform(0, 5, genes)},
    )


def test_value_and_gradient_equal_autodiff_of_the_formula():
    with jax.enable_x64(True):
        z, t = jnp.linspace(0, 11, 50), jnp.linspace(11, 0, 50)
        theirs = reference.poisson_log1p(*(torch.from_numpy(np.array(a)) for a in (z, t)))
        np.testing.assert_allclose(poisson_log1p(z, t), theirs.numpy(), rtol=1e-14)
        plain = lambda z: (jnp.exp(z) - jnp.exp(t) * z).sum()  # noqa: E731
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
        np.testing.assert_allclose(weighted(SPEC, means), 2 * means["expression"], rtol=1e-15)


def test_masked_entries_and_padded_rows_count_for_nothing_whatever_they_hold():
    outputs, batch, tables = draw()
    with jax.enable_x64(True):
        before = total(SPEC, outputs, batch, tables)
        spoiled = np.where(batch["measured"] & batch["real"][:, None], batch["panel"], np.nan)
        after = total(SPEC, outputs, {**batch, "panel": spoiled}, tables)
        assert before["expression"] == after["expression"]


def test_all_masked_gives_zero_and_no_gradient():
    outputs, batch, tables = draw()
    batch = {**batch, "measured": np.zeros_like(batch["measured"])}
    assert divide(total(SPEC, outputs, batch, tables))["expression"] == 0
    batch = {**batch, "real": np.zeros_like(batch["real"])}

    def loss(z):
        return divide(total(SPEC, {"heads": {"expression": z}}, batch, tables))["expression"]

    assert loss(outputs["heads"]["expression"]) == 0
    np.testing.assert_array_equal(jax.grad(loss)(jnp.ones_like(batch["panel"])), 0)


def test_eight_devices_give_the_sums_of_one():
    outputs, batch, tables = draw()
    with jax.enable_x64(True):
        mesh = make_mesh(ConfigDict(dict(data=8, fsdp=1, tensor=1)))
        f = jax.jit(lambda o, b, t: total(SPEC, o, b, t)["expression"])
        one = f(outputs, batch, tables)
        eight = f(to_global(outputs, mesh), to_global(batch, mesh), tables)
        np.testing.assert_allclose(eight, one, rtol=1e-14)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("kind", "poison", "config.losses.expression.kind: 'poison' is unknown; known are poisson"),
        ("pred", "heads.expresion", "'heads.expresion' has no 'expresion'; there is expression"),
        ("where", "batch.mask", "there is measured, panel, real"),
        ("reduce", "mean", "'mean' is unknown; known are sum_then_mean"),
    ],
)
def test_a_wrong_spec_says_what_there_is(field, value, text):
    outputs, batch, tables = draw()
    spec = {"expression": {**SPEC["expression"], field: value}}
    with pytest.raises(ValueError, match=text):
        total(spec, outputs, batch, tables)

"""Count activations against the reference, their inverses, C.1 of the paper, and the heads."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxcell.models.cell import CellModel, count_parameters
from jaxcell.models.cost import forward_flops
from jaxcell.models.count_activations import COUNT_ACTIVATIONS, rectified_tanh
from jaxcell.models.expression_heads import bias_at
from tests.conftest import config_of
from tests.reference import txfm as reference

L = 1e5
A = math.log1p(L)


def logits():
    random = np.random.default_rng(0)
    z = random.normal(0, 6, (5, 30))
    z[1] *= 100
    measured = random.random((5, 30)) < 0.7
    measured[3] = False  # a cell that measured nothing
    return z, measured


@pytest.mark.parametrize("name", COUNT_ACTIVATIONS)
def test_value_and_gradient_in_float64(name):
    z, measured = logits()
    activation = COUNT_ACTIVATIONS[name]
    weights = np.random.default_rng(1).normal(size=z.shape)

    def ours(z):
        hidden = jnp.where(measured, z, -jnp.inf) if activation.shared else z
        return activation.apply(hidden, L)

    with jax.enable_x64(True):
        value = np.asarray(ours(jnp.asarray(z)))
        found = np.asarray(jax.jit(jax.grad(lambda z: (weights * ours(z)).sum()))(z))
    leaf = torch.from_numpy(z - z.max(1, keepdims=True) * activation.shared).requires_grad_()
    expected = reference.ACTIVATIONS[name](leaf, L, torch.from_numpy(measured))
    (torch.from_numpy(weights) * expected).sum().backward()
    np.testing.assert_allclose(value, expected.detach(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(found, leaf.grad, rtol=0, atol=1e-9)
    assert np.abs(found).max() > 0.1


@pytest.mark.parametrize("name", COUNT_ACTIVATIONS)
def test_inverse(name):
    """And through ``bias_at`` as well, with a gene that no cell shows and one that has it all."""
    activation = COUNT_ACTIVATIONS[name]
    random = np.random.default_rng(2)
    shares = random.dirichlet(np.full(20, 0.3))
    y = np.log1p(L * shares)
    with jax.enable_x64(True):
        z = activation.inverse(jnp.asarray(y)[None], L)
        np.testing.assert_allclose(activation.apply(z, L)[0], y, rtol=1e-9)
        spec = {"kind": "vocabulary_mlp", "activation": name, "library_size": L}
        bias = bias_at(spec, {"mean": jnp.array([0.0, 3.0, A])}, None)
        assert np.isfinite(bias).all()
        found = jax.grad(lambda z: activation.apply(z[None], L)[0, 0])(bias)
        assert float(found[0]) > 1e-9  # a gene that was never seen is not dead for ever
    assert bias_at({"kind": "gene_linear"}, {"mean": jnp.zeros(3)}, None) is None


def test_softmax_sums_to_the_library_size_and_float32_survives_anything():
    z = jnp.array([[-jnp.inf, -3e38, 3e38, 0], [-jnp.inf] * 4, [1, 2, 3, -jnp.inf]], jnp.float32)
    softmax = COUNT_ACTIVATIONS["softmax"].apply
    y = softmax(z, L)
    np.testing.assert_allclose(jnp.expm1(y).sum(axis=1), [L, 0, L], rtol=1e-5)
    np.testing.assert_array_equal(y[z == -jnp.inf], 0)
    assert np.isfinite(jax.grad(lambda z: softmax(z, L).sum())(z)).all()


# Appendix C.1


def slope(name, z):
    with jax.enable_x64(True):
        one = lambda z: COUNT_ACTIVATIONS[name].apply(z, L).sum()
        return np.asarray(jax.grad(one)(jnp.asarray(z, float)))


def test_rectified_tanh_by_hand():
    z = np.array([-1, 0, 0.5, 1, 5, 10, 20, 50])
    expected = [0, 0, 0.529049, 1.055868, 4.950118, 8.355568, 10.945777, 11.510602]
    with jax.enable_x64(True):
        np.testing.assert_allclose(rectified_tanh(jnp.asarray(z), L), expected, atol=5e-7)


def test_rectified_tanh_is_bounded_by_the_library_size_where_relu_is_not():
    z = np.array([30.0, 100, 1e4])
    with jax.enable_x64(True):
        tanh, clamped, relu = (
            np.asarray(COUNT_ACTIVATIONS[name].apply(z, L))
            for name in ("rectified_tanh", "clamped_relu", "relu")
        )
    assert (tanh <= A).all()
    np.testing.assert_allclose(np.expm1(tanh[1:]), L, rtol=1e-6)  # tends to the library size
    np.testing.assert_array_equal(clamped, A)
    np.testing.assert_array_equal(relu, z)


def test_slopes():
    just_above, e4 = 1e-9, 4 * math.e
    np.testing.assert_allclose(slope("rectified_tanh", [-1, 0, just_above]), [0, 0, A / e4])
    assert A / e4 == pytest.approx(1.0588, abs=5e-5)
    z = np.array([2.0, 8, 11, 12, 60])
    saturating = slope("rectified_tanh", z)
    np.testing.assert_allclose(saturating, A / e4 / np.cosh(z / e4) ** 2, 1e-12, atol=1e-15)
    assert (np.diff(saturating) < 0).all()  # ever less for a gene that is high already
    assert 0 < saturating[-1] < 1e-3
    np.testing.assert_array_equal(slope("relu", z), 1)
    np.testing.assert_array_equal(slope("clamped_relu", z), [1, 1, 1, 0, 0])


# Heads


def outputs_of(c, measured):
    model = CellModel(c.model)
    variables = jax.jit(model.init)(jax.random.key(0))
    batch = {
        "ids": np.array([[300, 5, 7], [300, 1, 2]], np.int32),
        "values": np.ones((2, 3), np.float32),
        "length": np.array([3, 2], np.int32),
        "measured": measured,
    }
    apply = jax.jit(lambda v, b: model.apply(v, b, {}, train=False)[0]["heads"])
    return variables, apply(variables, batch)


def test_zinbs_heads_and_their_shapes():
    c = config_of("txfm_b:tiny,zinb")
    variables, found = outputs_of(c, np.ones((2, 384), bool))
    shapes = {name: array.shape for name, array in found.items()}
    assert shapes == {"dispersion": (384,), "expression": (2, 384), "zero_inflation": (2, 384)}
    params = variables["params"]["heads"]
    assert jax.tree.map(jnp.shape, params["dispersion"]) == {"values": (384,)}
    assert jax.tree.map(jnp.shape, params["zero_inflation"]) == {"rows": (384, 32), "bias": (384,)}
    more = count_parameters(c.model) - count_parameters(config_of("txfm_b:tiny").model)
    assert more == 300 + 300 * 33
    extra = forward_flops(c.model, 33) - forward_flops(config_of("txfm_b:tiny").model, 33)
    assert extra == 2 * 300 * 32


def test_a_softmax_head_shares_out_among_the_measured_genes_alone():
    measured = np.arange(384) < 300
    measured = np.stack([measured, measured & (np.arange(384) % 3 == 0)])
    _, found = outputs_of(config_of("txfm_b:tiny,softmax"), measured)
    y = np.asarray(found["expression"], np.float64)
    np.testing.assert_allclose(np.expm1(y).sum(axis=1), L, rtol=1e-5)
    np.testing.assert_array_equal(y[~measured], 0)
    assert (y[measured] > 0).all()


@pytest.mark.parametrize(
    ("arm", "blocks"), [("linear_decoder", 0), ("mlp1_decoder", 1), ("", 4), ("mlp8_decoder", 8)]
)
def test_decoders_hold_their_blocks(arm, blocks):
    model = CellModel(config_of(f"txfm_b:tiny,{arm}".rstrip(",")).model)
    params = jax.eval_shape(model.init, jax.random.key(0))["params"]["heads"]["expression"]
    assert sorted(params) == sorted(["bias", "rows", *(f"blocks_{i}" for i in range(blocks))])


def test_an_unknown_activation_names_its_field():
    c = config_of("txfm_b:tiny")
    c.model.heads.expression.activation = "foo"
    with pytest.raises(
        ValueError, match=r"^config\.model\.heads\.expression\.activation: 'foo' is"
    ):
        jax.eval_shape(CellModel(c.model).init, jax.random.key(0))

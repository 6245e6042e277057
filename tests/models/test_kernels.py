"""Attention kernels: the TPU's equals XLA's in interpret mode; which is taken where, and why."""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from jaxcell.bench.attention import both, errors
from jaxcell.models import few_cells, kernels
from jaxcell.models.attention import attention
from jaxcell.models.cell import CellModel
from jaxcell.sharding import make_mesh
from jaxcell.training.machine import model_of
from tests.conftest import config_of


def drawn(cells, tokens, heads=2, channels=16):
    keys = jax.random.split(jax.random.key(tokens), 4)
    return [jax.random.normal(k, (cells, tokens, heads, channels)) for k in keys]


@pytest.mark.parametrize("tokens", [128, 147])
def test_the_tpu_kernel_gives_what_xla_gives_forward_and_backward(tokens):
    given = *drawn(3, tokens), jnp.array([tokens, 1, tokens - 37])
    with jax.numpy_rank_promotion("allow"), pltpu.force_tpu_interpret_mode():
        found = both("flash")[1](*given)
    assert max(errors(found, both("xla")[1](*given))) < 1e-5


def test_the_tpu_kernel_knows_what_is_causal():
    (q, k, v, _), length = drawn(2, 70), jnp.array([70, 33])
    with jax.numpy_rank_promotion("allow"), pltpu.force_tpu_interpret_mode():
        found = attention(q, k, v, length, causal=True, kernel="flash")
    wanted = attention(q, k, v, length, causal=True)
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-5)
    np.testing.assert_allclose(found[1, :33], wanted[1, :33], atol=1e-5)


@pytest.mark.parametrize("most", [2**22, 4 * 30 * 30, 30])
@pytest.mark.parametrize("causal", [False, True])
def test_a_few_cells_at_a_time_are_all_of_them(monkeypatch, most, causal):
    monkeypatch.setattr(few_cells, "CACHE", most)
    (q, k, v, g), length = drawn(6, 30), jnp.array([30, 1, 7, 30, 29, 12])

    def both(kernel):
        run = functools.partial(attention, length=length, causal=causal, kernel=kernel)
        out, back = jax.vjp(run, q, k, v)
        return out, back(g)

    assert max(errors(both("cells"), both("xla"))) < 1e-6


def test_on_a_mesh_each_device_runs_the_kernel_on_its_cells_and_heads(monkeypatch):
    shapes = []

    def spy(q, k, v, length, causal):
        shapes.append((q.shape, length.shape))
        return attention(q, k, v, length, causal=causal)

    monkeypatch.setitem(kernels.KERNELS, "flash", spy)
    (q, k, v, _), length = drawn(8, 12), jnp.arange(8)
    with jax.set_mesh(make_mesh({"data": 2, "fsdp": 2, "tensor": 2})):
        found = jax.jit(lambda *a: attention(*a, kernel="flash"))(q, k, v, length)
    assert shapes == [((2, 12, 1, 16), (2,))]
    # A cell without tokens is one of a single one: no NaN comes of it.
    wanted = attention(q, k, v, jnp.maximum(length, 1))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "platform", "dtype", "taken", "why"),
    [
        ({}, "gpu", "bfloat16", "cudnn", "for bfloat16 on gpu"),
        ({}, "tpu", "bfloat16", "flash", "for bfloat16 on tpu"),
        ({}, "cpu", "float32", "cells", "for float32 on cpu"),
        ({}, "gpu", "float32", "xla", "for bfloat16 and dtype is float32"),
        ({}, "tpu", "float32", "xla", "for bfloat16 and dtype is float32"),
        ({"attention": "xla"}, "gpu", "bfloat16", "xla", "as config.attention says"),
        ({"attention": "cudnn"}, "gpu", "bfloat16", "cudnn", "as config.attention says"),
        ({"model.encoder.dropout": 0.1}, "gpu", "bfloat16", "xla", "dropout = 0.1"),
        ({"model.encoder.attention": "performer"}, "tpu", "bfloat16", "xla", "linear cost"),
        ({"model.encoder.heads": 64}, "gpu", "bfloat16", "xla", "not 12"),
    ],
)
def test_which_kernel_is_taken_and_why(change, platform, dtype, taken, why):
    c = config_of("txfm_b")
    c.update_from_flattened_dict(change)
    kernel, reason = kernels.choose(c, dtype, platform)
    assert kernel == taken
    assert why in reason


def test_without_dropout_in_evaluation_the_kernel_is_taken():
    c = config_of("txfm_b")
    c.model.encoder.dropout = 0.1
    assert kernels.choose(c, "bfloat16", "gpu", train=False)[0] == "cudnn"


@pytest.mark.parametrize(
    ("name", "platform", "match"),
    [
        ("cudnn", "cpu", "found 'cudnn', expected 'auto' or 'xla' on cpu, whose kernel is 'cells'"),
        ("flash", "rocm", "expected 'auto' or 'xla' since rocm has no kernel of its own"),
        ("flash", "gpu", "found 'flash', expected 'auto' or 'xla' on gpu, whose kernel is 'cudnn'"),
        ("triton", "gpu", "'triton' is unknown; known are auto, cells, cudnn, flash, xla"),
    ],
)
def test_a_kernel_that_cannot_run_there_is_refused(name, platform, match):
    c = config_of("txfm_b")
    c.attention = name
    with pytest.raises(ValueError, match=match):
        kernels.choose(c, "bfloat16", platform)


def test_a_model_trained_with_another_machines_kernel_can_be_used_here():
    c = config_of("txfm_b:tiny")
    c.attention = "cudnn"
    assert kernels.choose(c, "float32", "cpu", train=False)[0] == "cells"
    assert model_of(c, train=False).kernel == "cells"


def test_a_run_says_which_kernel_it_takes():
    said = []
    model_of(config_of("txfm_b:tiny"), say=said.append)
    assert said == ["attention: cells, for float32 on cpu"]


def test_on_a_gpu_layers_are_no_loop_unless_the_config_says_so():
    c = config_of("txfm_b")
    assert model_of(c, "gpu").spec.encoder.unroll == 12
    assert model_of(c, "tpu").spec.encoder.unroll == 0
    c.model.encoder.unroll = 1
    assert model_of(c, "gpu").spec.encoder.unroll == 1


def test_an_odd_number_of_tokens_is_made_even_for_cudnn_and_weights_are_said(monkeypatch, caplog):
    def spy(q, k, v, length, causal):
        assert q.shape[1] % 2 == 0
        return attention(q, k, v, length, causal=causal)

    monkeypatch.setitem(kernels.KERNELS, "cudnn", spy)
    c = config_of("txfm_b:tiny")
    net, other = CellModel(c.model), CellModel(c.model, kernel="cudnn")
    variables = jax.jit(net.init)(jax.random.key(0))
    ids = jnp.concatenate([jnp.full((2, 1), c.model.vocabulary), jnp.arange(16).reshape(2, 8)], 1)
    batch = {"ids": ids, "values": jnp.ones((2, 9)), "length": jnp.array([9, 4])}
    batch["measured"] = jnp.ones((2, net.rows), bool)
    more = dict(train=False, tokens=True, attention=True)
    wanted = jax.jit(lambda v: net.apply(v, batch, {}, **more)[0])(variables)
    with caplog.at_level(logging.WARNING):
        found = jax.jit(lambda v: other.apply(v, batch, {}, **more)[0])(variables)
    assert "attention weights: computed by xla, since cudnn keeps none" in caplog.text
    assert found["tokens"].shape == wanted["tokens"].shape
    np.testing.assert_allclose(found["tokens"][0], wanted["tokens"][0], atol=1e-6)
    np.testing.assert_allclose(
        found["attention"][1, :, :, :4], wanted["attention"][1, :, :, :4], atol=1e-6
    )
    np.testing.assert_allclose(
        found["heads"]["expression"], wanted["heads"]["expression"], atol=1e-6
    )

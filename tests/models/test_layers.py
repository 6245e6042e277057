"""The encoder's shortcuts change nothing: fewer queries, chunks, unrolling, recomputing."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcell.models import attention
from jaxcell.models.encoder import Encoder
from jaxcell.models.fields import Concat, Taken

B, T, D, N = 3, 13, 16, 3
LENGTH = np.array([13, 7, 1], np.int32)


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def encoder(**fields):
    return Encoder(layers=N, heads=2, layer_scale=0.5, **fields)


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(0).normal(size=(B, T, D)))


@pytest.fixture
def variables(x):
    drawn = encoder().init(jax.random.key(1), x, LENGTH, train=False)
    random = np.random.default_rng(2)
    return jax.tree.map(lambda a: jnp.asarray(random.normal(0, 0.3, a.shape)), drawn)


def value_and_grads(model, variables, x, **options):
    def loss(variables):
        out = model.apply(variables, x, LENGTH, train=False, **options)
        return jnp.sin(out[:, 0]).sum(), out

    (_, out), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)
    return out, grads


def assert_close(a, b):
    jax.tree.map(lambda i, j: np.testing.assert_allclose(i, j, rtol=0, atol=1e-12), a, b)


@pytest.mark.parametrize("queries", [1, 7, 8, 12])  # of 8 channels a head: keys are made, or not
def test_the_first_tokens_alone_are_the_first_of_all(x, variables, queries):
    whole, grads = value_and_grads(encoder(), variables, x)
    first, theirs = value_and_grads(encoder(), variables, x, queries=queries)
    assert first.shape == (B, queries, D)
    assert_close(first, whole[:, :queries])
    assert_close(theirs, grads)


@pytest.mark.parametrize(
    "fields", [{"unroll": 2}, {"remat": "full"}, {"remat": "dots"}, {"remat": "full", "unroll": 3}]
)
def test_unrolled_or_recomputed_it_is_the_same(x, variables, fields):
    assert_close(
        value_and_grads(encoder(**fields), variables, x, queries=1),
        value_and_grads(encoder(), variables, x, queries=1),
    )


def test_the_blocks_are_drawn_one_by_one(x):
    drawn = encoder().init(jax.random.key(1), x, LENGTH, train=False)["params"]["blocks"]
    kernel = drawn["mlp"]["in"]["kernel"]
    assert kernel.shape == (N, D, 4 * D)
    assert not np.array_equal(kernel[0], kernel[1])
    # Xavier over the packed [D, 3 D] of queries, keys and values.
    qkv = np.abs(drawn["attention"]["qkv"]["kernel"])
    assert 0.95 < qkv.max() / np.sqrt(6 / (4 * D)) <= 1


def test_depth_stops_behind_a_block(x, variables):
    blocks = variables["params"]["blocks"]
    for depth in range(1, N + 1):
        stopped = encoder().apply(variables, x, LENGTH, train=False, depth=depth)
        first = {"blocks": jax.tree.map(operator.itemgetter(slice(depth)), blocks)}
        short = Encoder(layers=depth, heads=2, layer_scale=0.5)
        whole = {"params": {**variables["params"], **first}}
        expected = short.apply(whole, x, LENGTH, train=False)
        if depth < N:  # the final norm belongs to the last block
            mean = stopped.mean(axis=-1, keepdims=True)
            stopped = (stopped - mean) / jnp.sqrt(stopped.var(axis=-1, keepdims=True) + 1e-6)
            norm = variables["params"]["norm"]
            stopped = stopped * norm["scale"][None, None] + norm["bias"][None, None]
        assert_close(stopped, expected)


@pytest.mark.parametrize("queries", [None, 6])
def test_attention_in_chunks_is_attention(x, variables, queries, monkeypatch):
    whole = value_and_grads(encoder(), variables, x, queries=queries)
    monkeypatch.setattr(attention, "CHUNK", 5)
    assert_close(value_and_grads(encoder(), variables, x, queries=queries), whole)


@pytest.mark.parametrize("rows", [5, 500])
def test_a_table_is_projected_before_or_after_its_rows_are_taken(rows):
    """Fewer rows than tokens or more: the fields, concatenated and multiplied by the kernel."""
    random = np.random.default_rng(0)
    table, ids = jnp.asarray(random.normal(size=(rows, D))), random.integers(0, rows, (B, T))
    value = jnp.asarray(random.normal(size=(B, T, 1)))
    concat = Concat(8)
    variables = concat.init(jax.random.key(0), [Taken(table, ids), value])
    variables = jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape)), variables)
    kernel, bias = (variables["params"][k] for k in ("kernel", "bias"))

    def ours(table):
        return concat.apply(variables, [Taken(table, ids), value])

    def plain(table):
        return jnp.concatenate([table[ids], value], axis=-1) @ kernel + bias[None, None]

    assert_close(ours(table), plain(table))
    grads = [jax.grad(lambda t, f=f: jnp.sin(f(t)).sum())(table) for f in (ours, plain)]
    assert_close(*grads)

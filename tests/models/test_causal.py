"""Causal attention, what it reads and shows: torch's layer, no glimpse of what comes later."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxcell import sharding
from jaxcell.attribution import integrate, model_to_explain, quadrature
from jaxcell.models import attention, pools
from jaxcell.models.cell import CellModel
from jaxcell.models.encoder import Encoder
from jaxcell.models.fields import NextGene, next_ids
from jaxcell.models.layers import Mlp
from jaxcell.outputs import _of_vector
from tests.models.decoder import GENES, cells, decoder, variables_of

B, T, D, H = 3, 13, 16, 2
LENGTH = np.array([13, 7, 1], np.int32)
X = np.random.default_rng(0).normal(size=(B, T, D))
BLOCKED = np.random.default_rng(1).random((B, T)) < 0.3
REAL = np.arange(T) < LENGTH[:, None]


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def encoder(layers=2, **fields):
    kinds = dict(norm_first=False, activation="relu", norm_eps=1e-5, final_norm=False, hidden=24)
    return Encoder(layers=layers, heads=H, **{**kinds, "causal": True, **fields})


@functools.cache
def params():
    with jax.enable_x64(True):
        drawn = encoder().init(jax.random.key(1), X, LENGTH, train=False)
        random = np.random.default_rng(2)
        return jax.tree.map(lambda a: random.normal(0, 0.3, a.shape), drawn)


def run(x, model, **how):
    how = {"train": False, **how}
    rngs = {"dropout": jax.random.key(3)} if how["train"] else None
    return model.apply(params(), x, LENGTH, rngs=rngs, **how)


def torchs_layers():
    """torch.nn.TransformerEncoderLayer with our parameters; dropout 0, so never its fast path."""
    blocks, layers = params()["params"]["blocks"], []
    for n in range(2):
        p = jax.tree.map(lambda a, n=n: torch.from_numpy(np.array(a[n])), blocks)
        layer = torch.nn.TransformerEncoderLayer(D, H, 24, 0.0, batch_first=True).double()
        theirs = {
            "self_attn.in_proj_weight": p["attention"]["qkv"]["kernel"].reshape(D, 3 * D).T,
            "self_attn.in_proj_bias": p["attention"]["qkv"]["bias"].reshape(-1),
            "self_attn.out_proj.weight": p["attention"]["out"]["kernel"].reshape(D, D).T,
            "self_attn.out_proj.bias": p["attention"]["out"]["bias"],
            "linear1.weight": p["mlp"]["in"]["kernel"].T,
            "linear1.bias": p["mlp"]["in"]["bias"],
            "linear2.weight": p["mlp"]["out"]["kernel"].T,
            "linear2.bias": p["mlp"]["out"]["bias"],
        }
        for norm in ("norm1", "norm2"):
            theirs |= {f"{norm}.weight": p[norm]["scale"], f"{norm}.bias": p[norm]["bias"]}
        layer.load_state_dict(theirs)
        layers.append(layer)
    return layers


@pytest.mark.parametrize("causal", [True, False])
def test_it_is_torchs_layer_and_shows_its_weights(causal):
    torch.set_num_threads(1)  # two on busy cores take 20 times longer
    padded = torch.from_numpy(~REAL)
    later = torch.ones(T, T, dtype=torch.bool).triu(1) if causal else None
    first, second = torchs_layers()
    theirs = torch.from_numpy(X.copy()).requires_grad_()
    h = first(theirs, src_mask=later, src_key_padding_mask=padded)
    out = second(h, src_mask=later, src_key_padding_mask=padded)
    how = dict(attn_mask=later, key_padding_mask=padded, average_attn_weights=False)
    _, weights = second.self_attn(h, h, h, **how)
    torch.sin(out)[torch.from_numpy(REAL)].sum().backward()

    def loss(x):
        ours, found = run(x, encoder(causal=causal), weights=True)
        return jnp.where(REAL[..., None], jnp.sin(ours), 0).sum(), (ours, found)

    grad, (ours, found) = jax.jit(jax.grad(loss, has_aux=True))(X)
    np.testing.assert_allclose(ours[REAL], out.detach().numpy()[REAL], rtol=0, atol=1e-9)
    np.testing.assert_allclose(grad, theirs.grad, rtol=0, atol=1e-9)
    assert found.shape == (B, H, T, T)
    mine = np.broadcast_to(REAL[:, None, :], (B, H, T))
    np.testing.assert_allclose(found[mine], weights.detach().numpy()[mine], rtol=0, atol=1e-9)


CASES = {
    "plain": (dict(), dict()),
    "blocked": (dict(), dict(blocked=BLOCKED)),
    "dropout": (dict(dropout=0.3, dropout_inside=True), dict(train=True)),
    "chunks": (dict(), dict(blocked=BLOCKED, chunk=5)),
    "remat": (dict(remat="full", unroll=2), dict()),
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_later_has_any_influence(case, monkeypatch):
    fields, how = CASES[case]
    how = dict(how)
    if chunk := how.pop("chunk", 0):
        monkeypatch.setattr(attention, "CHUNK", chunk)
    out, back = jax.vjp(lambda x: run(x, encoder(**fields), **how), X)
    found = jax.jit(jax.vmap(lambda g: back(g)[0]))  # of the cotangent at one token
    each = jnp.eye(T)[:, None, :, None] * jnp.cos(jnp.arange(D))[None, None, None]
    grads = np.asarray(found(jnp.broadcast_to(each, (T, *out.shape))))  # [query, B, token, D]
    touched = (grads != 0).any(axis=-1)
    earlier = np.tril(np.ones((T, T), bool))
    for b, length in enumerate(LENGTH):
        expected = earlier & (REAL[b] | np.eye(T, dtype=bool))
        if "blocked" in how:
            expected &= ~BLOCKED[b] | np.eye(T, dtype=bool)
        own = touched[:length, b]
        assert not (own & ~expected[:length]).any()
        assert case == "dropout" or (own == expected[:length]).all()


@pytest.mark.parametrize("queries", [1, 6, 12])
def test_the_first_tokens_alone_are_the_first_of_all(queries):
    def loss(x, **how):
        out = run(x, encoder(), blocked=BLOCKED, **how)
        return jnp.sin(out[:, :queries]).sum(), out

    grad = jax.jit(jax.grad(loss, has_aux=True), static_argnames="queries")
    (theirs, whole), (ours, first) = grad(X), grad(X, queries=queries)
    assert first.shape == (B, queries, D)
    np.testing.assert_allclose(first, whole[:, :queries], rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_chunks_are_the_whole(monkeypatch):
    grad = lambda: jax.jit(
        jax.value_and_grad(lambda x: jnp.sin(run(x, encoder(), blocked=BLOCKED)).sum())
    )
    whole = grad()(X)
    monkeypatch.setattr(attention, "CHUNK", 4)
    for ours, theirs in zip(grad()(X), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", ["performer", "nystrom"])
def test_linear_attention_is_neither_causal_nor_shows_weights(kind):
    text = f"config.model.encoder.attention: found '{kind}', expected 'exact' for"
    with pytest.raises(ValueError, match=f"{text} a causal encoder"):
        run(X, encoder(attention=kind))
    with pytest.raises(ValueError, match=f"{text} attention weights"):
        run(X, encoder(attention=kind, causal=False), weights=True)


def test_dropout_inside_drops_the_hidden_layer():
    mlp = Mlp(400, "relu", dropout=0.25)
    x, key = jnp.ones((1, 3)), {"dropout": jax.random.key(1)}
    drawn = mlp.init({"params": jax.random.key(0), **key}, x)["params"]
    drawn["in"] = {"kernel": jnp.ones((3, 400)), "bias": jnp.zeros(400)}
    drawn["out"] = {"kernel": jnp.eye(400)[:, :3], "bias": jnp.zeros(3)}
    out = np.stack([mlp.apply({"params": drawn}, x, rngs={"dropout": jax.random.key(n)})[0]
                    for n in range(100)])  # fmt: skip
    assert set(np.unique(out)) == {0.0, 4.0}  # 3 / 0.75
    assert np.mean(out == 0) == pytest.approx(0.25, abs=0.08)


def test_the_last_pool_is_the_last_valid_token():
    batch, net = cells([6, 1, 4], 6), CellModel(decoder().model)
    run = lambda v: net.apply(v, batch, {}, train=False, tokens=True, heads=False)[0]
    outputs = jax.jit(run)(variables_of(net))
    for b, n in enumerate(batch["length"]):
        np.testing.assert_array_equal(outputs["cell"][b], outputs["tokens"][b, n - 1])
    assert not pools.last(outputs["tokens"], jnp.array([0, 1, 1]))[0].any()


def test_a_token_in_front_of_a_causal_cell_is_no_pool_and_no_heads():
    c = decoder()
    text = "found 'cls', expected mean or weighted or last: in a causal encoder"
    c.model.pool = "cls"
    with pytest.raises(ValueError, match=f"config.model.pool: {text}"):
        CellModel(c.model)
    c.model.pool, c.model.heads.bins.reads = "mean+last", "cls"
    with pytest.raises(ValueError, match=f"config.model.heads.bins.reads: {text}"):
        CellModel(c.model)


def test_the_next_gene_is_that_of_the_next_token():
    ids = jnp.array([[7, 2, 0, 1], [7, 6, 3, 0]])  # V = 6: 6 and 7 are special tokens
    batch = {"ids": ids, "length": jnp.array([4, 3])}
    np.testing.assert_array_equal(next_ids(**batch), [[2, 0, 1, -1], [6, 3, -1, -1]])
    field, table = NextGene(rows=8, vocabulary=6, width=4), X[0, :8, :4]
    ours = field.apply({"params": {"embedding": table}}, batch)
    zero = np.zeros(4)
    expected = [[table[2], table[0], table[1], zero], [zero, table[3], zero, zero]]
    np.testing.assert_array_equal(ours, expected)
    batch["next_ids"] = jnp.array([[5, -1, 6, 0], [1, 1, 1, 1]])
    ours = field.apply({"params": {"embedding": table}}, batch)
    np.testing.assert_array_equal(ours[0], [table[5], zero, zero, table[0]])


def test_weights_are_those_of_the_block_that_is_asked_for():
    """Beside metadata's own token in front, which takes the rest to 1."""
    c = decoder(causal=False)
    c.model.pool, c.model.metadata = "cls", {"organ": dict(label="organ", classes=2, place="token")}
    batch, net = cells([6, 3], 6), CellModel(c.model)
    batch["labels"] = {"organ": np.array([1, -1])}
    variables = variables_of(net)

    @jax.jit
    def call(variables):
        run = functools.partial(net.apply, variables, batch, {}, train=False, heads=False)
        return [run(**how)[0] for how in (dict(attention=True), dict(attention=True, depth=1), {})]

    whole, first, plain = call(variables)
    np.testing.assert_allclose(whole["cell"], plain["cell"], rtol=0, atol=1e-12)
    first = first["attention"]
    assert whole["attention"].shape == first.shape == (2, H, 6, 6)
    assert whole["attention"].dtype == np.float64
    assert np.abs(first - whole["attention"]).max() > 1e-3
    assert not first[1, :, :, 3:].any()
    sums = np.asarray(first[0].sum(axis=-1))
    assert ((sums > 0) & (sums < 1)).all()


def test_attributions_to_the_next_gene_are_complete():
    c = decoder(layers=1)
    net, output = model_to_explain(c.model), _of_vector(type("M", (), {"config": c}), None)
    batch, variables = cells([6, 4], 6), variables_of(net)
    found = jax.jit(lambda v, b: integrate(net, output, v, {}, b, None, quadrature(200)))(
        variables, batch
    )
    sums = sum(np.asarray(a).sum(axis=1) for a in found["fields"].values())
    np.testing.assert_allclose(sums, found["output"] - found["baseline"], rtol=0, atol=1e-3)
    ours = np.asarray(found["fields"]["next"])  # without CLS
    assert ours.shape == (2, 5)
    assert (ours[0, :4] != 0).all()
    assert (ours[1, :2] != 0).all()
    assert not ours[0, 4]  # behind the last token comes no gene
    assert not ours[1, 2:].any()
    assert GENES not in batch["ids"][:, 1:]


def test_every_parameter_has_a_rule_of_sharding():
    c = decoder()
    shapes = jax.eval_shape(CellModel(c.model).init, jax.random.key(0))["params"]
    mesh = sharding.make_mesh({"data": 1, "fsdp": 4, "tensor": 2}, jax.devices())
    laid = sharding.specs(shapes, c.sharding, mesh)
    assert laid["fields"]["next"]["embedding"] == jax.P("tensor", "fsdp")

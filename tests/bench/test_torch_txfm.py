"""The PyTorch model that benchmarks run beside ours is the same model."""

import functools

import jax
import numpy as np
import pytest

from jaxcell.bench.step import measure, speed
from jaxcell.bench.synthetic import synthetic
from jaxcell.models.cell import CellModel, count_parameters
from jaxcell.models.cost import training_flops
from jaxcell.training.shapes import tokens_of
from jaxcell.training.step import make_parts
from tests.conftest import config_of

torch = pytest.importorskip("torch")


def peer_of(c, params):
    """The peer with our parameters."""
    from jaxcell.bench.torch_txfm import TxFM

    p = jax.tree.map(lambda x: torch.from_numpy(np.array(x)), params)
    genes, spec = c.model.vocabulary, c.model
    state = {"genes.weight": p["fields"]["gene"]["embedding"][:genes]}
    state["cls"] = p["fields"]["specials"][None]

    def linear(name, one):
        state[f"{name}.weight"], state[f"{name}.bias"] = one["kernel"].T, one["bias"]

    def norm(name, one):
        state[f"{name}.weight"], state[f"{name}.bias"] = one["scale"], one["bias"]

    linear("combine", p["fields"]["combine"])
    norm("norm", p["encoder"]["norm"])
    for i in range(spec.encoder.layers):
        q, own = jax.tree.map(lambda x, i=i: x[i], p["encoder"]["blocks"]), f"blocks.{i}"
        qkv, out = q["attention"]["qkv"], q["attention"]["out"]
        flat = qkv["kernel"].reshape(spec.width, -1), qkv["bias"].reshape(-1)
        linear(f"{own}.qkv", dict(zip(("kernel", "bias"), flat, strict=True)))
        linear(f"{own}.out", {"kernel": out["kernel"].reshape(-1, spec.width), "bias": out["bias"]})
        linear(f"{own}.first", q["mlp"]["in"])
        linear(f"{own}.second", q["mlp"]["out"])
        for k in ("1", "2"):
            norm(f"{own}.norm{k}", q[f"norm{k}"])
            state[f"{own}.scale{k}"] = q[f"scale{k}"]["scale"]
    head = p["heads"]["expression"]
    for i in range(spec.heads.expression.blocks):
        linear(f"first.{i}", head[f"blocks_{i}"]["in"])
        linear(f"second.{i}", head[f"blocks_{i}"]["out"])
    state["rows.weight"], state["rows.bias"] = head["rows"][:genes], head["bias"][:genes]
    peer = TxFM(c.model).eval()
    peer.load_state_dict(state)
    return peer


def test_the_peer_gives_our_vectors_and_our_loss():
    c = config_of("txfm_b:tiny")
    model = CellModel(c.model)
    batch, tables = synthetic(c, model.rows, 6)
    variables = jax.jit(model.init)(jax.random.key(1))
    head = variables["params"]["heads"]["expression"]
    head["bias"] = head["bias"] + 0.5  # at 0 half of the rates would be
    peer = peer_of(c, variables["params"])
    assert sum(p.numel() for p in peer.parameters()) == count_parameters(c.model)
    t = {k: torch.from_numpy(batch[k]) for k in ("ids", "values", "panel_ids", "panel_counts")}
    ids, values = t["ids"][:, 1:].long(), t["values"][:, 1:]
    with torch.no_grad():
        cell = peer(ids, values)
        panel = t["panel_ids"].long(), t["panel_counts"], torch.from_numpy(batch["total"])
        loss = peer.loss(ids, values, *panel, c.data.normalise.library_size)
    ours, _ = jax.jit(functools.partial(model.apply, train=False))(variables, batch, tables)
    np.testing.assert_allclose(cell, ours["cell"], atol=1e-5)
    parts = jax.jit(functools.partial(make_parts(model, c), train=False))
    found, _ = parts(variables, batch, tables)
    numerator, denominator = found["expression"]
    np.testing.assert_allclose(loss, numerator / denominator, rtol=1e-5)


def test_a_measured_step_says_what_it_measured():
    c = config_of("txfm_b:tiny")
    said = []
    found = measure(c, 8, 2, said.append)
    assert said == ["attention: cells, for float32 on cpu"]
    assert found["batch"] == 8
    assert found["tokens"] == 33
    assert found["mfu"] is None
    assert np.isfinite(found["loss"])
    flops = training_flops(c.model, tokens_of(c), whole=True)
    np.testing.assert_allclose(found["tflops"], found["cells_per_s"] * flops / 1e12)
    assert found["computed"] < found["tflops"]
    assert speed(c, 8, 2.0)["cells_per_s"] == 4

"""Gradient accumulation is the whole batch; frozen parameters stay as they are, bit for bit."""

import os
import re

import jax
import numpy as np
import optax
import pytest

from jaxcell import config, sharding
from jaxcell.models.cell import CellModel
from jaxcell.training import loop, optim
from jaxcell.training.checkpoint import flatten
from jaxcell.training.gradients import make_gradients, micro_batches
from jaxcell.training.step import compile_steps, make_parts
from tests.training.meshes import assert_same, run_on
from tests.training.test_training import tiny

PLAIN = {"model.encoder.drop_path": 0.0}


@pytest.mark.parametrize(
    "axes", [pytest.param((1, 1, 1), marks=pytest.mark.slow), (2, 2, 2)], ids=str
)
def test_micro_batches_give_the_whole_batch(store, axes):
    """Loss, gradient norm and parameters of three steps of SGD, in float64 to 1e-9."""
    with jax.enable_x64(True):
        one, four = run(store, (1, 1, 1)), run(store, axes, **{"train.accumulate": 4})
    assert_same(four, one, 1e-9)
    assert one.metrics["loss"][2] < one.metrics["loss"][0]  # the steps do something


def run(store, axes, steps=3, **fields):
    c = tiny(store, dtype="float32", **PLAIN, **fields)
    loop.adopt(c, store, print)
    return run_on(axes, c, store, optax.sgd(1e-6), steps=steps)


def test_denominators_are_summed_before_the_division(store):
    """By hand: 4 real cells in one micro-batch, 1 in the other; the mean is over the five."""

    def parts(variables, batch, tables, *, train, rngs, progress):
        n = (batch["x"] * variables["params"]["w"] * batch["real"]).sum()
        return {"expression": (n, batch["real"].sum())}, {}

    c = tiny(store, **{"train.accumulate": 2})
    c.losses = {"expression": {"weight": 3.0}}
    x = np.arange(8, dtype=np.float32)
    real = np.array([1, 1, 1, 0, 1, 0, 1, 0], np.float32)  # rows 0, 2, 4, 6 and row 1
    found, stats, grads = make_gradients(parts, c)(
        {"w": np.float32(2)}, {}, {}, {"x": x, "real": real}, {}, jax.random.key(0)
    )
    assert stats == {}
    assert list(map(float, found["expression"])) == [2 * (0 + 1 + 2 + 4 + 6), 5]
    assert float(grads["w"]) == pytest.approx(3 * (0 + 1 + 2 + 4 + 6) / 5, rel=1e-6)


def test_every_device_keeps_its_rows(store):
    mesh = sharding.make_mesh({"data": 4, "fsdp": 2, "tensor": 1})
    batch = {"x": np.arange(32, dtype=np.int32), "y": np.zeros((32, 3), np.float32)}
    with jax.set_mesh(mesh):
        rows = sharding.batch_sharding(mesh)
        split = jax.jit(lambda b: micro_batches(b, 2), in_shardings=rows)
        made = split(sharding.to_global(batch, mesh))
        text = split.lower(batch).compile().as_text()
    assert not re.search("all-to-all|all-gather|collective-permute|all-reduce", text)
    assert made["y"].shape == (2, 16, 3)
    np.testing.assert_array_equal(made["x"], [np.arange(0, 32, 2), np.arange(1, 32, 2)])
    for shard in made["x"].addressable_shards:
        device = shard.device.id
        assert sorted(np.ravel(shard.data)) == list(range(4 * device, 4 * device + 4))


@pytest.mark.slow
def test_counting_does_not_run_the_model(store):
    """As many matrix products as one micro-batch has: XLA drops the model from the first pass."""
    with jax.enable_x64(False):
        products = [count_products(store, number) for number in (1, 4)]
    assert products[0] > 20
    assert products[1] == products[0]


def count_products(store, number):
    c = tiny(store, **{"train.accumulate": number})
    loop.adopt(c, store, print)
    model = CellModel(c.model)
    tables = loop.tables_of(store, c, model.rows)
    mesh = sharding.make_mesh({"data": 1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    state, step, _, tables = compile_steps(model, c, optim.build(c, 6), mesh, tables)
    batch = loop.Batches(store, c, "train", 16, stop=1)[0]
    with jax.set_mesh(mesh):
        text = step.lower(state, sharding.to_global(batch, mesh), tables).compile().as_text()
    return len(re.findall(r"= \S+ dot\(", text))


def test_a_model_with_batch_statistics_refuses_to_accumulate(store):
    c = tiny(store, **{"train.accumulate": 2})
    gradients = make_gradients(make_parts(CellModel(c.model), c), c)
    with pytest.raises(ValueError, match=r"config\.train\.accumulate: .* take 1"):
        gradients({}, {}, {"norm": {"mean": np.zeros(3)}}, {}, {}, jax.random.key(0))


def test_losses_over_pairs_of_cells_refuse_to_accumulate(store):
    c = tiny(store)
    c.losses.ecs = {"kind": "elastic", "pred": "cell", "beta": 0.6, "weight": 10.0}
    config.check(c)
    c.train.accumulate = 2
    with pytest.raises(ValueError, match=r"train\.accumulate: found 2, expected 1: ecs would see"):
        config.check(c)
    with pytest.raises(ValueError, match=r"config\.train\.accumulate: .* pairs of cells .* take 1"):
        make_gradients(None, c)


def test_batches_that_do_not_divide_are_refused(store):
    with pytest.raises(ValueError, match=r"train\.accumulate: found 3, expected a divisor of"):
        config.check(tiny(store, **{"train.accumulate": 3}))
    c = tiny(store, **{"train.accumulate": 4, "mesh.data": 8})
    with pytest.raises(ValueError, match="16 cells do not divide over 4 micro-batches on each of"):
        loop.Run(c, "nowhere")


def test_validation_does_not_depend_on_micro_batches(store, tmp_path):
    found = []
    for number in (1, 2):
        c = tiny(store, **{"train.accumulate": number, "dtype": "float32"})
        run = loop.Run(c, tmp_path / str(number))
        found.append(run.held_out.losses(run.state))
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=1e-6), name


FROZEN = r"^encoder/|gene/embedding$"


@pytest.mark.parametrize(
    "axes", [(1, 1, 1), pytest.param((2, 2, 2), marks=pytest.mark.slow)], ids=str
)
def test_frozen_parameters_stay_and_all_others_move(store, axes):
    c = tiny(store, **{"optimizer.frozen": FROZEN, "optimizer.weight_decay": 0.5})
    c.mesh.data, c.mesh.fsdp, c.mesh.tensor = axes
    loop.adopt(c, store, print)
    model = CellModel(c.model)
    tables = loop.tables_of(store, c, model.rows)
    mesh = sharding.make_mesh(c.mesh, jax.devices()[: int(np.prod(axes))])
    state, step, _, tables = compile_steps(model, c, optim.build(c, 6), mesh, tables)
    before = flatten(state.params)
    batches = loop.Batches(store, c, "train", 16, stop=3)
    for i in range(3):
        with jax.set_mesh(mesh):
            state, _ = step(state, sharding.to_global(batches[i], mesh), tables)
    after = flatten(state.params)
    assert before.keys() == after.keys()
    frozen = {path for path in before if re.search(FROZEN, path)}
    assert len(frozen) > 10
    for path in before:
        same = np.array_equal(before[path], after[path])
        assert same == (path in frozen), path
    moments = {p.split("/mu/")[1] for p in flatten(state.opt_state) if "/mu/" in p}
    assert moments == before.keys() - frozen
    for moment in (state.opt_state[0].mu, state.opt_state[0].nu):  # laid out as their parameters
        rows = moment["heads"]["expression"]["rows"]
        assert rows.sharding.spec == state.params["heads"]["expression"]["rows"].sharding.spec
        assert rows.sharding.spec == jax.sharding.PartitionSpec("tensor", "fsdp")


def test_gradients_of_the_rest_are_those_without_freezing(store):
    with jax.enable_x64(True):
        free = run(store, (1, 1, 1), steps=1).state
        held = run(store, (1, 1, 1), steps=1, **{"optimizer.frozen": FROZEN}).state
    for path in free:
        if not re.search(FROZEN, path.removeprefix("params/")):
            np.testing.assert_allclose(held[path], free[path], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("regex", "text"),
    [
        ("encodr", "'encodr' matches no parameter; there are encoder/blocks/"),
        (".*", "matches every parameter; there are encoder/blocks/"),
        ("(", r"'\(' is no regex"),
    ],
)
def test_a_regex_that_freezes_nothing_or_all_is_refused(store, regex, text):
    with pytest.raises(ValueError, match=text):
        loop.check(tiny(store, **{"optimizer.frozen": regex}))


@pytest.mark.slow
def test_a_run_with_frozen_parameters_says_so_and_resumes(store, tmp_path, capsys):
    fields = {"optimizer.frozen": FROZEN, "train.accumulate": 2, "train.save_every": 1}
    fields["optimizer.moments"] = "bfloat16"
    c = tiny(store, **fields)
    assert not loop.train(c, tmp_path, lambda step: step == 3 and os.kill(os.getpid(), 15))
    assert loop.train(tiny(store, **fields), tmp_path)
    said = capsys.readouterr().out
    assert re.search(r"frozen: [\d,]+ of [\d,]+ parameters train", said)
    assert "goes on from step 3 of 6" in said

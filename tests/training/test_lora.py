"""Low-rank updates, and the variants that put a trained model to a label of its user's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcell
from jaxcell import config
from jaxcell.models.cell import CellModel
from jaxcell.training import loop, lora
from jaxcell.training.checkpoint import flatten, load_model
from tests.conftest import config_of, draw_cells
from tests.training.test_training import tiny


@pytest.fixture(scope="module")
def pretrained(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("pretrained")
    assert loop.train(tiny(store, steps=3), workdir)
    return workdir


def adapted(store, names, pretrained, **fields):
    """A config of the small store that starts from the pretrained model and learns ``kind``."""
    c = config_of(f"txfm_b:tiny,{names}")
    c.data.store, c.steps, c.labels = str(store.path), 4, ("cell_type=kind",)
    c.train.log_every, c.train.validate_every = 1, 2
    c.update_from_flattened_dict(fields)
    c.train.init_from = str(pretrained)
    return c


def spec(rank=2, paths="attention/(qkv|out)/kernel$", alpha=3.0):
    c = config.defaults()
    c.train.lora = {"rank": rank, "alpha": alpha, "paths": paths}
    return c.train.lora


def test_a_kernel_counts_with_its_update():
    """By hand: [L, I …, O …] as matrices, each block's its own."""
    model = CellModel(config_of("txfm_b:tiny").model)
    params = jax.jit(model.init)(jax.random.key(0))["params"]
    both = lora.add(params, jax.random.key(1), spec())
    assert both.keys() - params.keys() == {"lora"}
    same = lora.merged(both, spec())
    jax.tree.map(np.testing.assert_array_equal, same, params)  # b is zero at first
    drawn = jax.tree.map(lambda x: jax.random.normal(jax.random.key(x.size), x.shape), both["lora"])
    got = lora.merged({**both, "lora": drawn}, spec())
    for name, inputs in (("qkv", 32), ("out", 32)):
        a, b = (drawn["encoder"]["blocks"]["attention"][name]["kernel"][k] for k in "ab")
        old = np.asarray(params["encoder"]["blocks"]["attention"][name]["kernel"])
        new = np.asarray(got["encoder"]["blocks"]["attention"][name]["kernel"])
        assert a.shape == (2, inputs, 2)
        for block in range(2):
            want = old[block].reshape(inputs, -1) + 1.5 * np.asarray(a[block]) @ np.asarray(
                b[block]
            )
            np.testing.assert_allclose(new[block].reshape(want.shape), want, rtol=1e-5, atol=1e-5)
    unchanged = jax.tree.map(lambda x, y: bool((x == y).all()), got, params)
    assert sum(not one for one in jax.tree.leaves(unchanged)) == 2


def test_a_rank_as_high_as_the_kernel_reaches_any_kernel():
    x = jnp.zeros((6, 5))
    goal = jax.random.normal(jax.random.key(0), (6, 5))
    a, b = jnp.eye(6), goal
    params = {"head": {"kernel": x}, "lora": {"head": {"kernel": {"a": a[None], "b": b[None]}}}}
    found = lora.merged(params, spec(rank=6, alpha=6.0))
    np.testing.assert_allclose(found["head"]["kernel"], goal, rtol=1e-6)


def test_updates_and_heads_train_and_the_rest_stays(store, pretrained, tmp_path, capsys):
    c = adapted(store, "annotate,lora", pretrained)
    assert loop.train(c, tmp_path)
    said = capsys.readouterr().out
    old, new = load_model(pretrained).variables["params"], load_model(tmp_path)
    assert "lora" not in new.variables["params"]
    a, b = flatten(old), flatten(new.variables["params"])
    moved = {path for path in a.keys() & b.keys() if not np.array_equal(a[path], b[path])}
    kernels = {f"encoder/blocks/attention/{n}/kernel" for n in ("qkv", "out")}
    assert moved == kernels | {f"encoder/blocks/mlp/{n}/kernel" for n in ("in", "out")}
    assert "frozen: " in said
    # The last step's folder holds kernels and updates apart, and is read as their sum.
    (step,) = (tmp_path / "checkpoints").glob("4")
    there = flatten(load_model(step).variables["params"])
    for path in there:
        np.testing.assert_allclose(there[path], b[path], rtol=0, atol=1e-6, err_msg=path)
    cells = draw_cells(5, 9, 300)
    jaxcell.embed(cells, tmp_path, progress=False)
    assert set(cells.obs["cell_type_pred"]) <= {"kind 0", "kind 1", "kind 2"}


def test_it_resumes_bit_for_bit(store, pretrained, tmp_path):
    def c():
        return adapted(store, "annotate,lora", pretrained, **{"train.save_every": 2})

    class Stopped(Exception):
        pass

    def stop(step):
        if step == 3:
            raise Stopped

    loop.train(c(), tmp_path / "whole")
    with pytest.raises(Stopped):
        loop.train(c(), tmp_path / "parts", stop)
    loop.train(c(), tmp_path / "parts")
    a, b = (
        flatten(load_model(tmp_path / n / "checkpoints/4").variables) for n in ("whole", "parts")
    )
    assert all(np.array_equal(a[path], b[path]) for path in a)


@pytest.mark.slow
def test_a_label_is_learned(store, pretrained, tmp_path):
    fields = {"optimizer.learning_rate": 1e-2, "train.validate_every": 50}
    assert loop.train(adapted(store, "annotate", pretrained, steps=150, **fields), tmp_path)
    cells = draw_cells(1, 90, 300)  # the store's own first file
    jaxcell.embed(cells, tmp_path, progress=False)
    right = cells.obs["cell_type_pred"].astype(str) == cells.obs["kind"].astype(str)
    assert right.mean() > 0.8


@pytest.mark.slow
def test_a_probe_leaves_the_model_as_it_is(store, pretrained, tmp_path):
    assert loop.train(adapted(store, "annotate,probe", pretrained), tmp_path)
    cells = [draw_cells(5, 9, 300) for _ in range(2)]
    for one, model in zip(cells, (pretrained, tmp_path), strict=True):
        jaxcell.embed(one, model, key="X", progress=False)
    np.testing.assert_array_equal(cells[0].obsm["X"], cells[1].obsm["X"])
    assert "cell_type_pred" in cells[1].obs


def test_what_cannot_be_adapted(store, pretrained):
    c = adapted(store, "annotate,lora", pretrained)
    for fields, message in (
        ({"optimizer.frozen": ""}, "config.optimizer.frozen: found ''.*expected a regex"),
        ({"train.lora.rank": -1}, "config.train.lora.rank: found -1"),
    ):
        other = c.copy_and_resolve_references()
        other.update_from_flattened_dict(fields)
        with pytest.raises(ValueError, match=message):
            config.check(config.settled(other))
    params = {"head": {"kernel": jnp.zeros((2, 2))}}
    for paths, message in (("(", "is no regex"), ("nothing", "matches no kernel; there are head")):
        with pytest.raises(ValueError, match=f"config.train.lora.paths: .*{message}"):
            lora.add(params, jax.random.key(0), spec(paths=paths))


def test_a_trained_models_folder_is_a_config(store, pretrained, tmp_path):
    """Of a workdir or its model/: its own config, starting from it; variants go on top."""
    for path in (pretrained, pretrained / "model"):
        c = config.load(f"{path}:annotate,probe")
        assert c.train.init_from == str(path)
        assert c.name.endswith("_annotate_probe")
        assert (c.stages, c.data.store) == (("train",), None)
    c.data.store, c.labels, c.steps = str(store.path), ("cell_type=kind",), 2
    assert loop.train(c, tmp_path / "run")
    before, after = (flatten(load_model(w).variables) for w in (pretrained, tmp_path / "run"))
    same = [path for path in before.keys() & after.keys() if "encoder" in path]
    assert same
    for path in same:
        np.testing.assert_array_equal(before[path], after[path])

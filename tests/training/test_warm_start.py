"""Warm starts: the same genes give the same model, other genes are matched one by one."""

import functools
import json
import os

import jax
import numpy as np
import pytest

from jaxcell import sharding
from jaxcell.data.pipeline import Batches
from jaxcell.data.prepare import prepare
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.models.cell import CellModel
from jaxcell.training import loop, warm_start
from jaxcell.training.checkpoint import Model, flatten, load_model, save_model
from jaxcell.training.rows import row_axes
from tests.conftest import draw_cells
from tests.training.test_training import tiny

SPECIALS = ("<cls>",)


@pytest.fixture(scope="module")
def pretrained(store, tmp_path_factory):
    """The workdir of a short run on the store."""
    workdir = tmp_path_factory.mktemp("pretrained")
    assert loop.train(tiny(store, steps=3), workdir)
    return workdir


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """A store of 220 genes in another order: 200 of the first store's, 20 of its own."""
    folder = tmp_path_factory.mktemp("target")
    adata = draw_cells(3, 60, 300)
    adata.var_names = [f"G{i}" if i < 200 else f"new{i}" for i in range(300)]
    order = np.random.default_rng(0).permutation(220)
    adata[:, order].copy().write_h5ad(folder / "target.h5ad")
    return prepare(
        folder / "store",
        [folder / "target.h5ad"],
        labels=("kind",),
        hold_out_fraction=0.2,
        progress=False,
    )


def started(store, workdir, **fields):
    """A run just before its first step, and the state that it would have had without a start."""
    run = loop.Run(tiny(store, **fields), workdir)
    fresh = flatten(run.state.params)
    provenance = run._warm_start()
    return run, fresh, provenance


def test_the_same_genes_give_identical_outputs(store, pretrained, tmp_path, capsys):
    model = load_model(pretrained)
    run, fresh, provenance = started(store, tmp_path, **{"train.init_from": str(pretrained)})
    loaded = flatten(run.state.params)
    theirs = flatten(model.variables["params"])
    for path, leaf in theirs.items():
        rows = slice(300) if path.startswith("heads") or "embedding" in path else slice(None)
        np.testing.assert_array_equal(loaded[path][rows], leaf[rows], err_msg=path)
    assert any(not np.array_equal(fresh[p], theirs[p]) for p in theirs)
    net = CellModel(run.c.model)
    batch = Batches(store, run.c, "valid", 16)[0]
    ours = {"params": jax.device_get(run.state.params), "batch_stats": {}}
    apply = jax.jit(functools.partial(net.apply, train=False))
    one, two = (apply(v, batch, {})[0] for v in (ours, model.variables))
    for part in ("cell", "heads"):
        jax.tree.map(np.testing.assert_array_equal, one[part], two[part])
    assert int(run.state.step) == 0
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(run.state.opt_state))
    assert provenance == {
        "path": str(pretrained),
        "config": "txfm_b_tiny",
        "sha256": model.sha256,
        "step": model.info["step"],
        "genes_matched": 300,
        "genes_fresh": 0,
        "genes_left_out": 0,
        "specials_fresh": [],
        "classes": {},
        "heads_fresh": [],
        "heads_left_out": [],
        "flags_fresh": [],
        "parts_left_out": [],
    }
    assert "300 of the store's 300 genes matched, 0 start fresh" in capsys.readouterr().out


@pytest.mark.parametrize("axes", [(1, 1, 1), (2, 2, 2)], ids=str)
def test_other_genes_are_matched_one_by_one(target, pretrained, tmp_path, axes, capsys):
    axes = dict(zip(("mesh.data", "mesh.fsdp", "mesh.tensor"), axes, strict=True))
    fields = {**axes, "train.init_from": str(pretrained)}
    with pytest.MonkeyPatch.context() as patch:
        devices = jax.devices()[: int(np.prod(list(axes.values())))]
        patch.setattr(jax, "devices", lambda: devices)
        run, fresh, provenance = started(target, tmp_path, **fields)
    assert (provenance["genes_matched"], provenance["genes_fresh"]) == (200, 20)
    assert provenance["genes_left_out"] == 100
    assert "200 of the store's 220 genes matched, 20 start fresh" in capsys.readouterr().out
    model = load_model(pretrained)
    theirs, loaded = flatten(model.variables["params"]), flatten(run.state.params)
    tables = {"fields/gene/embedding", "heads/expression/rows", "heads/expression/bias"}
    named = row_axes(run.c.model)
    assert {path for path, (*_, what) in named.items() if what == "genes"} == {
        f"params/{t}" for t in tables
    }
    assert named.pop("params/fields/specials") == (0, 1, "specials")
    assert len(named) == len(tables)
    for path in loaded.keys() - tables:
        np.testing.assert_array_equal(loaded[path], theirs[path], err_msg=path)
    names = [*target.vocabulary.names, *[""] * (256 - 220)]  # the padded rows stay fresh as well
    for path in tables:
        for row, name in enumerate(names):
            known = name in model.vocabulary.names
            there = theirs[path][model.vocabulary.index(name)] if known else fresh[path][row]
            np.testing.assert_array_equal(loaded[path][row], there, err_msg=f"{path} {name}")
    layout = sharding.state_shardings(run.state, run.c.sharding, run.mesh)
    placed = jax.tree.map(lambda x, s: x.sharding.is_equivalent_to(s, x.ndim), run.state, layout)
    assert all(jax.tree.leaves(placed))


@pytest.mark.slow
def test_genes_match_by_ensembl_id_first(store, tmp_path):
    """A model by Ensembl ids, a store whose symbols another gene of the model bears."""
    c = tiny(store)
    c.model.vocabulary = 3
    ids = [f"ENSG0000000000{i}" for i in range(4)]
    net = CellModel(c.model)
    variables = jax.device_get(jax.jit(net.init)(jax.random.key(0)))
    old = Vocabulary(("A", "B", "C"), ids[:3], SPECIALS)
    save_model(tmp_path, Model(c, old, {}, variables, {}, {"step": 7}))
    new = Vocabulary(("B", "X", "C"), (ids[0], ids[3], ""), SPECIALS)
    start = warm_start.read(tmp_path, c, new, {}, {})
    array, rows = start.loaded["params/heads/expression/rows"]
    there = variables["params"]["heads"]["expression"]["rows"]
    assert rows[:3].tolist() == [[True], [False], [True]]  # by id, none, by symbol
    assert not rows[3:].any()
    np.testing.assert_array_equal(array[0], there[0])
    np.testing.assert_array_equal(array[2], there[2])
    assert start.provenance["step"] == "7"


def test_what_does_not_fit_is_listed_and_nothing_is_written_or_compiled(
    store, pretrained, tmp_path, monkeypatch
):
    monkeypatch.delattr(loop, "compile_steps")
    fields = {"train.init_from": str(pretrained)}
    c = tiny(store, **fields, **{"model.encoder.layers": 3})
    with pytest.raises(ValueError, match=r"these differ:\n  params/encoder/blocks/.*\(2, .*\(3, "):
        loop.train(c, tmp_path)
    c = tiny(store, **fields)
    c.model.heads.expression.blocks = 5
    with pytest.raises(ValueError, match=r"blocks_4/in/bias: absent there, \(32,\) here"):
        loop.train(c, tmp_path)
    with pytest.raises(ValueError, match=r"^config\.train\.init_from: nowhere: no model there"):
        loop.train(tiny(store, **{"train.init_from": "nowhere"}), tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_too_few_genes_are_refused(store, pretrained):
    c = tiny(store)
    names = [*(f"S{i}" for i in range(290)), *(f"G{i}" for i in range(10))]
    strangers = Vocabulary(names, [""] * 300)
    with pytest.raises(ValueError, match="only 10 of the store's 300 genes are in that checkpoint"):
        warm_start.read(pretrained, c, strangers, {}, {})


def test_a_new_head_starts_fresh_and_an_old_one_is_left_out(store, pretrained, tmp_path, capsys):
    fields = {"train.init_from": str(pretrained), "data.normalise.library_size": 1e4}
    c = tiny(store, **fields)
    c.model.heads.other = c.model.heads.expression
    del c.model.heads["expression"]
    c.losses.expression.pred = c.train.gene_errors = "heads.other"
    run = loop.Run(c, tmp_path)
    fresh = flatten(run.state.params)
    provenance = run._warm_start()
    said = capsys.readouterr().out
    assert "heads that start fresh: other\nheads that are left out: expression\n" in said
    assert "data.normalise.library_size: 100000.0 there, 10000.0 here" in said
    assert provenance["heads_fresh"] == ["other"]
    loaded = flatten(run.state.params)
    changed = {p for p in fresh if not np.array_equal(fresh[p], loaded[p])}
    assert "fields/gene/embedding" in changed
    assert not any(path.startswith("heads/") for path in changed)


@pytest.mark.slow
def test_a_warm_run_goes_on_bit_for_bit_without_its_source(store, pretrained, tmp_path):
    fields = {"train.init_from": str(tmp_path / "source"), "train.save_every": 1}
    (tmp_path / "source").symlink_to(pretrained)
    assert loop.train(tiny(store, **fields), tmp_path / "whole")
    stop = lambda step: step == 3 and os.kill(os.getpid(), 15)
    assert not loop.train(tiny(store, **fields), tmp_path / "halves", stop)
    (tmp_path / "source").unlink()
    assert loop.train(tiny(store, **fields), tmp_path / "halves")
    models = [load_model(tmp_path / d / "checkpoints" / "6") for d in ("whole", "halves")]
    assert models[0].sha256 == models[1].sha256
    cold = [json.loads(x) for x in (pretrained / "metrics.jsonl").read_text().splitlines()]
    warm = [json.loads(x) for x in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    assert warm[0]["train/loss"] < cold[0]["train/loss"]
    runs = [json.loads((tmp_path / d / "run.json").read_text()) for d in ("whole", "halves")]
    assert runs[0]["init_from"] == runs[1]["init_from"]
    assert runs[0]["init_from"]["sha256"] == load_model(pretrained).sha256
    assert [s["from_step"] for s in runs[1]["sessions"]] == [0, 3]
    assert json.loads((pretrained / "run.json").read_text())["init_from"] is None

"""Predicted perturbations: exact whatever the batches, and what is refused."""

import anndata
import jax
import numpy as np
import pytest

from jaxcell import cli, config, perturb, sharding
from jaxcell.data.pipeline import Batches
from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store
from jaxcell.evaluation.perturbation.planted import CONTROL, Additive
from jaxcell.evaluation.perturbation.splits import Split
from jaxcell.models.cell import CellModel
from jaxcell.models.token_heads import TokenAffine
from jaxcell.training import loop, optim, setup, warm_start
from jaxcell.training.panel import bin_values, binned
from jaxcell.training.step import compile_steps
from tests.conftest import config_of, fresh
from tests.perturbation.conftest import PLANTED, tiny
from tests.perturbation.planted import means, normalised, pearson

HOW = dict(control=("condition", CONTROL), progress=False)
ASKED = ["G0", "G2+ctrl", "G1+G3"]


@pytest.mark.parametrize(
    "name",
    [
        "scformer:perturb,tiny",
        pytest.param("scformer:perturb,affine,tiny", marks=pytest.mark.slow),
        pytest.param("scformer:perturb,ce,tiny", marks=pytest.mark.slow),
        "bioformers_encoder:perturb,tiny",
        "bioformer:perturb,tiny",
    ],
)
def test_a_system_trains_and_its_loss_falls(perturbed_store, name):
    c = tiny(perturbed_store, name)
    setup.check(c)
    setup.adopt(c, perturbed_store, print)
    model = CellModel(c.model)
    tables = loop.tables_of(perturbed_store, c, model.rows)
    mesh = sharding.make_mesh(c.mesh, jax.devices()[:1])
    state, train, _, tables = compile_steps(model, c, optim.build(c, 24), mesh, tables, 24)
    batches = Batches(perturbed_store, c, "train", c.train.batch_size, stop=2)
    two, seen = [sharding.to_global(batches[i], mesh) for i in range(2)], []
    loss = next(k for k, one in c.losses.items() if one.weight)
    with jax.set_mesh(mesh):
        for i in range(24):
            state, shown = train(state, two[i % 2], tables)
            seen.append(float(shown[loss]))
    assert np.isfinite(seen).all()
    assert np.mean(seen[-4:]) < 0.9 * np.mean(seen[:4])


def test_the_papers_sizes_are_the_default():
    c = config_of("scformer:perturb")
    e = c.model.encoder
    assert (c.model.width, e.layers, e.heads, e.hidden) == (128, 4, 4, 128)
    assert (c.data.sequence.number, c.train.batch_size, c.optimizer.learning_rate) == (
        1536,
        32,
        1e-4,
    )
    c = config_of("bioformers_encoder:perturb")
    assert (c.model.width, c.model.encoder.layers, c.data.sequence.number) == (512, 8, 1536)
    c.data.pair.label, c.data.pair.control = "guide", "none"
    assert (c.data.flag_genes.label, c.data.flag_genes.control) == ("guide", "none")
    with pytest.raises(ValueError, match="scformer:affine: is of models with a head 'perturbed'"):
        config_of("scformer:affine")


def test_bioformers_own_protocol_reconstructs_the_cell_it_sees(perturbed_store, tmp_path):
    c = tiny(perturbed_store, "bioformer:perturb,tiny")
    fresh(perturbed_store, c, tmp_path / "run")
    assert config.shown_labels(c.model) == ("condition",)
    assert not c.data.pair.label
    with pytest.raises(ValueError, match="this model predicts no perturbations.*found ''"):
        perturb(PLANTED.cells([CONTROL], 3, 0), tmp_path / "run", genes=["G0"])


def test_bins_are_evenly_spaced_and_stand_for_their_centres():
    x = np.array([[0, 0.01, 0.2, 0.21, 1.0, 99]], np.float32)
    assert binned(x, 6, 0.2).tolist() == [[0, 1, 1, 2, 5, 5]]
    np.testing.assert_allclose(bin_values(4, 0.2), [0, 0.1, 0.3, 0.5], rtol=1e-6)


def test_the_affine_head_is_by_hand_what_it_says():
    random = np.random.default_rng(0)
    tokens, x = random.normal(size=(2, 3, 8)), random.normal(size=(2, 3))
    with jax.enable_x64(True):
        head = TokenAffine(width=8, layers=2)
        p = head.init(jax.random.key(0), tokens, {"values": x})["params"]
        p = jax.tree.map(lambda a: random.normal(size=a.shape), p)

        def mlp(kind):
            h = tokens @ p[f"hidden{kind}_0"]["kernel"] + p[f"hidden{kind}_0"]["bias"]
            h = np.where(h > 0, h, 0.01 * h)
            return (h @ p[f"out{kind}"]["kernel"] + p[f"out{kind}"]["bias"])[..., 0]

        found = head.apply({"params": p}, tokens, {"values": x})
        np.testing.assert_allclose(found, (1 + mlp("_slope")) * x + mlp(""), rtol=1e-9)


@pytest.mark.parametrize("name", ["mse", "affine", "ce"])
def test_a_prediction_hangs_on_no_batch_and_no_order(models, perturbed_cells, name):
    first = perturb(perturbed_cells, models[name], genes=ASKED, cells=20, **HOW)
    assert first.shape == (3, 40)
    assert np.isfinite(first.X).all()
    provenance = first.uns["jaxcell"]["perturbation"]
    assert (provenance["control_cells"], provenance["control_cells_of"]) == (20, 40)
    assert (provenance["tokens"], provenance["passes"]) == (16, 3)  # of 38 genes 14 at a time
    order = np.random.default_rng(0).permutation(perturbed_cells.n_obs)
    other = perturb(
        perturbed_cells[order].copy(),
        models[name],
        genes=ASKED[::-1],
        cells=20,
        batch_size=7,
        **HOW,
    )
    np.testing.assert_array_equal(first.X, other.X[::-1])
    np.testing.assert_array_equal(first.layers["delta"], other.layers["delta"][::-1])
    drawn = perturb(perturbed_cells, models[name], genes=ASKED, cells=20, seed=1, **HOW)
    assert (drawn.X != first.X).any()


def test_delta_is_the_distance_from_the_same_control_cells(models, perturbed_cells):
    found = perturb(perturbed_cells, models["mse"], genes=ASKED, **HOW)  # all 40 of them
    control = perturbed_cells[perturbed_cells.obs["condition"] == CONTROL]
    mean = normalised(control, 1e4).mean(axis=0)
    np.testing.assert_allclose(found.X - found.layers["delta"], [mean] * 3, rtol=1e-4, atol=1e-5)
    assert list(found.obs["condition"]) == list(found.obs_names) == ASKED
    assert found.var["predicted"].all()


def test_genes_that_the_model_lacks_keep_the_controls_mean(models, perturbed_cells, tmp_path):
    cells = perturbed_cells.copy()
    cells.var_names = [*cells.var_names[:-2], "strange", "stranger"]
    out = tmp_path / "out.h5ad"
    with pytest.warns(UserWarning, match="does not predict 2 of 40 genes: strange, stranger; they"):
        assert perturb(cells, models["mse"], out, genes=["G0"], **HOW) == out
    found = anndata.read_h5ad(out)
    assert found.var["predicted"].tolist() == [True] * 38 + [False] * 2
    control = cells[cells.obs["condition"] == CONTROL]
    counts = control.X.toarray().astype(np.float64)
    mean = np.log1p(1e4 * counts / counts[:, :38].sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(found.X[0, 38:], mean[38:], rtol=1e-5)
    assert (found.layers["delta"][:, 38:] == 0).all()
    named = found.uns["jaxcell"]["perturbation"]["genes_of_control"]
    assert list(named) == ["strange", "stranger"]
    with pytest.raises(ValueError, match="did not measure G39; expected genes that both did"):
        perturb(cells, models["mse"], genes=["G39"], **HOW)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"genes": ["G0+NOPE"]}, r"genes: 1 names .*'G0\+NOPE': 'NOPE' is not among the 40 genes"),
        ({"genes": []}, "genes: found .., expected one condition or more"),
        ({"genes": None}, "genes, split: found neither, expected one"),
        ({"genes": ["G0", "G0"]}, "expected one condition or more, each once"),
        ({"control": ("drug", "x")}, "control: AnnData: obs has no column 'drug'; it has .'condit"),
        ({"control": ("condition", "x")}, "no cell has condition = 'x'; there are "),
        ({"cells": 0}, "cells: found 0"),
        ({"genes": ["+".join(PLANTED.names[:16])]}, "found 16 perturbed together, expected fewer"),
    ],
)
def test_what_cannot_be_predicted_is_refused(models, perturbed_cells, change, wanted):
    with pytest.raises(ValueError, match=wanted):
        perturb(perturbed_cells, models["mse"], **{**HOW, "genes": ["G0"], **change})


def test_what_a_split_tests_is_predicted_unless_training_saw_it(models, perturbed_cells, tmp_path):
    held = [c for c in PLANTED.doubles if c not in set(perturbed_cells.obs["condition"])][:2]
    split = Split("list", 0, train=("G0",), test=tuple(held), groups={"combo_seen2": held})
    split.write(tmp_path / "split.json")
    found = perturb(perturbed_cells, models["mse"], split=tmp_path / "split.json", cells=5, **HOW)
    assert list(found.obs_names) == held
    Split("list", 0, train=("G0",), test=("G1", *held), groups={}).write(tmp_path / "seen.json")
    with pytest.raises(ValueError, match="was trained with 1 of the 3 .* tested: G1; expected a"):
        perturb(perturbed_cells, models["mse"], split=tmp_path / "seen.json", **HOW)
    with pytest.raises(ValueError, match="genes, split: found both, expected one"):
        perturb(perturbed_cells, models["mse"], genes=["G0"], split=tmp_path / "seen.json", **HOW)


def test_the_command(models, perturbed_cells, tmp_path, capsys):
    perturbed_cells.write_h5ad(tmp_path / "in.h5ad")
    paths = [str(tmp_path / "in.h5ad"), str(tmp_path / "out.h5ad")]
    control = ["--control", f"condition={CONTROL}", "--cells", "5"]
    asked = ["--checkpoint", str(models["mse"]), "--genes", "G0", "G0+G3"]
    cli.main(["perturb", "predict", *paths, *asked, *control])
    assert capsys.readouterr().out.splitlines()[-1] == paths[1]
    assert list(anndata.read_h5ad(paths[1]).obs_names) == ["G0", "G0+G3"]


def test_values_that_are_normalised_already_are_not_normalised_again(perturbed_cells, tmp_path):
    """A store of such values, and a config for them: what they train and predict with."""
    logs = perturbed_cells.copy()
    logs.X = normalised(logs, 1e3).astype(np.float32)
    how = dict(labels=("condition",), hold_out_fraction=0.2, progress=False)
    for given, wrong, wanted in (
        ("log1p", perturbed_cells, "found integers, as of raw counts .*, expected values that are"),
        ("log1p", _scaled(logs, 10), r"\(largest .*\), expected values that are ln\(1 \+ x\)"),
        ("counts", logs, "this looks log-normalised"),
    ):
        with pytest.raises(ValueError, match=wanted):
            prepare(tmp_path / "wrong", wrong, values=given, **how)
    for more in ({"duplicates": "sum"}, {"hvg": 5}):
        with pytest.raises(ValueError, match="values is 'log1p' with"):
            prepare(tmp_path / "wrong", logs, values="log1p", **more, **how)
    store = prepare(tmp_path / "store", logs, values="log1p", **how)
    with pytest.raises(ValueError, match="given: found 'counts', expected 'log1p', which AnnData"):
        setup.adopt(tiny(store), store, print)
    c = tiny(store, "scformer:perturb,log1p,tiny")
    batch = Batches(store, c, "valid", 8)[0]
    known = {x for row in logs.X for x in row.astype(np.float32).tolist()}
    assert set(batch["values"].ravel().tolist()) <= known | {0.0}
    fresh(store, c, tmp_path / "run")
    found = perturb(logs, tmp_path / "run", genes=["G1"], **HOW)
    control = logs[logs.obs["condition"] == CONTROL]
    mean = found.X[0] - found.layers["delta"][0]
    np.testing.assert_allclose(mean, np.asarray(control.X).mean(axis=0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="found integers, as of raw counts"):
        perturb(perturbed_cells, tmp_path / "run", genes=["G1"], **HOW)


def _scaled(adata, by):
    other = adata.copy()
    other.X = other.X * by
    return other


def test_a_model_of_masked_genes_is_where_one_may_start(perturbed_store, tmp_path):
    """Its genes, values and encoder; flags and the head are new, the norm of batches is left."""
    store, c = perturbed_store, tiny(perturbed_store, "scformer:tiny", batch="batch")
    fresh(store, c, tmp_path / "run")
    c = tiny(store)
    setup.adopt(c, store, print)
    found = warm_start.read(tmp_path / "run", c, store.vocabulary, store.classes, {})
    assert found.provenance["flags_fresh"] == ["external"]
    assert found.provenance["heads_fresh"] == ["perturbed"]
    assert found.provenance["parts_left_out"] == ["condition_batch", "fields/norm"]
    assert "fields of flags that start fresh: external\n" in found.report
    assert "params/fields/gene/embedding" in found.loaded
    assert "params/fields/external/rows" not in found.loaded
    back = tiny(perturbed_store, "scformer:tiny", batch="batch")
    setup.adopt(back, store, print)
    fresh(store, c, tmp_path / "perturbed")
    with pytest.raises(ValueError, match=r"fields/external/rows: \(2, 32\) there, absent here"):
        warm_start.read(tmp_path / "perturbed", back, store.vocabulary, store.classes, {})


def test_a_store_is_read_as_counts_where_it_does_not_say(perturbed_store):
    """One that an older version wrote."""
    store = Store.open(perturbed_store.path)
    for facts in store.datasets:
        facts.pop("values")
    setup.adopt(tiny(store), store, print)


@pytest.mark.slow
def test_an_additive_generator_is_recovered_on_unseen_pairs_of_seen_genes(tmp_path, capsys):
    """corr(Δ) of doubles that training never saw, of genes that it saw alone and in other pairs."""
    planted, size = Additive(), 500.0
    doubles = np.random.default_rng(1).permutation(planted.doubles)
    unseen, seen = doubles[:7].tolist(), doubles[7:].tolist()
    cells = planted.cells([CONTROL, *planted.singles, *seen], [300, *[50] * 29], seed=1)
    how = dict(labels=("condition",), hold_out_fraction=0.1, progress=False)
    c = config_of("scformer:perturb,cpu")
    c.data.store = str(prepare(tmp_path / "store", cells, **how).path)
    c.data.normalise.library_size, c.optimizer.learning_rate = size, 2e-3
    c.epochs, c.steps, c.train.validate_every = 0, 450, 225
    c.model.encoder.dropout = 0.0
    loop.train(c, tmp_path / "run")
    found = perturb(cells, tmp_path / "run", genes=unseen, **HOW)
    truth, control = means(planted.cells(unseen, 200, seed=3), size), means(cells, size)[CONTROL]
    corr = [
        pearson(delta, truth[name] - control)
        for name, delta in zip(unseen, found.layers["delta"], strict=True)
    ]
    with capsys.disabled():
        print(f"\ncorr(Δ) of unseen pairs: {np.mean(corr):.3f}, least {min(corr):.3f}")
    assert np.mean(corr) >= 0.9

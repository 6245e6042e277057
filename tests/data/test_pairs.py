"""A control cell for each perturbed one: which, how read, what the batch holds of both."""

import functools

import jax
import numpy as np
import pandas as pd
import pytest

from jaxcell import config, sharding
from jaxcell.data import pairs
from jaxcell.data.draft import cell_keys
from jaxcell.data.pairs import Pairs
from jaxcell.data.pipeline import Batches, iterate
from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store
from jaxcell.evaluation.perturbation.names import CONTROL
from jaxcell.losses import total as losses
from jaxcell.training import setup
from jaxcell.training.machine import model_of
from jaxcell.training.means import tables_of
from jaxcell.training.step import make_forward
from tests.data.conftest import dense
from tests.perturbation.conftest import CONDITIONS, PLANTED, perturbed_cells, perturbed_store, tiny

__all__ = ["perturbed_cells", "perturbed_store"]  # fixtures
V = 40


def paired(store, spec, split, epoch=0, seed=0):
    """Targets' and inputs' rows of all cells of a split in an epoch."""
    cells = np.arange(store.sizes[split])
    rows, keys = store.read(split, cells), cell_keys(seed, np.full_like(cells, epoch), cells)
    return rows, Pairs(store, spec, split).inputs(rows, cells, keys)


@pytest.fixture
def c(perturbed_store):
    return tiny(perturbed_store)


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("by", ["", "batch"])
def test_the_input_is_a_control_cell_of_the_same_split_and_batch(perturbed_store, c, split, by):
    store, c.data.pair.by = perturbed_store, by
    rows, shown = paired(store, c.data.pair, split)
    code = store.labels["condition"].index(CONTROL)
    assert (shown.labels[:, 0] == code).all()
    if by:
        np.testing.assert_array_equal(shown.labels[:, 1], rows.labels[:, 1])
    own = rows.labels[:, 0] == code
    counts, theirs = dense(rows, V), dense(shown, V)
    np.testing.assert_array_equal(counts[own], theirs[own])  # a control cell is its own input
    controls = {row.tobytes() for row in counts[own]}
    assert {row.tobytes() for row in theirs} <= controls
    again, other = (dense(paired(store, c.data.pair, split, e)[1], V) for e in (0, 1))
    np.testing.assert_array_equal(theirs, again)
    assert (other[~own] != theirs[~own]).any(axis=1).mean() > 0.5  # another one in each epoch
    assert (dense(paired(store, c.data.pair, split, seed=1)[1], V) != theirs).any()


def test_every_control_is_drawn_equally_often(perturbed_store, c):
    store = perturbed_store
    pair = Pairs(store, c.data.pair, "train")
    epochs, cells = np.divmod(np.arange(6000), store.sizes["train"])
    rows = store.read("train", cells)
    keep = rows.labels[:, 0] != store.labels["condition"].index(CONTROL)
    shown = pair.inputs(rows, cells, cell_keys(0, epochs, cells))
    counts = np.unique(dense(shown, V)[keep], axis=0, return_counts=True)[1]
    assert len(counts) == len(pair)
    expected = keep.sum() / len(pair)
    assert ((counts - expected) ** 2 / expected).sum() < 2 * len(pair)  # χ², of mean len − 1


def test_batches_are_equal_for_workers_and_processes(perturbed_store, c):
    batches = Batches(perturbed_store, c, "train", 16, start=3, stop=7)
    with iterate(batches) as stream:
        plain = list(stream)
    with iterate(batches, workers=2) as stream:
        for mine, other in zip(plain, stream, strict=True):
            jax.tree.map(np.testing.assert_array_equal, mine, other)
    for process in range(2):
        half = Batches(
            perturbed_store, c, "train", 16, start=3, stop=7, process=process, processes=2
        )
        part = jax.tree.map(lambda x, p=process: x[8 * p : 8 * p + 8], plain[1])
        jax.tree.map(np.testing.assert_array_equal, part, half[1])
    # A cell's tokens and input hang on no other cell of its batch.
    small = Batches(perturbed_store, c, "train", 4, start=12, stop=16)[0]
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[:4], y), plain[0], small)


def test_both_reads_are_batched(perturbed_store, c, monkeypatch):
    seen, read = [], Store.records
    monkeypatch.setattr(
        Store, "records", lambda self, split, p: [seen.append(len(p)), read(self, split, p)][1]
    )
    Batches(perturbed_store, c, "train", 16, stop=1)[0]
    assert seen == [16, 16]


@pytest.mark.parametrize("split", ["train", "valid"])
def test_tokens_are_the_controls_targets_and_flags_the_perturbed_cells(perturbed_store, c, split):
    store = perturbed_store
    setup.adopt(c, store, print)
    model = model_of(c, train=False)
    mesh = sharding.make_mesh(c.mesh, jax.devices()[:1])
    tables = tables_of(store, c, model.rows)
    batch = Batches(store, c, split, 16, stop=1)[0]
    some = sharding.to_global(batch, mesh)
    variables = jax.jit(model.init)(jax.random.key(0))
    forward = jax.jit(functools.partial(make_forward(model, c), train=False))
    made, outputs, _ = forward(variables, some, tables)
    made, outputs = jax.device_get((made, outputs))
    rows = Batches(store, c, split, 16, stop=1)
    positions = (
        rows._order(np.arange(16)) if split == "train" else (np.zeros(16, int), np.arange(16))
    )
    epochs, cells = positions
    target = store.read(split, cells)
    shown = Pairs(store, c.data.pair, split).inputs(target, cells, cell_keys(0, epochs, cells))

    def values(rows):
        x = dense(rows, V).astype(np.float64)
        return np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))

    ids, at = batch["ids"], np.arange(16)[:, None]
    assert ids.shape == (16, 16)
    np.testing.assert_allclose(batch["values"], values(shown)[at, ids], rtol=1e-5)
    np.testing.assert_allclose(made["token_panel"], values(target)[at, ids], rtol=1e-5, atol=1e-6)
    assert (batch["values"] == 0).any()  # a target may rise from zero
    assert made["token_measured"].all()
    names = [store.labels["condition"][k] for k in target.labels[:, 0]]
    for b, name in enumerate(names):
        genes = [g for g in name.split("+") if g != CONTROL]
        assert [store.vocabulary.name(i) for i in ids[b, : len(genes)]] == genes
        np.testing.assert_array_equal(
            batch["flags"]["perturbed"][b], np.arange(16) < len(genes), strict=False
        )
        assert len(set(ids[b])) == 16
    by_hand = ((outputs["heads"]["perturbed"] - values(target)[at, ids])[batch["real"]] ** 2).mean()
    tree = {**made, "panel": made["panel"]}
    found = losses.divide(losses.total(c.losses, outputs, tree, tables))
    np.testing.assert_allclose(found["perturbed"], by_hand, rtol=1e-4)
    still = ((values(shown) - values(target))[at, ids][batch["real"]] ** 2).mean()
    np.testing.assert_allclose(found["no_change"], still, rtol=1e-4)


def test_held_out_perturbations_are_predicted_from_training_controls(tmp_path):
    cells = PLANTED.cells(CONDITIONS, 8, seed=2)
    held = f"condition={CONDITIONS[-1]}"
    how = dict(labels=("condition", "batch"), hold_out=[held], progress=False)
    store = prepare(tmp_path / "store", cells, **how)
    c = tiny(store)
    assert pairs.check(store, c.data.pair) == (
        "config.data.pair: perturbed by condition: 40 train cells from 8 controls; 8 valid cells "
        "from 8 train controls"
    )
    pair = Pairs(store, c.data.pair, "valid")
    assert (pair.split, len(pair)) == ("train", 8)
    batch = Batches(store, c, "valid", 8)[0]
    assert (batch["flags"]["perturbed"].sum(axis=1) == 2).all()


def test_what_cannot_be_paired_is_refused(perturbed_store, c, tmp_path):
    for field, value, wanted in (
        ("label", "drug", r"label: found 'drug', expected one of the store's labels: condition, b"),
        ("control", "control", r"control: found 'control', expected a class of condition: G0\+G1"),
        ("by", "donor", r"by: found 'donor', expected '' or one of condition, batch, dataset"),
    ):
        spec = c.data.pair.copy_and_resolve_references()
        spec[field] = value
        with pytest.raises(ValueError, match=f"config.data.pair.{wanted}"):
            pairs.check(perturbed_store, spec)
    cells = PLANTED.cells(CONDITIONS[:3], 8, seed=2)
    cells.obs["batch"] = pd.Categorical(["a"] * 8 + ["b"] * 16)
    names = cells.obs["condition"].astype(object).to_numpy()
    names[-1] = None
    unknown = cells.copy()
    unknown.obs["condition"] = pd.Categorical(names)
    how = dict(labels=("condition", "batch"), progress=False)
    c.data.pair.by = "batch"
    with pytest.raises(ValueError, match="perturbed train cells of batch = b have no control cell"):
        pairs.check(prepare(tmp_path / "one", cells, **how), c.data.pair)
    with pytest.raises(ValueError, match="1 train cells have no class of condition, so nobody"):
        pairs.check(prepare(tmp_path / "two", unknown, **how), c.data.pair)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"data.transforms": ("normalise", "bin", "sequence", "flag_genes")}, "none of bin with"),
        ({"data.flag_genes.label": "guide"}, "flag_genes.label: found 'guide', .*'condition'"),
        ({"data.sequence.total": "shown"}, "'cell' with data.pair"),
        ({"data.normalise.given": "log1p"}, "scale: found True, expected False with given"),
        ({"data.pair.width": 0.0}, "width: found 0.0, expected a number above 0"),
        ({"data.flag_genes.unmeasured": "show", "data.sequence.zeros": "random"}, "zeros: found"),
    ],
)
def test_configs_that_contradict_pairs_are_refused(perturbed_store, fields, wanted):
    c = tiny(perturbed_store)
    c.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=wanted):
        config.check(c)


def test_a_gene_that_no_cell_measured_may_be_shown_as_a_zero(tmp_path):
    """Screens whose files lack the perturbed genes: what was done is said, and not compared."""
    cells = PLANTED.cells(CONDITIONS, 8, seed=2)[:, 4:].copy()
    (tmp_path / "genes.txt").write_text("\n".join(PLANTED.names))
    how = dict(labels=("condition",), vocabulary=tmp_path / "genes.txt", progress=False)
    store = prepare(tmp_path / "store", cells, **how)
    c = tiny(store)
    with pytest.raises(ValueError, match="did not measure, so that no token can show them .*G0"):
        setup.adopt(c, store, print)
    c.data.flag_genes.unmeasured = "show"
    setup.adopt(c, store, print)
    model, tables = model_of(c, train=False), tables_of(store, c, 128)
    some = Batches(store, c, "train", 32, stop=1)[0]
    forward = jax.jit(functools.partial(make_forward(model, c), train=False))
    batch, _, _ = forward(jax.jit(model.init)(jax.random.key(0)), some, tables)
    flagged = some["flags"]["perturbed"] > 0
    assert flagged.any()
    assert (some["values"][flagged] == 0).all()
    np.testing.assert_array_equal(batch["token_measured"], ~flagged)

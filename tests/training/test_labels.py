"""Labels in training: what a store's classes become, what is compared with what, and when."""

import functools
import os

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from jaxcell import config
from jaxcell.data.pipeline import Batches
from jaxcell.data.store import Store
from jaxcell.losses import total as losses
from jaxcell.models.cell import CellModel
from jaxcell.training import loop, optim
from jaxcell.training.checkpoint import flatten, load_model
from jaxcell.training.gradients import make_gradients
from jaxcell.training.labels import (
    adopt_labels,
    apart,
    label_tables,
    names_of_several,
    targets,
    undivided,
    unseen,
)
from jaxcell.training.step import make_forward, make_parts
from tests.conftest import config_of, labelled_config
from tests.training.test_training import lines

CLASSES = ["B cell", "T cell", "lymphocyte", "monocyte", "odd thing"]


def adopted(folder, name="bmfm_rna_wced:tiny", **fields):
    """The settled config of the labelled store, its store and ontologies, and what was said."""
    c, said = config.settled(labelled_config(folder, name)), []
    with c.unlocked():
        c.update_from_flattened_dict(fields)
    store = Store.open(c.data.store)
    return c, store, loop.adopt(c, store, said.append), said


# What a store's classes become


def test_heads_get_the_stores_classes_and_an_ontologys_leaves(labelled):
    c, store, ontologies, said = adopted(labelled)
    assert store.labels["cell_type"] == CLASSES
    sizes = {name: h.classes for name, h in c.model.heads.items() if "label" in h}
    assert sizes == {"cell_type": 3, "tissue": 2, "donor": 3, "age": 1, "markers": 3}
    assert c.model.heads.tissue.label == "organ"
    assert c.model.metadata.organ.classes == 2
    (ontology,) = ontologies.values()
    assert [ontology.names[i] for i in ontology.leaves] == ["T cell", "B cell", "monocyte"]
    codes = np.concatenate([store.index(s, "labels")[:, 0] for s in ("train", "valid")])
    odd = (codes == 4).sum()
    assert odd == 7
    (line,) = [text for text in said if "no term" in text]
    assert f"1 of 5 labels, {odd} of {(codes >= 0).sum()} cells" in line
    assert f"'odd thing' ({odd})" in line
    assert line.endswith("these cells count as unknown")
    found = label_tables(c, store, ontologies)
    expected = [[0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]
    np.testing.assert_array_equal(found["leaves"]["cell_type"], np.array(expected, bool))
    np.testing.assert_array_equal(found["targets"]["age"], [[-1], [0.5], [2]])
    np.testing.assert_array_equal(found["targets"]["markers"], [[1, 0, 0], [1, 1, 0], [0, 1, 1]])
    assert list(found["leaves"]) == ["cell_type"]


def test_further_terms_are_told_apart(labelled):
    c, _, ontologies, _ = adopted(labelled, **{"ontology.terms": ("CL:0000542",)})
    assert c.model.heads.cell_type.classes == 3  # an ancestor of two leaves is none itself
    only = ontologies["cell_type"].prune(["T cell"])
    assert len(only.leaves) == 1
    classes, counts = ["lymphocyte", "CL:0000084", "T cell", "cell", "odd"], [4, 1, 2, 3, 9]
    (alike,) = undivided(
        ontologies["cell_type"].prune(["lymphocyte", "T cell", "monocyte"]),
        *([*classes[:3], "monocyte"], [*counts[:3], 9]),
    )
    assert alike.startswith("'lymphocyte' (4 cells), 'T cell' (3 cells) have the same leaves, so")
    whole = undivided(ontologies["cell_type"], classes, counts)
    assert whole == ["'cell' (3 cells): over all leaves, so these cells teach nothing of the label"]
    assert undivided(ontologies["cell_type"], classes[:3], counts[:3]) == []


def test_leaves_of_no_training_cell_and_names_of_one_term_are_said(labelled):
    c, _, ontologies, said = adopted(labelled)
    ontology = ontologies["cell_type"]  # leaves: T cell, B cell, monocyte
    assert not [text for text in said if "no training cell" in text]
    classes = ["lymphocyte", "monocyte", "CL:0000576", "T cell", "odd"]
    (text,) = unseen(ontology, classes, [3, 0, 0, 0, 2])
    assert text.startswith("'monocyte': leaves that no training cell's label has, or has below it")
    assert unseen(ontology, classes, [1, 0, 1, 0, 0]) == []
    assert unseen(ontology, classes, [0] * 5)[0].startswith("'T cell', 'B cell', 'monocyte': ")
    assert apart(c, ontology, "cell_type", classes) == []
    c.data.sampling, c.data.cap.by = ("cap",), ("dataset", "cell_type")
    (text,) = apart(c, ontology, "cell_type", classes)
    assert text.startswith("'monocyte' = 'CL:0000576': sampling by it takes names of one term")
    assert apart(c, ontology, "cell_type", classes[:2]) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda c: c.model.heads.tissue.update(label="tisue"),
            r"config\.model\.heads\.tissue\.label: .* has no label 'tisue'; it has cell_type, org",
        ),
        (
            lambda c: c.model.metadata.organ.update(label="site"),
            r"config\.model\.metadata\.organ\.label: .* has no label 'site'; .* --labels site",
        ),
        (
            lambda c: c.ontology.update(file=""),
            r"config\.ontology\.file: found none, expected an OBO file, .* for cell_type",
        ),
        (
            lambda c: c.ontology.update(labels=("cell_type", "donor")),
            r"config\.ontology: .*label 'donor': 3 of 3 labels, \d+ of \d+ cells, are no terms",
        ),
        (lambda c: c.targets.update(donor="number"), r"config\.targets\.donor: a class is no numb"),
        (
            lambda c: c.ontology.update(terms=("T cell", "CL:9999999")),
            r"config\.ontology\.terms: found 'CL:9999999', expected terms of small",
        ),
    ],
)
def test_labels_that_the_store_does_not_have_are_refused(labelled, change, text):
    c = config.settled(labelled_config(labelled))
    change(c)
    with pytest.raises(ValueError, match=text):
        adopt_labels(c, Store.open(c.data.store), print)


@pytest.mark.parametrize(
    ("leaves", "classes", "what"),
    [((), ["T cell"], "1 classes"), (("donor",), ["T cell", "odd", "other"], "1 leaves")],
)
def test_a_head_of_one_class_is_refused(labelled, leaves, classes, what):
    """It could learn nothing, and a focal loss of it is a constant above 0."""
    c = config.settled(labelled_config(labelled))
    c.ontology.labels = leaves
    store = Store.open(c.data.store)
    store.labels["donor"] = classes
    text = rf"label 'donor' of the head donor: found {what}, expected two .* without donor"
    with pytest.raises(ValueError, match=text):
        adopt_labels(c, store, print)


def test_what_names_stand_for():
    c = labelled_config_of_targets()
    np.testing.assert_array_equal(targets(c, ["3", "-0.5", "1e2"], "n"), [[3], [-0.5], [100]])
    np.testing.assert_array_equal(
        targets(c, ["b|a", "|", "c"], "s"), [[1, 1, 0], [0] * 3, [0, 0, 1]]
    )
    assert names_of_several(["b|a", "|", "c"]) == ["a", "b", "c"]
    for text in ("inf", "NaN", "-Infinity"):
        with pytest.raises(
            ValueError, match=f"config.targets.n: {text} are classes, and no finite"
        ):
            targets(c, ["1", text], "n")


def labelled_config_of_targets():
    c = config_of("bmfm_rna_wced:tiny")
    c.targets = {"n": "number", "s": "several"}
    return c


# Heads by name, and by the store's


def test_an_alias_moves_all_that_bears_the_label_and_settling_twice_changes_nothing():
    c = config_of("bmfm_rna_wced:tiny")
    c.labels = ("cell_type=CL_id", "tissue", "age=years")
    c.model.heads.age = {"kind": "classifier", "label": "age", "classes": 1, "reads": "<cls>"}
    c.losses.age = {"kind": "mae", "pred": "heads.age", "target": "batch.targets.age",
                    "where": ("batch.labels.age", "not batch.labels.sex"), "reduce": "masked_mean",
                    "weight": 1.0}  # fmt: skip
    c.targets = {"age": "number"}
    once = config.settled(c)
    config.check(once)
    twice = config.settled(once)
    assert config.flat(once) == config.flat(twice)
    assert c.model.heads.cell_type.label == "cell_type"  # the caller's is as it was
    assert config.left_out(c) == ["donor", "sex", "tissue_general"]
    assert config.left_out(once) == []
    heads = {name: head.label for name, head in once.model.heads.items() if "label" in head}
    assert heads == {"cell_type": "CL_id", "tissue": "tissue", "age": "years"}
    assert once.ontology.labels == ("CL_id",)
    assert once.targets["years"] == "number"
    loss = once.losses.cell_type
    assert (loss.target, loss.where) == ("batch.labels.CL_id", "batch.labels.CL_id")
    assert (loss.leaves, loss.pred) == ("tables.leaves.CL_id", "heads.cell_type")
    assert once.losses.age.where == ("batch.labels.years", "not batch.labels.sex")
    assert once.losses.age.target == "batch.targets.years"
    parts = {"expression", "expression_at_means", "is_zero", "is_zero_at_means"}
    assert set(once.losses) == parts | {"cell_type", "tissue", "age"}


def test_a_head_keeps_the_label_that_it_names():
    c = config_of("bmfm_rna_wced:tiny")
    c.model.heads.tissue.label, c.losses.tissue.target = "organ", "batch.labels.organ"
    c.labels = ("tissue",)
    assert config.settled(c).model.heads.tissue.label == "organ"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"labels": ("celltype",)}, "config.labels: found 'celltype', expected some of cell_type"),
        ({"ontology.labels": ("celltype",)}, "config.ontology.labels: found 'celltype', expected"),
        ({"losses.cell_type.kind": "focal"}, "losses.cell_type.kind: found 'focal', expected one"),
        (
            {"losses.tissue.target": "batch.labels.donor"},
            "config.losses.tissue.target: found 'batch.labels.donor', expected 'batch.labels.tissu",
        ),
        (
            {"targets": {"tissue": "number"}},
            "config.losses.tissue.target: found 'batch.labels.tissue', expected 'batch.targets.ti",
        ),
        ({"targets": {"tissue": "numbr"}}, "config.targets.tissue: found 'numbr', expected one of"),
        ({"targets": {"cell_type": "number"}}, "config.targets: found 'cell_type', expected no l"),
        ({"losses.tissue.after": 1.0}, "config.losses.tissue.after: found 1.0, expected a share"),
        ({"model.heads.tissue.dropout": 1.0}, "model.heads.tissue.dropout: found 1.0, expected w"),
        ({"model.fields.value.dropout": -0.1}, "model.fields.value.dropout: found -0.1, expected"),
        ({"model.dropout": 1.5}, "config.model.dropout: found 1.5, expected within [0, 1)"),
        ({"optimizer.clip": -1.0}, "config.optimizer.clip: found -1.0, expected 0 or more"),
        ({"optimizer.warmup_steps": -1}, "config.optimizer.warmup_steps: found -1, expected 0 or"),
        (
            {"model.encoder.attention": "performr"},
            "config.model.encoder.attention: found 'performr', expected one of exact, performer",
        ),
        (
            {"labels": ("cell_type=ct", "cell_type=batch")},
            "config.labels: found ('cell_type=ct', 'cell_type=batch'), expected each head once",
        ),
        (
            {"data.sequence.dropout": 1.0},
            "config.data.sequence.dropout: found 1.0, expected less",
        ),
        ({"data.sequence.chunk": 32}, "config.data.sequence.chunk: found 32, expected less"),
        ({"model.heads.donor.reverse": -1.0}, "config.model.heads.donor.reverse: found -1.0, expe"),
        (
            {"model.metadata": {"place": {"label": "tissue", "classes": 2, "dropout": 0.0}}},
            "config.model.metadata.place.dropout: found 0.0, expected above 0, or no such head: ti",
        ),
        ({"model.encoder.landmarks": 0}, "config.model.encoder.landmarks: found 0, expected a num"),
        ({"embed.zeros": "some"}, "config.embed.zeros: found 'some', expected one of exclude, all"),
        (
            {"model.metadata": {"organ": {"label": "organ", "classes": 2, "place": "first"}}},
            "config.model.metadata.organ.place: found 'first', expected one of cls, all, token",
        ),
        (
            {"data.draw_masks.blocked": True, "model.encoder.attention": "performer"},
            "config.data.draw_masks.blocked: found True, expected False: only exact attention",
        ),
        (
            {"data.draw_masks.fields": ("values", "genes")},
            "config.data.draw_masks.fields: found ('values', 'genes'), expected masked fields that "
            "a loss predicts: 'genes' by batch.gene_target",
        ),
        (
            {"losses.expression.weight": 0.0, "losses.is_zero.weight": 0.0},
            "config.data.draw_masks.fields: found ('values',), expected masked fields that a loss ",
        ),
        (
            {"data.draw_masks.fields": ("genes",), "losses.is_zero.target": "batch.gene_target"},
            "config.train.gene_among: found 'masked', expected hidden or measured where no values ",
        ),
        (
            {"data.transforms": ("normalise", "sequence")},
            "config.train.gene_among: found 'masked', expected hidden or measured where no values ",
        ),
        (
            {"data.draw_masks.adaptive": True, "train.gene_errors": ""},
            "config.train.gene_errors: found '', expected a prediction, by whose errors data.draw_",
        ),
        (
            {"train.gene_among": "maskd"},
            "config.train.gene_among: found 'maskd', expected one of hidden, measured, masked",
        ),
    ],
)
def test_what_would_pass_silently_is_refused(fields, text):
    c = config_of("bmfm_rna_mlm:tiny")
    for path, value in fields.items():
        at = c
        *above, last = path.split(".")
        for name in above:
            at = at[name]
        at[last] = value
    with pytest.raises(ValueError) as error:
        config.check(config.settled(c))
    assert text in str(error.value)


def test_one_loss_counts_from_the_start():
    c = config_of("bmfm_rna_wced:tiny,paper")
    for one in c.losses.values():
        if one.weight:
            one.after = 0.2
    with pytest.raises(
        ValueError, match=r"config\.losses\.….after: found 0\.2, expected 0 for one"
    ):
        config.check(c)


def test_label_heads_that_are_left_out_are_said(labelled, tmp_path, capsys):
    c = labelled_config(labelled)
    c.labels = ("donor",)
    loop.Run(c, tmp_path)
    said = capsys.readouterr().out
    assert "config.labels: does not name the label heads age, cell_type, markers, sex" in said


# What is compared, and when


@pytest.mark.slow
def test_unknown_numbers_are_no_numbers(labelled):
    """A loss without its mask would learn the last class's number: it stops the run instead."""
    c, store, ontologies, _ = adopted(labelled)
    model = CellModel(c.model)
    tables = loop.tables_of(store, c, model.rows, ontologies)
    batch = Batches(store, c, "train", 16, stop=1)[0]
    variables = jax.jit(model.init)(jax.random.key(0))
    forward = jax.jit(functools.partial(make_forward(model, c), train=False))
    full, outputs, _ = jax.device_get(forward(variables, batch, tables))
    code = batch["labels"]["age"]
    assert (code < 0).any()
    expected = np.where(code < 0, np.nan, np.array([-1, 0.5, 2])[code])
    np.testing.assert_array_equal(full["targets"]["age"][:, 0], expected.astype(np.float32))
    found = losses.total(c.losses, outputs, full, tables)
    known = expected[code >= 0] - np.asarray(outputs["heads"]["age"])[code >= 0, 0]
    assert float(found["age"][0]) == pytest.approx((known**2).sum(), rel=1e-5)
    assert float(found["age"][1]) == (code >= 0).sum()
    c.losses.age.where = "batch.real"
    assert np.isnan(losses.total(c.losses, outputs, full, tables)["age"][0])


def test_weights_are_normalised_and_join_by_hand():
    spec = {
        "a": {"weight": 1.0},
        "b": {"weight": 3.0, "after": 0.5},
        "shown": {"weight": 0.0, "after": 0.2},
    }
    parts = {"a": (4.0, 2.0), "b": (10.0, 1.0), "shown": (7.0, 1.0)}

    def at(progress, normalise, **parts_of):
        run = jax.jit(lambda p, parts: losses.weighted(spec, parts, p, normalise))
        return float(run(progress, {**parts, **parts_of}))

    assert [at(p, True) for p in (0.0, 0.49, 0.5, 1.0)] == [2, 2, (2 + 30) / 4, 8]
    assert [at(p, False) for p in (0.0, 0.49, 0.5, 1.0)] == [2, 2, 32, 32]
    nothing = (0.0, 0.0)  # no cell whose label is known
    assert at(1.0, True, b=nothing) == at(1.0, False, b=nothing) == 2
    assert at(1.0, True, a=nothing) == 10
    assert at(1.0, True, a=nothing, b=nothing) == 0


def gradients_of(c, model, tables, batch, number=1, progress=1.0):
    with c.unlocked():
        c.train.accumulate = number
    params = jax.tree.map(
        lambda a: np.asarray(a, np.float64), jax.jit(model.init)(jax.random.key(0))["params"]
    )
    run = jax.jit(make_gradients(make_parts(model, c), c))
    found, _, grads = run(params, {}, {}, batch, tables, jax.random.key(1), progress)
    return jax.device_get((losses.divide(found), flatten(grads)))


def wide(tree):
    up = lambda x: x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x
    return jax.tree.map(up, tree)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bmfm_rna_wced:tiny", "bmfm_rna_mlm:tiny"])
def test_micro_batches_and_warm_up_of_labels(labelled, name):
    """Masked means and labels of which some are unknown: four micro-batches are the whole batch.

    And before ``after`` a label's head has no gradient, while the others' shares are larger; so
    does one without a known cell in the batch, whose weight does not count.
    """
    c, store, ontologies, _ = adopted(labelled, name)
    with c.unlocked():
        for label in ("cell_type", "tissue", "donor", "age", "markers"):
            c.losses[label].after = 0.5
        c.model.metadata.organ.dropout = 0.0
    with jax.enable_x64(True):
        model = CellModel(c.model)
        tables = wide(loop.tables_of(store, c, model.rows, ontologies))
        batch = wide(Batches(store, c, "train", 16, stop=1)[0])
        batch["labels"]["donor"] = np.full_like(batch["labels"]["donor"], -1)
        means, whole = gradients_of(c, model, tables, batch)
        parted, four = gradients_of(c, model, tables, batch, 4)
        _, early = gradients_of(c, model, tables, batch, progress=0.4)
    for key, mean in means.items():
        np.testing.assert_allclose(parted[key], mean, rtol=1e-9, err_msg=key)
    for path, gradient in whole.items():
        np.testing.assert_allclose(four[path], gradient, rtol=1e-9, atol=1e-12, err_msg=path)
    weights = {k: one.weight for k, one in c.losses.items() if one.weight and k != "donor"}
    first = weights["expression"] + weights["is_zero"]
    for path, gradient in whole.items():
        head = path.split("/")[1]
        if head in ("cell_type", "tissue", "age", "markers", "donor"):
            assert (np.abs(gradient).max() > 0) == (head != "donor"), path
            assert not early[path].any(), path
        elif path.startswith("heads/expression"):
            more = early[path] * first / sum(weights.values())
            np.testing.assert_allclose(more, gradient, rtol=1e-9, atol=1e-12, err_msg=path)


# The optimizer


def test_schedules_by_hand():
    c = config_of("bmfm_rna_wced")
    rate = optim.schedule(c, 10_000)
    found = [float(rate(i)) for i in (0, 500, 1000, 5000, 10_000)]
    np.testing.assert_allclose(found, [0, 5e-5, 1e-4, 1e-4, 1e-4], rtol=1e-6)
    c.optimizer.schedule = "linear"
    rate = optim.schedule(c, 10_000)
    found = [float(rate(i)) for i in (0, 1000, 5500, 10_000)]
    np.testing.assert_allclose(found, [0, 1e-4, 5e-5, 0], rtol=1e-6, atol=1e-12)
    c.optimizer.schedule, c.optimizer.warmup_steps, c.optimizer.warmup = "constant", 0, 0.2
    rate = optim.schedule(c, 50)
    np.testing.assert_allclose([float(rate(i)) for i in (5, 10, 40)], [5e-5, 1e-4, 1e-4], rtol=1e-6)
    c.optimizer.warmup_steps = 1000  # more than there are
    assert float(optim.schedule(c, 40)(40)) == pytest.approx(1e-4)


def test_gradients_are_clipped_by_the_norm_of_all(labelled):
    c = config_of("bmfm_rna_wced")
    c.optimizer.warmup_steps = 1
    params = {"x": {"kernel": np.ones(3)}, "y": {"bias": np.ones(2)}}
    random = np.random.default_rng(0)
    draws = [jax.tree.map(lambda a, s=s: s * random.normal(size=a.shape), params) for s in (9, 0.1)]
    c.optimizer.clip = 0.5
    clipped = optim.build(c, 100)
    c.optimizer.clip = 0.0
    plain = optim.build(c, 100)
    with jax.enable_x64(True):
        a, b = clipped.init(params), plain.init(params)
        for one in draws:
            norm = np.sqrt(sum((x**2).sum() for x in jax.tree.leaves(one)))
            by_hand = jax.tree.map(lambda x, n=norm: x * min(1, 0.5 / n), one)
            found, a = clipped.update(one, a, params)
            expected, b = plain.update(by_hand, b, params)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9), found, expected)
        unclipped, _ = plain.update(draws[1], plain.init(params), params)
    assert np.abs(unclipped["x"]["kernel"] - found["x"]["kernel"]).max() > 0


def test_linear_layers_decay_and_nothing_else():
    for name in ("bmfm_rna_wced", "bmfm_rna_mlm"):
        c = config_of(f"{name}:tiny")
        shapes = jax.eval_shape(CellModel(c.model).init, jax.random.key(0))["params"]
        zeros = jax.tree.map(lambda s: np.zeros(s.shape, np.float32), shapes)
        ones = jax.tree.map(np.ones_like, zeros)
        optimizer = optim.build(c, 10)
        update = jax.jit(optimizer.update)
        _, state = update(zeros, optimizer.init(ones), ones)  # at the rate 0
        updates, _ = update(zeros, state, ones)
        moved = {path for path, u in flatten(updates).items() if np.abs(u).max() > 0}
        kernels = {path for path in flatten(ones) if path.endswith("/kernel")}
        rows = {"heads/expression/rows"} if "wced" in name else {"heads/expression/parts"}
        assert moved == kernels | rows
        assert {"fields/value/dense/kernel", "pool/dense/kernel"} <= moved


# Runs


def run_config(folder, name, steps=4):
    c = labelled_config(folder, name)
    c.steps, c.train.log_every, c.train.validate_every, c.train.save_every = steps, 1, 2, 1
    c.train.gene_errors = ""
    return c


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bmfm_rna_wced:tiny,paper", "bmfm_rna_mlm:tiny"])
def test_stopped_and_resumed_is_the_whole_run_bit_for_bit(labelled, tmp_path, name, capsys):
    make = lambda: run_config(labelled, name)
    assert loop.train(make(), tmp_path / "whole")
    stop = lambda step: step == 2 and os.kill(os.getpid(), 15)
    assert not loop.train(make(), tmp_path / "halves", stop)
    assert loop.train(make(), tmp_path / "halves")
    assert "goes on from step 2 of 4" in capsys.readouterr().out
    one, two = (load_model(tmp_path / d / "checkpoints" / "4") for d in ("whole", "halves"))
    for path, leaf in flatten(one.variables).items():
        np.testing.assert_array_equal(leaf, flatten(two.variables)[path], err_msg=path)
    for a, b in zip(lines(tmp_path / "whole"), lines(tmp_path / "halves"), strict=True):
        a.pop("cells_per_s", None), b.pop("cells_per_s", None)
        assert a == b
    shown = [line for line in lines(tmp_path / "whole") if "train/loss" in line]
    assert {"train/cell_type", "train/age", "train/markers", "train/expression_at_means"} <= set(
        shown[0]
    )
    if "paper" in name:  # labels join half way
        first = shown[0]
        own = (first["train/expression"] + first["train/is_zero"]) / 2
        joined = [k for k, one in make().losses.items() if one.get("after")]
        assert {"cell_type", "tissue", "donor"} <= set(joined)
        assert first["train/loss"] != pytest.approx(own)  # age and markers count from the start
    checkpoints_keep_what_travels(tmp_path, one)


def checkpoints_keep_what_travels(tmp_path, step):
    model = load_model(tmp_path / "whole")
    (label,) = model.ontologies
    assert label == "cell_type"
    names = ("cell", "T cell", "B cell", "lymphocyte", "monocyte")
    assert model.ontologies[label].names == names
    assert step.ontologies == model.ontologies
    np.testing.assert_array_equal(model.tables["targets"]["age"], [[-1], [0.5], [2]])
    assert model.tables["leaves"]["cell_type"].sum(axis=1).tolist() == [1, 1, 2, 1, 0]
    assert model.tables["leaves"]["cell_type"].dtype == bool
    assert model.labels["cell_type"] == CLASSES
    # A folder of format 1, from before there were ontologies: its tensors' file does not name them.
    folder = tmp_path / "whole" / "model"
    (folder / "ontologies.json").unlink()
    with pytest.raises(ValueError, match=r"ontologies\.json is missing; copy the whole model"):
        load_model(folder)
    weights = folder / "model.safetensors"
    with safe_open(weights, "numpy") as file:
        info = file.metadata()
    del info["ontologies.json"]
    save_file(load_file(weights), weights, metadata=info)
    (folder / "format_version").write_text("1\n")
    old = load_model(folder)
    assert old.ontologies == {}
    assert old.sha256 == model.sha256


@pytest.mark.slow
def test_a_run_goes_on_with_the_ontology_and_the_vectors_it_began_with(labelled, tmp_path):
    for name in ("small.obo", "store"):
        (tmp_path / name).symlink_to(labelled / name)
    vectors = tmp_path / "vectors.tsv"
    vectors.write_text("G1\t0.5\t1\nG2\t2\t0\n")
    c = labelled_config(tmp_path)
    c.model.fields.outside = {"kind": "external", "input": "ids", "channels": 2}
    c.model.fields.outside.file, c.model.tokens = str(vectors), (*c.model.tokens, "outside")
    c.steps, c.train.gene_errors = 1, ""
    assert loop.train(c, tmp_path / "run")
    assert loop.train(c, tmp_path / "run")  # skipped
    moved = (tmp_path / "small.obo").read_text().replace("is_a: CL:0000542", "is_a: CL:0000000", 1)
    (tmp_path / "small.obo").unlink()
    (tmp_path / "small.obo").write_text(moved)  # T cell is no lymphocyte; the leaves are the same
    vectors.write_text("G1\t0.5\t1\nG2\t2\t0.1\n")
    said = "run: was trained with another content of the ontology of cell_type, the vectors of outs"
    with pytest.raises(ValueError, match=said):
        loop.train(c, tmp_path / "run")

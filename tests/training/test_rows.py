"""Warm starts of models with rows for special tokens and classes; nothing is trained here."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcell import config
from jaxcell.data.ontology_reading import read_ontology
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.models.cell import CellModel
from jaxcell.training import warm_start
from jaxcell.training.checkpoint import Model, flatten, save_model
from jaxcell.training.rows import class_names, row_axes
from jaxcell.training.step import State
from tests.conftest import OBO, config_of, labelled_config

NAMES = ("bmfm_rna_wced:tiny", "bmfm_rna_mlm:tiny")


def drawn(c, seed):
    """Variables of a config's model with numbers of no meaning, and none twice."""
    draw, shapes = np.random.default_rng(seed), CellModel(c.model).shapes()
    return jax.tree.map(lambda x: draw.normal(size=x.shape).astype(np.float32), shapes)


def saved(folder, c, genes, labels=None, ontologies=None):
    """A checkpoint of a config: its flat variables."""
    vocabulary = Vocabulary(genes, [""] * len(genes), c.model.specials)
    variables, info = drawn(c, 0), {"step": 3}
    save_model(folder, Model(c, vocabulary, labels or {}, variables, {}, info, ontologies or {}))
    return flatten(variables)


def warmed(folder, c, genes, labels=None, ontologies=None):
    """Flat parameters of a new run before and after its warm start, and the start."""
    vocabulary = Vocabulary(genes, [""] * len(genes))
    start = warm_start.read(folder, c, vocabulary, labels or {}, ontologies or {})
    fresh = drawn(c, 1)
    state = State(step=0, opt_state=None, key=None, **jax.tree.map(jnp.asarray, fresh))
    after = start.apply(state)
    both = {"params": after.params, "batch_stats": after.batch_stats}
    return flatten(fresh), flatten(both), start


def bmfm(name, genes):
    """BMFM-RNA without labels; masked values with the head that tells genes apart."""
    c = config_of(name)
    c.labels, c.ontology.labels, c.model.vocabulary = (), (), genes
    if "mlm" in name:
        c.model.heads.expression.genes = True
    return config.settled(c)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("genes", "rows", "token_rows"), [(300, 384, 384), (370, 384, 512)])
def test_an_own_checkpoint_gives_identical_parameters(tmp_path, name, genes, rows, token_rows):
    c, names = bmfm(name, genes), [f"G{i}" for i in range(genes)]
    net = CellModel(c.model)
    assert (net.rows, net.token_rows) == (rows, token_rows)
    theirs = saved(tmp_path, c, names)
    fresh, after, start = warmed(tmp_path, c, names)
    tables = {path for path, (*_, what) in row_axes(c.model).items() if what == "tokens"}
    heads = {f"params/heads/expression/{table}" for table in ("rows", "bias")}
    assert tables == heads | {"params/fields/gene/embedding"}
    used = genes + len(c.model.specials)
    for path, leaf in theirs.items():
        own = slice(used if path in tables else None)
        np.testing.assert_array_equal(after[path][own], leaf[own], err_msg=path)
        if path in tables:  # the padded rows stay fresh
            np.testing.assert_array_equal(after[path][used:], fresh[path][used:], err_msg=path)
    assert start.provenance["specials_fresh"] == []


@pytest.mark.parametrize("name", ["bmfm_rna_wced:tiny", "txfm_b:tiny"])
def test_special_tokens_are_matched_by_name(tmp_path, name):
    old = bmfm(name, 370)
    if "txfm" in name:
        old.model.specials = ("<cls>", "<sep>", "<mask>")
    new, were = old.copy_and_resolve_references(), old.model.specials
    new.model.vocabulary = 300
    kept = sorted(set(were) - {"<mask>"})  # in another order
    new.model.specials = specials = ("<new>", *kept)
    order = np.random.default_rng(0).permutation(370)[:300]
    theirs = saved(tmp_path, old, [f"G{i}" for i in range(370)])
    fresh, after, start = warmed(tmp_path, new, [f"G{i}" for i in order])
    places = [were.index(one) for one in kept]
    if "txfm" in name:
        before, now = (v["params/fields/specials"] for v in (theirs, after))
        np.testing.assert_array_equal(now[1:], before[places])
        np.testing.assert_array_equal(now[0], fresh["params/fields/specials"][0])
    else:
        before, now = (v["params/fields/value/rows"] for v in (theirs, after))
        np.testing.assert_array_equal(now[1:], before[[*places, len(were)]])  # the last is zero's
        for path in ("params/fields/gene/embedding", "params/heads/expression/rows"):
            known = np.array([*order, *(370 + np.array(places))])
            own = np.array([*range(300), *range(301, 300 + len(specials))])
            np.testing.assert_array_equal(after[path][own], theirs[path][known], err_msg=path)
            others = np.setdiff1d(np.arange(len(after[path])), own)
            np.testing.assert_array_equal(after[path][others], fresh[path][others], err_msg=path)
    assert start.provenance["specials_fresh"] == ["<new>"]
    assert "\nspecial tokens that start fresh: <new>\n" in start.report


# Classes of a checkpoint and of a new store, some of them as many in another order.
OLD = {
    "cell_type": ["B cell", "T cell"],
    "organ": ["blood", "gut", "skin"],
    "donor": ["d1", "d2"],
    "age": ["0.5", "2"],
    "markers": ["a|b", "b"],
}
NEW = {
    "cell_type": ["B cell", "lymphocyte", "monocyte"],
    "organ": ["gut", "lung", "blood"],
    "donor": ["d3", "d4", "d5"],
    "age": ["7"],
    "markers": ["b|c", "a"],
}
PLACES = {  # of ours in theirs; the leaves by their ids, T, B (236) and monocyte (576)
    "heads/cell_type": [1, -1],
    "heads/tissue": [1, -1, 0],
    "heads/donor": [-1, -1, -1],
    "heads/age": [0],
    "heads/markers": [0, 1, -1],
    "fields/organ": [1, -1, 0, 3],  # and of no known class
}


@pytest.fixture
def labelled_by(tmp_path):
    """{label: classes} -> the config of a store that has them, and its ontologies."""
    (tmp_path / "small.obo").write_text(OBO)
    whole = read_ontology(str(tmp_path / "small.obo"))

    def make(labels):
        c = config.settled(labelled_config(tmp_path))
        c.model.vocabulary, ontologies = 20, {"cell_type": whole.prune(labels["cell_type"])}
        for name, classes in class_names(c, labels, ontologies).items():
            room, _, one = name.partition(".")
            c.model[room][one].classes = len(classes)
        return c, ontologies

    return make


def test_classes_are_matched_by_name_and_leaves_by_id(labelled_by, tmp_path):
    genes = [f"G{i}" for i in range(20)]
    (old, known), (new, asked) = labelled_by(OLD), labelled_by(NEW)
    theirs = saved(tmp_path, old, genes, OLD, known)
    fresh, after, start = warmed(tmp_path, new, genes, NEW, asked)
    for owner, places in PLACES.items():
        paths = [path for path in after if path.startswith(f"params/{owner}/")]
        assert len(paths) == (1 if owner == "fields/organ" else 2)
        for path in paths:
            there, here, now = (np.moveaxis(v[path], -1, 0) for v in (theirs, fresh, after))
            if owner == "fields/organ":
                there, here, now = theirs[path], fresh[path], after[path]
            assert len(now) == len(places)
            for row, place in enumerate(places):
                expected = here[row] if place < 0 else there[place]
                np.testing.assert_array_equal(now[row], expected, err_msg=f"{path} {row}")
    said = "of the store's {} classes matched, {} start fresh; {} of the checkpoint's are left out"
    lines = start.report.splitlines()
    assert f"heads.cell_type: 1 {said.format(2, 1, 1)}" in lines
    assert f"heads.tissue: 2 {said.format(3, 1, 1)}" in lines
    assert f"heads.donor: 0 {said.format(3, 3, 2)}" in lines
    assert f"heads.age: 1 {said.format(1, 0, 0)}" in lines
    assert f"heads.markers: 2 {said.format(3, 1, 0)}" in lines
    assert f"metadata.organ: 2 {said.format(3, 1, 1)}" in lines
    assert not any(".classes: " in line for line in lines)  # said already
    counts = {"matched": 1, "fresh": 1, "left_out": 1}
    assert start.provenance["classes"]["heads.cell_type"] == counts


def test_classes_that_a_checkpoint_does_not_name_start_fresh(labelled_by, tmp_path):
    """A folder from before ontologies were in it; other kinds of outputs match none."""
    genes = [f"G{i}" for i in range(20)]
    (old, _), (new, asked) = labelled_by(OLD), labelled_by(OLD)
    theirs = saved(tmp_path, old, genes, OLD)
    with new.unlocked():
        del new.targets["markers"]  # its two classes "a|b" and "b" exclude each other now
    fresh, after, start = warmed(tmp_path, new, genes, OLD, asked)
    for head in ("cell_type", "markers"):
        path = f"params/heads/{head}/out/bias"
        np.testing.assert_array_equal(after[path], fresh[path])
    path = "params/heads/tissue/out/kernel"
    np.testing.assert_array_equal(after[path], theirs[path])
    said = "heads.cell_type: the checkpoint does not say which its classes are: all 2 start fresh"
    assert said in start.report.splitlines()
    assert "heads.markers: 0 of the store's 2 classes matched" in start.report


def test_a_head_of_another_shape_is_still_refused(labelled_by, tmp_path):
    genes = [f"G{i}" for i in range(20)]
    (old, known), (new, asked) = labelled_by(OLD), labelled_by(NEW)
    saved(tmp_path, old, genes, OLD, known)
    with new.unlocked():
        new.model.heads.tissue.mlp = True
    wrong = "these differ:\n  params/heads/tissue/in/bias: absent there, (32,) here\n"
    with pytest.raises(ValueError, match=re.escape(wrong)) as caught:
        warmed(tmp_path, new, genes, NEW, asked)
    assert "out/kernel" not in str(caught.value)

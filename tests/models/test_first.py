"""Models without special tokens, whose cells are read from their first gene's token."""

import jax
import numpy as np
import pytest

from jaxcell import config, sharding
from jaxcell.data.pipeline import Batches
from jaxcell.data.prepare import prepare
from jaxcell.models.cell import CellModel, queries_of
from jaxcell.training import loop, optim
from jaxcell.training.step import compile_steps
from tests.conftest import config_of, draw_cells

V, T = 11, 5


def bare(pool="first"):
    """BioFormer's config as its code has it: genes alone, each at its own place."""
    c = config_of("bioformer:tiny,code")
    c.model.specials = c.model.front = ()
    c.model.pool, c.model.vocabulary = pool, V
    c.model.fields.value.codes = (0,)
    c.data.sequence.order = c.data.sequence.zeros = c.embed.zeros = "vocabulary"
    c.labels = ()
    return config.settled(c)


def batch():
    random = np.random.default_rng(0)
    ids = np.stack([np.sort(random.permutation(V)[:T]) for _ in range(3)]).astype(np.int32)
    values = random.integers(0, 4, (3, T)).astype(np.float32)
    labels = {"dataset": np.array([0, 1, -1], np.int32)}
    return {"ids": ids, "values": values, "length": np.array([T, T, 3]), "labels": labels}


def test_the_first_pool_is_the_first_token_of_all():
    c = bare("first+mean")
    net = CellModel(c.model)
    variables = jax.jit(net.init)(jax.random.key(0))
    found, _ = net.apply(variables, batch(), {}, train=False, tokens=True)
    width = c.model.width
    np.testing.assert_array_equal(found["cell"][:, :width], found["tokens"][:, 0])
    alone, _ = net.apply(variables, batch(), {}, train=False, heads=False, pool="first")
    np.testing.assert_allclose(alone["cell"], found["tokens"][:, 0], atol=1e-6)
    assert queries_of(net.spec, "first", False) == 1
    # Where a special token stands in front it is that one.
    c = config_of("bioformer:tiny")
    c.model.vocabulary, c.model.pool = V, "first+cls"
    net, own = CellModel(c.model), batch()
    own["ids"][:, 0], own["values"][:, 0] = V, -1
    own["labels"] = {"<batch>": own["labels"]["dataset"]}
    found, _ = net.apply(jax.jit(net.init)(jax.random.key(0)), own, {}, train=False)
    np.testing.assert_array_equal(found["cell"][:, :width], found["cell"][:, width:])


def test_a_head_reads_it():
    c = bare()
    c.model.heads.study.reads = "first"
    net = CellModel(c.model)
    found, _ = net.apply(jax.jit(net.init)(jax.random.key(0)), batch(), {}, train=False)
    assert found["heads"]["study"].shape == (3, 2)


WHY = "for model.pool = 'first'"


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("data.sequence.order", "random", f"found 'random', expected 'vocabulary' {WHY}"),
        ("data.sequence.zeros", "all", f"found 'all', expected 'vocabulary' {WHY}"),
        ("embed.zeros", "exclude", f"found 'exclude', expected 'vocabulary' {WHY}"),
        ("data.transforms", ("normalise", "sample_genes"), f"expected sequence {WHY}"),
    ],
)
def test_a_config_in_which_it_is_no_one_gene_is_refused(path, value, text):
    c = bare()
    config.check(c)
    c.update_from_flattened_dict({path: value})
    with pytest.raises(ValueError, match=f"config.{path}: .*{text}"):
        config.check(c)


def test_metadata_of_the_first_special_token_need_one():
    c = bare()
    c.model.metadata.study.place = "cls"
    with pytest.raises(ValueError, match=r"config.model.front: found \(\), expected a token in fr"):
        config.check(c)


def test_causal_encoders_and_unknown_pools_are_refused():
    c = bare()
    c.model.encoder.causal = True
    with pytest.raises(ValueError, match="found 'first', expected mean or weighted or last"):
        CellModel(c.model)
    with pytest.raises(ValueError, match="config.model.front: no token for the pool 'cls'"):
        CellModel(bare("cls").model)


@pytest.mark.slow
def test_it_trains(tmp_path):
    files = [tmp_path / "one.h5ad", tmp_path / "two.h5ad"]
    for seed, file in enumerate(files):
        draw_cells(seed, 40, 50).write_h5ad(file)
    store = prepare(tmp_path / "store", files, progress=False)
    c = bare()
    c.data.store, c.mesh.data = str(store.path), 1
    ontologies = loop.adopt(c, store, lambda line: None)
    model = CellModel(c.model)
    c.data.sequence.number = len(store.vocabulary)
    tables = loop.tables_of(store, c, model.rows, ontologies)
    mesh = sharding.make_mesh(c.mesh, jax.devices()[:1])
    optimizer = optim.build(c, 12)
    state, train, _, tables = compile_steps(model, c, optimizer, mesh, tables, 12)
    one = Batches(store, c, "train", c.train.batch_size, stop=1)[0]
    assert (one["ids"] == np.arange(len(store.vocabulary))).all()
    one, seen = sharding.to_global(one, mesh), []
    with jax.set_mesh(mesh):
        for _ in range(12):
            state, shown = train(state, one, tables)
            seen.append(float(shown["loss"]))
    assert seen[-1] < seen[0]

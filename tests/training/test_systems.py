"""Every shipped system as ':tiny', and BMFM-RNA's other encoders: it trains and its loss falls."""

import jax
import numpy as np
import pytest

from jaxcell import config, sharding
from jaxcell.data.pipeline import Batches
from jaxcell.data.store import Store
from jaxcell.models.cell import CellModel, queries_of
from jaxcell.planning import estimate
from jaxcell.training import loop, optim
from jaxcell.training.step import compile_steps
from tests.conftest import ROOT, config_of, labelled_config

NAMES = sorted({p.stem for p in (ROOT / "configs").glob("*.py")} - {"demo"})
WCED, MLM = "bmfm_rna_wced:tiny", "bmfm_rna_mlm:tiny"
NEW = (
    "scformer:tiny,paper",
    "scformer:tiny,simcse,category",
    "bioformer:tiny,code",
    "bioformers_encoder:tiny,normalised",
)
SYSTEMS = [
    *(f"{name}:tiny" for name in NAMES),
]
MORE = [
    *(f"{WCED},performer", f"{WCED},rda,non_input"),
    *(f"{MLM},nystrom", f"{WCED},nystrom"),
    *(f"{WCED},modern_bert", f"{MLM},bert", f"{WCED},paper,llama"),
    *NEW,
    "bioformers_decoder:tiny,by_value",
    *(f"{MLM},paper", f"{WCED},flat", f"{MLM},sigmoids", f"{MLM},performer"),
]
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MORE]


def system(labelled, name):
    """A system over the labelled store; its label heads are those that the store has labels for."""
    c = labelled_config(labelled, name) if "bmfm" in name else config_of(name)
    if "bmfm" in name:
        c.labels = ("cell_type", "tissue=organ", "donor")
    if c.batch:
        c.batch = "donor"
    if "scformer" in name:
        c.labels = ("cls",)
    if "external" in name:
        c.data.flag_genes.label = "gene"
    c.data.store, c.mesh.data = str(labelled / "store"), 1
    c = config.settled(c)
    store = Store.open(c.data.store)
    return c, store, loop.adopt(c, store, print)


@pytest.mark.parametrize("name", [*SYSTEMS, *SLOW])
def test_a_system_trains_and_its_loss_falls(labelled, name):
    c, store, ontologies = system(labelled, name)
    model = CellModel(c.model)
    tables = loop.tables_of(store, c, model.rows, ontologies)
    mesh = sharding.make_mesh(c.mesh, jax.devices()[:1])
    optimizer = optim.build(c, 24)
    state, train, _, tables = compile_steps(model, c, optimizer, mesh, tables, 24)
    batches = Batches(store, c, "train", c.train.batch_size, stop=2)
    two = [sharding.to_global(batches[i], mesh) for i in range(2)]
    seen = []
    with jax.set_mesh(mesh):
        for i in range(24):
            state, shown = train(state, two[i % 2], tables)
            seen.append(jax.device_get(shown))
    weighed = [k for k, one in c.losses.items() if one.weight]
    assert all(np.isfinite([one[k] for one in seen]).all() for k in (*weighed, "grad_norm"))
    falling = [k for k in ("expression", "mgm", "mvc", "mlm") if k in weighed]
    assert falling
    for loss in (*falling, *(["is_zero"] if "bmfm" in name else [])):
        assert np.mean([one[loss] for one in seen[-4:]]) < np.mean([one[loss] for one in seen[:4]])
    assert all(seen[0][k] > 0 for k in weighed if k.startswith(("cell_type", "tissue", "is_zero")))


CASES = [
    *((MLM, t, {}) for t in (60, 250)),
    (WCED, 250, {}),
    (f"{WCED},performer", 400, {"model.encoder.features": 16}),
    (f"{MLM},nystrom", 400, {"model.encoder.landmarks": 16}),
]


@pytest.mark.parametrize(("name", "genes", "fields"), CASES)
def test_planned_activations_are_about_what_xla_takes(name, genes, fields):
    """Of a gradient step of a few cells, where activations outweigh all else."""
    c = config_of(name)
    c.labels = ()
    c = config.settled(c)
    c.update_from_flattened_dict(fields)
    c.model.vocabulary, c.data.sequence.number, c.train.batch_size = 500, genes, 16
    model, cells = CellModel(c.model), c.train.batch_size
    tokens = genes + len(c.model.front)
    shapes = {
        "ids": ((cells, tokens), "int32"),
        "values": ((cells, tokens), "float32"),
        "length": ((cells,), "int32"),
        "labels": {},
    }
    batch = {n: s and jax.ShapeDtypeStruct(*s) for n, s in shapes.items()}

    def loss(variables, batch):
        outputs, _ = model.apply(variables, batch, {}, train=False)
        return sum((x**2).sum() for x in jax.tree.leaves(outputs["heads"]))

    variables = jax.eval_shape(model.init, jax.random.key(0))
    found = jax.jit(jax.grad(loss)).lower(variables, batch).compile().memory_analysis()
    planned = estimate.memory(c, devices=1, itemsize=4)["activations"]
    assert (queries_of(model.spec) is None) == ("mlm" in name)
    assert 0.4 < planned / found.temp_size_in_bytes < 2.5, found.temp_size_in_bytes

"""Stores and configs that tests share; no silent rank promotion in models, losses, training."""

from pathlib import Path

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import settings

from jaxcell import config, sharding
from jaxcell.data.prepare import prepare
from jaxcell.evaluation.networks.planted import planted_cells, planted_names
from jaxcell.training import setup
from jaxcell.training.checkpoint import Model, save_model
from jaxcell.training.machine import model_of
from jaxcell.training.means import tables_of
from tests import programs

ROOT = Path(__file__).parent.parent
# The same examples each time, so that a test that fails today failed when it was written.
settings.register_profile("same", derandomize=True, deadline=None, max_examples=25, database=None)
settings.load_profile("same")


def _one_unless_named(spec, devices=None, make_mesh=sharding.make_mesh):
    """Lay a run on one device where a test names no mesh: compiled in two thirds of the time."""
    if devices is None and [spec[axis] for axis in sharding.AXES] == [-1, 1, 1]:
        devices = jax.devices()[:1]
    return make_mesh(spec, devices)


sharding.make_mesh = _one_unless_named
programs.install()


@pytest.fixture(autouse=True)
def _no_rank_promotion(request):
    room = Path(request.node.path).parent.name
    strict = room in ("models", "losses", "training")
    with jax.numpy_rank_promotion("raise" if strict else "allow"):
        yield


@pytest.fixture(autouse=True)
def _own_programs(request):
    with programs.own("monkeypatch" in request.fixturenames):
        yield


def config_of(name):
    """The config in configs/ of that name, with an optional ':variant'."""
    file, _, variant = name.partition(":")
    return config.load(f"{ROOT / 'configs' / file}.py:{variant}")


def fresh(store, c, workdir, seed=1):
    """The workdir, with a model as the first step of a run finds it, untrained."""
    setup.adopt(c, store, print)
    model = model_of(c, train=False)
    variables = jax.device_get(jax.jit(model.init)(jax.random.key(seed)))
    vocabulary = store.vocabulary.with_specials(tuple(c.model.specials))
    tables = tables_of(store, c, model.rows)
    save_model(workdir, Model(c, vocabulary, store.classes, variables, tables, {"step": 0}))
    return workdir


def draw_cells(seed, cells, genes, kinds=3):
    """AnnData of counts with ``kinds`` kinds of cells, each with its own high genes."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, kinds, cells)
    rates = np.where(np.arange(genes) % kinds == kind[:, None], 3.0, 0.3)
    depth = random.uniform(0.5, 2, (cells, 1))
    counts = random.poisson(rates * depth).astype(np.float32)
    obs = pd.DataFrame(
        {"kind": [f"kind {k}" for k in kind], "batch": [f"batch {seed}"] * cells},
        index=[f"{seed}-{i}" for i in range(cells)],
    )
    var = pd.DataFrame(index=[f"G{i}" for i in range(genes)])
    return anndata.AnnData(sp.csr_matrix(counts), obs=obs, var=var)


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Two h5ad files with different panels: 90 × 300 genes, 60 × 240 of them."""
    folder = tmp_path_factory.mktemp("sources")
    first, second = draw_cells(1, 90, 300), draw_cells(2, 60, 300)[:, 30:270].copy()
    first.write_h5ad(folder / "first.h5ad")
    second.write_h5ad(folder / "second.h5ad")
    return folder / "first.h5ad", folder / "second.h5ad"


@pytest.fixture(scope="session")
def store(sources, tmp_path_factory):
    """A store of both, a fifth held out."""
    out = tmp_path_factory.mktemp("stores") / "store"
    return prepare(out, sources, labels=("kind",), hold_out_fraction=0.2, progress=False)


# cell ── lymphocyte ── T cell, B cell
#      └─ monocyte
OBO = """\
format-version: 1.2
data-version: small
ontology: cl

[Term]
id: CL:0000000
name: cell

[Term]
id: CL:0000542
name: lymphocyte
is_a: CL:0000000

[Term]
id: CL:0000084
name: T cell
is_a: CL:0000542

[Term]
id: CL:0000236
name: B cell
is_a: CL:0000542

[Term]
id: CL:0000576
name: monocyte
is_a: CL:0000000
"""
TYPES = ("T cell", "B cell", "monocyte")


def draw_labelled(seed, cells, genes=100):
    """The same with labels: a coarse type in every seventh, no term and unknown ones among them."""
    adata = draw_cells(seed, cells, genes)
    kind, place = adata.obs["kind"].str[-1].astype(int).to_numpy(), np.arange(cells)
    types = np.array(TYPES, object)[kind]
    types[(place % 7 == 0) & (kind < 2)] = "lymphocyte"
    types[place % 20 == 3] = "odd thing"
    types[place % 20 == 4] = None
    adata.obs["cell_type"] = types
    adata.obs["organ"] = np.array(["blood", "gut"])[(kind > 0).astype(int)]
    adata.obs["donor"] = np.array(["d1", "d2", "d3"])[place % 3]
    adata.obs["age"] = np.where(place % 10 == 1, None, np.array(["-1", "0.5", "2"], object)[kind])
    adata.obs["markers"] = np.array(["a", "a|b", "b|c"])[kind]
    return adata


def labelled_config(folder, name="bmfm_rna_wced:tiny"):
    """A config of the labelled store: an ontology, an alias, a number, several names, metadata."""
    c = config_of(name)
    c.data.store, c.ontology.file = str(folder / "store"), str(folder / "small.obo")
    c.labels = ("cell_type", "tissue=organ", "donor", "age", "markers")
    c.targets = {"age": "number", "markers": "several"}
    c.model.metadata = {"organ": {"label": "organ", "classes": 1, "place": "token"}}
    reads = c.model.heads.cell_type.reads
    for label, kind in (("age", "mse"), ("markers", "binary_cross_entropy")):
        head = {"kind": "classifier", "label": label, "classes": 1, "reads": reads}
        c.model.heads[label] = head
        c.losses[label] = {
            "kind": kind,
            "pred": f"heads.{label}",
            "target": f"batch.targets.{label}",
            "where": f"batch.labels.{label}",
            "reduce": "masked_mean",
            "weight": 1.0,
        }
    c.model.heads.donor.reverse = 0.1
    c.optimizer.warmup_steps = 5
    c.dtype = "float32"
    return c


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    """A folder with a small ontology, an h5ad of labelled cells, and their store."""
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "small.obo").write_text(OBO)
    draw_labelled(3, 140).write_h5ad(folder / "cells.h5ad")
    labels = ("cell_type", "organ", "donor", "age", "markers")
    files, out = [folder / "cells.h5ad"], folder / "store"
    prepare(out, files, labels=labels, hold_out_fraction=0.2, progress=False)
    return folder


@pytest.fixture(scope="session")
def planted_network(tmp_path_factory):
    """Folder with cells.h5ad, known.tsv, sets.gmt, and three models that are new: run0, 1, 2."""
    folder = tmp_path_factory.mktemp("planted")
    planted_cells(0, cells=80).write_h5ad(folder / "cells.h5ad")
    factors, genes, pairs = planted_names()
    (folder / "known.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    lines = ["\t".join([f"of {f}", "", *(b for a, b in pairs if a == f)]) for f in factors]
    (folder / "sets.gmt").write_text("\n".join(lines) + "\n")
    store = prepare(folder / "store", [folder / "cells.h5ad"], progress=False)
    for seed in range(3):
        c = config_of("bioformers_encoder:tiny")
        c.data.store, c.data.sequence.number = str(store.path), len(genes)
        fresh(store, config.settled(c), folder / f"run{seed}", seed)
    return folder

"""What tells batches apart: one field of the config, classes that training never saw, meshes."""

import warnings

import anndata
import numpy as np
import pytest

from jaxcell import config, embed, genes
from jaxcell.data.pipeline import Batches
from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store
from jaxcell.main import train
from jaxcell.models.cell import label_users
from jaxcell.training import loop
from jaxcell.training.checkpoint import flatten, load_model
from tests.conftest import config_of, draw_labelled


def test_batch_is_put_where_it_belongs_once():
    c = config_of("scformer")
    c.batch, c.labels = "lab", ("cls=type",)
    once = config.settled(c)
    labels = {path: one.label for path, one in label_users(once.model)}
    named = ("heads.dar", "conditions.batch", "domain")
    assert labels == {**dict.fromkeys(named, "lab"), "heads.cls": "type"}
    assert once.losses.dar.target == once.losses.dar.where == "batch.labels.lab"
    assert config.to_json(config.settled(once)) == config.to_json(once)
    assert config.left_out(config_of("scformer")) == ["cls"]


def test_without_batches_nothing_is_left_that_tells_them():
    c = config_of("scformer")
    c.batch = ""
    c = config.settled(c)
    assert not label_users(c.model)
    assert (c.model.norm, c.model.domain.affine) == ("batch", True)  # as the repository's
    assert not {"dar", "cls"} & {*c.losses, *c.model.heads}
    assert not any("given" in head for head in c.model.heads.values())
    config.check(c)
    c = config_of("bioformer")
    c.batch, c.labels = "", ()
    c = config.settled(c)
    assert set(c.losses) == {"mlm", "regression"}
    assert not c.model.metadata


def test_a_users_own_label_called_batch_is_no_batch():
    c = config_of("bmfm_rna_wced")
    c.model.heads.donor.label, c.losses.donor.target = "batch", "batch.labels.batch"
    c.losses.donor.where, c.labels = "batch.labels.batch", ("donor",)
    assert config.settled(c).model.heads.donor.label == "batch"


@pytest.mark.parametrize(
    ("labels", "text"),
    [(("ecs=cell_type", "ecs"), "each head once"), (("exs",), "found 'exs', expected some of ecs")],
)
def test_labels_that_no_head_or_loss_has_are_refused(labels, text):
    c = config_of("bioformer")
    c.labels = labels
    with pytest.raises(ValueError, match=text):
        config.settled(c)


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """A folder with cells of donors d1, d2 and, held out, d3; and their store."""
    folder = tmp_path_factory.mktemp("held")
    draw_labelled(3, 90, genes=60).write_h5ad(folder / "cells.h5ad")
    labels, out = ("cell_type", "donor"), folder / "store"
    prepare(out, folder / "cells.h5ad", labels=labels, hold_out=["donor=d3"], progress=False)
    return folder


def tiny(folder, name):
    c = config_of(f"{name}:tiny")
    c.data.store, c.batch, c.steps = str(folder / "store"), "donor", 6
    c.train.validate_every, c.dtype = 6, "float32"
    return c


@pytest.mark.parametrize("name", ["scformer", pytest.param("bioformer", marks=pytest.mark.slow)])
def test_a_batch_that_training_never_saw_is_unknown(held, tmp_path, name):
    """In validation, and at embedding: as if its cells had no batch."""
    c = tiny(held, name)
    store = Store.open(held / "store")
    settled = config.settled(c)
    valid = Batches(store, settled, "valid", 16)[0]["labels"]["donor"]
    assert (valid == -1).all()
    seen = Batches(store, settled, "train", 16, stop=1)[0]["labels"]["donor"]
    assert set(seen) == {0, 1}
    workdir = train(c, tmp_path / "run")
    cells = anndata.read_h5ad(held / "cells.h5ad")
    d3 = cells[cells.obs["donor"] == "d3"].copy()
    d3.obs["cell_type"] = "never read"
    nobodys = d3.copy()
    del nobodys.obs["donor"]
    other = d3.copy()
    other.obs["donor"] = "d1"
    found = []
    for adata, known in ((d3, False), (nobodys, False), (other, True)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            embed(adata, workdir, key="X", progress=False)
        told = [str(w.message) for w in said if "have no class that the model knows" in str(w)]
        assert len(told) == (not known)
        found.append(adata.obsm["X"])
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 1e-3
    tables = load_model(workdir).tables
    assert tables["trained"]["donor"].tolist() == [True, True, False]
    if name == "scformer":  # its vectors have length 1
        np.testing.assert_allclose(np.linalg.norm(found[0], axis=1), 1, atol=1e-5)


@pytest.mark.slow
def test_labels_of_held_out_studies_never_enter(held, tmp_path):
    """BioFormer with their cell types scrambled is the same model, to the last bit."""
    cells = anndata.read_h5ad(held / "cells.h5ad")
    out, random = (cells.obs["donor"] == "d3").to_numpy(), np.random.default_rng(0)
    types = cells.obs["cell_type"].astype(object).to_numpy()
    types[out] = random.permutation(types[~out])[: out.sum()]
    cells.obs["cell_type"] = types
    cells.write_h5ad(tmp_path / "cells.h5ad")
    labels, store = ("cell_type", "donor"), tmp_path / "store"
    prepare(store, tmp_path / "cells.h5ad", labels=labels, hold_out=["donor=d3"], progress=False)
    models = []
    for folder in (held, tmp_path):
        c = tiny(folder, "bioformer")
        c.steps, c.train.validate_every = 6, 2  # three looks to choose from
        models.append(load_model(train(c, tmp_path / f"run{len(models)}")))
    one, other = (flatten(m.variables) for m in models)
    assert one.keys() == other.keys()
    for path in one:
        np.testing.assert_array_equal(one[path], other[path], err_msg=path)
    assert models[0].info["step"] == models[1].info["step"]


def test_an_adversary_needs_two_batches_to_train_on(held, tmp_path):
    """Of the two donors one is held out; the label has two classes all the same."""
    cells = anndata.read_h5ad(held / "cells.h5ad")
    cells = cells[cells.obs["donor"] != "d2"].copy()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    labels, out = ("cell_type", "donor"), tmp_path / "store"
    prepare(out, tmp_path / "cells.h5ad", labels=labels, hold_out=["donor=d3"], progress=False)
    c = tiny(tmp_path, "scformer")
    with pytest.raises(ValueError, match="heads.dar: .*have 1 of its classes.*--config.batch=''"):
        loop.adopt(config.settled(c), Store.open(out), print)
    c.batch = "lab"
    with pytest.raises(ValueError, match=r"no label 'lab'; it has .*--config.batch=LABEL"):
        loop.adopt(config.settled(c), Store.open(out), print)
    c = tiny(tmp_path, "bioformer")
    c.batch, c.labels = "", ("ecs=kind",)
    with pytest.raises(ValueError, match=r"losses.ecs.target: .*\('ecs=LABEL',\)"):
        loop.adopt(config.settled(c), Store.open(out), print)


SYSTEMS = ("scformer", "bioformer", "bioformers_encoder", "bioformers_decoder")


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_cells_and_genes_of_every_system(held, tmp_path, name):
    """Counts in, vectors of cells and genes out; a cell's is its own, whoever comes with it."""
    c = tiny(held, name)
    c.batch = c.batch if name in ("scformer", "bioformer") else ""
    workdir = train(c, tmp_path / "run")
    cells = anndata.read_h5ad(held / "cells.h5ad")
    cells = cells[cells.obs["donor"] != "d3"].copy()
    some = cells[::-3].copy()
    for adata in (cells, some):
        embed(adata, workdir, key="X", batch_size=16, progress=False)
    assert cells.obsm["X"].shape == (len(cells), 32)
    assert np.ptp(cells.obsm["X"], axis=0).max() > 1e-3
    np.testing.assert_array_equal(cells.obsm["X"][::-3], some.obsm["X"])
    vectors = genes(workdir)
    assert vectors.obsm["codebook"].shape == (60, 32)
    assert np.isfinite(vectors.obsm["codebook"]).all()

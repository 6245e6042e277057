"""Runs on bins: each gene's best constant, what travels with the model, the file as a label."""

import re
import shutil
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest

from jaxcell import config, embed
from jaxcell.data.pipeline import Batches
from jaxcell.data.statistics import of_tables, statistics
from jaxcell.data.transforms import build_transforms
from jaxcell.embedder import Embedder
from jaxcell.training import loop
from jaxcell.training.checkpoint import load_model
from jaxcell.training.gene_errors import gene_errors
from jaxcell.training.shapes import batch_shapes, table_shapes
from tests.conftest import config_of
from tests.data.test_transforms import draft

KEY = "X_bmfm_rna_mlm_tiny"
UNSEEN = "ignore:.*(its name|with under half)"


def masked(store, name="mgm", **loss):
    """A config that predicts the bins of masked genes."""
    c = config_of("bmfm_rna_mlm:tiny")
    c.data.store, c.labels, c.steps = str(store.path), (), 2
    c.data.transforms = ("normalise", "bin", "sequence", "draw_masks")
    c.data.sequence.total = "cell"
    c.data.bin.update(method="gene", number=11)
    with c.unlocked():
        c.losses[name] = {
            "kind": "mse",
            "pred": "heads.expression.expression",
            "target": "batch.target",
            "where": "batch.mask",
            "reduce": "masked_mean",
            "weight": 1.0,
            **loss,
        }
    return c


def bins_of(store, c):
    """Bins [cells, V] of the training cells, NaN where a gene was not measured."""
    rows = store.read("train", np.arange(store.sizes["train"]))
    made = draft(np.zeros((1, 3)), [range(3)])
    made.rows = made.input = rows
    made.keys = np.stack([np.full(len(rows), c.seed), np.arange(len(rows))], 1).astype(np.uint64)
    for transform in build_transforms(c.data, c.model, statistics(store, c))[:2]:
        transform(made)
    found = np.where(store.measured[store.gene_set[rows.dataset]], 0, np.nan)
    found[np.repeat(np.arange(len(rows)), np.diff(rows.indptr)), rows.ids] = made.values
    return found


@pytest.mark.parametrize("method", ["gene", "cell_random", "clip"])
def test_the_means_table_is_of_bins(store, method):
    c = masked(store)
    c.data.bin.method = method
    x = bins_of(store, c)
    mean = loop.tables_of(store, c, 384)["mean"]
    np.testing.assert_allclose(mean[:300], np.nanmean(x, axis=0), rtol=1e-6)
    c.losses.mgm.kind = "cross_entropy"
    np.testing.assert_array_equal(loop.tables_of(store, c, 384)["mean"], mean)


@pytest.mark.parametrize(
    ("fields", "loss"),
    [
        ({"expressed": "only"}, {}),
        ({}, {"where": ("batch.mask", "batch.expressed")}),
        ({}, {"where": ("batch.mask", "batch.target")}),
    ],
)
def test_the_means_of_a_loss_of_nonzero_bins_alone(store, fields, loss):
    c = masked(store, **loss)
    c.data.draw_masks.update(fields)
    x = bins_of(store, c)
    expected = np.nanmean(np.where(x > 0, x, np.nan), axis=0)
    found = loop.tables_of(store, c, 384)["mean"][:300]
    np.testing.assert_allclose(found, np.nan_to_num(expected), rtol=1e-6)


def test_a_loss_of_the_panel_keeps_log_means(store):
    """BMFM-RNA's without bins, and one of whole-cell decoding that reads bins: in log1p space."""
    plain = config_of("txfm_b:tiny,mse")
    mean = loop.tables_of(store, plain, 384)["mean"]
    plain.data.transforms = ("normalise", "bin", "sample_genes")
    np.testing.assert_array_equal(loop.tables_of(store, plain, 384)["mean"], mean)
    c = config_of("bmfm_rna_mlm:tiny")
    found = loop.tables_of(store, c, 384)["mean"]
    c.data.transforms = ("normalise", "bin", "sequence", "draw_masks")
    assert np.abs(loop.tables_of(store, c, 384)["mean"] - found).max() > 1


@pytest.mark.parametrize("method", ["gene", "value", "cell_low"])
def test_shapes_are_those_of_tables_and_batches(store, method):
    c = masked(store)
    c.data.bin.update(method=method, normalised=method == "value")
    c.model.vocabulary = 300
    tables, shapes = loop.tables_of(store, c, 384), table_shapes(c)
    assert tables.keys() == shapes.keys()
    for name in tables.keys() & {"bin_edges", "mean_total", "mean", "detected"}:
        assert tables[name].shape == shapes[name].shape
    assert {"gene": "bin_edges", "value": "mean_total"}.get(method, "mean") in tables
    batch, there = loop.Batches(store, c, "train", 4, stop=1)[0], batch_shapes(c, 4, 256, 34)
    for name in ("ids", "values", "length"):
        assert batch[name].dtype == there[name].dtype
    assert batch["draws"].keys() == there["draws"].keys()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"data.sequence.total": "shown"}, "data.sequence.total: found 'shown', expected 'cell'"),
        (
            {"data.transforms": ("thin", "normalise", "bin", "sequence", "draw_masks")},
            "expected no thin with bin and draw_masks",
        ),
        (
            {"model.specials": ("<cls>", "<sep>")},
            "expected <mask> among them, which stands where draw_masks hides: model.fields.value",
        ),
        (
            {
                "model.specials": ("<cls>", "<sep>"),
                "model.fields.value.kind": "scalar",
                "data.draw_masks.fields": ("values", "genes"),
            },
            "expected <mask> among them, which stands where draw_masks hides genes",
        ),
        ({"data.bin.method": "cells"}, "config.data.bin.method: found 'cells', expected one of"),
    ],
)
def test_what_does_not_go_together_is_refused(store, fields, text):
    c = masked(store)
    c.update_from_flattened_dict(fields)
    c.losses["names"] = {**c.losses.mgm, "target": "batch.gene_target"}
    with pytest.raises(ValueError, match=re.escape(text)):
        loop.check(c)


def test_values_without_rows_need_no_mask_token(store):
    c = masked(store)
    c.model.specials, c.model.front = ("<cls>", "<sep>"), ()
    c.model.fields.value = {"kind": "value_mlp", "input": "values"}
    config.check(c)


# A run whose cells' files are a label to predict and metadata to show.


def of_files(store):
    c = masked(store)
    c.labels, c.train.gene_errors = ("tissue=dataset",), "heads.expression.expression"
    c.data.draw_masks.exactly = True
    c.model.metadata = {"study": {"label": "dataset", "classes": 1, "place": "token"}}
    c.losses.expression.weight = c.losses.is_zero.weight = 0.0
    return c


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("binned")
    loop.train(of_files(store), workdir)
    return workdir


def test_files_are_classes_of_heads_and_metadata(store):
    c = config.settled(of_files(store))
    loop.adopt(c, store, print)
    assert c.model.heads.tissue.label == "dataset"
    assert (c.model.heads.tissue.classes, c.model.metadata.study.classes) == (2, 2)
    loop.check(c)
    c.model.metadata.study.label = "datasets"
    with pytest.raises(ValueError, match="no label 'datasets'; it has kind, dataset"):
        loop.adopt(c, store, print)


def codes_of(name, obs, values=("",), dataset=(0, 0, 0), measured_by=None):
    """What an embedder shows of three cells' datasets to a model of three."""
    c, made = config_of("txfm_b:tiny"), object.__new__(Embedder)
    c.model.metadata = {"study": {"label": "dataset", "classes": 3}}
    labels = {"dataset": ["a.h5ad", "b.h5ad", "c.h5ad batch=2"]}
    made._model = SimpleNamespace(config=c, labels=labels, tables={})
    made._source = SimpleNamespace(name=name, obs=pd.DataFrame(obs, index=list("xyz")))
    made._values, made._dataset, made._measured_by = values, np.array(dataset), measured_by
    return made._labels()["dataset"].tolist()


def test_a_source_is_known_by_its_name_and_what_divides_it():
    assert codes_of("folder/b.h5ad", {}) == [1, 1, 1]
    with pytest.warns(UserWarning, match="c.h5ad: its name: 2 cells .*'c.h5ad batch=1'.*unknown"):
        assert codes_of("c.h5ad", {}, ["1", "2"], (0, 1, 0), "batch") == [-1, 2, -1]
    # A column of that name means something else, unless the model knows its classes.
    assert codes_of("a.h5ad", {"dataset": ["here", "there", "here"]}) == [0, 0, 0]
    with pytest.warns(UserWarning, match=r"obs\['dataset'\]: 1 cells have no class"):
        assert codes_of("a.h5ad", {"dataset": ["b.h5ad", "there", "a.h5ad"]}) == [1, -1, 0]


@pytest.mark.slow
def test_what_bins_need_and_the_files_travel_with_the_model(store, trained):
    model = load_model(trained)
    known = statistics(store, model.config)
    np.testing.assert_array_equal(of_tables(model.tables, 300)["bin_edges"], known["bin_edges"])
    assert model.labels["dataset"] == ["first.h5ad", "second.h5ad"]
    assert model.config.model.heads.tissue.classes == 2
    assert model.config.model.metadata.study.classes == 2


@pytest.mark.slow
def test_errors_per_gene_are_of_the_runs_own_bins(store, trained):
    found = gene_errors(trained, store)
    there = pd.read_csv(trained / "gene_errors.tsv", sep="\t")
    np.testing.assert_array_equal(found["n_detected"], there["n_detected"])
    np.testing.assert_allclose(found["mae_null"], there["mae_null"], rtol=1e-4)
    assert found["mean_nonzero"].max() > 8  # of ten bins, and no logarithm of a count


@pytest.mark.slow
@pytest.mark.filterwarnings(UNSEEN)
def test_a_file_is_known_by_its_name(sources, trained, tmp_path):
    def vectors(name):
        shutil.copy(sources[0], tmp_path / name)
        out = embed(tmp_path / name, trained, out=tmp_path / f"out_{name}", progress=False)
        found = anndata.read_h5ad(out)
        assert set(found.obs["tissue_pred"]) <= {"first.h5ad", "second.h5ad"}
        return found.obsm[KEY]

    first, second, other = map(vectors, ("first.h5ad", "second.h5ad", "third.h5ad"))
    for a, b in ((first, second), (first, other), (second, other)):
        assert np.abs(a - b).max() > 0
    cells = anndata.read_h5ad(sources[0])[:5].copy()
    text = "its name: 5 cells have no class that the model knows"
    with pytest.warns(UserWarning, match=text):
        unknown = embed(cells.copy(), trained, progress=False).obsm[KEY]
    np.testing.assert_array_equal(unknown, other[:5])
    # A column of that name, from a store whose labels had it, is read where its classes are known.
    cells.obs["dataset"] = "second.h5ad"
    found = embed(cells, trained, progress=False).obsm[KEY]
    np.testing.assert_array_equal(found, second[:5])


@pytest.mark.parametrize("name", ["bioformers_encoder:tiny", "txfm_b:tiny"])
def test_no_cell_has_more_tokens_than_genes(store, name):
    """A config for more genes than the store has pads nothing."""
    c, said = config_of(name), []
    block = config.tokeniser(c.data)
    block.number = 1000
    c.data.store = str(store.path)
    loop.adopt(c, store, said.append)
    assert block.number == store.measured.sum(axis=1).max() == 300
    assert any("1000 genes a cell nominally" in text for text in said)
    batch = Batches(store, c, "train", 8, stop=1)[0]
    assert batch["ids"].shape == (8, 301)
    assert batch["length"].max() == 301

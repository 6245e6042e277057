import pickle

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from jaxcell import config
from jaxcell.data.pipeline import Batches, iterate
from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store
from jaxcell.data.unprepared import Unprepared, is_source, open_store
from tests.data.conftest import GENES, cells, counts, dense

OPTIONS = {
    "plain": {},
    "labels": {"labels": ["type", "batch"], "hold_out": "batch=b"},
    "drawn": {"labels": ["batch"], "hold_out_fraction": 0.3, "seed": 4},
    "filters": {"min_genes": 4, "min_cells": 20, "measured_by": "batch"},
}


def config_of(store):
    c = config.defaults()
    c.model.vocabulary = len(store.vocabulary)
    c.data.sample_genes.number = 5
    return c


@pytest.fixture(params=["csr", "csc", "dense"])
def file(request, h5ad):
    matrix = counts(60)
    matrix[::3, 2] = 0  # a gene that batch a did not measure
    matrix[:, 5] = 0
    adata = cells(matrix)
    if request.param != "dense":
        adata.X = getattr(sp, f"{request.param}_matrix")(adata.X)
    return h5ad(adata)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_file_is_the_store_that_prepare_would_make(file, tmp_path, options):
    made = prepare(tmp_path / "store", file, progress=False, **options)
    found = Unprepared(file, progress=False, **options)
    for name in ("sizes", "labels", "names", "max_nonzero", "panel_width"):
        assert getattr(found, name) == getattr(made, name)
    assert found.vocabulary.sha256 == made.vocabulary.sha256
    np.testing.assert_array_equal(found.measured, made.measured)
    np.testing.assert_array_equal(found.gene_set, made.gene_set)
    assert found.stats.keys() == made.stats.keys()
    for name, array in made.stats.items():
        np.testing.assert_array_equal(found.stats[name], array)
    for split in ("train", "valid"):
        for column in ("dataset", "labels", "total", "n_genes"):
            index = found.index(split, column)
            np.testing.assert_array_equal(index, made.index(split, column))
            assert index.dtype == made.index(split, column).dtype
    # The table's last line alone says where the store is.
    assert found.table().splitlines()[:-1] == made.table().splitlines()[:-1]
    c = config_of(made)
    for split in ("train", "valid"):
        one, other = (Batches(s, c, split, 16, stop=5) for s in (found, made))
        assert len(one) == len(other)
        for i in range(len(one)):
            compare(one[i], other[i])


def test_features_that_are_no_genes_are_left_out(h5ad, tmp_path):
    types = ["Gene Expression"] * 5 + ["Antibody Capture"] * 3
    file = h5ad(cells(var=pd.DataFrame({"feature_types": types}, index=GENES)))
    made = prepare(tmp_path / "store", file, progress=False)
    found, positions = Unprepared(file, progress=False), [4, 0, 29, 4]
    for one, other in zip(
        *(vars(s.read("train", positions)).values() for s in (found, made)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def compare(one, other):
    assert one.keys() == other.keys()
    for name, array in other.items():
        if isinstance(array, dict):
            compare(one[name], array)
        else:
            np.testing.assert_array_equal(one[name], array)
            assert one[name].dtype == array.dtype


def test_it_travels_to_a_worker_and_reads_the_same(h5ad):
    found = Unprepared(h5ad(sp.csr_matrix(counts(60))), labels=["type"], progress=False)
    again = pickle.loads(pickle.dumps(found))
    assert again.content_hash == found.content_hash
    c = config_of(found)
    with iterate(Batches(again, c, "train", 16, stop=3), threads=2) as stream:
        for i, batch in enumerate(stream):
            compare(batch, Batches(found, c, "train", 16, stop=3)[i])
    assert i == 2
    for asked in ([5], [8, 3, 3, 4, 8], [0, found.sizes["train"] - 1]):
        rows = found.read("train", asked)
        assert rows.ids.dtype == rows.dataset.dtype == np.int32
        np.testing.assert_array_equal(dense(rows, 8), counts(60)[asked])
    assert len(found.read("valid", [])) == 0


def test_what_prepare_refuses_is_refused(h5ad):
    with pytest.raises(ValueError, match="not counts|not integer|non-integer|normalised"):
        Unprepared(h5ad(counts(30) / 3), progress=False)
    with pytest.raises(ValueError, match="no such obs column"):
        Unprepared(h5ad(), labels=["donor"], progress=False)
    with pytest.raises(FileNotFoundError, match="absent.h5ad does not exist"):
        Unprepared("absent.h5ad", progress=False)
    found = Unprepared(h5ad(), progress=False)
    with pytest.raises(ValueError, match="has no records: it is not a store"):
        found.records("train", [0])
    with pytest.raises(ValueError, match="no index train/donor"):
        found.index("train", "donor")


def test_a_file_that_changed_is_found(h5ad):
    found = Unprepared(h5ad(), progress=False)
    found.verify()
    h5ad(counts(40))
    with pytest.raises(ValueError, match=r"cells.h5ad has changed: \d+ bytes"):
        found.verify()


def test_the_config_names_a_store_or_a_source(h5ad, tmp_path):
    c, said = config.defaults(), []
    c.data.store = str(prepare(tmp_path / "store", cells(), progress=False).path)
    assert type(open_store(c, said.append)) is Store
    assert said == []
    c.data.store = str(h5ad(name="own.h5ad"))
    c.prepare.labels, c.prepare.hold_out = ("type",), ("batch=b",)
    found = open_store(c, said.append)
    assert isinstance(found, Unprepared)
    assert found.sizes == {"train": 20, "valid": 10}
    assert list(found.labels) == ["type"]
    assert len(said) == 1
    assert "slower" in said[0]
    assert f"jaxcell prepare STORE {c.data.store} --labels type" in said[0]
    assert open_store(c, said.append) is found
    c.prepare.hvg = 5
    with pytest.raises(ValueError, match="config.prepare.hvg: found 5, expected 0"):
        open_store(c, said.append)
    c.data.store = str(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="absent does not exist; make a store"):
        open_store(c)


def test_stores_and_sources_are_told_apart(tmp_path):
    (tmp_path / "cells.zarr").mkdir()
    assert is_source(tmp_path / "cells.zarr")
    (tmp_path / "cells.zarr" / "store.json").write_text("{}")  # a store of an unlucky name
    assert not is_source(tmp_path / "cells.zarr")
    assert is_source("scanpy:pbmc68k_reduced")
    assert is_source("not_there.h5ad")
    for store in ("folder", "gs://bucket/store", "s3://bucket/cells.zarr", tmp_path):
        assert not is_source(store)


def test_memory_of_an_anndata_does_not_travel():
    found = Unprepared(anndata.AnnData(counts(), var=cells().var), progress=False)
    assert found.sizes["train"] == 30
    with pytest.raises(ValueError, match="in the memory of this process"):
        pickle.dumps(found)

import itertools
import tracemalloc

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.data.inspection import cells as module
from jaxcell.data.inspection.cells import blocks, look_at
from jaxcell.data.inspection.stores import looks_of
from jaxcell.data.inspection.values import best, of_places
from jaxcell.data.sources import open_source
from jaxcell.data.store import Store
from tests.data.conftest import GENES, cells, counts

SYMBOLS = ["MT-CO1", "mt-Nd1", *GENES[2:]]


def look(file, **options):
    source = open_source(file, chunk_cells=options.pop("chunk_cells", None))
    return look_at(source, of_places(source), **options)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_the_numbers_are_those_of_the_matrix(h5ad, form):
    x = counts()
    found = look(h5ad(cells(form(x), symbols=SYMBOLS)), chunk_cells=7)
    np.testing.assert_array_equal(found.depth, x.sum(1))
    np.testing.assert_array_equal(found.n_genes, (x > 0).sum(1))
    np.testing.assert_allclose(found.share, (x > 0).mean(0))
    assert found.sparsity == pytest.approx((x == 0).mean())
    share = 100 * x[:, :2].sum(1) / x.sum(1)
    assert found.mitochondrial == pytest.approx(
        {"genes": 2, "mean": share.mean(), "median": np.median(share),
         "95 %": np.percentile(share, 95)}, rel=1e-6
    )  # fmt: skip
    assert (found.n_cells, found.read, found.values) == (30, 30, "counts")
    assert found.labels["type"]["cells"] == {"B": 10, "T": 10}
    assert found.labels["type"]["unknown"] == 10
    assert found.panels["by"] == "batch"
    assert found.facts()["depth"]["median"] == np.median(x.sum(1))
    assert found.facts()["duplicate_barcodes"] == 0


def test_a_sample_is_spread_evenly_and_read_as_it_lies(h5ad):
    assert blocks(100, 0) == blocks(100, 100) == [(0, 100)]
    parts = blocks(1000, 100)
    assert sum(b - a for a, b in parts) == 100
    assert all(b <= c for (_, b), (c, _) in itertools.pairwise(parts))
    assert parts[0][0] == 0
    assert parts[-1][0] >= 900
    x = counts(200)
    done = []
    found = look(h5ad(x), most=40, advance=done.append)
    rows = np.concatenate([np.arange(a, b) for a, b in blocks(200, 40)])
    np.testing.assert_array_equal(found.depth, x[rows].sum(1))
    assert (found.n_cells, found.read, sum(done)) == (200, 40, 40)
    # Of a batch the read cells count.
    assert sum(one["cells"] for one in found.panels["batches"].values()) == 40
    assert found.labels["batch"]["cells"] == {"a": 67, "b": 67, "c": 66}  # of all


def test_what_prepare_would_say_is_kept(h5ad):
    x = counts()
    x[-1, -1] = 0.5
    found = look(h5ad(x), chunk_cells=7)
    assert len(found.refused) == 1
    assert "not integers" in found.refused[0]
    binary = look(cells((counts(400) > 0).astype(np.float32)), chunk_cells=200)
    assert binary.values == "counts"  # of so few that it may be chance
    binary = look(cells((counts(900) > 0).astype(np.float32)))
    assert binary.values == "binarised (0 and 1)"
    assert len(binary.warned) == 1
    nameless = look(cells(symbols=list("01234567")))
    assert "has no gene names" in nameless.refused[0]
    assert nameless.identifiers["unnamed"] == 8


def test_places_and_where_counts_are():
    adata = cells(np.log1p(counts()), umi=counts(), scaled=counts() - 2.0, seen=counts() > 0)
    adata.layers["empty"] = counts() * 0
    places = of_places(open_source(adata))
    assert places["X"] == "like log1p of counts"
    assert places["layers/umi"] == "counts"
    assert places["layers/scaled"].startswith("scaled or centred (least -2")
    assert places["layers/seen"].startswith("unreadable: AnnData, layers/seen: the values are True")
    assert places["layers/empty"] == "nothing but zeros"
    assert best(places, "X") == "layers/umi"
    assert best({"X": "scaled", "raw": "scaled too"}, "X") == "X"
    assert best({"X": "counts", "layers/a": "counts"}, "layers/a") == "layers/a"


def test_memory_is_bounded(tmp_path):
    n_cells, n_genes = 6000, 500
    var = cells(symbols=[f"G{i}A" for i in range(n_genes)], matrix=np.zeros((1, n_genes))).var
    matrix = sp.csr_matrix(counts(n_cells, n_genes))  # 12 MB
    with h5py.File(tmp_path / "big.h5ad", "w") as file:
        anndata.io.write_elem(file, "X", matrix, dataset_kwargs={"compression": "gzip"})
        anndata.io.write_elem(file, "var", var)
        anndata.io.write_elem(file, "obs", cells(np.zeros((n_cells, 1))).obs)
    del matrix
    tracemalloc.start()
    look(tmp_path / "big.h5ad", chunk_cells=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_a_store_says_the_same_as_its_file_without_a_record_read(h5ad, make, monkeypatch):
    x = counts()
    path = h5ad(cells(x, symbols=SYMBOLS))
    store = make(path, labels=["type", "batch"])
    monkeypatch.setattr(Store, "records", None)  # a call would fail
    (of_store,), of_file = looks_of(store), look(path)
    for what in ("depth", "n_genes", "share"):
        np.testing.assert_allclose(getattr(of_store, what), getattr(of_file, what))
    assert of_store.names.symbols == of_file.names.symbols
    assert of_store.labels == of_file.labels | {"type": of_file.labels["type"]}
    assert of_store.sparsity == of_file.sparsity
    assert of_store.mitochondrial == pytest.approx(
        {k: of_file.mitochondrial[k] for k in ("genes", "mean")}, rel=1e-6
    )
    assert [list(one.labels) for one in looks_of(store, ["batch"])] == [["batch"]]


def test_a_store_is_a_look_for_each_dataset_with_cells(h5ad, make):
    x = counts()
    x[0::3, :2] = 0  # batch a has not measured the first two genes
    store = make(h5ad(x), labels=["type"], measured_by="batch", hold_out="batch=c", min_genes=1)
    found = looks_of(store)
    assert [one.name for one in found] == [f"cells.h5ad batch={b}" for b in "abc"]
    assert [len(one.names) for one in found] == [6, 8, 8]
    np.testing.assert_array_equal(found[2].depth, x[2::3].sum(1))
    assert found[2].read == 10
    assert found[2].labels["type"] == {
        "classes": 0, "unknown": 10, "largest": 0.0, "smallest": 0, "evenness": 0.0, "cells": {},
    }  # fmt: skip


def test_blocks_are_few():
    assert len(blocks(10**9, 10**5)) == module.BLOCKS
    assert blocks(10, 3) == [(0, 1), (3, 4), (6, 7)]

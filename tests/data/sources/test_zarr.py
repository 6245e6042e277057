import contextlib
import shutil
import tracemalloc
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

from jaxcell.data.sources import open_source, turning
from tests.data.conftest import cells, counts
from tests.data.sources.conftest import check, read


@contextlib.contextmanager
def quietly():
    """Without anndata's words on its next default format, and zarr's on strings in format 3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def store(tmp_path):
    """Function: AnnData, format → path of a zarr store."""

    def write(adata, version=3, name="cells.zarr", **options):
        with quietly(), anndata.settings.override(zarr_write_format=version):
            adata.write_zarr(tmp_path / name, **options)
        return tmp_path / name

    return write


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_every_form_and_place_reads_the_same(store, form, version):
    adata = cells(form(counts(seed=1)), umi=form(counts(seed=2)))
    adata.raw = cells(form(counts(seed=3)))
    source = open_source(store(adata[:, :5].copy(), version), chunk_cells=7)
    assert source.places == ["X", "layers/umi", "raw"]
    check(source, counts(seed=1)[:, :5])
    check(source.at("layers/umi"), counts(seed=2)[:, :5])
    check(source.at("raw"), counts(seed=3))
    assert source.obs["batch"].tolist() == ["a", "b", "c"] * 10


def test_a_zip_and_a_folder_of_any_name(store, tmp_path):
    path = store(cells(sp.csr_matrix(counts())))
    shutil.make_archive(str(path), "zip", path)
    check(open_source(tmp_path / "cells.zarr.zip", chunk_cells=7), counts())
    path.rename(tmp_path / "atlas")
    check(open_source(tmp_path / "atlas", chunk_cells=7), counts())


def test_the_checksum_is_of_all_files(store):
    path = store(cells())
    before = open_source(path).checksum()
    one = next(p for p in sorted(path.rglob("*")) if p.is_file() and p.parent.name == "0")
    one.write_bytes(one.read_bytes() + b" ")
    assert open_source(path).checksum() != before


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_memory_is_bounded(tmp_path, monkeypatch, form):
    monkeypatch.setattr(turning, "BLOCK", 2**14)
    matrix = sp.csr_matrix(counts(4000, 500))  # 8 MB, dense as much
    stored = matrix.toarray() if form == "dense" else matrix.asformat(form)
    path, total = tmp_path / "big.zarr", matrix.sum()
    root = zarr.open_group(str(path), mode="w")
    chunks = {"chunks": (100, 500) if form == "dense" else (2**14,)}
    with quietly():
        anndata.io.write_elem(root, "X", stored, dataset_kwargs=chunks)
        anndata.io.write_elem(root, "obs", pd.DataFrame(index=[f"c{i}" for i in range(4000)]))
        anndata.io.write_elem(root, "var", pd.DataFrame(index=[f"G{i}" for i in range(500)]))
    del matrix, stored
    tracemalloc.start()
    seen = sum(float(c.sum()) for c in open_source(path, chunk_cells=100).chunks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == total
    assert peak < 3e6


def test_what_is_no_store(tmp_path, store):
    with pytest.raises(FileNotFoundError, match=r"absent\.zarr does not exist"):
        open_source(tmp_path / "absent.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ValueError, match=r"empty\.zarr is not a zarr group"):
        open_source(tmp_path / "empty.zarr")
    (tmp_path / "a.zarr").write_text("no zip")
    with pytest.raises(ValueError, match=r"a\.zarr is neither a folder nor a zip"):
        open_source(tmp_path / "a.zarr")
    root = zarr.open_group(str(tmp_path / "other.zarr"), mode="w")
    root.create_group("images")
    with pytest.raises(ValueError, match=r"not an AnnData: it has \['images'\], not obs and var"):
        open_source(tmp_path / "other.zarr")
    path = store(cells())
    (path / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match=r"cells\.zarr is damaged or not a zarr group"):
        open_source(path)


@pytest.mark.parametrize("part", ["data", "indices"])
@pytest.mark.parametrize("shards", [None, (120,)])
def test_a_lost_chunk_is_not_read_as_zeros(store, part, shards):
    path = store(cells())
    root = zarr.open_group(str(path), mode="r+", use_consolidated=False)
    given = {"chunks": (40,), "shards": shards}
    with quietly():
        anndata.io.write_elem(root, "X", sp.csr_matrix(counts()), dataset_kwargs=given)
        zarr.consolidate_metadata(str(path))
    check(open_source(path, chunk_cells=7), counts())
    (path / "X" / part / "c" / "1").unlink()
    with pytest.raises(ValueError, match=rf"damaged: 1 of the \d chunks of X/{part} are missing"):
        open_source(path)


@pytest.mark.parametrize("shape", [(30, 1), (1, 8)])
@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix])
def test_a_single_gene_or_cell(store, form, shape):
    """Zarr leaves out the indices where all are 0."""
    adata = cells(form(counts(*shape)))
    np.testing.assert_array_equal(read(open_source(store(adata))), adata.X.toarray())


def test_a_damaged_chunk_and_lost_parts(store):
    path = store(cells(sp.csr_matrix(counts())))
    chunk = path / "X" / "data" / "c" / "0"
    content = chunk.read_bytes()
    chunk.write_bytes(content[:20])
    with pytest.raises(ValueError, match=r"cells\.zarr is damaged"):
        read(open_source(path))
    chunk.write_bytes(content)
    shutil.rmtree(path / "X" / "indices")
    with pytest.raises(ValueError, match=r"cells\.zarr is damaged: 1 of the 1 chunks of X/indices"):
        open_source(path)

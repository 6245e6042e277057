import tracemalloc

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.data.checks import check_chunk
from jaxcell.data.sources import PBMC68K, open_source, turning
from tests.data.conftest import cells, counts


def read(source):
    return np.vstack([chunk.toarray() for chunk in source.chunks()])


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
@pytest.mark.parametrize("place", ["X", "layers/raw_counts", "raw"])
def test_every_form_and_place_reads_the_same(h5ad, form, place):
    wanted, other = counts(seed=1), counts(seed=2)
    adata = cells(form(wanted if place == "X" else other))
    if place == "raw":
        adata.raw = cells(form(wanted))
    if place.startswith("layers"):
        adata.layers["raw_counts"] = form(wanted)
    for spec in (h5ad(adata), adata):
        source = open_source(spec, counts=place, chunk_cells=7)
        chunks = list(source.chunks())
        assert [c.shape[0] for c in chunks] == [7, 7, 7, 7, 2]
        assert all(c.has_canonical_format for c in chunks)
        np.testing.assert_array_equal(read(source), wanted)
        assert source.n_cells == 30
        assert list(source.obs.columns) == ["batch", "type"]
        assert len(source.checksum()) == 64


def test_raw_has_its_own_genes(h5ad):
    adata = cells(counts())[:, :3].copy()
    adata.raw = cells(counts())
    assert len(open_source(h5ad(adata), counts="raw").var) == 8
    assert len(open_source(h5ad(adata, "b.h5ad")).var) == 3


@pytest.mark.parametrize("kind", ["int64", "uint16", "float64"])
def test_other_types_of_numbers(h5ad, kind):
    matrix = counts().astype(kind)
    source = open_source(h5ad(sp.csr_matrix(matrix)))
    np.testing.assert_array_equal(read(source), matrix)
    assert next(source.chunks()).dtype in (np.float32, np.float64)


def test_detected_or_not_is_no_count(h5ad):
    with pytest.raises(ValueError, match=r"cells.h5ad, X: the values are True and False"):
        open_source(h5ad(sp.csr_matrix(counts() > 0)))
    with pytest.raises(ValueError, match=r"AnnData, X: the values are True and False"):
        read(open_source(cells(counts() > 0)))


def test_the_callers_anndata_is_left_as_it_was():
    matrix = sp.csr_matrix(
        (np.array([1.0, 2.0, 0.0]), np.array([3, 3, 1]), np.array([0, 3, 3])), (2, 8)
    )
    adata = cells(matrix)
    assert read(open_source(adata)).sum() == 3
    assert adata.X.data.tolist() == [1, 2, 0]
    assert adata.X.indices.tolist() == [3, 3, 1]


def test_csc_is_turned_in_blocks(h5ad, monkeypatch):
    monkeypatch.setattr(turning, "BLOCK", 13)
    matrix = counts(50)
    matrix[[3, 4, 49]] = 0
    np.testing.assert_array_equal(read(open_source(h5ad(sp.csc_matrix(matrix)))), matrix)


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_memory_is_bounded(tmp_path, monkeypatch, form):
    monkeypatch.setattr(turning, "BLOCK", 2**14)
    n_cells, n_genes = 4000, 500
    matrix = sp.csr_matrix(counts(n_cells, n_genes))  # 8 MB, dense as much
    path = tmp_path / "big.h5ad"
    stored = matrix.toarray() if form == "dense" else matrix.asformat(form)
    with h5py.File(path, "w") as file:
        var = cells(symbols=[f"G{i}" for i in range(n_genes)], matrix=np.zeros((1, n_genes))).var
        anndata.io.write_elem(file, "X", stored, dataset_kwargs={"compression": "gzip"})
        anndata.io.write_elem(file, "var", var)
        anndata.io.write_elem(file, "obs", cells(np.zeros((n_cells, 1))).obs)
    total = matrix.sum()
    del matrix, stored
    tracemalloc.start()
    seen = sum(float(c.sum()) for c in open_source(path, chunk_cells=100).chunks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == total
    assert peak < 3e6


def test_default_chunks_are_smaller_where_there_are_many_genes():
    adata = cells(sp.csr_matrix((300, 100_000)), symbols=[f"G{i}" for i in range(100_000)])
    assert [c.shape[0] for c in open_source(adata).chunks()] == [83, 83, 83, 51]


def test_pbmc68k_reduced_gives_back_its_counts():
    pytest.importorskip("scanpy")
    source = open_source(PBMC68K)
    matrix = read(source)
    assert matrix.shape == (700, 765)
    assert "bulk_labels" in source.obs
    assert (matrix == np.rint(matrix)).all()
    assert matrix.max() > 100
    assert source.checksum() == open_source(PBMC68K).checksum()


def test_missing_empty_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.h5ad does not exist"):
        open_source(tmp_path / "absent.h5ad")
    with pytest.raises(
        ValueError, match=r"unknown kind of input '\.parquet'; known: FILE\.h5ad, STORE"
    ):
        open_source(tmp_path / "a.parquet")
    (tmp_path / "a.h5ad").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.h5ad is empty \(0 bytes\)"):
        open_source(tmp_path / "a.h5ad")
    (tmp_path / "a.h5ad").write_text("cell,gene\n")
    with pytest.raises(ValueError, match=r"a\.h5ad is not an HDF5 file"):
        open_source(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "b.h5ad", "w") as file:
        file["matrix"] = [1]
    with pytest.raises(ValueError, match=r"not an h5ad: it has \['matrix'\], not obs and var"):
        open_source(tmp_path / "b.h5ad")


def test_truncated_file(h5ad):
    path = h5ad(sp.csr_matrix(counts(400)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(ValueError, match="truncated or damaged"):
        open_source(path)


def test_damage_inside_a_file_is_found_when_it_is_read(tmp_path):
    path = tmp_path / "cells.h5ad"
    cells(sp.csr_matrix(counts(400))).write_h5ad(path, compression="gzip")
    with h5py.File(path) as file:
        offset = file["X/data"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cells\.h5ad is truncated or damaged"):
        read(open_source(path))


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_a_backed_anndata(h5ad, form):
    adata = anndata.read_h5ad(h5ad(form(counts())), backed="r")
    np.testing.assert_array_equal(read(open_source(adata, chunk_cells=7)), counts())
    adata.file.close()


def test_parts_that_do_not_fit_together(h5ad):
    path = h5ad(sp.csr_matrix(counts()))
    with h5py.File(path, "r+") as file:
        data = file["X/data"][:-1]
        del file["X/data"]
        file["X/data"] = data
    with pytest.raises(ValueError, match="X is damaged: .* indices and .* values, pointers"):
        open_source(path)
    with h5py.File(path, "r+") as file:
        del file["X/indptr"]
    with pytest.raises(ValueError, match=r"is no matrix: .*expected indptr"):
        open_source(path)


def test_missing_place_and_no_cells(h5ad):
    path = h5ad(cells(raw_counts=counts()))
    with pytest.raises(ValueError, match=r"no counts at 'raw'; it has X, layers/raw_counts"):
        open_source(path, counts="raw")
    with pytest.raises(ValueError, match="no counts at 'layers/x'"):
        open_source(cells(), counts="layers/x")
    with pytest.raises(ValueError, match=r"is empty: 0 cells × 8 genes at X"):
        open_source(cells(np.zeros((0, 8), np.float32)))


def test_an_error_names_where_counts_are(h5ad):
    adata = cells(np.log1p(counts()), spliced=np.log1p(counts()), umi=counts())
    adata.raw = cells(counts())
    source = open_source(h5ad(adata))
    with pytest.raises(
        ValueError,
        match=r"cells.h5ad, X: .*log1p of counts.*Counts were found in layers/umi \(--counts "
        r"layers/umi\) and raw \(--counts raw\)$",
    ):
        check_chunk(next(source.chunks()), source)
    source = open_source(cells(np.log1p(counts())))
    with pytest.raises(ValueError, match=r"^AnnData, X: .*--counts layers/NAME or --counts raw$"):
        check_chunk(next(source.chunks()), source)

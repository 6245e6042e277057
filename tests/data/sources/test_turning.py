import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.data.sources import open_source, turning
from jaxcell.data.sources.turning import OnDisk, turned
from tests.data.conftest import counts


def rows_of(arrays, shape):
    pointers, columns, values = arrays
    return sp.csr_matrix((values[:], columns[:].astype(int), pointers), shape)


@pytest.mark.parametrize("block", [1, 5, 64, 10**6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int64])
def test_every_block_size_and_type(monkeypatch, block, dtype):
    monkeypatch.setattr(turning, "BLOCK", block)
    matrix = sp.random(70, 23, 0.2, "csc", rng=np.random.default_rng(block))
    matrix.data = (matrix.data * 1000).astype(dtype)
    found = turned(matrix.indptr.astype(np.int64), matrix.indices, matrix.data, 70)
    assert found[2].dtype == dtype
    csr = rows_of(found, matrix.shape)
    assert csr.has_sorted_indices
    np.testing.assert_array_equal(csr.toarray(), matrix.toarray())


@pytest.mark.parametrize("most", [4, 2**16])
def test_more_rows_than_a_bucket_tells_apart(monkeypatch, most):
    """All in one row of many, with more than MOST genes where that is small."""
    monkeypatch.setattr(turning, "MOST", most)
    monkeypatch.setattr(turning, "BLOCK", 3)
    n = 9 if most == 4 else 70_000
    rows = np.array([n - 1] * 5 + [0], np.int32)
    indptr = np.array([0, 1, 2, 3, 4, 6])
    found = turned(indptr, rows, np.arange(1, 7).astype(np.float32), n)
    dense = rows_of(found, (n, 5)).toarray()
    assert dense[n - 1].tolist() == [1, 2, 3, 4, 5]
    assert dense[0].tolist() == [0, 0, 0, 0, 6]
    assert dense.sum() == 21


def test_no_values_and_rows_out_of_order():
    empty = turned(np.zeros(4, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), 6)
    assert rows_of(empty, (6, 3)).nnz == 0
    # The rows of a column need not ascend, and a pair that stands twice is left to stand twice.
    found = turned(np.array([0, 3, 4]), np.array([2, 0, 2, 1]), np.array([1.0, 2, 3, 4]), 3)
    assert found[0].tolist() == [0, 1, 2, 4]
    assert (found[1][:].tolist(), found[2][:].tolist()) == ([0, 1, 0, 0], [2, 4, 1, 3])


def test_what_lies_whole_in_a_folder_is_found_again(h5ad, tmp_path, monkeypatch):
    path, folder = h5ad(sp.csc_matrix(counts(50))), tmp_path / "settled"
    open_source(path).settle(folder)
    monkeypatch.setattr(turning, "_part_by_bucket", None)  # nothing is turned any more
    again = open_source(path)
    again.settle(folder)
    np.testing.assert_array_equal(sp.vstack(list(again.chunks())).toarray(), counts(50))
    for wrong in ("values", "columns", "pointers.npy", "done.json"):
        content = (folder / wrong).read_bytes()
        (folder / wrong).write_bytes(content[:-1])
        with pytest.raises(TypeError, match="not callable"):
            open_source(path).settle(folder)
        monkeypatch.undo()
        open_source(path).settle(folder)
        monkeypatch.setattr(turning, "_part_by_bucket", None)
    path = h5ad(sp.csc_matrix(counts(50, seed=1)))
    with pytest.raises(TypeError, match="not callable"):
        open_source(path).settle(folder)


def test_csr_and_dense_have_nothing_to_settle(h5ad, tmp_path):
    for i, form in enumerate((sp.csr_matrix, np.asarray)):
        open_source(h5ad(form(counts()), f"{i}.h5ad")).settle(tmp_path / "settled")
    assert not (tmp_path / "settled").exists()


def test_an_array_on_disk(tmp_path):
    array = OnDisk.new(np.int32, 10, tmp_path, "x")
    array[2:6] = [1, 2, 3, 4]
    array[6:10] = np.arange(4)
    assert array[3:8].tolist() == [2, 3, 4, 0, 1]
    assert array[5:5].tolist() == []
    assert len(array) == 10
    array.flush()
    assert OnDisk.old(np.int32, 10, tmp_path, "x")[4:].tolist() == [3, 4, 0, 1, 2, 3]
    with pytest.raises(ValueError, match="x is truncated"):
        OnDisk.old(np.int32, 11, tmp_path, "x")

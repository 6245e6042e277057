import tracemalloc

import h5py
import numpy as np
import pytest

from jaxcell.data.genes import identify
from jaxcell.data.sources import open_source
from tests.data.conftest import ENSEMBL, GENES, counts
from tests.data.sources.conftest import check, read


@pytest.mark.parametrize("chunks", [(4, 8), (8, 30), None])
def test_matrix_and_layers(loom, chunks):
    path = loom(spliced=counts(seed=1), chunks=(4, 8))
    source = open_source(path, chunk_cells=7)
    check(source, counts())
    check(source.at("layers/spliced"), counts(seed=1))
    assert source.places == ["X", "layers/spliced"]
    names = identify(source.var)
    assert (names.symbols, names.ensembl) == (tuple(GENES), tuple(ENSEMBL))
    assert list(source.obs.columns) == ["CellID", "depth", "type"]  # but not the embedding _X
    assert source.obs.index[3] == "cell3"
    assert source.obs["type"].tolist() == ["T", "B", ""] * 10
    np.testing.assert_array_equal(source.obs["depth"], counts().sum(1))


def test_bytes_as_loompy_2_wrote_them(loom):
    path = loom()
    with h5py.File(path, "r+") as file:
        del file["row_attrs/Gene"]
        file["row_attrs/Gene"] = np.array(GENES, "S10")
    assert identify(open_source(path).var).symbols == tuple(GENES)


def test_memory_is_bounded(loom, monkeypatch):
    monkeypatch.setattr("tests.data.sources.conftest.GENES", [f"G{i}" for i in range(200)])
    monkeypatch.setattr("tests.data.sources.conftest.ENSEMBL", [f"E{i}" for i in range(200)])
    path = loom(counts(10_000, 200), chunks=(50, 100))  # 8 MB
    tracemalloc.start()
    source = open_source(path, chunk_cells=100)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    seen = sum(float(c.sum()) for c in source.chunks())
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert seen == counts(10_000, 200).sum()
    assert peak < 1e6


def test_what_is_wrong(loom, tmp_path):
    path = loom()
    with h5py.File(path, "r+") as file:
        file["layers/short"] = np.zeros((8, 29))
    with pytest.raises(ValueError, match=r"damaged: layers/short is 8 × 29, matrix is 8 genes"):
        open_source(path, counts="layers/short")
    with h5py.File(path, "r+") as file:
        del file["col_attrs/type"]
        file["col_attrs/type"] = np.zeros(29)
    with pytest.raises(ValueError, match=r"col_attrs/type has 29 values, matrix has 30 there"):
        open_source(path)
    with h5py.File(path, "r+") as file:
        del file["matrix"]
    with pytest.raises(ValueError, match=r"not a loom file: it has .*, not matrix"):
        open_source(path)
    with pytest.raises(FileNotFoundError, match=r"absent\.loom does not exist"):
        open_source(tmp_path / "absent.loom")
    path = loom()
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match="truncated or damaged"):
        read(open_source(path))
    with pytest.raises(ValueError, match="no counts at 'raw'; it has X "):
        open_source(loom(), counts="raw")

"""Cells of a source in memory."""

import numpy as np
import pytest

from jaxcell import read
from tests.conftest import draw_cells


def test_a_file_is_read_with_its_counts_and_columns(tmp_path):
    cells = draw_cells(0, 30, 12)
    cells.layers["counts"], cells.X = cells.X, cells.X * 0.5
    cells.write_h5ad(tmp_path / "a.h5ad")
    found = read(tmp_path / "a.h5ad", counts="layers/counts")
    np.testing.assert_array_equal(found.X.toarray(), cells.layers["counts"].toarray())
    assert list(found.obs_names) == list(cells.obs_names)
    assert list(found.obs) == list(cells.obs)
    assert list(found.var_names) == list(cells.var_names)
    with pytest.raises(ValueError, match="has no counts at 'raw'"):
        read(tmp_path / "a.h5ad", counts="raw")


def test_cells_inside_scanpy():
    found = read("scanpy:pbmc68k_reduced")
    assert found.shape == (700, 765)
    assert (found.X.data % 1 == 0).all()
    assert "bulk_labels" in found.obs

import json

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.bench import prepare as bench
from jaxcell.bench import synthetic_cells
from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store

SMALL = ["--genes", "300", "--nonzero", "40"]


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_synthetic_cells_are_poisson_of_the_rates_and_depths(tmp_path, monkeypatch, form):
    monkeypatch.setattr(synthetic_cells, "WRITTEN", 5000)
    synthetic_cells.write(tmp_path / "a.h5ad", 4000, 300, 40, form, seed=3)
    found = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert found.X.format == form
    assert found.X.has_canonical_format
    assert found.shape == (4000, 300)
    x = found.X.toarray().astype(np.float64)
    assert x[x > 0].min() == 1
    assert 38 <= np.median((x > 0).sum(axis=1)) <= 42
    rates = synthetic_cells._rates(300, 40, 3)
    depth = np.random.default_rng([3, 1]).lognormal(0, synthetic_cells.DEPTH_SPREAD, 4000)
    mean = np.outer(depth, rates)
    # Five standard deviations of the sums, and of the zeros, each gene and cell for itself.
    for axis in (0, 1):
        assert (np.abs(x.sum(axis) - mean.sum(axis)) <= 5 * np.sqrt(mean.sum(axis)) + 5).all()
    zero = np.exp(-mean)
    spread = np.sqrt((zero * (1 - zero)).sum(axis=0))
    assert (np.abs((x == 0).sum(axis=0) - zero.sum(axis=0)) <= 5 * spread + 1).all()
    # The variance within a gene, given its means, is the mean.
    big = rates > 0.5
    ratio = ((x - mean)[:, big] ** 2).sum(axis=0) / mean[:, big].sum(axis=0)
    assert (np.abs(ratio - 1) < 0.2).all()
    synthetic_cells.write(tmp_path / "b.h5ad", 4000, 300, 40, form, seed=3)
    again = anndata.read_h5ad(tmp_path / "b.h5ad")
    assert (again.X != found.X).nnz == 0


def test_synthetic_cells_refuse_what_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="nonzero is 300; expected above 0 and below the 300"):
        synthetic_cells.write(tmp_path / "a.h5ad", 10, 300, 300)


def test_memory_and_time_are_measured_and_drawn(tmp_path, capsys):
    bench.main(["--cells", "1500", "--formats", "csr", "csc", "--out", str(tmp_path), *SMALL])
    found = json.loads((tmp_path / "prepare.json").read_text())
    assert [(r["form"], r["cells"]) for r in found["rows"]] == [("csr", 1500), ("csc", 1500)]
    for row in found["rows"]:
        assert row["problems"] == []
        assert row["compared"] is True
        assert 0.05 < row["imports_gb"] <= row["peak_gb"] < bench.MOST_MEMORY
        assert row["processor_s"] > 0
        assert row["cells_per_s_core"] == pytest.approx(row["cells"] / row["processor_s"])
    assert "| CSC | 1,500 |" in capsys.readouterr().out
    assert (tmp_path / "prepare.png").stat().st_size > 10_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["prepare.json", "prepare.png"]


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix])
def test_a_cell_that_differs_is_seen(tmp_path, form):
    file, name = tmp_path / "a.h5ad", form.__name__[:3]
    synthetic_cells.write(file, 60, 30, 8, name)
    store = prepare(tmp_path / "store", file, progress=False)
    assert bench.compare(file, name, Store.open(store.path), 0)
    with h5py.File(file, "r+") as opened:
        opened["X/data"][100] += 1
    assert not bench.compare(file, name, Store.open(store.path), 0)


@pytest.mark.slow
def test_a_run_is_killed_and_goes_on(tmp_path):
    options = ["--cells", "20000", "--formats", "csr", "--shards", "40", "--kill"]
    bench.main([*options, "--out", str(tmp_path), "--genes", "2000", "--nonzero", "200"])
    (row,) = json.loads((tmp_path / "prepare.json").read_text())["rows"]
    assert 20 <= row["killed"]["written"] < 40
    assert row["problems"] == []
    assert row["compared"] is True

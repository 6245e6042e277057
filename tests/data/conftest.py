"""Small files of counts, made here; no test of this folder needs real data."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from jaxcell.data.prepare import prepare
from jaxcell.data.records import Rows

GENES = ["TP53", "GAPDH", "ACTB", "CD3E", "MS4A1", "ERCC1", "HLA-A", "MATR3"]
ENSEMBL = [f"ENSG{i:011}" for i in range(1, 9)]


def counts(n_cells=30, n_genes=8, seed=0):
    """Counts f32 [n_cells, n_genes], half of them zero, every cell and gene with some."""
    rng = np.random.default_rng(seed)
    matrix = rng.poisson(3, (n_cells, n_genes)) * rng.integers(0, 2, (n_cells, n_genes))
    matrix[np.arange(n_cells), np.arange(n_cells) % n_genes] += 1
    return matrix.astype(np.float32)


def cells(matrix=None, *, var=None, symbols=GENES, seed=0, **layers):
    """AnnData with obs columns batch (a, b, c) and type (T, B, unknown)."""
    matrix = counts(seed=seed) if matrix is None else matrix
    n = matrix.shape[0]
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(np.array(["a", "b", "c"])[np.arange(n) % 3]),
            "type": pd.Categorical(np.array(["T", "B", ""])[np.arange(n) % 3]),
        },
        index=[f"cell{i}" for i in range(n)],
    )
    if var is None:
        var = pd.DataFrame(index=list(symbols)[: matrix.shape[1]])
    return anndata.AnnData(matrix, obs, var, layers=layers)


@pytest.fixture(autouse=True)
def _no_gene_map_of_the_user(monkeypatch):
    monkeypatch.delenv("JAXCELL_GENES", raising=False)


@pytest.fixture
def h5ad(tmp_path):
    """Function: AnnData (or a matrix), name → path of an h5ad."""

    def write(adata=None, name="cells.h5ad"):
        if not isinstance(adata, anndata.AnnData):
            adata = cells(adata)
        adata.write_h5ad(tmp_path / name)
        return tmp_path / name

    return write


def dense(rows: Rows, n_genes):
    """Rows → counts [B, n_genes]."""
    return sp.csr_matrix((rows.counts, rows.ids, rows.indptr), (len(rows), n_genes)).toarray()


@pytest.fixture
def folders(tmp_path):
    """A folder for the inputs and one for the store."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    return tmp_path / "in", tmp_path / "out"


@pytest.fixture
def make(tmp_path):
    """Function: files, options → the store at tmp_path/store."""

    def run(files, **options):
        return prepare(tmp_path / "store", files, **{"progress": False} | options)

    yield run
    # Nothing half-done stays behind, whatever the test did.
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]

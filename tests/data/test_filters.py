"""Thresholds beside scanpy's, on the same cells."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp

from jaxcell.data.filters import (
    CELL_FILTERS,
    GENE_FILTERS,
    Filters,
    GeneTotals,
    fact,
    mitochondrial,
)
from jaxcell.data.genes import GeneMap, GeneNames, identify


def adata(n_cells=400, n_genes=60, seed=0):
    random = np.random.default_rng(seed)
    rate = random.gamma(0.5, 1.5, n_genes) * random.uniform(0.1, 2, (n_cells, 1))
    names = ["MT-ND1", "mt-Co1", *(f"G{i}" for i in range(n_genes - 2))]
    matrix = sp.csr_matrix(random.poisson(rate).astype(np.float32))
    return anndata.AnnData(matrix, var=pd.DataFrame(index=names))


def statistics(found, mito):
    total = np.asarray(found.X.sum(axis=1, dtype=np.float64)).ravel()
    return np.diff(found.X.indptr), total, np.asarray(found.X[:, mito].sum(axis=1)).ravel()


def sums(matrix, chunk=64):
    added = GeneTotals(matrix.shape[1])
    for a in range(0, matrix.shape[0], chunk):
        added.add(sp.csr_matrix(matrix[a : a + chunk]))
    return added


@pytest.mark.parametrize(
    ("name", "threshold"), [("min_genes", 15), ("max_genes", 25), ("min_total", 30.0)]
)
def test_cells_are_scanpys(name, threshold):
    found = adata()
    mito = mitochondrial(identify(found.var))
    removed = Filters(**{name: threshold}).cells(*statistics(found, mito))
    scanpys = {"min_total": "min_counts"}.get(name, name)
    kept, _ = sc.pp.filter_cells(found, **{scanpys: threshold}, inplace=False)
    np.testing.assert_array_equal(removed == 0, kept)
    assert set(removed) == {0, 1 + CELL_FILTERS.index(name)}


def test_mitochondrial_share_is_scanpys():
    found = adata()
    names = identify(found.var)
    mito = mitochondrial(names)
    np.testing.assert_array_equal(np.flatnonzero(mito), [0, 1])  # mice write mt-
    found.var["mt"] = mito
    sc.pp.calculate_qc_metrics(found, qc_vars=["mt"], percent_top=None, log1p=False, inplace=True)
    removed = Filters(max_mito=0.05).cells(*statistics(found, mito))
    kept = found.obs["pct_counts_mt"].to_numpy() <= 5
    np.testing.assert_array_equal(removed == 0, kept)
    assert 0 < kept.sum() < len(kept)


def test_a_cell_without_counts_has_no_mitochondrial_share():
    removed = Filters(max_mito=0).cells(*np.array([[0, 3], [0.0, 4], [0.0, 1]]))
    assert removed.tolist() == [0, 1 + CELL_FILTERS.index("max_mito")]


def test_the_first_filter_that_fails_counts():
    n_genes, total, mito = np.array([1, 9, 9, 9]), np.array([1.0, 1, 50, 9]), np.zeros(4)
    removed = Filters(min_genes=2, min_total=5, max_total=20).cells(n_genes, total, mito)
    named = [CELL_FILTERS[i - 1] if i else "" for i in removed]
    assert named == ["min_genes", "min_total", "max_total", ""]


def test_genes_in_few_cells_are_scanpys():
    found = adata()
    removed = Filters(min_cells=150).genes(sums(found.X))
    kept, cells = sc.pp.filter_genes(found, min_cells=150, inplace=False)
    np.testing.assert_array_equal(removed == 0, kept)
    np.testing.assert_array_equal(sums(found.X).cells_with, cells)
    np.testing.assert_array_equal(Filters(min_frequency=150 / 400).genes(sums(found.X)) == 0, kept)


def test_dispersion_is_scanpys():
    found = adata()
    table = sc.pp.highly_variable_genes(
        found, flavor="cell_ranger", n_top_genes=5, n_bins=4, inplace=False
    )
    dispersion = table["dispersions"].to_numpy()
    np.testing.assert_allclose(sums(found.X).dispersion, dispersion, rtol=1e-5)
    least = np.median(dispersion)
    removed = Filters(min_dispersion=least).genes(sums(found.X))
    clear = np.abs(dispersion - least) > 1e-4  # scanpy's sums are of float32
    np.testing.assert_array_equal((removed == 0)[clear], (dispersion >= least)[clear])


def test_dispersion_by_hand():
    added = sums(np.array([[0, 2, 5], [0, 4, 5]], np.float32))
    np.testing.assert_allclose(added.dispersion, [0, 2 / 3, 0])
    assert added.cells_with.tolist() == [0, 2, 2]
    removed = Filters(min_cells=1, min_dispersion=0.5).genes(added)
    assert [GENE_FILTERS[i - 1] if i else "" for i in removed] == [
        "min_cells",
        "",
        "min_dispersion",
    ]


def test_chunks_do_not_matter():
    matrix = adata(seed=3).X
    for chunk in (1, 7, 1000):
        np.testing.assert_allclose(sums(matrix, chunk).dispersion, sums(matrix).dispersion)


def test_mitochondrial_genes_of_ensembl_ids_by_the_map():
    names = GeneNames(("", ""), ("ENSG00000198888", "ENSG00000141510"))
    known = {"ENSG00000198888": "MT-ND1", "ENSG00000141510": "TP53"}
    gene_map = GeneMap({s: e for e, s in known.items()}, known, {})
    assert mitochondrial(names, gene_map).tolist() == [True, False]
    with pytest.raises(ValueError, match="no gene's symbol begins with 'MT-' .*ENSG00000198888"):
        mitochondrial(names, where="a.h5ad")


def test_another_prefix():
    names = GeneNames(("mito:ND1", "TP53"), ("", ""))
    assert mitochondrial(names, prefix="mito:").tolist() == [True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_genes": -1}, "min_genes is -1; expected 0 or more"),
        ({"max_mito": 20}, "max_mito is 20; expected a share from 0 to 1"),
        ({"min_frequency": 1.5}, "min_frequency is 1.5; expected a share"),
        ({"min_total": 500, "max_total": 100}, "max_total is 100 with min_total = 500"),
        ({"mito_prefix": ""}, "mito_prefix is ''"),
        ({"min_dispersion": float("nan")}, "min_dispersion is nan"),
    ],
)
def test_wrong_thresholds(options, message):
    with pytest.raises(ValueError, match=message):
        Filters(**options)


def test_logarithms_have_no_totals():
    Filters(min_genes=5, min_frequency=0.1).check_values("log1p")
    Filters(max_mito=0.1).check_values("counts")
    with pytest.raises(ValueError, match="'log1p' with max_mito = 0"):
        Filters(max_mito=0.0).check_values("log1p")


def test_names_of_facts():
    assert fact("min_genes") == "below_min_genes"
    assert fact("max_mito") == "above_max_mito"

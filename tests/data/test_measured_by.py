"""--measured-by: a merged file whose batches had different panels."""

import re
import shutil

import numpy as np
import pytest

from jaxcell.data.pipeline import Batches
from jaxcell.data.preparing import blocks, refusals, survey
from jaxcell.training.means import tables_of
from jaxcell.training.panel import add_panel
from tests.conftest import config_of
from tests.data.conftest import GENES, cells, counts
from tests.data.test_prepare import everything


def panels():
    """30 cells of batches a, b, c: gene 0 is never counted in a, genes 1 and 2 never in b."""
    matrix = counts()
    batch = np.arange(30) % 3
    matrix[batch == 0, 0] = 0
    matrix[np.ix_(batch == 1, [1, 2])] = 0
    return cells(matrix)


def test_measured_by_makes_a_dataset_of_each_value(h5ad, make):
    adata = panels()
    store = make([h5ad(adata, "a.h5ad"), h5ad(cells(seed=3), "b.h5ad")], measured_by="batch")
    names = [f"{f}.h5ad batch={v}" for f in "ab" for v in "abc"]
    assert store.names == names
    assert store.gene_set.tolist() == [0, 1, 2, 2, 2, 2]
    expected = np.ones((3, 8), bool)
    expected[0, 0] = expected[1, 1] = expected[1, 2] = False
    np.testing.assert_array_equal(store.measured, expected)
    rows, got = everything(store)
    np.testing.assert_array_equal(got[:30], adata.X)  # in the order of the file
    assert rows.dataset[:30].tolist() == [0, 1, 2] * 10
    facts = store.datasets[1]
    assert (facts["measured_by"], facts["value"]) == ("batch", "b")
    assert (facts["cells"], facts["train"], facts["undetected"], facts["measured"]) == (
        10,
        10,
        2,
        6,
    )
    for d in range(3):
        x = adata.X[np.arange(30) % 3 == d]
        np.testing.assert_array_equal(store.stats["nonzero"][d], (x > 0).sum(0))
        np.testing.assert_array_equal(store.stats["sum"][d], x.sum(0))
        assert store.stats["cells"][d] == 10
    assert re.search(r"a\.h5ad batch=b +10 +0 +10 +0 +8 +0 +0 +2 +6 +X, integer", store.table())
    assert "no count: not measured in that dataset (--measured-by)" in store.table()


def test_measured_by_looks_at_kept_cells_after_the_filters_of_the_source(make):
    adata = panels()
    adata.X[0] = 0
    adata.X[0, 0] = 5  # gene 0 in batch a, but in a cell that falls below min_genes
    adata.X[:, 7] = 0
    adata.X[[2, 5], 7] = 1  # gene 7 in two cells of batch c
    store = make(adata, measured_by="batch", min_genes=2, min_cells=3)
    assert store.vocabulary.symbols == tuple(GENES[:7])
    assert not store.measured[store.gene_set[0]][0]
    assert [d["below_min_cells"] for d in store.datasets] == [1, 1, 1]
    assert store.datasets[0]["below_min_genes"] >= 1


def test_genes_not_measured_in_a_batch_are_neither_visible_nor_in_the_loss(make):
    adata = panels()
    store = make(adata, measured_by="batch")
    c = config_of("txfm_b:tiny")
    batch = Batches(store, c, "train", 24, stop=1)[0]
    tables = tables_of(store, c, 8)
    whole = add_panel(
        {k: batch[k] for k in ("panel_ids", "panel_counts", "total", "dataset")}, tables, 8, 1e5
    )
    unseen = {0: [0], 1: [1, 2], 2: []}
    for b in range(24):
        hidden = unseen[batch["dataset"][b]]
        shown = batch["ids"][b, 1 : batch["length"][b]]
        assert sorted({*range(8)} - {*shown.tolist()}) == hidden  # 32 > 8: all measured are shown
        assert np.flatnonzero(~np.asarray(whole["measured"][b])).tolist() == hidden


def test_measured_by_refuses_what_it_cannot_know(h5ad, make, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"column 'chip': .* no such obs column; .*--measured-by"):
        make(cells(), measured_by="chip")
    with pytest.raises(ValueError, match=r"type is empty \(NaN or ''\) for 10 of 30 cells, so the"):
        make(cells(), measured_by="type")
    empty = cells()
    empty.X[np.arange(30) % 3 == 1] = 0
    with pytest.raises(ValueError, match="kept cells of batch=b have no count in any gene"):
        make(empty, measured_by="batch")
    monkeypatch.setattr(refusals, "MAX_DATASETS", 5)
    files = [h5ad(cells(), "a.h5ad"), h5ad(cells(seed=1), "b.h5ad")]
    with pytest.raises(ValueError, match="6 datasets of 2 files; a store takes 5 at most"):
        make(files, measured_by="batch")
    assert not (tmp_path / "store").exists()


def test_a_file_without_the_column_is_one_dataset_and_said_so(h5ad, make):
    bare = cells(seed=1)
    del bare.obs["batch"]
    store = make([h5ad(panels(), "a.h5ad"), h5ad(bare, "b.h5ad")], measured_by="batch")
    assert store.names[3:] == ["b.h5ad"]
    assert "b.h5ad has no column for --measured-by: it is one dataset" in store.table()


def test_the_table_shows_the_first_datasets_and_sums_up_the_rest(make, monkeypatch):
    adata = cells(counts(100))
    adata.obs["donor"] = [f"d{i // 2:02}" for i in range(100)]
    store = make(adata, measured_by="donor")
    assert len(store.datasets) == 50
    table = store.table()
    assert "donor=d39" in table
    assert "donor=d40" not in table
    assert "… and 10 more datasets: 20 cells, 20 train, 0 valid" in table


def test_blocks_keep_the_genes_of_their_own_datasets_alone(make, monkeypatch):
    """A Census has hundreds of datasets, a block few of them; all blocks must not lie in memory."""
    adata = panels()
    adata = adata[np.argsort(adata.obs["batch"], kind="stable")].copy()
    whole = make(adata, measured_by="batch")
    shutil.rmtree(whole.path)
    found, divided = [], []

    def kept(*given):
        found.append(surveyed(*given))
        return found[-1]

    def divide(*given):
        divided.append(given)
        return dividing(*given)

    surveyed, dividing = survey.survey_block, survey.divide
    monkeypatch.setattr(survey, "survey_block", kept)
    monkeypatch.setattr(survey, "divide", divide)
    monkeypatch.setattr(blocks.rows, "__defaults__", (7,))
    store = make(adata, measured_by="batch")
    assert [block["datasets"].tolist() for block in found] == [[0], [0, 1], [1, 2], [2], [2]]
    assert [block["detected"].shape for block in found] == [(len(b["datasets"]), 1) for b in found]
    assert len(divided) == 2  # for all blocks, and when they are put together
    assert store.content_hash == whole.content_hash

"""Features that are not genes."""

import numpy as np
import pandas as pd
import pytest

from jaxcell.data.sources import open_source
from tests.data.conftest import GENES, cells, counts
from tests.data.sources.conftest import check, read
from tests.data.test_prepare import everything

TYPES = ["Gene Expression"] * 5 + ["Antibody Capture"] * 2 + ["CRISPR Guide Capture"]


@pytest.fixture(params=["tenx", "tenx_h5", "h5ad"])
def sample(request, h5ad):
    if request.param == "h5ad":
        return h5ad(cells(var=pd.DataFrame({"feature_types": TYPES}, index=GENES)))
    return request.getfixturevalue(request.param)(types=TYPES)


def test_they_are_left_out_and_counted(sample, make):
    source = open_source(sample, chunk_cells=7)
    check(source, counts()[:, :5])
    assert source.left_out == {"Antibody Capture": 2, "CRISPR Guide Capture": 1}
    store = make(sample)
    assert store.vocabulary.symbols == tuple(GENES[:5])
    assert store.datasets[0]["left_out"] == source.left_out
    assert "2 columns are Antibody Capture, no genes: left out (--features)" in store.table()
    rows, got = everything(store)
    np.testing.assert_array_equal(got, counts()[:, :5])
    np.testing.assert_array_equal(rows.total, counts()[:, :5].sum(1))


def test_those_asked_for_have_names_of_their_own(sample, make):
    source = open_source(sample, features=["Antibody Capture"])
    np.testing.assert_array_equal(read(source), counts()[:, :7])
    store = make(sample, features="Antibody Capture")
    protein = f"Antibody Capture:{GENES[5]}"
    assert store.vocabulary.symbols[5:] == (protein, f"Antibody Capture:{GENES[6]}")
    assert store.vocabulary.ensembl[5:] == ("", "")
    assert store.datasets[0]["left_out"] == {"CRISPR Guide Capture": 1}


def test_they_are_not_the_genes_of_another_file(sample, make):
    store = make([sample, cells(seed=1)], features=["Antibody Capture"])
    assert len(store.vocabulary) == 10
    assert store.measured.sum(axis=1).tolist() == [7, 8]


def test_what_cannot_be(sample, make, h5ad):
    with pytest.raises(ValueError, match=r"no source has features of type Peaks; found were Anti"):
        make(sample, features=["Peaks"])
    with pytest.raises(ValueError, match=r"found were none with a type"):
        make(cells(), features=["Peaks"])
    none = h5ad(cells(var=pd.DataFrame({"feature_types": ["Peaks"] * 8}, index=GENES)), "b.h5ad")
    with pytest.raises(ValueError, match=r"b\.h5ad has no genes: its features are Peaks"):
        open_source(none)


def test_other_words_and_missing_types_are_left_alone():
    for types in (["protein_coding"] * 8, [None] * 8, ["", *["Gene Expression"] * 7]):
        adata = cells(var=pd.DataFrame({"feature_types": types}, index=GENES))
        assert len(open_source(adata).var) == 8

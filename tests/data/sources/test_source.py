import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.data.sources import open_source
from jaxcell.data.sources.source import canonical
from tests.data.conftest import cells, counts


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([1, 2, 3], np.uint16), np.float32),
        (np.array([1, 2**24, 3], np.int32), np.float32),
        (np.array([1, 2**24 + 1, 3], np.int64), np.float64),
        (np.array([1.0, 2.5, 2**30]), np.float32),
        (np.array([1.0, 0.1, 3]), np.float64),
        (np.array([1.0, 1e300, 3]), np.float64),
        (np.array([1.0, np.nan, 3]), np.float64),
        (np.array([1.0, 0.1, 3], np.float32), np.float32),
    ],
)
def test_values_are_float32_where_that_is_exact(values, dtype):
    found = canonical(sp.csr_matrix((values, [0, 1, 2], [0, 3])))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.data.astype(np.float64), values.astype(np.float64))


def test_any_range_of_cells(h5ad):
    matrix = counts(50)
    for form in (np.asarray, sp.csr_matrix, sp.csc_matrix):
        source = open_source(h5ad(form(matrix)), chunk_cells=7)
        for start, stop in ((0, 50), (0, 1), (13, 14), (13, 40), (49, 50)):
            found = sp.vstack(list(source.chunks(start, stop))).toarray()
            np.testing.assert_array_equal(found, matrix[start:stop])
        assert list(source.chunks(20, 20)) == []


def test_a_source_is_sent_as_what_opens_it(h5ad, tmp_path):
    adata = cells(sp.csc_matrix(counts()), umi=counts(seed=1))
    source = open_source(h5ad(adata), counts="X", chunk_cells=7)
    source.spec = str(source.path)
    source.settle(tmp_path / "settled")
    sent = pickle.dumps(source)
    assert len(sent) < 1000
    again = pickle.loads(sent)
    assert (again.counts, again.n_cells) == ("X", 30)
    assert [c.shape[0] for c in again.chunks()] == [7, 7, 7, 7, 2]
    np.testing.assert_array_equal(sp.vstack(list(again.chunks())).toarray(), counts())
    with pytest.raises(ValueError, match="AnnData is in the memory of this process"):
        pickle.dumps(open_source(cells()))

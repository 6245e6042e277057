import numpy as np
import scipy.sparse as sp

from jaxcell.data.preparing import gene_sums
from jaxcell.data.preparing.gene_sums import STATISTICS, GeneSums, row_sums


def test_sums_of_blocks_add_up_to_those_of_all():
    random = np.random.default_rng(0)
    dense = random.poisson(0.5, (60, 9)) * random.choice([1.0, 0.5], (60, 9))
    dense[[3, 59]] = 0
    dense[:, 4] = 0
    total = (dense.sum(axis=1) * 2 + 1).astype(np.float32)
    dataset = random.integers(0, 4, 60)
    arrays = gene_sums.empty(5, 9)
    for block in np.array_split(np.arange(60), 7):
        sums = GeneSums(9)
        for one in np.unique(dataset[block]).tolist():
            mine = block[dataset[block] == one]
            sums.add(one, sp.csr_matrix(dense[mine].astype(np.float32)), total[mine])
        gene_sums.unpack(sums.packed(), arrays)
    assert arrays["cells"].tolist() == [*np.bincount(dataset).tolist(), 0]
    for one in range(4):
        x = dense[dataset == one]
        measured = np.maximum(x.sum(axis=1, keepdims=True), 1e-9)
        wanted = {
            "nonzero": (x > 0).sum(axis=0),
            "sum": x.sum(axis=0),
            "sum_sq": (x**2).sum(axis=0),
            "share": (x / measured).sum(axis=0),
            "share_source": (x / total[dataset == one, None]).sum(axis=0),
        }
        for name in STATISTICS:
            np.testing.assert_allclose(arrays[name][one], wanted[name], rtol=1e-14)
    assert arrays["nonzero"].dtype == np.int64
    assert not arrays["sum"][4].any()
    gene_sums.unpack(GeneSums(9).packed(), arrays)  # a block without cells for training


def test_row_sums_are_of_float64_and_empty_rows_are_0():
    x = sp.csr_matrix(np.array([[0, 0], [2**24, 1], [0, 0], [3, 0], [0, 0]], np.float32))
    assert row_sums(x).tolist() == [0, 2**24 + 1, 0, 3, 0]
    assert row_sums(sp.csr_matrix((2, 3), dtype=np.float32)).tolist() == [0, 0]

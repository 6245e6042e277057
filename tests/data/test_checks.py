import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.data.checks import check_counts
from tests.data.conftest import counts


def normalised(total):
    matrix = counts(20, 8).astype(np.float64)
    return matrix / matrix.sum(1, keepdims=True) * total


def test_counts_pass_dense_and_sparse():
    assert check_counts(counts(), "f") == ""
    assert check_counts(sp.csr_matrix(counts()), "f") == ""
    assert check_counts(sp.csr_matrix((3, 4)), "f") == ""


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (counts() - 1.5, r"f: values below zero \(least -1.5\): this looks scaled \(z-scored\)"),
        (np.where(counts() > 3, np.nan, 1), "values read are NaN or infinite"),
        (np.where(counts() > 3, np.inf, 1), "values read are NaN or infinite"),
        (np.log1p(normalised(1e4)), "looks log-normalised to a total of about 1e\\+04"),
        (np.log1p(counts()), "looks like log1p of counts"),
        (normalised(1e6), "looks library-size normalised to a total of about 1e\\+06"),
        (np.log2(1 + counts()), "log-transformed or scaled"),
        (counts() * 37.3, "look like estimated or corrected counts"),
    ],
)
def test_refusals_say_what_was_found_and_what_to_do(matrix, message):
    for form in (matrix, sp.csr_matrix(matrix)):
        with pytest.raises(ValueError, match=message):
            check_counts(form, "f")
        with pytest.raises(ValueError, match="--counts layers/NAME or --counts raw"):
            check_counts(form, "f")


def test_non_integer_can_be_allowed_but_not_negative():
    with pytest.raises(ValueError, match=r"9\d% of the non-zero values are not integers .*--allow"):
        check_counts(counts() * 37.3, "f")
    assert "estimated" in check_counts(counts() * 37.3, "f", allow_non_integer=True)
    with pytest.raises(ValueError, match="below zero"):
        check_counts(-counts(), "f", allow_non_integer=True)

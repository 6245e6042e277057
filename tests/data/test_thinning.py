"""Thinned inputs: moments against the reference, and what stays the cell's own."""

import numpy as np
import pytest

from jaxcell.data.pipeline import Batches
from jaxcell.data.thinning import Thin
from jaxcell.data.transforms import Normalise, SampleGenes
from tests.conftest import config_of
from tests.data.conftest import dense
from tests.data.test_transforms import draft
from tests.reference import bmfm_cells as reference

CELLS = 6000
COUNTS = np.array([0, 1, 2, 7, 40, 300])


def thinned(matrix, **fields):
    made = draft(matrix, [range(np.shape(matrix)[1])])
    Thin(**{"least_total": 0.0} | fields)(made)
    return made


def agree(found, moments):
    """Mean and variance of found [cells, genes] within four of their standard errors."""
    means, variances = np.transpose(moments)
    error = np.sqrt(variances / len(found))
    assert (np.abs(found.mean(axis=0) - means) <= 4 * error + 1e-9).all()
    squares = (found - means) ** 2
    error = squares.std(axis=0) / len(found) ** 0.5
    assert (np.abs(squares.mean(axis=0) - variances) <= 4 * error + 1e-9).all()


@pytest.mark.parametrize("chance", [1.0, 0.5])
def test_binomial_thinning_has_the_references_moments(chance):
    made = thinned(np.tile(COUNTS, (CELLS, 1)), probability=chance)
    found = dense(made.input, 6)
    agree(found, [reference.rda_moments(n, chance) for n in COUNTS])
    assert (found <= COUNTS).all()
    assert (found == np.rint(found)).all()
    if chance == 1:  # genes of a cell share one b
        covariance = np.outer(COUNTS, COUNTS) / 20
        for i, j in ((3, 4), (4, 5), (3, 5)):
            product = (found[:, i] - COUNTS[i] / 2) * (found[:, j] - COUNTS[j] / 2)
            error = product.std() / CELLS**0.5
            assert abs(product.mean() - covariance[i, j]) < 4 * error
    else:
        whole = (found == COUNTS).all(axis=1)
        assert abs(whole.mean() - 0.5) < 4 * 0.5 / CELLS**0.5 + 0.005  # (b ≈ 1 leaves all)


@pytest.mark.parametrize("rate", [0.33, 0.1])
def test_poisson_thinning_has_the_references_moments(rate):
    made = thinned(np.tile(COUNTS, (CELLS, 1)), method="poisson", rate=rate, probability=1.0)
    found = dense(made.input, 6)
    agree(found, [(0, 0)] + [reference.poisson_moments(n, rate) for n in COUNTS[1:]])
    # Whether a gene goes, it goes by itself.
    gone = found[:, 4:] == 0
    assert abs(gone.all(axis=1).mean() - rate**2) < 4 * (rate**2 / CELLS) ** 0.5
    assert (
        dense(thinned([[5, 9]], method="poisson", rate=0.0, probability=1.0).input, 2) > 0
    ).all()


def test_cells_below_the_least_total_stay_as_they_are():
    matrix = np.tile([[499, 500], [500, 500]], (500, 1))
    made = thinned(matrix, probability=1.0, least_total=1000.0)
    found = dense(made.input, 2)
    np.testing.assert_array_equal(found[::2], matrix[::2])
    assert (found[1::2].sum(axis=1) < 1000).mean() > 0.99
    np.testing.assert_array_equal(dense(thinned(matrix, probability=0.0).input, 2), matrix)


@pytest.mark.parametrize("method", ["binomial", "poisson"])
def test_rows_without_zeros_depths_and_totals(method):
    random = np.random.default_rng(0)
    matrix = random.poisson(0.7, (300, 50)) * random.integers(1, 4, (300, 50))
    matrix[7] = 0
    made = draft(matrix, [range(50)])
    made.rows.total[:] = 3 * matrix.sum(axis=1)  # of all genes of the source
    before = made.rows.counts.copy(), made.rows.total.copy()
    Thin(method, probability=0.5, least_total=0)(made)
    found = dense(made.input, 50)
    assert (made.input.counts > 0).all()
    for b in range(300):
        genes = made.input.ids[made.input.indptr[b] : made.input.indptr[b + 1]]
        np.testing.assert_array_equal(genes, np.flatnonzero(found[b]))
    depth = np.stack([found.sum(axis=1), matrix.sum(axis=1)], axis=1)
    np.testing.assert_array_equal(made.batch["depth"], depth)
    np.testing.assert_allclose(made.input.total, 3 * depth[:, 0], rtol=1e-6)
    # The cell's own are what they were.
    np.testing.assert_array_equal(made.rows.counts, before[0])
    np.testing.assert_array_equal(made.rows.total, before[1])
    # Tokens are normalised by what is left; the divisor of the targets is the cell's.
    for total, scale in (("measured", 1), ("source", 3)):
        Normalise(1e4, total)(made)
        np.testing.assert_allclose(made.batch["total"], scale * depth[:, 1])
        SampleGenes(50, specials=0, vocabulary=50)(made)
        left = np.where(depth[:, :1] > 0, scale * depth[:, :1], 1)
        np.testing.assert_allclose(made.batch["values"], np.log1p(1e4 * found / left), rtol=1e-5)


def test_a_cells_thinning_is_its_own():
    matrix = np.random.default_rng(1).poisson(3, (40, 30))
    whole = thinned(matrix)
    order = np.random.default_rng(2).permutation(40)[:11]
    part = draft(matrix[order], [range(30)])
    part.keys = whole.keys[order]
    Thin(least_total=0.0)(part)
    np.testing.assert_array_equal(dense(part.input, 30), dense(whole.input, 30)[order])
    np.testing.assert_array_equal(part.batch["depth"], whole.batch["depth"][order])
    assert (dense(thinned(matrix).input, 30) == dense(whole.input, 30)).all()
    other = draft(matrix, [range(30)], seed=1)
    Thin(least_total=0.0)(other)
    assert (dense(other.input, 30) != dense(whole.input, 30)).any()


def test_estimated_counts_become_integers_where_they_are_thinned():
    made = thinned([[0.4, 2.6, 100.5]] * 200, probability=0.5)
    found = dense(made.input, 3)
    whole = np.isclose(found[:, 1], 2.6)
    assert 60 < whole.sum() < 140
    np.testing.assert_allclose(found[whole], [[0.4, 2.6, 100.5]] * whole.sum(), rtol=1e-6)
    assert (found[~whole] == np.rint(found[~whole])).all()
    assert (found[~whole] <= [0, 3, 100]).all()


def test_panels_stay_the_cells_own(store):
    c = config_of("txfm_b:tiny")
    plain = Batches(store, c, "train", 16, stop=1)[0]
    c.data.transforms = ("thin", *c.data.transforms)
    c.data.thin.update(least_total=0.0, probability=1.0)
    made = Batches(store, c, "train", 16, stop=1)[0]
    for k in ("panel_ids", "panel_counts", "total", "ids", "dataset"):
        np.testing.assert_array_equal(made[k], plain[k])
    assert (made["values"] != plain["values"]).any(axis=1).all()
    np.testing.assert_array_equal(made["depth"][:, 1], made["total"])
    assert (made["depth"][:, 0] < made["total"]).all()


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("method", "rda", "'rda', expected one of binomial, poisson"),
        ("probability", 1.2, "1.2, expected 0 to 1"),
        ("rate", -0.1, "-0.1, expected 0 to 1"),
        ("least_total", -1.0, "-1.0, expected 0 or more"),
    ],
)
def test_what_is_wrong_is_named(field, value, expected):
    with pytest.raises(ValueError) as error:
        Thin(**{field: value})
    assert str(error.value) == f"config.data.thin.{field}: found {expected}"

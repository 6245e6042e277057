"""The draw of visible genes: its chances, its values, and that each cell's is its own."""

import numpy as np
import pytest
from scipy import stats

from jaxcell.data.draft import Draft, look_up, rectangle
from jaxcell.data.pipeline import Batches
from jaxcell.data.records import Rows
from jaxcell.data.transforms import Normalise, SampleGenes
from tests.data.test_pipeline import small


def draft(matrix, gene_sets, gene_set=None, seed=0):
    """A draft of dense counts [B, V], normalised."""
    matrix = np.asarray(matrix, np.float32)
    cells = len(matrix)
    place, ids = np.nonzero(matrix)
    rows = Rows(
        indptr=np.concatenate([[0], np.cumsum((matrix > 0).sum(1))]),
        ids=ids.astype(np.int32),
        counts=matrix[place, ids],
        dataset=np.zeros(cells, np.int32),
        total=matrix.sum(1),
        labels=np.empty((cells, 0), np.int32),
    )
    keys = np.stack([np.full(cells, seed), np.arange(cells)], axis=1).astype(np.uint64)
    gene_set = rows.dataset if gene_set is None else np.asarray(gene_set)
    made = Draft(rows, [np.asarray(s, np.int32) for s in gene_sets], gene_set, keys)
    Normalise(1e5)(made)
    return made


def shown(made, number, vocabulary, **fields):
    SampleGenes(number, specials=1, vocabulary=vocabulary, **fields)(made)
    return made.batch["ids"][:, 1:]


@pytest.mark.parametrize("temperature", [-1.0, -0.5, 0.5, 1.0])
def test_one_visible_gene_is_drawn_with_chances_by_temperature(temperature):
    frequency = np.array([7, 1000, 0, 10, 300, 45])  # gene 0 is not measured; n_g = 0 counts as 1
    measured = [1, 2, 3, 4, 5]
    made = draft(np.zeros((40_000, 6)), [measured])
    drawn = shown(made, 1, 6, temperature=temperature, frequency=frequency)
    chances = np.array([1000, 1, 10, 300, 45.0]) ** temperature
    observed = np.bincount(drawn.ravel(), minlength=6)
    assert observed[0] == 0
    expected = 40_000 * chances / chances.sum()
    keep = expected > 5  # below, the chi-square does not hold
    observed = np.append(observed[1:][keep], observed[1:][~keep].sum())
    expected = np.append(expected[keep], expected[~keep].sum())
    real = expected > 1
    observed, expected = observed[real], expected[real]
    assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize("temperature", [-1.0, 1.0])
def test_how_often_a_gene_is_among_two_visible_ones(temperature):
    frequency = np.array([1, 2, 4, 8])
    drawn = shown(
        draft(np.zeros((40_000, 4)), [range(4)]), 2, 4, temperature=temperature, frequency=frequency
    )
    weights = frequency**temperature / (frequency**temperature).sum()
    second = [sum(weights[j] * weights[i] / (1 - weights[j]) for j in range(4) if j != i)
              for i in range(4)]  # fmt: skip
    chance = weights + np.array(second)
    observed = np.bincount(drawn.ravel(), minlength=4) / 40_000
    deviation = np.sqrt(chance * (1 - chance) / 40_000)
    assert (np.abs(observed - chance) < 4.5 * deviation).all()


def test_a_temperature_needs_statistics_and_a_range():
    with pytest.raises(ValueError, match=r"temperature: found 1.0, which needs .* no 'detected'"):
        shown(draft(np.zeros((2, 4)), [range(4)]), 2, 4, temperature=1.0)
    for wrong in (9.0, float("nan")):
        with pytest.raises(ValueError, match=r"sample_genes.temperature: found .* from -8 to 8"):
            SampleGenes(2, 1, 4, temperature=wrong)


def test_the_pipeline_gives_the_stores_training_cells_with_each_gene(store):
    c, n_g, means = small(), store.stats["nonzero"].sum(axis=0), []
    for temperature in (-1.0, 0.0, 1.0):
        c.data.sample_genes.temperature = temperature
        batches = Batches(store, c, "train", 16, stop=20)
        if temperature:
            np.testing.assert_array_equal(batches._transforms[1].frequency, n_g)
        means.append(np.mean([n_g[batches[i]["ids"][:, 1:]].mean() for i in range(20)]))
    assert means[0] + 0.5 < means[1] < means[2] - 0.5


def test_cells_of_several_gene_sets_show_their_own_genes_and_pad():
    random = np.random.default_rng(0)
    sets = [np.arange(0, 40), np.arange(30, 90, 2), np.array([3, 50])]
    which = random.integers(0, 3, 300)
    matrix = np.zeros((300, 90))
    for b, s in enumerate(which):
        matrix[b, sets[s]] = random.poisson(1.0, len(sets[s]))
    made = draft(matrix, sets, which)
    ids = shown(made, 20, 90)
    expected = np.log1p(1e5 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1))
    for b, s in enumerate(which):
        n = min(20, len(sets[s]))
        assert made.batch["length"][b] == 1 + n
        assert len(set(ids[b, :n])) == n
        assert set(ids[b, :n]) <= set(sets[s])
        values = made.batch["values"][b, 1:]
        np.testing.assert_allclose(values[:n], expected[b, ids[b, :n]], 1e-6)
        assert (ids[b, n:] == 0).all()
        assert (values[n:] == 0).all()


def test_tokens_do_not_hang_on_the_cells_beside():
    random = np.random.default_rng(1)
    matrix, sets = random.poisson(0.5, (200, 600)), [np.arange(600), np.arange(100, 600)]
    matrix[:, :100] = 0
    which = random.integers(0, 2, 200)
    whole = draft(matrix, sets, which)
    shown(whole, 128, 600)
    for b in (0, 77, 199):
        alone = draft(matrix[b : b + 1], sets, which[b : b + 1])
        alone.keys = whole.keys[b : b + 1]
        shown(alone, 128, 600)
        for k in ("ids", "values", "length", "total"):
            np.testing.assert_array_equal(alone.batch[k][0], whole.batch[k][b])


def test_look_up_is_what_the_dense_matrix_has():
    random = np.random.default_rng(2)
    matrix = random.poisson(0.3, (50, 30))
    matrix[[7, 49]] = 0  # cells without counts
    made = draft(matrix, [range(30)])
    ids = random.integers(0, 30, (50, 7))  # a gene may be asked for twice
    found = look_up(made.rows, made.rows.counts, ids, 30)
    np.testing.assert_array_equal(found, np.take_along_axis(matrix, ids, axis=1))
    out = np.full((50, 9), -1, np.float32)
    assert look_up(made.rows, made.rows.counts, ids, 30, out=out[:, 2:]).base is out
    np.testing.assert_array_equal(out[:, 2:], found)
    assert (out[:, :2] == -1).all()
    with pytest.raises(IndexError):
        look_up(made.rows, made.rows.counts, ids + 24, 30)


def test_rectangle_holds_each_cells_values_and_nothing_else():
    random = np.random.default_rng(3)
    sizes = [0, 5, 3, 0, 9, 1]
    indptr, values = np.concatenate([[0], np.cumsum(sizes)]), random.integers(0, 99, sum(sizes))
    found = rectangle(values, indptr, 9, -7)
    assert found.dtype == values.dtype
    for row, n, first in zip(found, sizes, indptr, strict=False):
        assert row.tolist() == [*values[first : first + n], *[-7] * (9 - n)]
    with pytest.raises(ValueError):
        rectangle(values, indptr, 8, 0)

"""The numbers that tokens are masked by: uniform, each cell's own, above 1 for what is no gene."""

import numpy as np
import pytest
from scipy import stats

from jaxcell.data.masking import DrawMasks
from tests.data.test_transforms import draft

FRONT = np.array([50, 51])


def drawn(lengths, tokens=40, seed=0, **fields):
    """The batch of cells of so many tokens, two of them special."""
    made = draft(np.zeros((len(lengths), 3)), [range(3)], seed=seed)
    made.batch["length"] = np.asarray(lengths, np.int32)
    made.batch["ids"] = np.zeros((len(lengths), tokens), np.int32)
    DrawMasks(FRONT, **fields)(made)
    return made.batch


def test_draws_are_uniform_and_above_every_rate_at_specials_and_padding():
    lengths = np.random.default_rng(0).integers(2, 41, 3000)
    found = drawn(lengths)["draws"]
    assert list(found) == ["values"]
    found = found["values"]
    assert found.dtype == np.float32
    places = np.arange(40)
    genes = (places >= 2) & (places < lengths[:, None])
    assert (found[~genes] == 2).all()
    assert found[genes].min() >= 0
    assert found[genes].max() < 1
    assert stats.kstest(found[genes], "uniform").pvalue > 1e-4
    # The published chances: 15 % are chosen, 95 % of these hidden.
    n = genes.sum()
    for rate in (0.15, 0.15 * 0.95):
        assert abs((found[genes] < rate).mean() - rate) < 4 * (rate * (1 - rate) / n) ** 0.5
    # Neighbours in a cell, and the same place of other cells, are not tied.
    whole = drawn([40] * 3000)["draws"]["values"][:, 2:]
    assert abs(np.corrcoef(whole[:, 1:].ravel(), whole[:, :-1].ravel())[0, 1]) < 4 / 3000**0.5
    assert abs(np.corrcoef(whole[1:].ravel(), whole[:-1].ravel())[0, 1]) < 4 / 3000**0.5


def test_a_draw_is_below_a_rate_of_one_even_of_the_highest_word(monkeypatch):
    def highest(keys, number):
        return np.full((len(keys), number), 2**32 - 1, np.uint32)

    monkeypatch.setattr("jaxcell.data.draws.words", highest)
    found = drawn([40])["draws"]["values"]
    assert (found[:, 2:] < np.float32(1)).all()


def test_fields_have_draws_of_their_own_unless_together():
    found = drawn([40] * 500, fields=("values", "genes"))["draws"]
    assert sorted(found) == ["genes", "values"]
    a, b = found["values"][:, 2:].ravel(), found["genes"][:, 2:].ravel()
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / len(a) ** 0.5
    alone = drawn([40] * 500)["draws"]["values"]
    np.testing.assert_array_equal(alone, found["values"])  # whatever else is masked
    both = drawn([40] * 500, fields=("values", "genes"), together=True)["draws"]
    np.testing.assert_array_equal(both["values"], both["genes"])
    np.testing.assert_array_equal(both["values"], alone)


def test_the_other_gene_is_another_each_equally_likely():
    lengths = np.repeat([2, 3, 4, 8], 4000)
    batch = drawn(lengths, tokens=10, replaced=0.05)
    assert list(batch["other"]) == ["values"]
    other, places = batch["other"]["values"], np.arange(10)
    assert other.dtype == np.int32
    for n in (4, 8):
        mine = other[lengths == n, 2:n]
        assert (mine != places[2:n]).all()
        for place in range(n - 2):
            found = np.bincount(mine[:, place], minlength=10)
            assert found[:2].sum() == found[n:].sum() == 0
            rest = np.delete(found[2:n], place)
            assert len(rest) == 1 or stats.chisquare(rest).pvalue > 1e-4
    assert (other[lengths == 3, 2] == 2).all()  # there is no other
    assert (other >= 0).all()
    assert (other < 10).all()
    assert "other" not in drawn([5])


def test_a_gene_is_replaced_by_any_that_its_cell_measured():
    sets = [range(5, 30, 2), [1, 3]]
    made = draft(np.zeros((2000, 40)), sets, np.arange(2000) % 2)
    made.batch |= {"length": np.full(2000, 12), "ids": np.zeros((2000, 12), np.int32)}
    DrawMasks(FRONT, replaced=0.05, fields=("genes",))(made)
    assert list(made.batch["other"]) == ["genes"]
    other = made.batch["other"]["genes"]
    assert other.dtype == np.int32
    for k, genes in enumerate(sets):
        number = np.bincount(other[k::2].ravel(), minlength=40)
        assert number.sum() == number[list(genes)].sum()
        assert stats.chisquare(number[list(genes)]).pvalue > 1e-4


def test_a_cells_draws_are_its_own():
    whole = drawn([40] * 20, replaced=0.05, fields=("values", "genes"))
    made = draft(np.zeros((1, 3)), [range(3)])
    made.keys = draft(np.zeros((20, 3)), [range(3)]).keys[13:14]
    made.batch |= {"length": np.array([30]), "ids": np.zeros((1, 35), np.int32)}
    DrawMasks(FRONT, replaced=0.05, fields=("values", "genes"))(made)
    for field in ("values", "genes"):  # in a narrower batch, of a shorter cell too
        mine = made.batch["draws"][field][0, :30]
        np.testing.assert_array_equal(mine, whole["draws"][field][13, :30])
    mine = made.batch["other"]["genes"][0, :30]
    np.testing.assert_array_equal(mine, whole["other"]["genes"][13, :30])
    again = drawn([40] * 20, replaced=0.05)
    np.testing.assert_array_equal(again["other"]["values"], whole["other"]["values"])
    assert (drawn([40] * 20, seed=1)["draws"]["values"] != whole["draws"]["values"]).any()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"fields": ("value",)}, "fields: found 'value', expected some of values, genes"),
        ({"fields": ()}, "fields: found (), expected some of values, genes"),
        ({"ratio": 0.0}, "ratio: found 0: nothing is hidden"),
        ({"hidden": 0.0}, "hidden: found 0: nothing is hidden"),
        ({"ratio": 1.1}, "ratio: found 1.1, expected 0 to 1"),
        ({"hidden": -0.5}, "hidden: found -0.5, expected 0 to 1"),
        ({"hidden": 0.9, "replaced": 0.2}, "replaced: found 0.2, expected 0 to 0.1"),
    ],
)
def test_what_is_wrong_is_named(fields, text):
    with pytest.raises(ValueError) as error:
        DrawMasks(FRONT, **fields)
    assert str(error.value) == f"config.data.draw_masks.{text}"

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
        ({"ratio": 0.0}, "ratio: found 0: nothing is hidden; expected above 0"),
        ({"hidden": 0.0}, "hidden: found 0: nothing is hidden; expected above 0"),
        ({"ratio": 1.1}, "ratio: found 1.1, expected 0 to 1"),
        ({"hidden": -0.5}, "hidden: found -0.5, expected 0 to 1"),
        ({"hidden": 0.9, "replaced": 0.2}, "replaced: found 0.2, expected 0 to 0.1"),
    ],
)
def test_what_is_wrong_is_named(fields, text):
    with pytest.raises(ValueError) as error:
        DrawMasks(FRONT, **fields)
    assert str(error.value) == f"config.data.draw_masks.{text}"


RATIO = 0.3


def ranked(lengths, values=None, tokens=40, seed=0, **fields):
    """Draws f32 [B, T], and which tokens are genes, of cells with these values."""
    made = draft(np.zeros((len(lengths), 3)), [range(3)], seed=seed)
    made.batch["length"] = lengths = np.asarray(lengths, np.int32)
    made.batch["ids"] = np.zeros((len(lengths), tokens), np.int32)
    made.batch["values"] = np.zeros((len(lengths), tokens), np.float32)
    if values is not None:
        made.batch["values"][:] = values
    DrawMasks(FRONT, **{"ratio": RATIO, **fields})(made)
    places = np.arange(tokens)
    return made.batch["draws"]["values"], (places >= 2) & (places < lengths[:, None])


def some_values(lengths, seed=3):
    """Values of cells of which few to nearly all genes have counts; others at special tokens."""
    random = np.random.default_rng(seed)
    share = random.random((len(lengths), 1))
    return (random.random((len(lengths), 40)) < share) * random.integers(1, 9, (len(lengths), 40))


SHARES = {"hidden": 0.8, "replaced": 0.1}  # of BERT
BELOW = np.float32([RATIO, RATIO * 0.8, RATIO * 0.9])  # masked; hidden; hidden or replaced


@pytest.mark.parametrize("ratio", [0.3, 0.15, 0.29, 1.0, 0.01])
def test_exactly_so_many_are_masked_of_each_cell(ratio):
    lengths = np.arange(2, 103)
    found, genes = ranked(lengths, tokens=110, ratio=ratio, exactly=True)
    number = [int(ratio * n) for n in (lengths - 2).tolist()]  # 28 of 100 at .29, as published
    np.testing.assert_array_equal((found < np.float32(ratio)).sum(axis=1), number)
    assert (found[~genes] == 2).all()
    assert (found[genes] < 1).all()
    assert found.dtype == np.float32


def test_each_gene_is_as_likely_masked_hidden_and_replaced():
    # 6 of 20 genes; 1 of 4, of which a share of .8 can be hidden by chance alone.
    for genes, number in ((20, 6), (4, 1)):
        found, _ = ranked([genes + 2] * 8000, exactly=True, **SHARES)
        masked, hidden, changed = (found[:, 2 : genes + 2] < x for x in BELOW)
        assert (masked.sum(axis=1) == number).all()
        assert stats.chisquare(masked.sum(axis=0)).pvalue > 1e-4
        assert stats.chisquare(hidden.sum(axis=0)).pvalue > 1e-4
        each = 0.8 * number, 0.9 * number
        for got, wanted in zip((hidden, changed), each, strict=True):
            assert set(np.unique(got.sum(axis=1))) <= {int(wanted), int(wanted) + 1}
            assert got.sum(axis=1).mean() == pytest.approx(wanted, abs=0.02)
    pairs = masked[:, :1] & masked[:, 1:]
    assert not pairs.any()


@pytest.mark.parametrize("exactly", [True, False])
def test_tokens_without_a_count_are_drawn_and_left_alone(exactly):
    lengths = np.full(2000, 40)
    values = some_values(lengths)
    found, genes = ranked(lengths, values, exactly=exactly, expressed="only", **SHARES)
    plain, _ = ranked(lengths, values, exactly=exactly, **SHARES)
    there = genes & (values > 0)
    np.testing.assert_array_equal(found, np.where(there, plain, 2))
    if exactly:
        assert ((plain < BELOW[0]).sum(axis=1) == int(0.3 * 38)).all()
    masked, hidden, changed = (found < x for x in BELOW)
    assert masked.sum() / there.sum() == pytest.approx(11 / 38 if exactly else 0.3, abs=0.01)
    assert hidden.sum() / masked.sum() == pytest.approx(0.8, abs=0.02)
    assert changed.sum() / masked.sum() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("p", [0.5, 0.75, 1.0])
def test_a_share_of_the_masked_has_counts(p):
    lengths = np.random.default_rng(1).integers(3, 41, 3000)
    values = some_values(lengths)
    found, genes = ranked(lengths, values, nonzero=p, **SHARES)
    there, absent = genes & (values > 0), genes & (values == 0)
    number = np.array([int(RATIO * n) for n in (lengths - 2).tolist()])
    some = np.rint(p * number).astype(int)
    masked, hidden, _ = (found < x for x in BELOW)
    # Of a kind of which there are too few all are taken, and no more of the other.
    for mine, wanted in ((there, some), (absent, number - some)):
        taken = (masked & mine).sum(axis=1)
        np.testing.assert_array_equal(taken, np.minimum(wanted, mine.sum(axis=1)))
        if wanted.any():
            assert (wanted > mine.sum(axis=1)).any()
            assert (hidden & mine).sum() / taken.sum() == pytest.approx(0.8, abs=0.03)
    assert (found[~genes] == 2).all()
    full, _ = ranked(lengths, values, nonzero=p, exactly=True, **SHARES)
    np.testing.assert_array_equal(full, found)  # exact already


def test_exact_draws_are_a_cells_own_and_each_fields():
    lengths = np.full(20, 30)
    values = some_values(lengths)
    whole, _ = ranked(lengths, values, nonzero=0.5)
    wider, _ = ranked(lengths, np.pad(values, ((0, 0), (0, 10))), tokens=50, nonzero=0.5)
    np.testing.assert_array_equal(wider[:, :40], whole)
    other, _ = ranked(lengths, values, nonzero=0.5, seed=1)
    assert (other != whole).any()
    made = drawn([40] * 100, ratio=RATIO, exactly=True, fields=("values", "genes"))["draws"]
    for one in made.values():
        assert ((one < np.float32(RATIO)).sum(axis=1) == 11).all()
    assert (made["values"] != made["genes"]).any()


def test_equal_words_are_told_apart(monkeypatch):
    monkeypatch.setattr(
        "jaxcell.data.draws.words", lambda keys, n: np.full((len(keys), n), 2**32 - 1, np.uint32)
    )
    found, _ = ranked([40], exactly=True)
    assert (found < np.float32(RATIO)).sum() == 11


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"expressed": "all"}, "expressed: found 'all', expected one of any, only"),
        ({"nonzero": 1.5}, "nonzero: found 1.5, expected 0 to 1"),
        (
            {"nonzero": 0.5, "expressed": "only"},
            "nonzero: found 0.5, expected 0 with expressed = 'only'",
        ),
        (
            {"exactly": True, "adaptive": True},
            "exactly: found True, expected none with adaptive: rates differ",
        ),
        (
            {"nonzero": 0.5, "adaptive": True},
            "nonzero: found 0.5, expected none with adaptive: rates differ",
        ),
    ],
)
def test_what_does_not_go_together_is_named(fields, text):
    with pytest.raises(ValueError) as error:
        DrawMasks(FRONT, **fields)
    assert str(error.value) == f"config.data.draw_masks.{text}"

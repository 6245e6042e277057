"""Cells as sequences: against the plain reference, by chances, and that each cell's is its own."""

import numpy as np
import pytest
from scipy import stats

from jaxcell.data import draws
from jaxcell.data.draft import Draft, look_up
from jaxcell.data.pipeline import Batches
from jaxcell.data.sequence import Sequence
from jaxcell.data.shown import Shown
from jaxcell.data.thinning import Thin
from jaxcell.data.transforms import Normalise
from tests.conftest import config_of
from tests.data.test_transforms import draft
from tests.reference import bmfm_cells as reference

V, S = 60, 6
FRONT = V + np.array([reference.SPECIALS.index(name) for name in reference.WCED])
CODES = np.array([reference.code(name) for name in reference.WCED], float)
NAMES = {"exclude": "excluded", "all": "all", "interleave": "interleaved", "random": "random"}
SETS = [np.arange(V), np.arange(10, 50, 2), np.array([3, 7, 9])]
NEW = ("ids", "values", "length")


def tokens(made, number, *, vocabulary=V, **fields):
    """The batch of a draft's sequences; without special tokens unless front is given."""
    given = {"front": np.empty(0, np.int32), "codes": np.empty(0)} | fields
    Sequence(number, vocabulary, **given)(made)
    return made.batch


def mixed(cells=40, seed=0):
    """Cells of three gene sets: without counts, with one gene, and up to all of their genes."""
    random = np.random.default_rng(seed)
    which, matrix = random.integers(0, 3, cells), np.zeros((cells, V))
    for b, s in enumerate(which):
        often = [0, 1, 0.3, 0.6, 1][b % 5]
        genes = SETS[s][random.random(len(SETS[s])) < often] if b % 5 != 1 else SETS[s][:1]
        matrix[b, genes] = random.integers(1, 9, len(genes))
    return matrix, which


def again(made, cells):
    """A fresh draft of some of its cells, with their keys."""
    dense = look_up(made.rows, made.rows.counts, np.tile(np.arange(V), (len(made.rows), 1)), V)
    new = draft(dense[cells], made.gene_sets, made.gene_set[cells])
    new.keys = made.keys[cells]
    return new


@pytest.mark.parametrize("number", [1, 4, 10, 17, 70])
@pytest.mark.parametrize("zeros", NAMES)
def test_a_cell_is_the_references(zeros, number):
    matrix, which = mixed()
    made = draft(matrix, SETS, which)
    how = dict(scale_to=1e4, pseudo=1.0, total="shown")
    batch = tokens(made, number, zeros=zeros, front=FRONT, codes=CODES, **how)
    for b, s in enumerate(which):
        length = batch["length"][b]
        shown = batch["ids"][b, S:length]
        rest = [gene for gene in SETS[s] if gene not in shown]  # tried behind what was shown
        ids, values, wanted = reference.sequence(
            [*shown, *rest],
            matrix[b],
            V,
            specials=reference.WCED,
            max_length=S + number,
            zeros=NAMES[zeros],
        )
        assert length == wanted
        np.testing.assert_array_equal(batch["ids"][b, :S], ids[:S])
        np.testing.assert_array_equal(batch["values"][b, :S], values[:S])
        found = dict(zip(shown.tolist(), batch["values"][b, S:length], strict=True))
        assert len(found) == length - S  # no gene twice
        assert found.keys() == set(ids[S:length].tolist())
        expected = [values[ids.tolist().index(gene)] for gene in found]
        np.testing.assert_allclose(list(found.values()), expected, rtol=1e-6)
        if zeros != "all":  # the expressed stand before the zeros
            assert (np.diff(np.sign(batch["values"][b, S:length])) <= 0).all()
        np.testing.assert_array_equal(batch["ids"][b, length:], 0)
        np.testing.assert_array_equal(batch["values"][b, length:], 0)


@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.2, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_interleaved_zeros_are_as_many_as_the_references(ratio):
    expressed = np.array([0, 1, 3, 9, 10, 25, 40, 59, 60])
    matrix = np.arange(V) < expressed[:, None]
    for number in (1, 7, 10, 23, 59, 60, 80):
        made = draft(matrix, [range(V)])
        batch = tokens(made, number, zeros="interleave", ratio=ratio)
        for b, n in enumerate(expressed):
            genes = reference.chosen_genes(range(V), matrix[b], number, "interleaved", ratio)
            assert batch["length"][b] == len(genes) == min(number, V)
            assert (batch["values"][b] > 0).sum() == sum(gene < n for gene in genes)


def test_values_by_hand():
    matrix = np.zeros((1, 5))
    matrix[0, [1, 4]] = 3, 1
    batch = tokens(draft(matrix, [range(5)]), 2, vocabulary=5, order="value")
    np.testing.assert_array_equal(batch["ids"], [[1, 4]])
    np.testing.assert_allclose(batch["values"], np.log1p([[3e5 / 4, 1e5 / 4]]), rtol=1e-6)
    how = dict(vocabulary=5, order="value", total="shown")
    for pseudo, left in ((0.0, 3), (1.0, 4), (7.0, 10)):
        made = draft(matrix, [range(5)])
        batch = tokens(made, 1, scale_to=100.0, pseudo=pseudo, **how)
        np.testing.assert_allclose(batch["values"], np.log1p([[100 * 3 / left]]), rtol=1e-6)
    # Counts that are not scaled are not by what is shown either.
    made = draft(matrix, [range(5)])
    Normalise(1e5, scale=False)(made)
    np.testing.assert_allclose(tokens(made, 1, **how)["values"], np.log1p([[3]]), rtol=1e-6)
    # Without pseudo-total a cell without counts has values all the same.
    made = draft(np.zeros((1, 5)), [range(5)])
    batch = tokens(made, 3, zeros="random", scale_to=100.0, **how)
    np.testing.assert_array_equal(batch["values"], [[0, 0, 0]])


def test_depth_tokens_bear_the_totals_of_input_and_cell():
    front, codes = V + np.array([3, 8, 9]), np.array([-4.0, -9, -10])
    made = draft(np.eye(3, V) * [[5], [7], [0]], [range(V)])
    batch = tokens(made, 2, front=front, codes=codes, depths=(1, 2))
    want = [[-4, *np.log1p([5, 5])], [-4, *np.log1p([7, 7])], [-4, 0, 0]]
    np.testing.assert_allclose(batch["values"][:, :3], want, rtol=1e-6)
    made.batch["depth"] = np.array([[2, 5], [7, 7], [0, 0]], np.float32)
    batch = tokens(made, 2, front=front, codes=codes, depths=(1, 2))
    np.testing.assert_allclose(batch["values"][0, :3], [-4, *np.log1p([2, 5])], rtol=1e-6)
    np.testing.assert_array_equal(codes, [-4, -9, -10])


@pytest.mark.parametrize("genes", [0, 200])
def test_zeros_of_an_embedding_by_hand(store, genes):
    """Every expressed gene and, interleaved, a zero for nine of them; or as in training up to K."""
    c = config_of("bmfm_rna_mlm:tiny")
    c.model.vocabulary, c.embed.genes = len(store.vocabulary), genes
    rows = store.read("train", np.arange(len(store.index("train", "dataset"))))
    sets, which = [np.flatnonzero(m) for m in store.measured], store.gene_set[rows.dataset]
    expressed, measured = np.diff(rows.indptr), store.measured.sum(axis=1)[which]
    keys = draft(np.zeros((len(rows), 3)), [range(3)]).keys
    interleaved = np.minimum(-(-expressed * 10 // 9), measured)
    wanted = {"exclude": expressed, "all": measured, "interleave": interleaved}
    wanted["vocabulary"] = np.full(len(rows), c.model.vocabulary)
    for c.embed.zeros, number in wanted.items():
        batch = Shown(c, int(measured.max())).tokens(rows, sets, which, keys)
        if genes:
            number = measured if c.embed.zeros == "interleave" else number
        number = np.minimum(number, genes or number)
        np.testing.assert_array_equal(batch["length"] - len(c.model.front), number)
        if not genes:
            np.testing.assert_array_equal((batch["values"] > 0).sum(axis=1), expressed)


@pytest.mark.parametrize("zeros", ["exclude", "all", "vocabulary"])
def test_in_the_vocabulary_s_order(zeros):
    """Ids ascend, cut off behind K; of the whole vocabulary each gene has its own place."""
    matrix, which = mixed()
    for number in (4, V):
        batch = tokens(draft(matrix, SETS, which), number, zeros=zeros, order="vocabulary")
        for b, s in enumerate(which):
            shown = {"exclude": np.flatnonzero(matrix[b]), "all": SETS[s]}
            genes = np.sort(shown.get(zeros, np.arange(V)))[:number]
            assert batch["length"][b] == len(genes)
            np.testing.assert_array_equal(batch["ids"][b, : len(genes)], genes)
            bare = matrix[b, genes] == 0
            np.testing.assert_array_equal(batch["values"][b, : len(genes)] == 0, bare)


def test_the_length_is_the_config_s_or_as_long_as_any_cell_needs():
    for most, width in ((0, 16), (1, 16), (16, 16), (17, 32), (39, 40), (None, 40)):
        batch = tokens(draft(np.eye(2, V), [range(V)]), 40, most=most)
        assert batch["ids"].shape == batch["values"].shape == (2, width)
    for zeros in ("all", "interleave", "random"):
        assert tokens(draft(np.eye(2, V), SETS), 40, most=1, zeros=zeros)["ids"].shape == (2, 40)
    dtypes = {k: str(v.dtype) for k, v in batch.items() if k in NEW}
    assert dtypes == {"ids": "int32", "values": "float32", "length": "int32"}


def uniform(table):
    """Whether counts of equally likely events are as even as chance would have them."""
    return stats.chisquare(np.ravel(table)).pvalue > 1e-4


@pytest.mark.parametrize("zeros", ["exclude", "all"])
def test_each_order_is_equally_likely(zeros):
    measured = np.array([2, 5, 8, 11])
    matrix = np.zeros((24_000, 12))
    matrix[:, measured if zeros == "exclude" else [2, 5]] = 1
    ids = tokens(draft(matrix, [measured]), 4, vocabulary=12, zeros=zeros)["ids"]
    orders = np.searchsorted(measured, ids) @ [64, 16, 4, 1]
    found = np.unique(orders, return_counts=True)[1]
    assert len(found) == 24
    assert uniform(found)
    # Cut off at two, each pair is equally likely too.
    ids = tokens(draft(matrix, [measured]), 2, vocabulary=12, zeros=zeros)["ids"]
    if zeros == "exclude":
        assert uniform(np.unique(np.sort(ids) @ [12, 1], return_counts=True)[1])


def test_by_value_the_highest_come_first_and_equals_in_any_order():
    matrix = np.tile([3, 1, 1, 7, 1, 0], (6000, 1))
    batch = tokens(draft(matrix, [range(6)]), 5, vocabulary=6, order="value")
    assert (batch["ids"][:, :2] == [3, 0]).all()
    assert (np.diff(batch["values"]) <= 0).all()
    orders = np.unique(batch["ids"][:, 2:] @ [36, 6, 1], return_counts=True)[1]
    assert len(orders) == 6
    assert uniform(orders)
    batch = tokens(draft(matrix, [range(6)]), 6, vocabulary=6, order="value", zeros="all")
    assert (batch["ids"][:, 5] == 5).all()
    # The lowest are cut off: the third is one of the three that are equal.
    ids = tokens(draft(matrix, [range(6)]), 3, vocabulary=6, order="value")["ids"]
    assert uniform(np.bincount(ids[:, 2], minlength=6)[[1, 2, 4]])


@pytest.mark.parametrize("zeros", ["interleave", "random"])
def test_each_zero_of_the_measured_is_equally_likely(zeros):
    cells, measured = 12_000, np.arange(3, 23)
    matrix = np.zeros((cells, 30))
    matrix[:, 3:7] = 2
    batch = tokens(draft(matrix, [measured]), 9, vocabulary=30, zeros=zeros, ratio=0.5)
    assert (batch["length"] == 9).all()
    assert (np.sort(batch["ids"][:, :4]) == np.arange(3, 7)).all()
    drawn = np.bincount(batch["ids"][:, 4:].ravel(), minlength=30)
    assert drawn[:7].sum() == drawn[23:].sum() == 0
    expected = cells * 5 / 16
    assert np.abs(drawn[7:23] - expected).max() < 4 * (expected * 11 / 16) ** 0.5
    # No two zeros are tied together, and in line each stands anywhere.
    shown = np.zeros((cells, 30), bool)
    np.put_along_axis(shown, batch["ids"], True, axis=1)
    together = (shown[:, :, None] & shown[:, None, :])[:, 7:23, 7:23].sum(axis=0)
    expected = cells * (5 * 4) / (16 * 15)
    assert np.abs(together[np.triu_indices(16, 1)] - expected).max() < 5 * expected**0.5
    assert uniform([np.bincount(column, minlength=30)[7:23] for column in batch["ids"][:, 4:].T])


@pytest.mark.parametrize("temperature", [-1.0, 0.5, 1.0])
def test_zeros_are_drawn_with_chances_by_temperature(temperature):
    frequency = np.array([900, 7, 50, 0, 300, 45])  # gene 1 is not measured; 0 counts as 1
    measured, matrix = [0, 2, 3, 4, 5], np.zeros((20_000, 6))
    matrix[:, 0] = 3
    how = dict(vocabulary=6, temperature=temperature, frequency=frequency)
    ids = tokens(draft(matrix, [measured]), 2, zeros="random", **how)["ids"]
    assert (ids[:, 0] == 0).all()
    weights = np.array([50, 1, 300, 45.0]) ** temperature
    expected, found = 20_000 * weights / weights.sum(), np.bincount(ids[:, 1], minlength=6)
    assert found[1] == 0
    some = expected > 5  # below, the chi-square does not hold
    found, expected = found[2:][some], expected[some]
    assert stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue > 1e-4
    # Two zeros, one after the other.
    ids = tokens(draft(matrix, [measured]), 3, zeros="random", **how)["ids"]
    w = weights / weights.sum()
    chance = w + [sum(w[j] * w[i] / (1 - w[j]) for j in range(4) if j != i) for i in range(4)]
    found = np.bincount(ids[:, 1:].ravel(), minlength=6)[2:] / 20_000
    assert (np.abs(found - chance) < 4 * np.sqrt(chance * (1 - chance) / 20_000) + 1e-9).all()


@pytest.mark.parametrize("zeros", ["all", "interleave", "random"])
def test_a_drawn_share_of_the_cells_shows_no_zeros(zeros):
    matrix = np.zeros((4000, 20))
    matrix[:, :5] = 1
    made = draft(matrix, [range(20)])
    batch = tokens(made, 12, vocabulary=20, zeros=zeros, expressed_only=0.2)
    alone = batch["length"] == 5
    assert (batch["length"][~alone] == 12).all()
    assert abs(alone.mean() - 0.2) < 4 * (0.16 / 4000) ** 0.5
    assert (batch["ids"][alone, :5] < 5).all()
    # Who does not hang on what else is drawn; no cell and every cell at the ends.
    assert ((tokens(made, 20, vocabulary=20, zeros=zeros)["length"]) == 20).all()
    batch = tokens(made, 9, vocabulary=20, zeros="interleave", expressed_only=0.2)
    np.testing.assert_array_equal(batch["length"] == 5, alone)
    assert (tokens(made, 9, vocabulary=20, zeros=zeros, expressed_only=1.0)["length"] == 5).all()


def test_dropout_leaves_out_each_gene_with_its_probability():
    matrix = np.zeros((5000, 30))
    matrix[:, :20] = 1
    how = dict(vocabulary=30, zeros="interleave", dropout=0.3)
    batch = tokens(draft(matrix, [range(30)]), 40, **how)
    shown = np.zeros((5000, 30), bool)
    for b, n in enumerate(batch["length"]):
        shown[b, batch["ids"][b, :n]] = True
    assert shown[:, 20:].all()  # the zeros; what was left out is not among them
    error = (0.3 * 0.7 / 5000) ** 0.5
    assert np.abs(shown[:, :20].mean(axis=0) - 0.7).max() < 4 * error
    left = shown[:, :20].sum(axis=1)
    assert abs(left.mean() - 14) < 4 * (20 * 0.21 / 5000) ** 0.5
    assert abs(left.var() / 4.2 - 1) < 4 * (2 / 5000) ** 0.5  # each gene by itself
    # Of K genes: those beyond K do not take the places of those that were left out.
    batch = tokens(draft(matrix, [range(30)]), 10, vocabulary=30, dropout=0.3)
    assert abs(batch["length"].mean() - 7) < 4 * (10 * 0.21 / 5000) ** 0.5
    # One gene stays at least: the first in line.
    made = draft(matrix[:50], [range(30)])
    whole = tokens(made, 20, vocabulary=30)["ids"].copy()
    batch = tokens(made, 20, vocabulary=30, dropout=1.0)
    assert (batch["length"] == 1).all()
    np.testing.assert_array_equal(batch["ids"][:, 0], whole[:, 0])
    batch = tokens(draft(matrix[:2] * 0, [range(30)]), 20, vocabulary=30, dropout=0.5)
    assert (batch["length"] == 0).all()


def test_a_chunk_is_consecutive_and_begins_anywhere():
    matrix = np.tile(np.arange(12, 0, -1), (9000, 1))  # by value gene g stands at place g
    made = draft(matrix, [range(12)])
    batch = tokens(made, 10, vocabulary=12, order="value", chunk=3)
    assert (batch["length"] == 7).all()
    missing = [sorted(set(range(10)) - set(row)) for row in batch["ids"][:, :7].tolist()]
    missing = np.array(missing)
    assert (np.diff(missing) == 1).all()
    assert (batch["ids"][:, 7:] == 0).all()
    starts = np.bincount(missing[:, 0])
    assert len(starts) == 8
    assert uniform(starts)
    # Never all of a cell's genes.
    for chunk, left in ((9, 1), (10, 1), (50, 1), (0, 10)):
        batch = tokens(made, 10, vocabulary=12, order="value", chunk=chunk)
        assert (batch["length"] == left).all()
    none = draft(np.zeros((2, 12)), [range(12)])
    assert (tokens(none, 10, vocabulary=12, chunk=3)["length"] == 0).all()
    # And dropout of what the chunk left.
    batch = tokens(made, 10, vocabulary=12, chunk=3, dropout=0.5)
    assert batch["length"].max() <= 7
    assert abs(batch["length"].mean() - 3.5) < 4 * (7 / 4 / 9000) ** 0.5 + 0.01  # (none: one)


MANY = [
    dict(zeros="exclude"),
    dict(zeros="exclude", order="value", dropout=0.4, total="shown", scale_to=1e4),
    dict(zeros="all", expressed_only=0.3),
    dict(zeros="all", order="value", chunk=3),
    dict(zeros="interleave", expressed_only=0.2, dropout=0.1, total="shown", scale_to=1e4),
    dict(zeros="interleave", ratio=0.4, temperature=-1.0, frequency=np.arange(V)),
    dict(zeros="random", chunk=2, order="value"),
]


@pytest.mark.parametrize("how", MANY)
def test_tokens_do_not_hang_on_the_cells_beside_nor_on_their_order(how, monkeypatch):
    matrix, which = mixed(60, seed=3)
    whole = draft(matrix, SETS, which)
    Thin(least_total=5)(whole)
    Normalise(1e4)(whole)
    tokens(whole, 12, **how)
    order = np.random.default_rng(0).permutation(60)
    for cells in (order, order[:7], [5], [33]):
        part = again(whole, cells)
        Thin(least_total=5)(part)
        Normalise(1e4)(part)
        tokens(part, 12, **how)
        for k in (*NEW, "depth"):
            np.testing.assert_array_equal(part.batch[k], whole.batch[k][cells], err_msg=k)
    monkeypatch.setattr("jaxcell.data.draws.SCRATCH", 50)  # a cell at a time
    blocks = again(whole, np.arange(60))
    Thin(least_total=5)(blocks)
    Normalise(1e4)(blocks)
    tokens(blocks, 12, **how)
    for k in NEW:
        np.testing.assert_array_equal(blocks.batch[k], whole.batch[k])


def test_equal_keys_make_equal_tokens_and_others_others():
    matrix = np.tile(np.arange(V) % 2, (6, 1))
    made = draft(matrix, [range(V)])
    made.keys = np.array([[0, 1], [0, 1], [0, 2], [1, 1], [0, 1 << 40], [0, 1]], np.uint64)
    batch = tokens(made, 20, zeros="interleave")
    rows = [tuple(row) for row in batch["ids"]]
    assert rows[0] == rows[1] == rows[5]
    assert len(set(rows)) == 4
    # The order of the expressed is not that of the zeros: other words draw them.
    expressed, zeros = batch["ids"][:, :18] // 2, batch["ids"][:, 18:] // 2
    assert (expressed[:, :2] != zeros).any(axis=1).all()


def test_no_two_streams_of_any_cells_share_a_draw():
    cells = np.arange(3000, dtype=np.uint64)
    keys = np.stack([np.zeros(3000, np.uint64), cells], axis=1)
    made = Draft(draft(np.zeros((1, 3)), [range(3)]).rows, [], None, keys)
    streams = np.concatenate([keys, *(made.keys_of(k) for k in range(1, 11))])
    first = draws.words(streams, 2)
    assert len(np.unique(draws.states(streams))) == 11 * 3000
    assert len(np.unique(first.astype(np.uint64) @ np.array([2**32, 1], np.uint64))) == 11 * 3000


def test_batches_are_the_same_for_any_number_of_processes(store):
    c = config_of("bmfm_rna_mlm:tiny")
    c.seed, c.data.transforms = 3, ("thin", "normalise", "sequence", "draw_masks")
    c.model.vocabulary, c.data.thin.least_total = len(store.vocabulary), 10.0
    c.data.sequence.update(number=50, zeros="interleave", dropout=0.1, temperature=0.5)
    c.data.draw_masks.replaced = 0.05
    whole = Batches(store, c, "train", 16, stop=9)[4]
    parts = [Batches(store, c, "train", 16, stop=9, process=p, processes=4)[4] for p in range(4)]
    for k in (*NEW, "depth", "total", "panel_counts"):
        np.testing.assert_array_equal(np.concatenate([p[k] for p in parts]), whole[k], k)
    for k in ("draws", "other"):
        drawn = np.concatenate([p[k]["values"] for p in parts])
        np.testing.assert_array_equal(drawn, whole[k]["values"])
    assert (whole["depth"][:, 0] < whole["depth"][:, 1]).any()
    np.testing.assert_array_equal(whole["panel_counts"].sum(axis=1), whole["depth"][:, 1])
    np.testing.assert_array_equal(whole["total"], whole["depth"][:, 1] + 1)  # the cell's own


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("zeros", "none", "'none', expected one of exclude, all, vocabulary, interleave, random"),
        ("order", "sorted", "'sorted', expected one of random, value, vocabulary"),
        ("total", "all", "'all', expected one of cell, shown"),
        ("ratio", 1.5, "1.5, expected a share from 0 to 1"),
        ("expressed_only", -0.1, "-0.1, expected a share from 0 to 1"),
        ("dropout", float("nan"), "nan, expected a share from 0 to 1"),
        ("chunk", -1, "-1, expected 0 or more"),
        ("temperature", 9.0, "9.0, expected a number from -8 to 8"),
        ("number", 0, "0, expected a number above 0"),
    ],
)
def test_what_is_wrong_is_named(field, value, expected):
    given = {"number": 4, "vocabulary": V, "front": FRONT, "codes": CODES} | {field: value}
    with pytest.raises(ValueError) as error:
        Sequence(**given)
    assert str(error.value) == f"config.data.sequence.{field}: found {expected}"


def test_a_temperature_needs_statistics():
    with pytest.raises(ValueError, match=r"sequence.temperature: found 1.0, .* no 'detected'"):
        tokens(draft(np.eye(2, V), SETS), 4, zeros="random", temperature=1.0)

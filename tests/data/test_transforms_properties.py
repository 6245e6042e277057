"""What tokens keep to, whatever the cells: draws, values, bins and masks.

And what a cell gets never hangs on the cells beside it.
"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from jaxcell.data import draws
from jaxcell.data.bins import METHODS, Bin, edges_below, quantiles
from jaxcell.data.draft import Draft
from jaxcell.data.masking import NEVER, DrawMasks
from jaxcell.data.transforms import Normalise, SampleGenes
from tests.data.drawn import batches

V = 12
KEYS = arrays.arrays(np.uint64, some.tuples(some.integers(1, 4), some.just(2)))
WHOLE = some.integers(1, 300)


@some.composite
def drafts(draw, least=1):
    """A draft of cells with one or two gene sets, each of which has what its cells expressed."""
    rows, _ = draw(batches(least, V, WHOLE))
    sets = draw(some.lists(some.sets(some.integers(0, V - 1), min_size=1), min_size=1, max_size=2))
    gene_set = np.array([draw(some.integers(0, len(sets) - 1)) for _ in range(len(rows))])
    for i in range(len(rows)):
        sets[gene_set[i]] |= set(rows.take(i, i + 1).ids.tolist())
    keys = np.array([[draw(some.integers(0, 9)), 100 + i] for i in range(len(rows))], np.uint64)
    sets = [np.array(sorted(one), np.int32) for one in sets]
    return Draft(rows, sets, gene_set, keys.reshape(-1, 2))


def one_of(draft, i):
    """The same draft of its i-th cell alone."""
    alone = slice(i, i + 1)
    rows = draft.rows.take(i, i + 1)
    return Draft(rows, draft.gene_sets, draft.gene_set[alone], draft.keys[alone])


def made(draft, *transforms):
    for transform in transforms:
        transform(draft)
    return draft.batch


@given(KEYS, some.integers(1, 30), some.data())
def test_subsets_are_subsets_and_a_key_s_own(keys, of, data):
    number = data.draw(some.integers(1, of))
    weights = np.array(data.draw(some.lists(some.floats(0.01, 9), min_size=of, max_size=of)))
    for draw in (
        lambda k: draws.subsets(k, number, of),
        lambda k: draws.weighted_subsets(k, number, weights),
    ):
        found = draw(keys)
        assert found.shape == (len(keys), number)
        assert found.min() >= 0
        assert found.max() < of
        for i, row in enumerate(found):
            assert len(set(row.tolist())) == number
            assert set(draw(keys[i : i + 1])[0].tolist()) == set(row.tolist())


@given(some.integers(1, 200), some.integers(0, 2**63), some.integers(0, 2**63))
def test_a_shuffle_is_a_permutation(size, a, b):
    keys = np.tile(np.array([[a, b]], np.uint64), (size, 1))
    found = draws.shuffled(np.arange(size), size, keys)
    assert sorted(found.tolist()) == list(range(size))


@given(drafts(), some.integers(1, V), some.sampled_from([0.0, 0.5, -1.0]))
def test_shown_genes_are_measured_and_have_their_counts(draft, number, temperature):
    frequency = np.arange(V)
    show = SampleGenes(number, 1, V, temperature, frequency)
    batch = made(draft, Normalise(1e4), show)
    for i in range(len(draft.rows)):
        measured = draft.gene_sets[draft.gene_set[i]]
        shown = batch["ids"][i, 1 : batch["length"][i]]
        assert batch["ids"][i, 0] == V
        assert len(set(shown.tolist())) == len(shown) == min(number, len(measured))
        assert set(shown.tolist()) <= set(measured.tolist())
        own = draft.rows.take(i, i + 1)
        counts = dict(zip(own.ids.tolist(), own.counts.tolist(), strict=True))
        total = sum(counts.values())
        for gene, value in zip(shown, batch["values"][i, 1:], strict=False):
            wanted = np.log1p(1e4 * counts[gene] / total) if gene in counts else 0.0
            np.testing.assert_allclose(value, wanted, rtol=1e-5)
        assert not batch["values"][i, batch["length"][i] :].any()
        alone = made(one_of(draft, i), Normalise(1e4), show)
        for name in ("ids", "values", "length", "total"):
            np.testing.assert_array_equal(alone[name][0], batch[name][i], err_msg=name)


@given(drafts(), some.sampled_from(METHODS), some.integers(2, 9), some.integers(1, 4))
def test_bins_are_in_range_and_rise_with_counts(draft, method, number, high):
    known = np.sort(np.random.default_rng(0).uniform(1, 9, (V, number - 1)), axis=1)
    bins = Bin(method, number, c=min(high, number - 1), bin_edges=known.astype(np.float32))
    made(draft, Normalise(1e4), bins)
    found, rows = draft.values, draft.rows
    assert (found >= 1).all()
    assert (found <= number - 1).all()
    assert (found == np.rint(found)).all()
    for i in range(len(rows)):
        mine = slice(*rows.indptr[i : i + 2])
        order = np.argsort(rows.counts[mine], kind="stable")
        if method not in ("gene", "cell_random"):  # of one cell's counts the order stays
            assert (np.diff(found[mine][order]) >= 0).all()
        alone = one_of(draft, i)
        made(alone, Normalise(1e4), bins)
        np.testing.assert_array_equal(alone.values, found[mine])


@given(some.lists(some.lists(some.floats(-9, 9, width=32), max_size=9), max_size=5), some.data())
def test_quantiles_are_numpys(segments, data):
    shares = np.array(data.draw(some.lists(some.floats(0, 1), min_size=1, max_size=5)))
    values = np.array([x for one in segments for x in one], np.float32)
    found = quantiles(values, np.cumsum([0, *map(len, segments)]), shares)
    for row, one in zip(found, segments, strict=True):
        wanted = np.quantile(np.float64(one), shares) if one else np.full(len(shares), np.inf)
        np.testing.assert_array_equal(row, wanted)


@given(some.lists(some.floats(-5, 5), min_size=1, max_size=9), some.lists(some.floats(-5, 5)))
def test_edges_below_are_searchsorteds(edges, x):
    edges, x = np.sort(edges), np.array(x, np.float64)
    for equal, side in ((False, "left"), (True, "right")):
        found = edges_below(edges[None], np.zeros(len(x), int), x, equal)
        np.testing.assert_array_equal(found, np.searchsorted(edges, x, side))


@given(
    drafts(),
    some.floats(0.05, 1),
    some.floats(0.1, 1),
    some.sampled_from([{}, {"exactly": True}, {"nonzero": 0.5}, {"expressed": "only"}]),
    some.booleans(),
)
def test_masks_fall_on_genes_alone_and_as_often_as_asked(draft, ratio, hidden, how, replaced):
    masks = DrawMasks(
        np.array([V]), ratio, hidden, (1 - hidden) * replaced, ("values", "genes"), **how
    )
    if not masks.hidden + masks.replaced > 0:
        return
    show = SampleGenes(V, 1, V)
    batch = made(draft, Normalise(1e4), show, masks)
    place = np.arange(V + 1)
    for name, drawn in batch["draws"].items():
        genes = (place >= 1) & (place < batch["length"][:, None])
        masked = drawn < np.float32(ratio)
        assert not (masked & ~genes).any()
        assert (drawn[~genes] == NEVER).all()
        expressed = genes & (batch["values"] > 0)
        number = (ratio * genes.sum(axis=1)).astype(int)
        if "exactly" in how:
            np.testing.assert_array_equal(masked.sum(axis=1), number)
        if "nonzero" in how:
            some_of = np.minimum(np.rint(0.5 * number).astype(int), expressed.sum(axis=1))
            np.testing.assert_array_equal((masked & expressed).sum(axis=1), some_of)
        if "expressed" in how:
            assert not (masked & ~expressed).any()
        for i in range(len(draft.rows)):
            alone = made(one_of(draft, i), Normalise(1e4), show, masks)
            np.testing.assert_array_equal(alone["draws"][name][0], drawn[i])
    if masks.replaced:
        for i, length in enumerate(batch["length"]):
            other = batch["other"]["values"][i, 1:length]
            assert ((other >= 1) & (other < length)).all()
            assert length <= 2 or (other != place[1:length]).all()
            measured = draft.gene_sets[draft.gene_set[i]]
            assert np.isin(batch["other"]["genes"][i], measured).all()

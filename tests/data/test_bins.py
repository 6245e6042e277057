"""Bins: by hand, and against a naive np.quantile of each cell; each cell's are its own."""

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from jaxcell.data.bins import EDGES, METHODS, Bin, edges_below, quantiles
from jaxcell.data.draft import look_up
from jaxcell.data.pipeline import Batches
from jaxcell.data.statistics import of_tables, statistics
from jaxcell.data.transforms import build_transforms
from jaxcell.training.means import tables_of
from tests.conftest import config_of
from tests.data.test_transforms import draft

EXAMPLE = [0, 1, 1, 1, 2, 2, 3, 5, 0, 8]  # SYSTEMS.md, section I


def binned(matrix, method, seed=0, **fields):
    """Bins of dense counts [B, V]."""
    matrix = np.asarray(matrix, np.float32)
    made = draft(matrix, [range(matrix.shape[1])], seed=seed)
    Bin(method, **fields)(made)
    assert made.values.dtype == np.float32
    ids = np.tile(np.arange(matrix.shape[1], dtype=np.int32), (len(matrix), 1))
    return look_up(made.input, made.values, ids, matrix.shape[1])


def naive(row, method, number):
    """One cell's bins, as its method is told; a range of them for ties at random: (low, high)."""
    row = np.asarray(row, np.float64)
    found = np.zeros((2, len(row)))
    if not (row > 0).any():
        return found
    edges = np.quantile(row[row > 0], EDGES[method](number - 1))
    for i in np.flatnonzero(row):
        upto, below = (edges <= row[i]).sum(), (edges < row[i]).sum()
        if method == "cell_low":
            found[:, i] = 1 + below
        elif method == "cell_random":
            found[:, i] = min(below + 1, upto), upto
        else:
            found[:, i] = upto
    return found


def random_cells(seed, cells=120, genes=70, whole=True):
    random = np.random.default_rng(seed)
    counts = random.negative_binomial(1, 0.2, (cells, genes)).astype(np.float32)
    if not whole:
        counts *= random.uniform(0.1, 3, counts.shape).astype(np.float32)
    counts *= random.random((cells, genes)) < random.random((cells, 1))
    counts[0], counts[1], counts[2] = 0, 0, 7
    counts[1, 3] = 5
    return counts


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("cell_high", [0, 15, 15, 15, 29, 29, 36, 43, 0, 50]),
        ("cell_low", [0, 1, 1, 1, 22, 22, 36, 43, 0, 50]),
    ],
)
def test_the_worked_example(method, expected):
    np.testing.assert_array_equal(binned([EXAMPLE], method), [expected])


def test_the_worked_example_of_ties_at_random():
    found = binned([EXAMPLE] * 3000, "cell_random")
    single = [(2, 22, 29)] * 2
    for place, (low, high) in zip((1, 2, 3, 4, 5), [(1, 15)] * 3 + [(r, h) for _, r, h in single],
                                  strict=True):  # fmt: skip
        number = np.bincount(found[:, place].astype(int), minlength=51)
        assert number[low : high + 1].sum() == 3000
        assert stats.chisquare(number[low : high + 1]).pvalue > 1e-4
    np.testing.assert_array_equal(np.unique(found[:, [0, 8]]), [0])
    np.testing.assert_array_equal(np.unique(found[:, 6:8], axis=0), [[36, 43]])
    np.testing.assert_array_equal(np.unique(found[:, 9]), [50])
    assert abs(np.corrcoef(found[:, 1], found[:, 2])[0, 1]) < 4 / 3000**0.5


def test_segments_by_hand():
    """Four bins: quantiles 0, ¼, ½, ¾ of 1, 2, 3, 4, 9 are 1, 2, 3, 4; the maximum is in the last.

    Equal shares of eight values: two of each.
    """
    found = binned([[0, 9, 4, 3, 2, 1, 0, 0, 0]], "segment", number=5)
    np.testing.assert_array_equal(found, [[0, 4, 4, 3, 2, 1, 0, 0, 0]])
    found = binned([[0, *range(1, 9)]], "segment", number=5)
    np.testing.assert_array_equal(found, [[0, 1, 1, 2, 2, 3, 3, 4, 4]])


def test_quantiles_are_numpys_bit_for_bit():
    random = np.random.default_rng(0)
    size = np.append(random.integers(0, 400, 200), [0, 1, 2, 3])
    values = np.where(random.random(size.sum()) < 0.5, random.integers(1, 9, size.sum()), 0)
    values = np.where(values, values, random.lognormal(1, 2, size.sum())).astype(np.float32)
    indptr = np.append(0, np.cumsum(size))
    for shares in (*(EDGES[m](50) for m in EDGES), EDGES["cell_high"](1), EDGES["segment"](7)):
        found = quantiles(values, indptr, shares)
        for s, one in enumerate(found):
            own = values[indptr[s] : indptr[s + 1]].astype(np.float64)
            expected = np.quantile(own, shares) if len(own) else np.full(len(shares), np.inf)
            np.testing.assert_array_equal(one, expected)
    # The trap: by exact arithmetic this edge is the count 3 itself.
    nonzero = np.sort([x for x in EXAMPLE if x]).astype(np.float32)
    edge = quantiles(nonzero, np.array([0, 8]), EDGES["cell_high"](50))[0, 35]
    assert 3 - 1e-14 < edge < 3
    assert Fraction(35, 49) * 7 == 5
    assert nonzero[5] == 3


@pytest.mark.parametrize("whole", [True, False], ids=["counts", "non-integer"])
@pytest.mark.parametrize("method", ["cell_high", "cell_low", "cell_random", "segment"])
def test_bins_are_those_of_every_cell_by_itself(method, whole):
    for number in (51, 2, 7):
        counts = random_cells(number, whole=whole)
        found = binned(counts, method, number=number)
        low, high = np.stack([naive(row, method, number) for row in counts], axis=1)
        assert (found >= low).all()
        assert (found <= high).all()
        np.testing.assert_array_equal(found, np.rint(found))
        np.testing.assert_array_equal(found > 0, counts > 0)
        assert found.max() == number - 1


@pytest.mark.parametrize(
    ("method", "of_equal", "of_one"),
    [
        ("cell_high", 50, 50),
        ("cell_low", 1, 1),
        ("segment", 50, 50),
        ("value", 7, 7),
        ("clip", 7, 7),
        ("gene", 3, 3),
    ],
)
def test_cells_without_counts_with_equal_ones_and_with_one(method, of_equal, of_one):
    counts = np.zeros((3, 6))
    counts[1, [0, 2, 5]], counts[2, 4] = 7, 7
    fields = {}
    if method == "gene":  # one gene takes a cell's 1e5, three a third of it: ln(33334), ln(1e5)
        fields = {"bin_edges": np.tile(np.linspace(8, 12, 3, dtype=np.float32), (6, 1))}
        fields |= {"number": 4}
        counts[1] *= 0.5  # which is normalised away
    found = binned(counts, method, **fields)
    expected = np.zeros((3, 6))
    expected[1, [0, 2, 5]], expected[2, 4] = of_equal, of_one
    np.testing.assert_array_equal(found, expected)


def test_equal_counts_are_anywhere_at_random():
    counts = np.zeros((4000, 4))
    counts[:2000, [0, 2]], counts[2000:, 3] = 7, 7
    found = binned(counts, "cell_random")
    np.testing.assert_array_equal(found > 0, counts > 0)
    for some in (found[:2000, [0, 2]], found[2000:, 3]):
        assert (
            stats.chisquare(np.bincount(some.astype(int).ravel(), minlength=51)[1:]).pvalue > 1e-4
        )


def test_ties_at_random_are_each_cells_own():
    counts = random_cells(0)
    whole = binned(counts, "cell_random")
    np.testing.assert_array_equal(binned(counts, "cell_random"), whole)
    assert (binned(counts, "cell_random", seed=1) != whole).any()
    for one in (7, 50):
        made = draft(counts[one : one + 1], [range(70)])
        made.keys = draft(counts, [range(70)]).keys[one : one + 1]
        Bin("cell_random")(made)
        np.testing.assert_array_equal(made.values, whole[one][counts[one] > 0])


@pytest.mark.parametrize("method", ["cell_high", "cell_low", "segment"])
def test_bins_of_normalised_values_are_those_of_counts(method):
    """But where an edge is a value up to rounding: there the last bit of either decides."""
    counts = random_cells(3, whole=False)
    rows = draft(counts, [range(70)])
    mine = np.repeat(np.arange(len(counts)), np.diff(rows.rows.indptr))
    # In float64: in float32, as tokens have it, further values may become equal.
    total = counts.sum(axis=1, dtype=np.float64)
    values = np.log1p(1e4 * rows.rows.counts / total[mine])
    shares, equal = EDGES[method](50), method != "cell_low"
    found, near = [], np.zeros(len(values), bool)
    for x in (rows.rows.counts.astype(np.float64), values):
        edges = quantiles(x, rows.rows.indptr, shares) if x is values else quantiles(
            rows.rows.counts, rows.rows.indptr, shares)  # fmt: skip
        found.append(edges_below(edges, mine, x, equal))
        near |= (np.abs(edges[mine] / x[:, None] - 1) < 1e-12).any(axis=1)
    np.testing.assert_array_equal(found[0][~near], found[1][~near])
    assert (found[0] != found[1]).mean() < 0.01
    assert (~near).mean() > 0.8


def test_edges_below_is_a_count():
    random = np.random.default_rng(0)
    for width in (1, 2, 3, 7, 8, 50):
        edges = np.sort(random.integers(0, 12, (20, width)), axis=1).astype(float)
        rows, x = random.integers(0, 20, 500), random.integers(-1, 13, 500).astype(float)
        below, upto = edges[rows] < x[:, None], edges[rows] <= x[:, None]
        np.testing.assert_array_equal(edges_below(edges, rows, x), below.sum(axis=1))
        np.testing.assert_array_equal(edges_below(edges, rows, x, equal=True), upto.sum(axis=1))


def test_value_bins_by_hand():
    counts = [[0, 0.4, 1, 1.6, 7.6, 8, 8.1, 16, 100, 1000]]
    found = binned(counts, "value")
    np.testing.assert_array_equal(found, [[0, 1, 1, 2, 8, 8, 9, 11, 19, 29]])
    found = binned(counts, "value", printed=True)
    np.testing.assert_array_equal(found, [[0, 1, 1, 2, 8, 8, 1, 3, 11, 21]])
    found = binned(counts, "value", number=20)
    np.testing.assert_array_equal(found, [[0, 1, 1, 2, 8, 8, 9, 11, 19, 19]])
    found = binned([[1.5, 2.5, 3.5, 4, 8, 9]], "value", b=1.0, c=4)  # half to even
    np.testing.assert_array_equal(found, [[2, 2, 4, 4, 5, 6]])


def test_value_bins_of_counts_scaled_to_the_mean_total():
    # Totals 8 and 32; at the mean 16 counts are twice and half as high.
    counts = np.array([[1, 2, 0, 5], [1, 3, 24, 4], [0, 0, 0, 0]], np.float32)
    found = binned(counts, "value", normalised=True, mean_total=16.0)
    np.testing.assert_array_equal(found, [[2, 4, 0, 8 + 1], [1, 2, 8 + 2, 2], [0, 0, 0, 0]])
    same = binned(counts[:1], "value", normalised=True, mean_total=8.0)
    np.testing.assert_array_equal(same, binned(counts[:1], "value"))


def test_counts_are_clipped():
    found = binned([[0, 0.5, 13, 13.5, 400]], "clip", c=13)
    np.testing.assert_array_equal(found, np.array([[0, 0.5, 13, 13, 13]], np.float32))


def small(method, **fields):
    c = config_of("txfm_b:tiny")
    c.data.transforms = ("normalise", "bin", "sample_genes")
    c.data.bin.update(method=method, **fields)
    return c


def normalised(store, c, split="train"):
    """log1p values f32 [cells, V] of a split, and its counts."""
    rows = store.read(split, np.arange(store.sizes[split]))
    made = draft(np.zeros((1, 3)), [range(3)])
    made.rows = made.input = rows
    build_transforms(c.data, c.model)[0](made)
    ids = np.tile(np.arange(len(store.vocabulary), dtype=np.int32), (len(rows), 1))
    of = lambda values: look_up(rows, values, ids, len(store.vocabulary))
    return of(made.values), of(rows.counts)


def test_genes_have_edges_of_their_own(store):
    c = small("gene", number=11)
    edges = statistics(store, c)["bin_edges"]
    values, _ = normalised(store, c)
    assert edges.dtype == np.float32
    assert edges.shape == (300, 10)
    for gene in range(300):
        own = values[values[:, gene] > 0, gene].astype(np.float64)
        expected = np.quantile(own, np.arange(1, 11) / 10) if len(own) else np.full(10, np.inf)
        np.testing.assert_array_equal(edges[gene], expected.astype(np.float32))
    c.model.vocabulary = 300
    batch = Batches(store, c, "valid", 32)[0]
    held, _ = normalised(store, c, "valid")
    ids, seen = batch["ids"][:, 1:], batch["values"][:, 1:]
    cells = np.flatnonzero(batch["real"])
    x = np.take_along_axis(held, ids[cells], axis=1)
    expected = 1 + (edges[ids[cells]] < x[..., None]).sum(axis=2)
    np.testing.assert_array_equal(seen[cells], np.where(x > 0, np.minimum(expected, 10), 0))
    assert (x > edges[ids[cells], -1]).any()  # above all that was seen in training
    assert seen.max() == 10
    # On average a training cell has as many of each bin.
    binned = 1 + (edges < values[..., None]).sum(axis=2)
    number = np.bincount(binned[values > 0], minlength=11)[1:]
    assert number.min() > 0.5 * number.max()


def test_a_gene_that_no_training_cell_expressed_has_one_bin():
    edges = np.full((3, 4), np.inf, np.float32)
    found = binned([[1, 0, 5]], "gene", number=5, bin_edges=edges)
    np.testing.assert_array_equal(found, [[1, 0, 1]])


def test_the_mean_total_is_the_training_cells(store):
    c = small("value", normalised=True)
    _, counts = normalised(store, c)
    found = statistics(store, c)["mean_total"]
    assert found == counts.sum(dtype=np.float64) / len(counts)
    assert found.dtype == np.float64
    assert statistics(store, small("value")) == {}  # what nobody asks for stays on disk
    assert statistics(store, small("cell_low")) == {}
    assert statistics(store, config_of("txfm_b:tiny")) == {}


@pytest.mark.parametrize("method", METHODS)
def test_a_runs_tables_make_the_same_bins_as_its_store(store, method):
    """Of all genes that the cell measured, those too that it does not show."""
    c = small(method, normalised=method == "value")
    tables = tables_of(store, c, 384)
    known = of_tables(tables, 300)
    batch = Batches(store, c, "train", 16, stop=3)[2]
    again = Batches(store, c, "train", 16, stop=3, statistics=known)[2]
    np.testing.assert_array_equal(batch["values"], again["values"])
    alone = Batches(store, c, "train", 16, stop=3, process=1, processes=4)[2]
    np.testing.assert_array_equal(batch["values"][4:8], alone["values"])
    wide = small(method, normalised=method == "value")
    wide.data.sample_genes.number = 300
    whole = Batches(store, wide, "train", 16, stop=3)[2]
    for b in range(16):
        mine = dict(zip(whole["ids"][b], whole["values"][b], strict=True))
        expected = [mine[g] for g in batch["ids"][b]]
        np.testing.assert_array_equal(batch["values"][b], expected)
    whole = 1 if method == "clip" else np.rint(batch["values"]) == batch["values"]
    assert np.all(whole)
    assert batch["values"].max() > 1


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"method": "cell"}, "method: found 'cell', expected one of cell_high, cell_low, cell_ran"),
        ({"number": 1}, "number: found 1, expected a whole number of classes, 2 or more"),
        ({"number": 2.5}, "number: found 2.5, expected a whole number of classes"),
        ({"method": "value", "c": 51}, "c: found 51, expected a whole number from 1 to the last"),
        ({"method": "clip", "c": 0}, "c: found 0, expected a whole number from 1 to the last bin"),
        ({"method": "value", "c": 1.5}, "c: found 1.5, expected a whole number"),
        ({"b": 0.0}, "b: found 0.0, expected a number above 0"),
        ({"b": float("nan")}, "b: found nan, expected a number above 0"),
    ],
)
def test_what_is_wrong_is_named(fields, text):
    with pytest.raises(ValueError) as error:
        Bin(**fields)
    assert str(error.value).startswith(f"config.data.bin.{text}")


def test_what_bins_need_of_the_training_cells_is_named():
    with pytest.raises(ValueError, match=r"bin.method: found 'gene', which .* no 'bin_edges'"):
        binned([[1, 2]], "gene")
    with pytest.raises(ValueError, match=r"bin.method: found 'value', .* no 'mean_total'"):
        binned([[1, 2]], "value", normalised=True)

"""What a step masks: by hand, and against the plain reference of BMFM-RNA's cells."""

import jax
import numpy as np
import pytest

from jaxcell.config import defaults
from jaxcell.data.pipeline import Batches
from jaxcell.systems.bmfm_rna import SPECIALS
from jaxcell.training.masking import hidden_code, mask_tokens, places_of
from jaxcell.training.panel import add_panel
from tests.conftest import config_of
from tests.reference import bmfm_cells as reference

V = 20
MASK, CODE = V + 4, -5  # the token and the value that hide


def config(**fields):
    c = defaults()
    c.model.specials, c.model.front = SPECIALS, ("<cls>", "<sep>")
    c.model.vocabulary = V
    c.data.draw_masks.update(**fields)
    return c


def cells(**draws):
    """One cell of two special tokens, six genes and two of padding."""
    batch = {
        "ids": np.array([[V + 3, V + 1, 10, 11, 12, 13, 14, 15, 0, 0]], np.int32),
        "values": np.array([[-4, -2, 1, 2, 0, 4, 5, 6, 0, 0]], np.float32),
        "length": np.array([8], np.int32),
        "other": {
            "values": np.array([[2, 3, 7, 6, 5, 4, 3, 2, 2, 2]], np.int32),
            "genes": np.arange(10, dtype=np.int32)[None],
        },
    }
    never = np.array([[2.0] * 2 + [0] * 6 + [2.0] * 2], np.float32)
    found = {k: never + np.array([[0, 0, *d, 0, 0]], np.float32) for k, d in draws.items()}
    return batch | {"draws": found}


def masked(batch, c, tables=None):
    return compiled(c)(batch, tables or {})


def compiled(c):
    step = jax.jit(lambda batch, tables: mask_tokens(batch, tables, c))

    def run(batch, tables):
        found = step(batch, tables)
        return {k: np.asarray(v) for k, v in found.items() if k != "draws"}

    return run


def test_values_are_hidden_replaced_or_shown_by_hand():
    # Rate .4: hidden below .2, replaced below .3, shown and still predicted below .4.
    c = config(ratio=0.4, hidden=0.5, replaced=0.25)
    batch = cells(values=[0.1, 0.25, 0.35, 0.4, 0.19, 0.9])
    found = masked(batch, c)
    t = True
    np.testing.assert_array_equal(found["mask"], [[0, 0, t, t, t, 0, t, 0, 0, 0]])
    # Gene 3's place shows what stands at place 6 itself: 5, though that is hidden.
    np.testing.assert_array_equal(found["values"], [[-4, -2, CODE, 5, 0, 4, CODE, 6, 0, 0]])
    np.testing.assert_array_equal(found["target"], batch["values"])
    np.testing.assert_array_equal(found["ids"], batch["ids"])
    assert not {"blocked", "gene_places", "gene_target"} & found.keys()


def test_hidden_tokens_alone_are_blocked():
    c = config(ratio=0.4, hidden=0.5, replaced=0.25, blocked=True)
    found = masked(cells(values=[0.1, 0.25, 0.35, 0.4, 0.19, 0.9]), c)
    np.testing.assert_array_equal(found["blocked"], [[0, 0, 1, 0, 0, 0, 1, 0, 0, 0]])
    c = config(ratio=0.4, hidden=0.5, blocked=True, fields=("values", "genes"))
    draws = dict(values=[0.1, 0.9, 0.9, 0.3, 0.9, 0.9], genes=[0.1, 0.1, 0.3, 0.1, 0.9, 0.9])
    found = masked(cells(**draws), c)
    # The first is masked by its value, the second by its gene; the fourth keeps its value, and
    # its gene, since it is asked for its value.
    np.testing.assert_array_equal(found["blocked"], [[0, 0, 1, 1, 0, 0, 0, 0, 0, 0]])


def test_genes_are_hidden_where_values_are_not():
    c = config(ratio=0.4, hidden=0.5, fields=("values", "genes"))
    draws = dict(values=[0.1, 0.9, 0.9, 0.3, 0.9, 0.9], genes=[0.1, 0.1, 0.3, 0.1, 0.9, 0.39])
    batch = cells(**draws)
    found = masked(batch, c)
    np.testing.assert_array_equal(found["mask"], [[0, 0, 1, 0, 0, 1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(found["ids"][0, :8], [V + 3, V + 1, 10, MASK, 12, 13, 14, 15])
    np.testing.assert_array_equal(found["values"][0, :8], [-4, -2, CODE, 2, 0, 4, 5, 6])
    p = places_of(c, 10)
    assert found["gene_places"].shape == found["gene_target"].shape == (1, p) == (1, 10)
    np.testing.assert_array_equal(found["gene_places"][0, :3], [3, 4, 7])
    np.testing.assert_array_equal(found["gene_target"], [[11, 12, 15] + [-1] * 7])
    assert found["gene_places"].dtype == np.int32


def test_together_a_token_is_masked_in_both_fields_or_in_none():
    c = config(ratio=0.4, hidden=0.5, fields=("values", "genes"), together=True)
    draw = [0.1, 0.9, 0.3, 0.9, 0.19, 0.9]
    found = masked(cells(values=draw, genes=draw), c)
    np.testing.assert_array_equal(found["mask"], [[0, 0, 1, 0, 1, 0, 1, 0, 0, 0]])
    np.testing.assert_array_equal(found["values"][0, :8], [-4, -2, CODE, 2, 0, 4, CODE, 6])
    np.testing.assert_array_equal(found["ids"][0, :8], [V + 3, V + 1, MASK, 11, 12, 13, MASK, 15])
    np.testing.assert_array_equal(found["gene_target"][0, :4], [10, 12, 14, -1])


def test_genes_alone():
    c = config(ratio=0.4, hidden=0.5, fields=("genes",))
    found = masked(cells(genes=[0.9, 0.1, 0.9, 0.9, 0.9, 0.9]), c)
    assert "mask" not in found
    np.testing.assert_array_equal(found["ids"][0, 2:5], [10, MASK, 12])
    np.testing.assert_array_equal(found["gene_target"][0, :2], [11, -1])


def test_genes_are_replaced_by_hand():
    """At the second place of genes, hidden below .2, another gene below .3; all are predicted."""
    c = config(ratio=0.4, hidden=0.5, replaced=0.25, fields=("genes",))
    batch = cells(genes=[0.1, 0.25, 0.35, 0.4, 0.29, 0.9])
    found = masked(batch, c)
    np.testing.assert_array_equal(found["ids"][0, 2:8], [MASK, 3, 12, 13, 6, 15])
    np.testing.assert_array_equal(found["gene_target"][0, :5], [10, 11, 12, 14, -1])
    np.testing.assert_array_equal(found["values"], batch["values"])
    # A token that is masked by its value keeps its gene.
    c.data.draw_masks.fields = ("values", "genes")
    found = masked(cells(values=[0.9, 0.39, *[0.9] * 4], genes=[0.9, 0.25, 0.25, *[0.9] * 3]), c)
    np.testing.assert_array_equal(found["ids"][0, 2:8], [10, 11, 4, 13, 14, 15])


@pytest.mark.parametrize("total", ["cell", "shown"])
def test_of_thinned_counts_the_cells_own_values_are_predicted(store, total):
    c = config_of("bmfm_rna_mlm:tiny")
    c.model.vocabulary, v = len(store.vocabulary), len(store.vocabulary)
    c.data.transforms = ("thin", *c.data.transforms)
    c.data.thin.update(probability=1.0, least_total=0.0)
    c.data.sequence.update(number=100, zeros="interleave", total=total)
    found, batch = predicted(store, c)
    dense = np.zeros((len(batch["ids"]), v + 1))
    np.put_along_axis(dense, batch["panel_ids"], batch["panel_counts"], axis=1)
    inside = np.arange(batch["ids"].shape[1]) < batch["length"][:, None]
    inside &= batch["ids"] < v
    own = np.take_along_axis(dense, np.where(inside, batch["ids"], v), axis=1)
    divisor = own.sum(axis=1) + 1 if total == "shown" else batch["total"]
    wanted = np.log1p(1e4 * own / divisor[:, None])
    np.testing.assert_allclose(found["target"][inside], wanted[inside], rtol=1e-5)
    gone = inside & (batch["values"] == 0) & (found["target"] > 0)
    assert gone.any()  # no zeros of the cell, and not to be predicted as such
    # Where a config thins no cell, what is predicted is what would have been shown.
    c.data.thin.probability = 0.0
    found, batch = predicted(store, c)
    inside = (batch["ids"] < v) & (batch["values"] > 0)
    np.testing.assert_allclose(found["target"][inside], batch["values"][inside], rtol=1e-5)


def predicted(store, c):
    """A batch of the store as the device masks it, and as it was."""
    batch = Batches(store, c, "train", 8, stop=1)[0]
    tables = {"measured": store.measured, "gene_set": store.gene_set}
    whole = add_panel(batch, tables, c.model.vocabulary, c.data.normalise.library_size)
    return mask_tokens(whole, tables, c), batch


def test_places_suffice_and_what_is_beyond_is_not_predicted():
    # 1000 genes at .15: 150 ± 11.29; six of these and one more.
    assert places_of(config(ratio=0.15), 1002) == 219
    assert places_of(config(ratio=0.15, adaptive=True), 1002) == 388  # twice the rate
    assert places_of(config(ratio=0.95), 1002) == 1 + 992  # 950 ± 6.89
    assert places_of(config(ratio=1.0), 1002) == 1001
    assert places_of(config(ratio=0.5), 10) == 10  # no more than there are tokens
    assert places_of(config(ratio=0.0), 10) == 1
    c = config(ratio=0.0, adaptive=True, fields=("genes",))
    tables = {"mask_rate": np.ones(V, np.float32)}
    found = masked(cells(genes=[0.5] * 6), c, tables)
    assert found["gene_places"].shape == (1, 1)
    np.testing.assert_array_equal(found["gene_target"], [[10]])
    assert (found["ids"][0, 2:8] != cells()["ids"][0, 2:8]).sum() == 6  # hidden all the same


def test_adaptive_rates_are_the_genes_own():
    c = config(ratio=0.15, hidden=0.5, adaptive=True)
    rates = np.zeros(V, np.float32)
    rates[[10, 11, 12, 13, 14]] = 0.2, 0.6, 0.6, 1.0, 0.05
    rates[-1] = 1.0  # special tokens read the last row: their draws are above it
    found = masked(cells(values=[0.15, 0.29, 0.31, 0.99, 0.06, 0.0]), c, {"mask_rate": rates})
    np.testing.assert_array_equal(found["mask"], [[0, 0, 1, 1, 1, 1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(found["values"][0, :8], [-4, -2, 1, CODE, 0, 4, 5, 6])


def drawn(seed, n=200, tokens=64):
    """Cells of random lengths with draws as `data.masking` makes them."""
    random = np.random.default_rng(seed)
    length = random.integers(2, tokens + 1, n).astype(np.int32)
    ids = np.tile(random.integers(0, V, tokens), (n, 1)).astype(np.int32)
    ids[:, :2] = V + 3, V + 1
    values = random.uniform(0, 5, (n, tokens)).astype(np.float32)
    values[:, :2] = -4, -2
    inside = (np.arange(tokens) >= 2) & (np.arange(tokens) < length[:, None])
    draws = np.where(inside, random.random((n, tokens), np.float32), 2).astype(np.float32)
    return {"ids": ids, "values": values, "length": length, "draws": {"values": draws}}


@pytest.mark.parametrize(("ratio", "hidden"), [(0.15, 0.95), (0.3, 0.5), (0.95, 1.0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_masks_are_the_references(ratio, hidden, weighted):
    c, batch = config(ratio=ratio, hidden=hidden, adaptive=weighted, blocked=True), drawn(1)
    step, tables, weights = compiled(c), {}, None
    if weighted:
        weights = np.random.default_rng(2).uniform(0, 2, V)
    for b in range(0, 200, 20):
        one = {k: v[b : b + 1] for k, v in batch.items() if k != "draws"}
        one["draws"] = {"values": batch["draws"]["values"][b : b + 1]}
        ids = one["ids"][0].copy()
        ids[batch["length"][b] :] = V + 2
        if weighted:  # the reference scales them to a mean over each cell's own genes
            mean = weights[ids[ids < V]].mean() if (ids < V).any() else 1
            tables = {"mask_rate": np.clip(weights * ratio / mean, 0, 1).astype(np.float32)}
        how = dict(ratio=ratio, mask_ratio=hidden, weights=weights)
        seen, labels, hides = reference.mask(
            ids, one["values"][0], one["draws"]["values"][0], V, **how
        )
        found = step(one, tables)
        np.testing.assert_array_equal(found["values"][0], seen.astype(np.float32))
        np.testing.assert_array_equal(found["mask"][0], labels != reference.IGNORE)
        np.testing.assert_array_equal(found["blocked"][0], hides)
        chosen = found["mask"][0]
        np.testing.assert_array_equal(found["target"][0][chosen], labels[chosen])


def test_without_a_mask_token_a_hidden_value_has_a_code_behind_all_specials():
    assert hidden_code(SPECIALS) == CODE
    assert hidden_code(("<cls>",)) == -2
    assert hidden_code(("<cls>", "<mask>", "<a>")) == -2
    assert hidden_code(()) == -1
    c = config(ratio=0.4, hidden=0.5)
    c.model.specials, c.model.front = ("<cls>", "<sep>"), ()
    batch = cells(values=[0.1, 0.9, 0.1, 0.9, 0.3, 0.9])
    batch["ids"][:, :2], batch["values"][:, :2] = (V, V + 1), (-1, -2)
    found = masked(batch, c)
    np.testing.assert_array_equal(found["values"], [[-1, -2, -3, 2, -3, 4, 5, 6, 0, 0]])
    np.testing.assert_array_equal(found["mask"], [[0, 0, 1, 0, 1, 0, 1, 0, 0, 0]])


def test_expressed_tokens_are_those_with_a_value_before_masking():
    c = config(ratio=0.4, hidden=0.5, replaced=0.25)
    batch = cells(values=[0.1, 0.25, 0.1, 0.4, 0.19, 0.9])
    batch["values"][0, 1] = 7  # of a special token that tells a depth
    batch["values"][0, 8] = 3  # of padding
    found = masked(batch, c)["expressed"]
    assert found.dtype == bool
    np.testing.assert_array_equal(found, [[0, 0, 1, 1, 0, 1, 1, 1, 0, 0]])
    c.data.draw_masks.fields = ("genes",)
    again = masked({**batch, "draws": {"genes": batch["draws"]["values"]}}, c)["expressed"]
    np.testing.assert_array_equal(again, found)


@pytest.mark.parametrize(
    "how", [{"exactly": True}, {"exactly": True, "expressed": "only"}, {"nonzero": 0.5}]
)
def test_the_device_masks_what_the_host_counted(store, how):
    """80/10/10 of exact numbers, on bins; the value of another gene where one is replaced."""
    c = config_of("txfm_b:tiny")
    c.model.vocabulary = len(store.vocabulary)
    c.data.transforms = ("normalise", "bin", "sample_genes", "draw_masks")
    c.data.draw_masks.update(ratio=0.25, hidden=0.8, replaced=0.1, **how)
    batch = Batches(store, c, "train", 120, stop=1)[0]
    found = compiled(c)(batch, {})
    mask, target, shown = found["mask"], found["target"], found["values"]
    there = found["expressed"]
    np.testing.assert_array_equal(target, batch["values"])
    np.testing.assert_array_equal(there[:, 1:], target[:, 1:] > 0)
    assert not mask[:, 0].any()
    if "nonzero" in how:  # 8 of 32: four of each, where there are so many
        for mine in (there, ~there & (np.arange(33) > 0)):
            np.testing.assert_array_equal(
                (mask & mine).sum(axis=1), np.minimum(4, mine.sum(axis=1))
            )
    elif how.get("expressed"):
        assert not (mask & ~there).any()
        assert (mask.sum(axis=1) <= 8).all()
    else:
        assert (mask.sum(axis=1) == 8).all()
    hidden = shown == hidden_code(("<cls>",))
    assert not (hidden & ~mask).any()
    np.testing.assert_array_equal(shown[~mask], target[~mask])
    other = np.take_along_axis(target, batch["other"]["values"], axis=1)
    changed = mask & ~hidden & (shown != target)
    np.testing.assert_array_equal(shown[changed], other[changed])
    n = mask.sum()  # as by chance, or more even
    assert hidden.sum() / n == pytest.approx(0.8, abs=4 * (0.8 * 0.2 / n) ** 0.5)
    draw = batch["draws"]["values"]
    replaced = (draw < np.float32(0.25 * 0.9)) & ~hidden
    assert replaced.sum() / n == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / n) ** 0.5)
    np.testing.assert_array_equal(shown[replaced], other[replaced])

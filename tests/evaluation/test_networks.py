"""Ranks, edges, known targets, enrichment, stability: against independent code and by hand."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from jaxcell.evaluation.networks import edges, known, programs, ranks
from jaxcell.evaluation.networks.enrichment import enriched, overlap_test
from jaxcell.evaluation.networks.stability import edge_stability


def brute(attention):
    """G's recipe by scipy, ties at their mean."""
    m = attention.shape[-1]
    heads = []
    for head in attention.astype(np.float64):  # in which scipy then ranks
        rows = np.stack([stats.rankdata(row) - 1 for row in head]) / m
        heads.append(np.stack([stats.rankdata(c) - 1 for c in rows.T], axis=1) / m)
    return np.mean(heads, axis=0)


def draw(seed, heads=3, m=17, ties=False):
    x = np.random.default_rng(seed).normal(size=(heads, m, m)).astype(np.float32)
    return np.round(x) if ties else x


def test_ranks_by_hand():
    # Rows: (0, 2, 1), (2, 0, 1), (1, 0, 2). Columns of these: (0, 2, 1), (2, ½, ½), (½, ½, 2).
    attention = np.array([[[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.3, 0.1, 0.6]]])
    expected = np.array([[0, 2, 0.5], [2, 0.5, 0.5], [1, 0.5, 2]]) / 3
    np.testing.assert_allclose(ranks.rank_normalised(attention), expected, rtol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_ranks_equal_scipys(ties):
    x = draw(1, ties=ties)
    np.testing.assert_allclose(ranks.rank_normalised(x), brute(x), rtol=1e-12)
    np.testing.assert_array_equal(ranks.row_ranks(x[0]), 2 * (stats.rankdata(x[0], axis=1) - 1))


def test_without_ties_rows_are_ranked_as_the_published_code_does():
    x = draw(2)[0]
    np.testing.assert_array_equal(ranks.row_ranks(x), 2 * np.argsort(np.argsort(x)))


def test_softmax_and_scale_change_no_rank():
    scores = draw(3)
    weights = np.exp(scores / 4)
    weights /= weights.sum(axis=-1, keepdims=True)
    np.testing.assert_array_equal(ranks.rank_normalised(scores), ranks.rank_normalised(weights))


def test_no_gene_gains_by_its_place():
    x, order = draw(4, ties=True), np.random.default_rng(0).permutation(17)
    turned = ranks.rank_normalised(x[:, order][:, :, order])
    np.testing.assert_array_equal(turned, ranks.rank_normalised(x)[order][:, order])


def test_sums_count_every_cell_of_a_condition_once():
    cells = [draw(i) for i in range(5)]
    sums = ranks.Sums(3, 17)
    for x, condition in zip(cells, (0, 1, 0, 1, 1), strict=True):
        sums.add(x, condition)
    maps, received = sums.means()
    for condition, own in enumerate(([0, 2], [1, 3, 4])):
        mean = np.mean([brute(cells[i]) for i in own], axis=0)
        np.testing.assert_allclose(maps[condition], mean, rtol=1e-6)
        both = np.mean([cells[i] for i in own], axis=(0, 1))
        np.testing.assert_allclose(
            received[condition], both.sum(axis=0) - np.diagonal(both), rtol=1e-5, atol=1e-5
        )
    assert sums.cells.tolist() == [2, 3, 0]
    assert np.isnan(maps[2]).all()
    with pytest.raises(ValueError, match="measure: found 'scores'"):
        ranks.Sums(1, 2, "scores")


def test_ranked_columns_all_add_up_to_the_same():
    """So that regulators cannot be told by them, only by the weights."""
    total = ranks.rank_normalised(draw(5)).sum(axis=0)
    np.testing.assert_allclose(total, total[0])


def test_edges_are_columns_and_differences():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 30, 30))
    whole = edges.contrasts({"a": a, "b": b})
    assert list(whole) == ["a", "b", "b − a"]
    np.testing.assert_array_equal(whole["b − a"], b - a)
    assert list(edges.contrasts({"a": a, "b": b}, "b")) == ["a", "b", "a − b"]
    with pytest.raises(ValueError, match="reference: found 'c', expected one of a, b"):
        edges.contrasts({"a": a, "b": b}, "c")
    genes = [f"g{i}" for i in range(30)]
    rows = edges.edge_rows({"a": a}, genes, [7], most=5)
    column = np.delete(a[:, 7], 7)
    best = [g for g in np.argsort(-a[:, 7]) if g != 7][:5]
    assert [r[:3] for r in rows] == [("g7", f"g{g}", "a") for g in best]
    np.testing.assert_allclose([r[3] for r in rows], np.sort(column)[::-1][:5])
    np.testing.assert_allclose([r[4] for r in rows], stats.zscore(column)[np.argsort(-column)[:5]])
    assert [r[5] for r in rows] == [1, 2, 3, 4, 5]
    assert edges.edge_rows({"a": a}, genes, [7], most=99)[-1][5] == 29  # never the gene itself


def test_genes_that_attend_alike_form_clusters():
    blocks = np.repeat(np.arange(3), 12)
    rng = np.random.default_rng(0)
    scores = (blocks[:, None] == blocks) + 0.3 * rng.random((36, 36))
    found = edges.attention_clusters(scores)
    pairs = {(a, b) for a, b in zip(blocks, found, strict=True)}
    assert len(pairs) == 3
    assert edges.cluster_difference(scores, found) == pytest.approx(1, abs=0.05)


def planted_pairs():
    genes = [f"g{i}" for i in range(40)]
    truth = {"g0": {"g3", "g4", "g5", "g6", "g7", "absent"}, "g1": {"g9"}, "g2": {"away"}}
    return genes, truth


def test_pairs_are_all_edges_of_factors_with_known_targets():
    genes, truth = planted_pairs()
    first, second, found = known.pairs_among(truth, genes)
    assert len(found) == 2 * 39  # g2 has no target here
    assert not (first == second).any()
    there = {(genes[a], genes[b]) for a, b in zip(first[found], second[found], strict=True)}
    assert there == {("g0", t) for t in ("g3", "g4", "g5", "g6", "g7")} | {("g1", "g9")}
    assert len(known.pairs_among(truth, genes, ["g1", "g33"])[2]) == 39
    assert len(known.pairs_among({"x": {"g1"}}, genes)[2]) == 0


def test_auroc_and_auprc_equal_sklearns():
    genes, truth = planted_pairs()
    first, second, found = known.pairs_among(truth, genes)
    scores = np.round(np.random.default_rng(0).random((40, 40)), 1)  # with ties
    values = scores[second, first]
    measured = known.measure(scores, first, second, found)
    assert measured["auroc"] == pytest.approx(roc_auc_score(found, values), rel=1e-12)
    assert measured["auprc"] == pytest.approx(average_precision_score(found, values), rel=1e-12)
    own = first == 0
    assert measured["auroc_by_source"] == pytest.approx(roc_auc_score(found[own], values[own]))


def test_perfect_edges_score_1_and_shuffled_ones_a_half():
    genes, truth = planted_pairs()
    first, second, found = known.pairs_among(truth, genes)
    scores = np.zeros((40, 40))
    scores[second[found], first[found]] = 1
    assert known.measure(scores, first, second, found)["auroc"] == 1
    mean, sd = known.by_chance(scores, first, second, found, draws=200)
    assert abs(mean - 0.5) < 3 * sd / np.sqrt(200) + 0.01


def test_co_expression_is_pearsons():
    x = sp.random(60, 9, 0.5, format="csr", random_state=0, dtype=np.float64)
    x = sp.csr_matrix(x.toarray() * (np.arange(9) < 8))
    found = known.co_expression(x)
    expected = np.corrcoef(x.toarray()[:, :8].T)
    np.testing.assert_allclose(found[:8, :8], expected, atol=1e-6)
    assert not found[8].any()


KNOWN_FILES = {
    "dorothea": ("tf\tconfidence\ttarget\tmor\nA\tA\tB\t1\nA\tE\tC\t1\n", {"A": {"B", "C"}}),
    "plain": ("A\tB\nA\tA\nC\tB\n", {"A": {"B"}, "C": {"B"}}),
}


@pytest.mark.parametrize("name", KNOWN_FILES)
def test_known_targets_are_read(name, tmp_path):
    text, expected = KNOWN_FILES[name]
    (tmp_path / "known.tsv").write_text(text)
    assert known.read_known(tmp_path / "known.tsv") == expected


def test_known_targets_that_cannot_be_read(tmp_path):
    file = tmp_path / "known.tsv"
    file.write_text(KNOWN_FILES["dorothea"][0])
    assert known.read_known(file, "AB") == {"A": {"B"}}
    with pytest.raises(ValueError, match="holds no pair of confidence D"):
        known.read_known(file, "D")
    file.write_text("a\tb\tc\n1\t2\t3\n")
    with pytest.raises(ValueError, match=r"found the columns a, b, c, expected .* tf and target"):
        known.read_known(file)
    file.write_text("A\tB\n")
    with pytest.raises(ValueError, match="has no column confidence"):
        known.read_known(file, "A")
    file.write_text("tf\ttarget\nA\n")
    with pytest.raises(ValueError, match="line 2: found 1 columns, expected 2"):
        known.read_known(file)


def test_enrichment_equals_scipys():
    rng = np.random.default_rng(0)
    background = {f"g{i}" for i in range(50)}
    for _ in range(20):
        found, members = (
            set(rng.choice(60, rng.integers(3, 20), replace=False).tolist()) for _ in range(2)
        )
        found, members = ({f"g{i}" for i in own} for own in (found, members))
        row = overlap_test(found, members, background)
        f, m = found & background, members & background
        both = len(f & m)
        table = [[both, len(f) - both], [len(m) - both, 50 - len(f) - len(m) + both]]
        assert row["p"] == pytest.approx(stats.fisher_exact(table, "greater").pvalue)
        assert (row["overlap"], row["found"], row["members"]) == (both, len(f), len(m))


def test_enrichment_is_corrected_for_all_tests_made():
    genes = [f"g{i}" for i in range(50)]
    sets = {"own": set(genes[:8]), "other": set(genes[20:30]), "small": set(genes[:2])}
    rows, number = enriched({"a": genes[:8], "b": genes[8:16]}, sets, genes)
    assert number == 4  # two lists, two sets of 5 genes or more
    assert [(r["list"], r["set"]) for r in rows] == [("a", "own")]
    assert rows[0]["p_bonferroni"] == pytest.approx(4 * rows[0]["p"])
    assert rows[0]["fold"] == pytest.approx(8 / (8 * 8 / 50))


def test_stability_is_scipys_spearman_and_sets_of_targets():
    a, b, c = np.random.default_rng(0).random((3, 60, 60))
    sources = [3, 11]
    found = edge_stability([a, b, c], sources, tops=(20, 100))
    each = [
        np.mean([stats.spearmanr(np.delete(x[:, s], s), np.delete(y[:, s], s))[0] for s in sources])
        for x, y in itertools.combinations((a, b, c), 2)
    ]
    assert found["spearman"]["mean"] == pytest.approx(np.mean(each))
    assert "jaccard_100" not in found  # all of 59 targets are among 100
    assert found["jaccard_20"]["mean"] == pytest.approx(found["jaccard_20"]["chance"], abs=0.15)
    same = edge_stability([a, a], sources)
    assert same["spearman"]["mean"] == pytest.approx(1)
    assert same["jaccard_20"]["mean"] == 1
    with pytest.raises(ValueError, match="checkpoint: found 1"):
        edge_stability([a], sources)


def test_programs_are_clusters_of_vectors_with_edges_by_cosine():
    rng = np.random.default_rng(0)
    centres = np.eye(4)[np.repeat(np.arange(4), 10)]
    vectors = 3 * centres + 0.3 * rng.normal(size=(40, 4))
    vectors[1] = vectors[0]  # a twin
    genes = [f"g{i}" for i in range(40)]
    found = programs.find_programs(vectors, genes, resolution=1.0)
    assert sorted(map(sorted, found.values())) == [
        sorted(genes[i : i + 10]) for i in range(0, 40, 10)
    ]
    cosine = programs.cosines(vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(cosine, unit @ unit.T, atol=1e-6)
    within = programs.program_edges(cosine, genes, found)
    assert all(0.4 < value < 0.99 for *_, value, _ in within)
    assert ("g0", "g1") not in {row[:2] for row in within}
    more, number = programs.generic_edges(cosine, genes)
    assert number == ((np.triu(cosine, 1) > 0.5) & (np.triu(cosine, 1) < 0.99)).sum() == len(more)
    with pytest.raises(ValueError, match="lower --resolution"):
        programs.find_programs(vectors, genes, resolution=40.0, fewest=30)


def test_program_scores_run_from_0_to_1():
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (50, 60)).astype(np.float32)
    counts[:25, :6] += 4
    x = sp.csr_matrix(np.log1p(counts))
    genes = [f"g{i}" for i in range(60)]
    found = programs.program_scores(x, genes, {"P1": genes[:6], "P2": genes[20:26]})
    assert found.shape == (50, 2)
    assert found.min(axis=0).tolist() == [0, 0]
    assert found.max(axis=0).tolist() == [1, 1]
    assert found[:25, 0].mean() > found[25:, 0].mean() + 0.3
    assert abs(found[:25, 1].mean() - found[25:, 1].mean()) < 0.15


def test_markers_tell_the_major_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(["a", "b", "rare", ""], [40, 30, 3, 5])
    counts = rng.poisson(1.0, (78, 12)).astype(np.float32)
    counts[:40, :2] += 5
    counts[40:70, 2:4] += 5
    genes = [f"g{i}" for i in range(12)]
    found = programs.markers(sp.csr_matrix(np.log1p(counts)), genes, groups, k=2)
    assert {g: set(own) for g, own in found.items()} == {"a": {"g0", "g1"}, "b": {"g2", "g3"}}
    assert programs.markers(sp.csr_matrix(counts), genes, np.full(78, "a")) == {}

"""Recall of known relations: by hand, against a full sort, and what is refused."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import jaxcell
from jaxcell import cli
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.evaluation import gene_baselines, relations
from tests.conftest import draw_cells


def write(path, text):
    path.write_text(text)
    return path


def test_pairs_are_undirected_once_and_never_of_one_gene(tmp_path):
    file = write(tmp_path / "a.txt", "entity1,entity2\nB,A\nA,B\nA,A\nC, B\n\n")
    assert relations.read_pairs(file) == [("A", "B"), ("B", "C")]
    file = write(tmp_path / "a.tsv", "source\tentity2\tentity1\nx\tA\tB\r\n")
    assert relations.read_pairs(file) == [("A", "B")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("complex 1\tA B C\n", "found the columns complex 1, A B C, expected a header"),
        ("entity1,entity2\nA,B\nC\n", "line 3: expected 2 columns"),
        ("entity1,entity2\nA,A\n", "holds no pair of two names"),
    ],
)
def test_other_files_are_refused(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        relations.read_pairs(write(tmp_path / "a.txt", text))
    with pytest.raises(FileNotFoundError, match="no such file of pairs"):
        relations.read_pairs(tmp_path / "b.txt")


def test_genes_are_found_by_symbol_or_ensembl_id():
    ids = [f"ENSG{i:011d}" for i in range(4)]
    pairs = [("A", "B"), (ids[0] + ".7", "B"), ("B", ids[2]), ("A", "twice"), ("A", "absent")]
    found = relations.locate(pairs, ["A", "B", "twice", "twice"], ids, "x", fewest=1)
    assert found.tolist() == [[0, 1], [1, 2]]  # the second is the first again, by another name
    with pytest.raises(ValueError, match=r"x: 0 of 1 pairs .* at least 20 \(1 would match if case"):
        relations.locate([("a", "b")], ["A", "B"], ["", ""], "x")


def test_recall_by_hand():
    # Three directions in the plane, two genes each: the three pairs of one direction are the most
    # similar of the 15, those of opposite ones the least.
    angle = np.deg2rad([0, 1, 120, 122, 240, 243])
    x = relations.centred(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    known = {"own": np.array([[0, 1], [2, 3], [4, 5]]), "half": np.array([[0, 1], [0, 2]])}
    hits = relations.predicted(x, known, share=3 / 15)
    assert {k: v.tolist() for k, v in hits.items()} == {"own": [True] * 3, "half": [True, False]}
    assert relations.recall(hits) == {"own": 1.0, "half": 0.5, "mean": 0.75}


def test_recall_at_both_ends_by_hand():
    # Cosines: .98 within (0, 1) and (2, 3), -1 for (0, 2) and (1, 3), -.98 for the last two.
    angle = np.deg2rad([0, 10, 180, 190])
    x = relations.centred(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    known = {"a": np.array([[0, 1], [0, 2], [0, 3]])}
    assert relations.predicted(x, known, 2 / 6, "both")["a"].tolist() == [True, True, False]
    assert relations.predicted(x, known, 2 / 6, "top")["a"].tolist() == [True, False, False]


@pytest.mark.parametrize(("n", "d", "block"), [(50, 5, 2**24), (301, 40, 301 * 7)])
@pytest.mark.parametrize("share", [0.05, 0.013])
def test_thresholds_are_those_of_a_full_sort(n, d, block, share, monkeypatch):
    monkeypatch.setattr(relations, "BLOCK_VALUES", block)
    x = np.random.default_rng(n).standard_normal((n, d))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = np.sort((unit @ unit.T)[np.triu_indices(n, k=1)])
    low, high = relations.thresholds(unit.astype(np.float32), share, "both")
    k = int(np.ceil(share * len(cosines)))
    assert low == pytest.approx(cosines[k - 1], abs=3e-6)
    assert high == pytest.approx(cosines[-k], abs=3e-6)
    # Not one pair is on the wrong side, but for those within the width of a bin.
    assert abs((cosines >= high).sum() - k) <= (np.abs(cosines - high) < 3e-6).sum()
    assert relations.thresholds(unit.astype(np.float32), share) == (-np.inf, high)


def test_random_vectors_recall_the_share_and_twice_that_at_both_ends():
    x = relations.centred(gene_baselines.random_vectors(400, 64))
    known = {"all": np.stack(np.triu_indices(400, k=1), axis=1)}
    for sides, expected in (("top", 0.05), ("both", 0.1)):
        found = relations.recall(relations.predicted(x, known, sides=sides))["mean"]
        assert found == pytest.approx(expected, abs=1e-4)


def test_pca_finds_relations_below_noise_and_keeps_cosines_at_full_rank():
    rng = np.random.default_rng(0)
    module = np.arange(200) % 20
    signal = rng.standard_normal((20, 16))[module]
    x = np.concatenate([2 * signal, rng.standard_normal((200, 400))], axis=1)
    i, j = np.triu_indices(200, k=1)
    known = {"modules": np.stack([i, j], axis=1)[module[i] == module[j]]}
    found = relations.relationship_recall(x, known, sizes=(16, 64, 199, 512), resamples=20)
    assert list(found["pca"]) == [16, 64, 199]
    assert found["best"]["n"] == 16
    assert found["best"]["recall"]["mean"] > found["raw"]["recall"]["mean"] + 0.1 > 0.7
    # The rank is 199: PCA to 199 is a rotation.
    assert found["pca"][199]["mean"] == pytest.approx(found["raw"]["recall"]["mean"], abs=2e-3)
    only = relations.relationship_recall(x[:, :3], known, resamples=2)
    assert list(only["pca"]) == [3]  # the rank, where every size is above it

    scores = relations.principal_scores(relations.centred(x))
    dense = x - x.mean(axis=0)
    u, s, _ = np.linalg.svd(dense, full_matrices=False)
    np.testing.assert_allclose(np.abs(scores), np.abs(u * s)[:, :199], atol=1e-8)


def test_the_bootstrap_draws_genes():
    known = {"a": np.array([[0, 1], [1, 2], [0, 2]])}
    hits = {"a": np.array([True, False, False])}
    draws = relations.bootstrap(hits, known, 3, resamples=500, seed=1)["mean"]
    rng, expected = np.random.default_rng(1), []
    for _ in range(500):
        t = np.bincount(rng.integers(0, 3, 3), minlength=3)
        weight = np.array([t[0] * t[1], t[1] * t[2], t[0] * t[2]])
        expected.append(weight[0] / max(weight.sum(), 1))
    np.testing.assert_allclose(draws, expected)
    # A database that is recalled in full has no spread, whatever is drawn.
    all_found = relations.bootstrap({"a": np.ones(3, bool)}, known, 3, resamples=5)["mean"]
    assert set(all_found) <= {0.0, 1.0}


def test_vectors_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="all genes have the same vector"):
        relations.centred(np.ones((4, 2)))
    with pytest.raises(ValueError, match="codebook: holds NaN"):
        relations.centred(np.array([[0, 1], [np.nan, 1], [2, 3]]), "codebook")
    with pytest.raises(ValueError, match="sides: found .left., expected top or both"):
        relations.thresholds(np.eye(3, dtype=np.float32), 0.1, "left")
    with pytest.raises(ValueError, match=r"share: found 0\.5, expected"):
        relations.thresholds(np.eye(3, dtype=np.float32), 0.5)


def test_transposed_pca_equals_the_svd_of_genes_by_cells():
    cells = draw_cells(3, 40, 30)
    v = Vocabulary([*[f"G{i}" for i in range(30)][::-1], "absent"], [""] * 31)
    counts, there = gene_baselines.read_counts(cells, v)
    assert there.tolist() == [True] * 30 + [False]
    np.testing.assert_array_equal(counts.toarray()[:, :30], cells.X.toarray()[:, ::-1])
    found = gene_baselines.transposed_pca(counts[:, :30], 5)
    dense = cells.X.toarray().astype(np.float64)[:, ::-1]
    x = np.log1p(1e4 * dense / dense.sum(axis=1, keepdims=True)).T
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs(u[:, :5] * s[:5]), atol=2e-3)


def test_genept_is_the_expression_times_the_vectors_at_length_one():
    x = sp.csr_matrix(np.array([[2.0, 0, 1], [0, 0, 0], [0, 3, 0]], np.float32))
    vectors = np.array([[1.0, 0], [3, 4], [0, 1]])
    found = gene_baselines.genept(x, vectors)
    assert found.dtype == np.float32
    expected = np.array([[2, 1], [0, 0], [9, 12]]) / np.array([[5**0.5], [1], [15]])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # The mean over genes, as GenePT has it, is the same at length 1; scale of a cell is nothing.
    np.testing.assert_allclose(gene_baselines.genept(7 * x, vectors / 3), found, rtol=1e-6)
    with pytest.raises(ValueError, match=r"gene vectors \[2, 2\] for 3 genes"):
        gene_baselines.genept(x, vectors[:2])
    with pytest.raises(ValueError, match="NaN or infinite"):
        gene_baselines.genept(x, vectors * np.nan)


def test_cells_beyond_the_most_are_drawn_by_seed(monkeypatch):
    monkeypatch.setattr(gene_baselines, "MOST_CELLS", 15)
    cells, v = draw_cells(3, 40, 30), Vocabulary([f"G{i}" for i in range(30)], [""] * 30)
    first, _ = gene_baselines.read_counts(cells, v, seed=1)
    assert first.shape == (15, 30)
    again, _ = gene_baselines.read_counts(cells, v, seed=1)
    other, _ = gene_baselines.read_counts(cells, v, seed=2)
    assert (first != again).nnz == 0
    assert (first != other).nnz > 0


@pytest.fixture
def files(tmp_path):
    """Genes with vectors in 20 modules, the pairs of the modules, cells with most of the genes."""
    rng = np.random.default_rng(0)
    module = np.arange(60) % 20
    x = rng.standard_normal((20, 8))[module] + 0.1 * rng.standard_normal((60, 8))
    obs = pd.DataFrame(index=[f"G{i}" for i in range(60)])
    noise = rng.standard_normal((60, 8))
    genes = anndata.AnnData(obs=obs, obsm={"decoder": x, "codebook": noise})
    genes.write_h5ad(tmp_path / "genes.h5ad")
    pairs = [f"G{i},G{j}" for i in range(60) for j in range(i) if module[i] == module[j]]
    write(tmp_path / "modules.txt", "\n".join(["entity1,entity2", *pairs, "G1,unknown"]))
    cells = draw_cells(1, 30, 55)
    cells.X = sp.csr_matrix(cells.X)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path


def test_the_command_leaves_table_report_and_pictures(files, capsys):
    out = files / "out"
    cli.main(["relations", str(files / "genes.h5ad"), "--pairs", str(files / "modules.txt"),
              "--cells", str(files / "cells.h5ad"), "--out", str(out)])  # fmt: skip
    said = capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    assert results["meta"]["databases"] == {"modules": {"pairs": 61, "found": 50}}
    assert (results["meta"]["genes"], results["meta"]["genes_compared"]) == (60, 55)
    table = results["results"]
    assert list(table) == ["codebook", "decoder", "PCA (transpose fit)", "random vectors"]
    assert table["decoder"]["raw"]["recall"]["mean"] > 0.9 > table["codebook"]["raw"]["recall"][
        "mean"
    ] + 0.5  # fmt: skip
    assert f"{100 * table['decoder']['raw']['recall']['mean']:.1f} ±" in said
    page = (out / "report.md").read_text()
    assert "modules 50 of 61" in page
    for file in results["meta"]["figures"].values():
        assert (out / file).stat().st_size > 10_000
        assert f"]({file})" in page


def test_genes_that_were_not_trained_are_left_out(files):
    genes = anndata.read_h5ad(files / "genes.h5ad")
    genes.obs["trained"] = np.arange(60) >= 5
    found = jaxcell.relations(genes, [files / "modules.txt"], out=files / "out", progress=False)
    assert found["meta"]["genes"] == found["meta"]["genes_compared"] == 55


def test_what_is_wrong_is_said_before_anything_is_written(files):
    pairs, out = [files / "modules.txt"], files / "out"
    with pytest.raises(ValueError, match="obsm has codebook, decoder, not nope"):
        jaxcell.relations(files / "genes.h5ad", pairs, out=out, keys=["nope"])
    with pytest.raises(FileNotFoundError, match=r"absent\.h5ad: no such file"):
        jaxcell.relations(files / "absent.h5ad", pairs, out=out)
    few = write(files / "few.txt", "entity1,entity2\nG1,G2\n")
    with pytest.raises(ValueError, match=r"few\.txt: 1 of 1 pairs"):
        jaxcell.relations(files / "genes.h5ad", [*pairs, few], out=out, progress=False)
    (files / "twin").mkdir()
    twin = write(files / "twin" / "modules.txt", "entity1,entity2\nG1,G2\n")
    with pytest.raises(ValueError, match=r"modules\.txt and .*modules\.txt would both be called"):
        jaxcell.relations(files / "genes.h5ad", [*pairs, twin], out=out, progress=False)
    with pytest.raises(ValueError, match="is a file; relations writes a folder"):
        jaxcell.relations(files / "genes.h5ad", pairs, out=few)
    assert not out.exists()

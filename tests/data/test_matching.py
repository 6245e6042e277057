import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.data.genes import GeneNames, read_gene_map
from jaxcell.data.matching import match, project
from jaxcell.data.union import union
from jaxcell.data.vocabulary import Vocabulary

E1, E2, E3 = "ENSG00000000001", "ENSG00000000002", "ENSG00000000003"


def names(*pairs):
    return GeneNames(*map(tuple, zip(*pairs, strict=True)))


@pytest.fixture
def gene_map(tmp_path):
    path = tmp_path / "genes.tsv"
    path.write_text(f"{E1}\tA\tOLD_A|A_OLDER\n{E2}\tB\n{E3}\tC\n")
    return read_gene_map(path)


def test_ensembl_first_then_symbol():
    v = Vocabulary(("A", "B", "C"), (E1, E2, ""))
    found = match(names(("other", E2), ("A", ""), ("C", E3), ("D", ""), ("", "")), v)
    assert found.columns.dtype == np.int32
    assert found.columns.tolist() == [1, 0, 2, -1, -1]
    assert found.n_matched == 3
    assert found.missing == ()
    assert found.unmatched == ("D", "column 4")
    assert list(found.levels.values()) == [1, 2, 0, 0, 0]
    assert found.level.tolist() == [0, 1, 1, -1, -1]


def test_report_names_what_is_missing():
    v = Vocabulary(("A", "B"), ("", ""))
    text = match(names(("B", ""), ("X", "")), v, where="f.h5ad").report()
    assert text.startswith("f.h5ad: 1 of the 2 genes of the vocabulary found (1 by symbol) among 2")
    assert "1 genes of the vocabulary are not in the file: A." in text
    assert "1 columns are not in the vocabulary and were left out: X." in text


def test_aliases_only_by_the_map_and_after_exact_names(gene_map):
    v = Vocabulary(("A", "B"), ("", ""))
    with pytest.raises(ValueError, match="no gene matches"):
        match(names(("OLD_A", "")), v)
    assert match(names(("OLD_A", ""), ("", E2)), v, gene_map).columns.tolist() == [0, 1]
    # The file has A itself: its alias is another column's name, not a second A.
    both = match(names(("OLD_A", ""), ("A", "")), v, gene_map)
    assert both.columns.tolist() == [-1, 0]
    assert both.duplicated == ()
    # Two aliases of one gene are duplicates.
    with pytest.raises(ValueError, match="1 genes stand in more than one column: A"):
        match(names(("OLD_A", ""), ("A_OLDER", "")), v, gene_map)


def test_orthologs_by_a_table(tmp_path):
    """Mouse genes by symbol or Ensembl id; one that two human genes share is neither."""
    mouse = [f"ENSMUSG0000000000{i}" for i in range(1, 5)]
    path = tmp_path / "orthologs.tsv"
    path.write_text(
        f"{E1}\tCD3D\tCd3d|{mouse[0]}.7\n{E2}\tB2\tB2m|{mouse[1]}|Two\n{E3}\tC\tTwo|{mouse[2]}\n"
    )
    table = read_gene_map(path)
    human = Vocabulary(("CD3D", "B2", "C"), (E1, E2, ""))
    assert match(names(("Two", ""), ("Cd3d", "")), human, table).columns.tolist() == [-1, 0]
    ids = names(("", mouse[2]), ("Cd3d", mouse[0]), ("B2m", mouse[3]))
    found = match(ids, human, table)
    assert found.columns.tolist() == [2, 0, -1]  # an id that the table lacks counts for its symbol
    assert found.levels["gene map"] == 2


def test_case_is_not_guessed():
    with pytest.raises(ValueError, match="would match if case were ignored"):
        match(names(("Actb", "")), Vocabulary(("ACTB",), ("",)))


def test_no_match_shows_both_sides():
    v = Vocabulary(("A", "B"), ("", ""))
    with pytest.raises(ValueError, match=r"f: no gene matches the vocabulary: the file has X, Y"):
        match(names(("X", ""), ("Y", "")), v, where="f")
    with pytest.raises(ValueError, match=r"the vocabulary A, B.*symbols: give a gene map \(--gene"):
        match(names(("", E1), ("", E2)), v)


def test_duplicates_error_sum_first():
    v = Vocabulary(("A", "B"), ("", ""))
    twice = names(("B", ""), ("A", ""), ("B", ""))
    with pytest.raises(ValueError, match=r"more than one column: B\. --duplicates sum .* first"):
        match(twice, v)
    matrix = sp.csr_matrix([[1, 2, 4], [0, 0, 3]])
    summed = match(twice, v, duplicates="sum")
    assert summed.duplicated == ("B",)
    assert summed.apply(matrix).toarray().tolist() == [[2, 5], [0, 3]]
    first = match(twice, v, duplicates="first")
    assert first.columns.tolist() == [1, 0, -1]
    assert first.apply(matrix).toarray().tolist() == [[2, 1], [0, 0]]
    with pytest.raises(ValueError, match="known: error, sum, first"):
        match(twice, v, duplicates="mean")


def test_duplicates_outside_the_vocabulary_do_not_matter():
    v = Vocabulary(("A",), ("",))
    assert match(names(("A", ""), ("Z", ""), ("Z", "")), v).columns.tolist() == [0, -1, -1]


def test_project_sorts_and_drops_zeros():
    matrix = sp.csr_matrix((np.array([5.0, 0.0, 2.0]), np.array([2, 1, 0]), np.array([0, 3])))
    got = project(matrix, np.array([3, 1, 0]), 4)
    assert got.indices.tolist() == [0, 3]
    assert got.data.tolist() == [5, 2]


def test_union_joins_by_either_name():
    v = union({
        "symbols": names(("A", ""), ("D", "")),
        "both": names(("A", E1), ("B", E2)),
        "ids": names(("", E1), ("", E2), ("", E2)),
    })  # fmt: skip
    assert v.symbols == ("A", "B", "D")
    assert v.ensembl == (E1, E2, "")


def test_union_keeps_two_genes_of_one_symbol():
    v = union({"f": names(("M", E1), ("M", E2), ("M", ""), ("N", ""), ("N", ""))})
    assert v.symbols == ("M", "M", "N")


def test_mixed_identifiers_need_a_map(gene_map):
    files = {"f1": names(("A", ""), ("B", "")), "f2": names(("", E2), ("", E3))}
    with pytest.raises(ValueError, match=r"mixed identifiers: .* f1 by symbols only; f2 by Ensem"):
        union(files)
    with pytest.raises(ValueError, match=r"give a gene map \(--gene-map FILE, or JAXCELL_GENES"):
        union(files)
    v = union(files, gene_map)
    assert v.symbols == ("A", "B", "C")
    assert v.ensembl == (E1, E2, E3)
    assert match(files["f1"], v, gene_map).columns.tolist() == [0, 1]
    assert match(files["f2"], v, gene_map).columns.tolist() == [1, 2]


def test_union_does_not_make_an_alias_a_second_gene(gene_map):
    v = union({"f": names(("OLD_A", ""), ("B", ""))}, gene_map)
    assert v.ensembl == (E1, E2)
    v = union({"f": names(("OLD_A", ""), ("A", ""))}, gene_map)
    assert v.ensembl == ("", E1)


def test_project_renames_sorts_and_sums_and_leaves_its_input():
    random = np.random.default_rng(0)
    dense = random.poisson(1, (20, 6)).astype(np.float32)
    for columns in (
        [0, 1, 2, 3, 4, 5],
        [5, 3, 1, 0, 2, 4],
        [0, 0, 1, 1, -1, 2],
        [-1, 4, 0, 4, 2, 0],
    ):
        matrix = sp.csr_matrix(dense)
        found = project(matrix, np.array(columns, np.int32), 7)
        wanted = np.zeros((20, 7), np.float32)
        for j, gene in enumerate(columns):
            if gene >= 0:
                wanted[:, gene] += dense[:, j]
        np.testing.assert_array_equal(found.toarray(), wanted)
        assert found.has_canonical_format
        assert (found.data > 0).all()
        np.testing.assert_array_equal(matrix.toarray(), dense)

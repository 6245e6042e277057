import pytest

from jaxcell.data.genes import GeneNames
from jaxcell.data.matching import match
from jaxcell.data.union import union
from jaxcell.data.vocabulary import Vocabulary
from tests.data.conftest import GENES, cells

OURS = Vocabulary(("C1orf112", "ACTB", "GAPDH", "TP53"), ("", "", "", ""))


def names(*symbols, ensembl=None):
    return GeneNames(symbols, tuple(ensembl or [""] * len(symbols)))


def test_a_few_symbols_in_another_case_are_spellings():
    found = match(names("TP53", "C1ORF112", "ACTB"), OURS, where="f")
    assert found.columns.tolist() == [3, 0, 1]
    assert found.levels["symbol in another case"] == 1
    assert "1 by symbol in another case" in found.report()


def test_most_symbols_in_another_case_are_another_species():
    with pytest.raises(ValueError, match=r"f: 3 columns .* \(Actb, Gapdh, Tp53\), and 1 are as th"):
        match(names("Actb", "Gapdh", "Tp53", "C1orf112"), OURS, where="f")
    with pytest.raises(ValueError, match=r"another species\? Give a table of orthologs"):
        match(names("Actb"), OURS)


def test_what_is_not_one_column_and_one_gene_is_left_alone():
    vocabulary = Vocabulary(("Abc", "ABC", "ACTB", "TP53"), ("", "", "", ""))
    found = match(names("abc", "ACTB", "TP53"), vocabulary)
    assert found.columns.tolist() == [-1, 2, 3]
    found = match(names("ACTB", "TP53", "GAPDH", "c1orf112", "C1ORF112"), OURS)
    assert found.columns.tolist() == [1, 3, 2, -1, -1]
    found = match(names("C1orf112", "ACTB", "actb"), OURS)  # that gene has its column
    assert found.columns.tolist() == [0, 1, -1]


def test_ensembl_ids_tell_two_genes_apart():
    vocabulary = Vocabulary(("ACTB", "TP53", "A"), ("ENSG00000000001", "ENSG00000000002", ""))
    found = match(names("Actb", "TP53", "a", ensembl=["ENSMUSG00000000009", "", ""]), vocabulary)
    assert found.columns.tolist() == [-1, 1, 2]


def test_a_union_does_not_have_a_gene_twice():
    files = {"a": names("C1orf112", "TP53"), "b": names("C1ORF112", "TP53", "ACTB")}
    assert union(files).symbols == ("C1orf112", "TP53", "ACTB")


def test_a_union_of_two_species_is_refused(make, tmp_path):
    mouse = ["Trp53", "Gapdh", "Actb", "Cd3e", "Ms4a1", "Ercc1", "H2-K1", "Matr3"]
    with pytest.raises(ValueError, match=r"AnnData 2: 6 columns would be genes if case were ignor"):
        make([cells(), cells(symbols=mouse)])
    # Both, where a vocabulary names both.
    (tmp_path / "genes.txt").write_text("\n".join(dict.fromkeys([*GENES, *mouse])))
    store = make([cells(), cells(symbols=mouse)], vocabulary=tmp_path / "genes.txt")
    assert store.measured.sum(axis=1).tolist() == [8, 8]

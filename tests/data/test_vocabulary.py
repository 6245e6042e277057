import json

import pytest

from jaxcell.data.vocabulary import Vocabulary, read_vocabulary


def test_genes_then_specials():
    v = Vocabulary(("A", "", "C"), ("ENSG00000000001", "ENSG00000000002", ""), ("<cls>", "<pad>"))
    assert len(v) == 3
    assert v.n_tokens == 5
    assert [v.index(g) for g in ("A", "ENSG00000000001", "ENSG00000000002", "C")] == [0, 0, 1, 2]
    assert [v.index("<cls>"), v.index("<pad>")] == [3, 4]
    assert [v.name(i) for i in range(5)] == ["A", "ENSG00000000002", "C", "<cls>", "<pad>"]
    with pytest.raises(KeyError, match="'X' is not among the 3 genes"):
        v.index("X")


def test_save_and_load(tmp_path):
    v = Vocabulary(("A", "B"), ("", "ENSG00000000002"))
    v.save(tmp_path / "vocabulary.json")
    again = Vocabulary.load(tmp_path / "vocabulary.json")
    assert again == v
    assert again.sha256 == v.sha256
    assert Vocabulary(("B", "A"), ("ENSG00000000002", "")).sha256 != v.sha256


def test_refuses_duplicates_and_nameless_genes():
    with pytest.raises(ValueError, match="names 1 genes or specials twice: A"):
        Vocabulary(("A", "A"), ("", ""))
    with pytest.raises(ValueError, match="twice: ENSG1"):
        Vocabulary(("A", "B"), ("ENSG1", "ENSG1"))
    with pytest.raises(ValueError, match="gene 1 has neither a symbol nor an Ensembl id"):
        Vocabulary(("A", ""), ("", ""))
    with pytest.raises(ValueError, match=r"as many Ensembl ids \(1\) as symbols \(2\)"):
        Vocabulary(("A", "B"), ("",))


def test_one_symbol_of_two_ensembl_ids_is_ambiguous():
    v = Vocabulary(("MATR3", "MATR3"), ("ENSG1", "ENSG2"))
    assert v.index("ENSG2") == 1
    assert "MATR3" not in v.by_symbol
    with pytest.raises(KeyError, match="symbol of several genes"):
        v.index("MATR3")


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "vocabulary.json"
    Vocabulary(("A", "B"), ("", "")).save(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"symbols": ["B", "A"]}))
    with pytest.raises(ValueError, match="changed after it was written"):
        Vocabulary.load(path)
    path.write_text(json.dumps(content | {"format_version": 9}))
    with pytest.raises(ValueError, match="format 9; this jaxcell reads 1"):
        Vocabulary.load(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="is not a vocabulary of jaxcell"):
        Vocabulary.load(path)


def test_read_vocabulary_takes_files_and_folders(tmp_path):
    v = Vocabulary(("A", "B"), ("ENSG00000000001", ""))
    v.save(tmp_path / "vocabulary.json")
    assert read_vocabulary(v) is v
    assert read_vocabulary(tmp_path) == read_vocabulary(tmp_path / "vocabulary.json") == v
    (tmp_path / "genes.txt").write_text("A\tENSG00000000001.7\n\nB\n")
    assert read_vocabulary(tmp_path / "genes.txt") == v
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(ValueError, match="names no gene"):
        read_vocabulary(tmp_path / "none.txt")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_vocabulary(tmp_path / "absent.txt")

import numpy as np
import pandas as pd
import pytest

from jaxcell.data.genes import identify, read_gene_map, strip_version


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("ENSG00000141510.18", "ENSG00000141510"),
        ("ENSG00000141510", "ENSG00000141510"),
        ("ENSMUSG00000059552.4", "ENSMUSG00000059552"),
        ("ENSG00000182378.15_PAR_Y", "ENSG00000182378_PAR_Y"),
        ("TP53", ""),
        ("7SK_ENSG00000260682", ""),
        ("", ""),
    ],
)
def test_strip_version(name, bare):
    assert strip_version(name) == bare


def test_identify_by_columns():
    var = pd.DataFrame(
        {
            "gene_ids": ["ENSG00000000001.2", "ENSG00000000002", ""],
            "Feature_Name": pd.Categorical(["A", None, "C"]),
        },
        index=["0", "1", "2"],
    )
    names = identify(var)
    assert names.symbols == ("A", "", "C")
    assert names.ensembl == ("ENSG00000000001", "ENSG00000000002", "")
    assert names.show([1]) == ("ENSG00000000002",)
    assert identify(var, "symbols").ensembl == ("", "", "")
    assert identify(var, "ensembl").symbols == ("A", "", "")


def test_identify_by_index_which_may_mix_both():
    names = identify(pd.DataFrame(index=["ENSG00000000001.2", "A", "ERCC-00002", "ERCC1", "3"]))
    assert names.symbols == ("", "A", "", "ERCC1", "")
    assert names.ensembl == ("ENSG00000000001", "", "", "", "")


def test_reads_without_a_gene_are_no_genes():
    """Lines that HTSeq and STAR write below their tables."""
    index = ["A", "__no_feature", "__alignment_not_unique", "N_unmapped", "N_noFeature", "N_A"]
    assert identify(pd.DataFrame(index=index)).symbols == ("A", "", "", "", "", "N_A")


def test_an_ensembl_id_in_the_symbol_column_is_no_symbol():
    var = pd.DataFrame({"symbol": ["A", "ENSG00000000002"]}, index=["x", "y"])
    assert identify(var).symbols == ("A", "")
    assert identify(var).ensembl == ("", "ENSG00000000002")


def test_identify_refuses_what_has_no_names():
    var = pd.DataFrame({"mean": [1.0, 2.0]}, index=["0", "1"])
    with pytest.raises(ValueError, match=r"f has no gene names in var: its index begins \['0'"):
        identify(var, where="f")
    with pytest.raises(ValueError, match="f has no Ensembl ids in var"):
        identify(pd.DataFrame(index=["A"]), "ensembl", "f")
    with pytest.raises(ValueError, match="known: auto, symbols, ensembl"):
        identify(var, "entrez")


def test_gene_map(tmp_path, monkeypatch):
    path = tmp_path / "genes.tsv"
    path.write_text(
        "ensembl\tsymbol\taliases\n"
        "ENSG00000000001.5\tA1CF\tACF|ASP\n"
        "ENSG00000000002\tASPM\tASP|A1CF\n"
        "ENSG00000000003\tTWICE\n"
        "ENSG00000000004\tTWICE\t\n"
    )
    genes = read_gene_map(path)
    assert genes.complete("A1CF", "") == ("A1CF", "ENSG00000000001")
    assert genes.complete("ACF", "") == ("ACF", "ENSG00000000001")
    assert genes.complete("", "ENSG00000000002") == ("ASPM", "ENSG00000000002")
    # An alias of two genes and a symbol of two genes mean nothing.
    assert genes.complete("ASP", "") == ("ASP", "")
    assert genes.complete("TWICE", "") == ("TWICE", "")
    assert read_gene_map() is None
    monkeypatch.setenv("JAXCELL_GENES", str(path))
    assert read_gene_map() == genes


def test_gene_map_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gene map .* does not exist"):
        read_gene_map(tmp_path / "absent.tsv")
    path = tmp_path / "genes.csv"
    path.write_text("ENSG00000000001,A\nENSG00000000002,B\n")
    with pytest.raises(ValueError, match=r"line 2: expected tab-separated ensembl, symbol"):
        read_gene_map(path)


def test_missing_names_are_not_the_word_nan():
    var = pd.DataFrame({"symbol": ["A", np.nan], "ensembl_id": [np.nan, "ENSG00000000002"]})
    var.index = ["A", "B"]
    assert identify(var).symbols == ("A", "")

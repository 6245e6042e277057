import numpy as np
import pytest

from jaxcell.data.genes import GeneNames
from jaxcell.data.orthologs import read_orthologs, translated
from tests.data.conftest import GENES, cells, counts
from tests.data.test_prepare import everything

MOUSE = ["Trp53", "Gapdh", "Actb", "Cd3e", "Ms4a1", "Ercc1", "H2-K1", "Matr3"]


@pytest.fixture
def table(tmp_path):
    """Function: lines → path of a table; by default the six that are one-to-one, and two not."""

    def write(lines=None):
        if lines is None:
            lines = ["mouse\thuman\ttype", *(f"{m}\t{g}\tone2one" for m, g in zip(MOUSE, GENES))]  # noqa: B905
            lines[4] += "\nCd3e\tCD3D"  # of two genes of ours
            lines[7] = "H2-K1\tHLA-A\nH2-D1\tHLA-A"  # two genes of theirs
        (tmp_path / "orthologs.tsv").write_text("\n".join(lines) + "\n")
        return tmp_path / "orthologs.tsv"

    return write


def test_only_one_to_one(table):
    found = read_orthologs(table())
    assert found.ours_of["Trp53"] == "TP53"
    assert not {"Cd3e", "H2-K1", "H2-D1"} & found.ours_of.keys()
    assert {"Cd3e", "H2-D1"} <= found.theirs
    assert read_orthologs(None) is None


def test_versions_and_genes_without_an_ortholog(table):
    found = read_orthologs(table(["ENSMUSG00000000001.4\tENSG00000000001.12", "ENSMUSG2\t"]))
    assert found.ours_of == {"ENSMUSG00000000001": "ENSG00000000001"}
    names = GeneNames(("Gnai3", "Xist", "Cdc45"), ("ENSMUSG00000000001", "ENSMUSG2", ""))
    got = translated(names, found)
    assert got.ensembl == ("ENSG00000000001", "", "")
    assert got.symbols == ("", "", "")
    assert got.show([0, 2]) == ("Gnai3", "Cdc45")
    assert "1 of 3 columns" in got.note
    assert "1 without a single one and 1 that the table lacks" in got.note


def test_a_file_of_our_species_stays_as_it_is(table):
    names = GeneNames(tuple(GENES), ("",) * 8)
    assert translated(names, read_orthologs(table())) is names
    assert translated(names, None) is names


def test_a_store_of_two_species(table, h5ad, make):
    mouse = h5ad(cells(counts(seed=1), symbols=MOUSE), "mouse.h5ad")
    store = make([h5ad(), mouse], orthologs=table())
    assert store.vocabulary.symbols == tuple(GENES)
    kept = [g not in ("CD3E", "HLA-A") for g in GENES]
    assert store.measured[store.gene_set[1]].tolist() == kept
    np.testing.assert_array_equal(everything(store)[1][30:], np.where(kept, counts(seed=1), 0))
    assert "6 of 8 columns have the names of their one-to-one" in store.datasets[1]["match"]
    assert "ortholog" not in store.datasets[0]["match"]
    lines = (store.path / store.datasets[1]["mapping"]).read_text().splitlines()
    assert lines[0].split("\t") == ["column", "name", "gene", "how"]
    assert lines[1].split("\t") == ["0", "Trp53", "TP53", "symbol of the ortholog"]
    assert lines[4].split("\t") == ["3", "Cd3e", "", "no gene"]
    assert store.datasets[0]["mapping"] == ""


def test_what_is_wrong(table, tmp_path, make):
    with pytest.raises(FileNotFoundError, match=r"orthologs .*absent does not exist \(--orthologs"):
        read_orthologs(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"line 2: expected tab-separated their gene, our gene"):
        read_orthologs(table(["a\tb", "c,d"]))
    with pytest.raises(ValueError, match="has no one-to-one orthologs among its 2 lines"):
        read_orthologs(table(["a\tb", "a\tc"]))
    with pytest.raises(ValueError, match=r"no source has the genes that .*orthologs\.tsv transl"):
        make(cells(), orthologs=table())

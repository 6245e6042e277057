"""Names that R has changed become the genes that they were, where that is known."""

import pytest

from jaxcell.data.genes import GeneNames, read_gene_map
from jaxcell.data.mapping import FOLDER
from jaxcell.data.matching import match
from jaxcell.data.r_names import as_in_r, before_r
from jaxcell.data.union import union
from jaxcell.data.vocabulary import Vocabulary
from tests.data.conftest import ENSEMBL, GENES, cells, counts

REAL = ["TP53", "GAPDH", "HLA-A", "MT-ND1", "7SK", "AC007325.4", "NKX2-1", "A B/C"]
BY_R = ["TP53", "GAPDH", "HLA.A", "MT.ND1", "X7SK", "AC007325.4", "NKX2.1", "A.B.C"]


@pytest.fixture
def gene_map(tmp_path):
    (tmp_path / "map.tsv").write_text(
        "".join(f"{e}\t{s}\t\n" for e, s in zip(ENSEMBL, REAL, strict=True))
    )
    return tmp_path / "map.tsv"


def names(symbols):
    return GeneNames(tuple(symbols), ("",) * len(symbols))


def test_what_r_makes_of_a_name():
    """By what the manual of make.names says."""
    assert [as_in_r(name) for name in REAL] == BY_R
    assert as_in_r("_a") == "X_a"
    assert as_in_r(".5") == "X.5"
    assert as_in_r(".a") == ".a"


def test_only_where_it_is_one_gene_that_is_known():
    assert before_r(BY_R, REAL) == ["", "", "HLA-A", "MT-ND1", "7SK", "", "NKX2-1", "A B/C"]
    assert before_r(["HLA.A", "HLA.B"], ["HLA-A", "HLA.A"]) == ["", ""]  # there is such a gene
    assert before_r(["HLA.A"], ["HLA-A", "HLA A"]) == [""]  # of two genes
    assert before_r(["HLA.A", ""], ["", "TP53"]) == ["", ""]


def test_the_gene_map_knows(h5ad, make, gene_map):
    path = h5ad(cells(symbols=BY_R))
    store = make(path, gene_map=gene_map)
    assert store.vocabulary.symbols == tuple(REAL)
    assert store.vocabulary.ensembl == tuple(ENSEMBL)
    assert "8 of the 8 genes" in store.datasets[0]["match"]
    assert "5 by symbol that R changed" in store.datasets[0]["match"]
    (table,) = (store.path / FOLDER).iterdir()
    rows = [line.split("\t") for line in table.read_text().splitlines()[1:]]
    assert [row[1:] for row in rows if row[3].startswith("symbol that")] == [
        [dotted, dashed, "symbol that R changed"]
        for dotted, dashed in zip(BY_R, REAL, strict=True)
        if dotted != dashed
    ]


def test_another_file_knows(h5ad, make):
    plain = [*GENES[:6], "HLA-A", "MATR3"]
    by_r, dashed = (
        h5ad(cells(counts(seed=i), symbols=s, seed=i), f"{i}.h5ad")
        for i, s in enumerate([[*GENES[:6], "HLA.A", "A.B"], plain])
    )
    store = make([by_r, dashed], duplicates="error")
    assert set(store.vocabulary.symbols) == {*plain, "A.B"}  # of which nothing is known
    assert [d["unmatched"] for d in store.datasets] == [0, 0]


def test_a_vocabulary_knows_and_ids_of_it(gene_map):
    found = match(names(BY_R), Vocabulary(REAL, [""] * 8))
    assert found.columns.tolist() == list(range(8))
    assert found.levels["symbol that R changed"] == 5
    read = read_gene_map(gene_map)
    found = match(names(BY_R), Vocabulary([""] * 8, ENSEMBL), read)
    assert found.columns.tolist() == list(range(8))
    assert (found.levels["gene map"], found.levels["symbol that R changed"]) == (3, 5)


def test_a_gene_that_is_there_itself_is_not_given_twice():
    found = match(names(["HLA-A", "HLA.A"]), Vocabulary(["HLA-A"], [""]))
    assert found.columns.tolist() == [0, -1]


def test_an_ensembl_id_says_it_better():
    own = GeneNames(("HLA.A", "TP53"), (ENSEMBL[3], ""))
    found = match(own, Vocabulary(["HLA-A", "TP53"], [ENSEMBL[0], ""]))
    assert found.columns.tolist() == [-1, 1]
    assert union({"x": own, "y": names(["HLA-A"])}).symbols[:1] == ("HLA.A",)

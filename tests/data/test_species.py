import pytest

from jaxcell.data.genes import GeneNames, read_gene_map
from jaxcell.data.species import called, check_species, species_of
from tests.data.bad_files import MOUSE
from tests.data.conftest import ENSEMBL, GENES

RAT = [e.replace("ENSG", "ENSRNOG") for e in ENSEMBL]
UNNAMED = ("",) * 8
FEW = [*GENES[:4], *UNNAMED[4:]]


def names(symbols=UNNAMED, ensembl=UNNAMED):
    return GeneNames(tuple(symbols), tuple(ensembl))


@pytest.mark.parametrize(
    ("genes", "said"),
    [
        (names(GENES), "human (symbols in capitals)"),
        (names(MOUSE), "mouse or rat"),
        (names(ensembl=RAT), "rat"),
        (names([g.lower() for g in GENES]), "frog or zebrafish"),
        # Ids of half the genes decide between the species that the symbols allow.
        (names(GENES, [*ENSEMBL[:4], *UNNAMED[4:]]), "human"),
        (names(MOUSE, [*RAT[:4], *UNNAMED[4:]]), "rat"),
        (names([*GENES[:4], *MOUSE[4:]]), "unclear"),
        (names(FEW), "unclear"),
        (names(["1", "2-3", "...", "4", "5", "6", "7", "8"]), "unclear"),
        (names(ensembl=[*ENSEMBL[:4], *RAT[4:]]), "mixed: human, rat"),
    ],
)
def test_a_guess_from_names(genes, said):
    assert called(species_of(genes)) == said


def test_symbols_agree_with_ids_of_a_species_that_writes_them_so():
    check_species({"a": names(GENES), "b": names(ensembl=ENSEMBL), "c": names(FEW)})
    check_species({"a": names(MOUSE), "b": names(ensembl=RAT)})
    with pytest.raises(ValueError, match=r"mixed species: a: human .*; b: rat "):
        check_species({"a": names(GENES), "b": names(ensembl=RAT)})


def test_orthologs_are_the_other_species_genes(tmp_path):
    lines = [f"{e}\t{g}\t{r}" for e, g, r in zip(ENSEMBL, GENES, RAT, strict=True)]
    (tmp_path / "map.tsv").write_text("\n".join(lines))
    files = {"a": names(GENES), "b": names(ensembl=RAT)}
    check_species(files, read_gene_map(tmp_path / "map.tsv"))

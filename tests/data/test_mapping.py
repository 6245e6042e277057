import pandas as pd

from tests.data.conftest import GENES, cells, counts


def table(store, dataset=0):
    return pd.read_csv(
        store.path / store.datasets[dataset]["mapping"], sep="\t", keep_default_na=False
    ).values.tolist()


def test_a_table_of_what_is_not_plain(make, tmp_path):
    gene_map = tmp_path / "genes.tsv"
    gene_map.write_text("ENSG00000000001\tTP53\tP53\n")
    names = ["P53", "GAPDH", "gapdh", "ACTB", "ACTB", "Ms4a1", "ERCC1", "new"]
    store = make(named(names), vocabulary=_list(tmp_path), gene_map=gene_map, duplicates="sum")
    assert table(store) == [
        [0, "P53", "TP53", "gene map"],
        [2, "gapdh", "", "no gene"],
        [3, "ACTB", "ACTB", "symbol, summed"],
        [4, "ACTB", "ACTB", "symbol, summed"],
        [5, "Ms4a1", "MS4A1", "symbol in another case"],
        [7, "new", "", "no gene"],
    ]


def named(names):
    """Cells whose genes have these names, some twice."""
    return cells(var=pd.DataFrame({"symbol": names}, index=[f"x{i}" for i in range(8)]))


def _list(tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(GENES))
    return tmp_path / "list.txt"


def test_duplicates_left_out_are_named(make, tmp_path):
    names = ["TP53", "GAPDH", "ACTB", "ACTB", *GENES[4:]]
    store = make(named(names), vocabulary=_list(tmp_path), duplicates="first")
    assert table(store) == [[3, "ACTB", "", "symbol, a later duplicate left out"]]


def test_sources_with_the_same_columns_share_a_table(make, tmp_path):
    both = [cells(symbols=[*GENES[:7], "x"]), cells(counts(seed=1), symbols=[*GENES[:7], "x"])]
    third = cells(counts(seed=2), symbols=[*GENES[:7], "y"])
    store = make([*both, third, cells(counts(seed=3))], vocabulary=_list(tmp_path))
    paths = [facts["mapping"] for facts in store.datasets]
    assert paths == ["mapping/00000.tsv", "mapping/00000.tsv", "mapping/00001.tsv", ""]
    store.verify()  # they are files of the store like the others
    assert "mapping/00001.tsv" in (store.path / "store.json").read_text()

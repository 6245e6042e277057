import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from jaxcell.data.genes import GeneNames, identify
from jaxcell.data.inspection import identifiers, labels, overlap, panels
from jaxcell.data.inspection.look import Look, curve, quantiles
from tests.data.conftest import ENSEMBL, GENES


def test_which_columns_are_labels():
    n = 500
    obs = pd.DataFrame(
        {
            "type": pd.Categorical(["a", "b"] * (n // 2)),
            "plate": np.arange(n) % 9,
            "depth": np.linspace(0, 1, n),
            "reads": np.arange(n),
            "name": [f"c{i}" for i in range(n)],
            "one": "x",
            "none": np.full(n, np.nan),
            "doublet": np.arange(n) % 7 == 0,
        }
    )
    taken, others = labels.choose(obs)
    assert taken == ["type", "plate", "doublet"]
    assert others == {
        "depth": "numbers",
        "reads": "numbers",
        "name": "500 different values in 500 cells",
        "one": "the same in all cells (x)",
        "none": "empty",
    }
    assert labels.choose(obs, ["name", "absent"]) == (["name"], {})


def test_how_even_classes_are():
    column = pd.Series(["a"] * 6 + ["b"] * 2 + ["c"] * 2 + ["unknown", None, ""])
    found = labels.balance(column)
    assert found["cells"] == {"a": 6, "b": 2, "c": 2}
    assert (found["classes"], found["unknown"], found["smallest"]) == (3, 3, 2)
    assert found["largest"] == pytest.approx(0.6)
    entropy = -(0.6 * np.log(0.6) + 0.4 * np.log(0.2))
    assert found["evenness"] == pytest.approx(np.exp(entropy) / 3)
    assert labels.balance(pd.Series(["a", "b"]))["evenness"] == pytest.approx(1)


def test_a_gene_is_absent_where_its_share_elsewhere_lets_expect_counts():
    # In a: gene 0 makes a tenth, gene 1 a thousandth of 10 000 counts. b has 1 000 counts.
    x = np.array([[1000, 10, 8990], [0, 0, 1000]], np.float32)
    found = panels.Panels("batch", ["a", "b"], np.array([0, 1]), 3)
    for i in range(2):
        found.add(i, sp.csr_matrix(x[i : i + 1]))
    facts = found.facts()
    assert facts["batches"]["a"] == {"cells": 1, "without_count": 0, "absent": 0}
    # Expected in b: 100 counts of gene 0, one of gene 1.
    assert facts["batches"]["b"] == {"cells": 1, "without_count": 2, "absent": 1}
    assert (facts["by"], facts["advised"]) == ("batch", True)


def test_cells_without_a_batch_count_nowhere():
    found = panels.Panels("batch", ["a", "b"], np.array([0, -1, 1]), 2)
    found.add(0, sp.csr_matrix(np.array([[1, 1], [5, 5], [1, 0]], np.float32)))
    assert [one["cells"] for one in found.facts()["batches"].values()] == [1, 1]
    assert not found.facts()["advised"]


def test_the_column_of_the_batches():
    obs = pd.DataFrame({"Donor": ["x", "y"], "batch": ["a", "a"], "assay": ["1", "2"]})
    assert panels.column(obs) == "assay"  # batch has one value
    assert panels.column(obs, "Donor") == "Donor"
    assert panels.column(obs, "absent") is None
    assert panels.column(obs[["batch"]]) is None


def test_how_genes_are_named():
    var = pd.DataFrame({"symbol": GENES}, index=[f"{e}.3" for e in ENSEMBL])
    found = identifiers.facts(identify(var), identifiers.spelled(var))
    assert identifiers.kind(found) == "symbols + Ensembl with versions"
    assert (found["both"], found["versions"], found["species"]) == (8, 8, "human")
    var = pd.DataFrame(index=["TP53", "TP53", "ERCC-00002", "", "CD3E", "MS4A1", "GAPDH", "ACTB"])
    found = identifiers.facts(identify(var), identifiers.spelled(var))
    assert identifiers.kind(found) == "symbols"
    assert (found["unnamed"], found["spike_ins"], found["duplicates"]) == (2, 1, 1)
    assert found["duplicate_examples"] == ["TP53"]


def test_mitochondrial_genes_by_symbol_and_by_id():
    symbols = ("MT-CO1", "mt-Nd1", "MTOR", "", "GRCh38_MT-CYB", "MT1X")
    names = GeneNames(symbols, ("", "", "", "ENSG00000198804", "", ""))
    assert identifiers.mitochondrial(names) == [True, True, False, True, True, False]


def of_names(symbols, ensembl=None, barcodes=()):
    symbols = tuple(symbols)
    names = GeneNames(symbols, tuple(ensembl) if ensembl else ("",) * len(symbols))
    one = np.ones(1, np.float32)
    own = np.array(barcodes, np.uint64)
    return Look("a", "a", 1, 1, "X", "counts", {}, one, one, names, one, None, {}, {}, {}, own)


def test_genes_in_common():
    looks = [of_names("ABCD"), of_names("CDE"), of_names("D")]
    found = overlap.genes(looks)
    assert found["shared"] == [[4, 2, 1], [2, 3, 1], [1, 1, 1]]
    assert (found["all"], found["any"]) == (1, 5)
    groups = {tuple(one["datasets"]): one["genes"] for one in found["groups"]}
    assert groups == {(0,): 2, (0, 1): 1, (1,): 1, (0, 1, 2): 1}
    assert found["groups"][0] == {"datasets": [0], "genes": 2}
    assert found["how"] == "as prepare would: Ensembl id, then symbol"


def test_a_symbol_is_the_id_beside_it_and_nameless_genes_are_none():
    blank = ("",) * 8
    looks = [of_names(GENES, ENSEMBL), of_names(blank, ENSEMBL), of_names(GENES), of_names(blank)]
    found = overlap.genes(looks)
    assert found["shared"] == [[8] * 3 + [0]] * 3 + [[0] * 4]


def test_mixed_identifiers_are_compared_as_they_are_spelled():
    looks = [of_names(GENES), of_names(("",) * 8, ENSEMBL)]
    found = overlap.genes(looks)
    assert found["shared"] == [[8, 0], [0, 8]]
    assert "mixed identifiers" in found["how"]


def test_cells_in_common():
    looks = [of_names("A", barcodes=[1, 2, 3]), of_names("A", barcodes=[2, 3, 3])]
    assert overlap.cells(looks) == [[3, 2], [2, 2]]
    looks[0].cells = None
    assert overlap.cells(looks) == [[None, None], [None, 2]]


def test_curve_and_quantiles():
    assert curve(np.array([0.1, 0.9, 0.5])) == [[1, 0.9], [2, 0.5], [3, 0.1]]
    assert len(curve(np.linspace(0, 1, 60_000))) <= 200
    found = quantiles(np.arange(101))
    assert (found["least"], found["5 %"], found["median"], found["most"]) == (0, 5, 50, 100)

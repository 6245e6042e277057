import gzip

import numpy as np
import pandas as pd
import pytest

from jaxcell.data.genes import identify
from jaxcell.data.sources import bulk, open_source
from tests.data.conftest import ENSEMBL, GENES, counts
from tests.data.sources.conftest import check, read

SAMPLES = [f"GTEX-{i}" for i in range(30)]


@pytest.fixture
def table(tmp_path):
    """Function: lines, file name → path of a table."""

    def write(rows, name="bulk.tsv", sep="\t"):
        content = "\n".join(sep.join(map(str, row)) for row in rows).encode() + b"\n"
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def rows(genes=ENSEMBL, turned=False, corner=True, integer=True):
    """Lines of a table of genes × samples (or turned)."""
    frame = pd.DataFrame(counts().astype(int if integer else float), SAMPLES, genes)
    frame = frame if turned else frame.T
    head = [*([""] if corner else []), *frame.columns]
    return [head, *([name, *line] for name, line in zip(frame.index, frame.values, strict=True))]


@pytest.mark.parametrize("genes", [ENSEMBL, [f"{e}.7" for e in ENSEMBL], GENES])
@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("name", ["bulk.tsv", "bulk.csv.gz", "bulk.txt.gz"])
def test_either_way_round(table, monkeypatch, genes, turned, name):
    monkeypatch.setattr(bulk, "ROWS_AT_ONCE", 4)
    path = table(rows(genes, turned), name, "," if "csv" in name else "\t")
    source = open_source(path, chunk_cells=7)
    check(source, counts())
    assert source.obs.index.tolist() == SAMPLES
    names = identify(source.var)
    assert names.symbols == tuple(GENES) if genes is GENES else names.ensembl == tuple(ENSEMBL)


def test_a_corner_that_r_left_out(table):
    check(open_source(table(rows(corner=False)), chunk_cells=7), counts())


def test_columns_that_describe_genes(table):
    """As featureCounts and GTEx write them."""
    lines = [["Geneid", "gene_name", "Chr", "Length", *SAMPLES]]
    for i, line in enumerate(rows()[1:]):
        lines.append([line[0], GENES[i], "1;1", 1000 + i, *line[1:]])
    path = table(lines)
    path.write_text("# Program:featureCounts\n" + path.read_text())
    source = open_source(path, chunk_cells=7)
    check(source, counts())
    assert source.var["Length"].tolist() == list(range(1000, 1008))
    assert identify(source.var).symbols == tuple(GENES)
    lines = [["#1.2"], [8, 30], ["Name", "Description", *SAMPLES]]
    lines += [[line[0], GENES[i], *line[1:]] for i, line in enumerate(rows()[1:])]
    check(open_source(table(lines, "gtex.gct"), chunk_cells=7), counts())


def test_columns_that_describe_samples(table):
    lines = rows(turned=True)
    lines = [[*lines[0], "tissue"], *([*line, "lung"] for line in lines[1:])]
    source = open_source(table(lines), chunk_cells=7)
    check(source, counts())
    assert set(source.obs["tissue"]) == {"lung"}


def test_the_option_says_where_genes_are(table):
    path = table(rows([f"X{i}" for i in range(8)]))
    with pytest.raises(ValueError, match=r"bulk.tsv: are the genes its rows \(X0, X1, X2 …\) or i"):
        open_source(path)
    check(open_source(path, genes_in="rows", chunk_cells=7), counts())
    np.testing.assert_array_equal(read(open_source(path, genes_in="columns")), counts().T)
    with pytest.raises(ValueError, match="genes_in is 'lines'; known: rows, columns"):
        open_source(path, genes_in="lines")
    mixed = rows(GENES)
    mixed[0][1] = "TP53"
    with pytest.raises(ValueError, match="--genes-in rows or --genes-in columns"):
        open_source(table(mixed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: [[*x[0], "more", "again"], *x[1:]], "33 names in the first line, 31 fields"),
        (lambda x: [*x[:3], [*x[3][:5], "12x", *x[3][6:]], *x[4:]], "'GTEX-4' has numbers and wo"),
        (lambda x: [*x[:3], [*x[3], 5, 5], *x[4:]], "Expected 31 fields in line 3, saw 33"),
        (lambda x: [line[:1] for line in x], "has no counts below and right of"),
        (lambda x: [x[0]], "No columns to parse"),
    ],
)
def test_tables_that_are_wrong(table, change, message):
    with pytest.raises(ValueError, match=message) as error:
        open_source(table(change(rows())))
    assert "bulk.tsv" in str(error.value)


def test_truncated_and_empty(table):
    path = table(rows(), "bulk.tsv.gz")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"bulk\.tsv\.gz is truncated or damaged"):
        open_source(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"bulk\.tsv\.gz is empty"):
        open_source(path)


def test_missing_values_are_refused_when_they_are_read(table, make):
    lines = rows()
    lines[3][5] = "NA"
    with pytest.raises(ValueError, match="NaN or infinite"):
        make(table(lines))

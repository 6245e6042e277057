"""SOMA experiments, and one laid out like the CELLxGENE Census, made here."""

import json
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from jaxcell.data.genes import identify
from jaxcell.data.prepare import prepare
from jaxcell.data.sources import open_source
from jaxcell.data.sources.soma import PRESENCE
from tests.data.conftest import ENSEMBL, GENES, cells, counts
from tests.data.sources.conftest import check, read, write_soma
from tests.data.test_prepare import everything

soma = pytest.importorskip("tiledbsoma")
import pyarrow as pa  # noqa: E402 - tiledbsoma brings it


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
@pytest.mark.parametrize("spec", ["soma:{}", "{}"])
def test_an_experiment(tmp_path, form, spec):
    adata = cells(form(counts()), normal=form(counts(seed=1)))
    source = open_source(spec.format(write_soma(tmp_path / "exp", adata)), chunk_cells=7)
    check(source, counts())
    assert (source.places, source.counts) == (["X/normal", "X/raw"], "X/raw")
    check(source.at("X/normal"), counts(seed=1))
    assert source.obs.index.tolist() == adata.obs_names.tolist()
    assert source.obs["type"].tolist() == adata.obs["type"].tolist()
    assert identify(source.var).symbols == tuple(GENES)


def test_a_stamp_tells_what_was_written_anew(tmp_path):
    """Of as many values, in as many cells: a prepare that was stopped does not go on with them."""
    path = write_soma(tmp_path / "exp of mine", cells(sp.csr_matrix(counts())))
    seen = [open_source(path).stamp()]
    assert open_source(path).stamp() == seen[0]
    with soma.Experiment.open(str(path), "w") as experiment:
        experiment.ms["RNA"].X["raw"].write(
            pa.table({"soma_dim_0": [0], "soma_dim_1": [0], "soma_data": pa.array([9.0], "f4")})
        )
    seen.append(open_source(path).stamp())
    with soma.Experiment.open(str(path)) as experiment:
        obs = experiment.obs.read().concat()
    with soma.Experiment.open(str(path), "w") as experiment:
        experiment.obs.write(obs)
    seen.append(open_source(path).stamp())
    assert len(set(seen)) == 3


def test_the_only_layer_is_x(tmp_path):
    source = open_source(write_soma(tmp_path / "exp", cells(sp.csr_matrix(counts())), "data"))
    assert source.counts == "X/data"
    with pytest.raises(ValueError, match="has no counts at 'raw'; it has X/data "):
        source.at("raw")


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_a_value_filter(tmp_path, form):
    path = write_soma(tmp_path / "exp", cells(form(counts())))
    chosen = np.arange(30) % 3 == 1
    source = open_source(path, value_filter="type == 'B'", chunk_cells=4)
    np.testing.assert_array_equal(read(source), counts()[chosen])
    np.testing.assert_array_equal(read(source, 3, 8), counts()[chosen][3:8])
    assert source.obs["batch"].tolist() == ["b"] * 10
    assert source.checksum() != open_source(path).checksum()
    assert source.stamp() != open_source(path).stamp()
    np.testing.assert_array_equal(read(source.at("X/raw")), counts()[chosen])


def test_the_checksum_is_that_of_a_pass(tmp_path):
    path = write_soma(tmp_path / "exp", cells(sp.csr_matrix(counts())))
    asked = open_source(path)
    for ranges in (((0, 9), (0, 30)), ((5, 9), (0, 9), (9, 30)), ((0, 9), (20, 30), (9, 30))):
        passed = open_source(path, chunk_cells=7)
        for rows in ranges:
            assert passed._digest is None  # known only after all cells
            read(passed, *rows)
        assert passed._digest == asked.checksum() == passed.checksum()
    other = write_soma(tmp_path / "other", cells(sp.csr_matrix(counts(seed=1))))
    assert open_source(other).checksum() != asked.checksum()


def test_memory_is_bounded(tmp_path):
    adata = cells(sp.csr_matrix(counts(4000, 200)), symbols=[f"G{i}" for i in range(200)])
    path = write_soma(tmp_path / "exp", adata)
    tracemalloc.start()
    source = open_source(path, chunk_cells=100)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    seen = sum(float(c.sum()) for c in source.chunks())
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert seen == adata.X.sum()
    assert peak < 1.5e6  # all of them would be 6.4 MB of joinids and counts


def test_what_is_wrong(tmp_path):
    path = write_soma(tmp_path / "exp", cells(sp.csr_matrix(counts())))
    with pytest.raises(FileNotFoundError, match="absent is not a SOMA experiment"):
        open_source(f"soma:{tmp_path / 'absent'}")
    with pytest.raises(ValueError, match=r"exp/ms/RNA is a SOMA SOMAMeasurement, no experiment"):
        open_source(path / "ms" / "RNA")
    with pytest.raises(ValueError, match=r"has no measurement 'ATAC'; it has RNA"):
        open_source(path, measurement="ATAC")
    with pytest.raises(ValueError, match=r"'tissue == 1': .*tissue.*; obs has .*batch.*--soma-fil"):
        open_source(path, value_filter="tissue == 1")
    with pytest.raises(ValueError, match="where \"type = 'T'\""):
        open_source(path, value_filter="type = 'T'")
    with pytest.raises(ValueError, match=r"exp: no cell has type == 'NK' \(--soma-filter\)"):
        open_source(path, value_filter="type == 'NK'")
    for broken in sorted((path / "ms" / "RNA" / "X" / "raw" / "__fragments").glob("*/a0.tdb")):
        broken.write_bytes(b"")
    with pytest.raises(ValueError, match=r"^\S*exp: "):
        read(open_source(path))


def test_without_tiledbsoma_the_extra_is_named(tmp_path, monkeypatch):
    path = write_soma(tmp_path / "exp", cells(sp.csr_matrix(counts())))
    monkeypatch.setitem(sys.modules, "tiledbsoma", None)
    with pytest.raises(ImportError, match=r"read by tiledbsoma: pip install 'jaxcell\[soma\]'"):
        open_source(path)


def panel():
    """Counts of three datasets, cell by cell: d0 did not measure gene 0, d1 not 1 and 2."""
    matrix = counts()
    matrix[::3, 0] = 0
    matrix[1::3, 1:3] = 0
    return matrix


@pytest.fixture
def census_of(tmp_path):
    """Function: counts, name → a folder laid out like the Census."""

    def write_census(matrix, name="census"):
        adata = cells(sp.csr_matrix(matrix))
        adata.obs["dataset_id"] = pd.Categorical(np.array(["d0", "d1", "d2"])[np.arange(30) % 3])
        adata.obs["is_primary_data"] = np.arange(30) < 21
        index = pd.Index(ENSEMBL, name="feature_id")
        adata.var = pd.DataFrame({"feature_name": GENES}, index=index)
        uri = tmp_path / name
        present = np.ones((5, 8), np.uint8)
        present[3, 0] = present[1, 1] = present[1, 2] = 0  # datasets 3, 1, 4 are d0, d1, d2
        with soma.Collection.create(str(uri)) as root:
            data = root.add_new_collection("census_data")
            write_soma(uri / "census_data" / "homo_sapiens", adata)
            data.set("homo_sapiens", soma.open(str(uri / "census_data" / "homo_sapiens")))
            info = root.add_new_collection("census_info")
            table = pa.table({"soma_joinid": [1, 3, 4], "dataset_id": ["d1", "d0", "d2"]})
            with info.add_new_dataframe("datasets", schema=table.schema, domain=[(0, 9)]) as given:
                given.write(table)
        with soma.open(str(uri / "census_data/homo_sapiens/ms/RNA"), "w") as rna:
            matrix = rna.add_new_sparse_ndarray(PRESENCE, type=pa.uint8(), shape=(5, 8))
            matrix.write(pa.SparseCOOTensor.from_scipy(sp.coo_matrix(present)))
            matrix.close()
        return uri

    return write_census


@pytest.fixture
def census(census_of):
    return census_of(panel())


def test_the_census_says_which_genes_a_dataset_measured(census, make):
    spec = f"census:{census}/homo_sapiens"
    source = open_source(spec, chunk_cells=7)
    check(source, panel())
    assert source.presence.column == "dataset_id"
    assert {k: np.flatnonzero(~v).tolist() for k, v in source.presence.genes.items()} == {
        "d0": [0], "d1": [1, 2], "d2": [],
    }  # fmt: skip
    store = make(spec, soma_filter="is_primary_data == True", labels=["type"])
    assert store.sizes["train"] == 21
    assert store.names == [f"homo_sapiens dataset_id=d{i}" for i in range(3)]
    measured = [np.flatnonzero(~store.measured[s]).tolist() for s in store.gene_set]
    assert measured == [[0], [1, 2], []]
    assert (store.vocabulary.symbols, store.vocabulary.ensembl) == (tuple(GENES), tuple(ENSEMBL))
    assert store.labels["type"] == ["B", "T"]
    options = json.loads((store.path / "store.json").read_text())["options"]
    assert options["value_filter"] == "is_primary_data == True"
    assert options["measured_by"] == "dataset_id"


def test_genes_without_a_count_may_be_measured_and_not_the_reverse(census_of, make, tmp_path):
    matrix = panel()
    matrix[2::3, 3] = 0  # gene 3 has no count in d2 and was measured there all the same
    store = make(f"census:{census_of(matrix, 'one')}/homo_sapiens")
    assert store.measured[store.gene_set].all(axis=1).tolist() == [False, False, True]
    np.testing.assert_array_equal(everything(store)[1], matrix)
    matrix[0, 0] = 1
    with pytest.raises(ValueError, match="dataset_id=d0 has counts of 1 genes that its presence"):
        prepare(tmp_path / "b", f"census:{census_of(matrix, 'two')}/homo_sapiens", progress=False)


def test_versions_of_the_census_are_opened_by_its_own_library(census, monkeypatch):
    library = pytest.importorskip("cellxgene_census")
    asked = []

    def open_soma(*, census_version, tiledb_config):
        asked.append(census_version)
        return soma.open(str(census))

    monkeypatch.setattr(library, "open_soma", open_soma)
    check(open_source("census:2025-01-30/homo_sapiens", chunk_cells=7), panel())
    assert set(asked) == {"2025-01-30"}
    with pytest.raises(ValueError, match=r"no organism 'mus_musculus'; it has homo_sapiens"):
        open_source("census:2025-01-30/mus_musculus")
    monkeypatch.setitem(sys.modules, "cellxgene_census", None)
    with pytest.raises(ImportError, match=r"by cellxgene-census: pip install 'jaxcell"):
        open_source("census:2025-01-30/homo_sapiens")


def test_a_dataset_that_the_census_does_not_list(census):
    with soma.open(str(census / "census_info" / "datasets"), "w") as table:
        table.write(pa.table({"soma_joinid": [1], "dataset_id": ["gone"]}))
    with pytest.raises(ValueError, match=r"1 datasets of obs are not in census_info/datasets: d1"):
        open_source(f"census:{census}/homo_sapiens")


def test_a_manifest_of_the_census(census, tmp_path):
    """Split by its datasets, each with the genes that the presence matrix says."""
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nlabels: {type: {}}\nsplit: {by: dataset, share: 0.34}\n"
        "expect: {train_datasets: 2, valid_datasets: 1}\n"
        "sources:\n  - name: census\n    path: census:census/homo_sapiens\n"
        "    dataset: dataset_id\n    value_filter: is_primary_data == True\n"
        "    expect: {cells: 21, datasets: 3}\n"
    )
    given = {"manifest": tmp_path / "mine.yaml", "data": tmp_path, "progress": False}
    store = prepare(tmp_path / "store", **given)
    assert store.names == [f"homo_sapiens dataset_id=d{i}" for i in range(3)]
    measured = [np.flatnonzero(~store.measured[s]).tolist() for s in store.gene_set]
    assert measured == [[0], [1, 2], []]
    assert sorted(d["valid"] for d in store.datasets) == [0, 0, 7]


def test_a_manifest_of_an_experiment(tmp_path):
    write_soma(tmp_path / "exp", cells(counts()))
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nsources: [{name: a, path: 'soma:exp', measured_by: batch}]"
    )
    store = prepare(
        tmp_path / "store", manifest=tmp_path / "mine.yaml", data=tmp_path, progress=False
    )
    assert store.sizes["train"] == 30
    assert [d["value"] for d in store.datasets] == ["a", "b", "c"]


def test_two_filters_of_a_census_are_two_sources(census, tmp_path):
    text = (
        "name: mine\nlabels: {type: {}}\nsplit: {by: dataset, share: 0.34}\nsources:\n"
        "  - {name: a, path: 'census:census/homo_sapiens', dataset: dataset_id,\n"
        "     value_filter: is_primary_data == True}\n"
        "  - {name: b, path: 'census:census/homo_sapiens', dataset: dataset_id,\n"
        "     value_filter: OTHER}\n"
    )
    given = {"manifest": tmp_path / "mine.yaml", "data": tmp_path, "progress": False}
    (tmp_path / "mine.yaml").write_text(text.replace("OTHER", "type != 'NK'"))
    with pytest.raises(ValueError, match=r"\(b\): 21 of its cells are in .*\(a\) too: both are"):
        prepare(tmp_path / "store", **given)
    (tmp_path / "mine.yaml").write_text(text.replace("OTHER", "is_primary_data == False"))
    store = prepare(tmp_path / "store", **given)
    assert store.names == [f"homo_sapiens ({e}) dataset_id=d{i}" for e in "ab" for i in range(3)]
    assert [d["train"] + d["valid"] for d in store.datasets] == [7, 7, 7, 3, 3, 3]
    held = [d["value"] for d in store.datasets if d["valid"]]
    assert len(held) == 2
    assert len(set(held)) == 1  # what both have of a dataset
    found = np.vstack([everything(store, split)[1] for split in ("train", "valid")])
    wanted = panel()
    np.testing.assert_array_equal(found[np.lexsort(found.T)], wanted[np.lexsort(wanted.T)])

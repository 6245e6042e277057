import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from jaxcell.data.prepare import prepare
from jaxcell.data.preparing import order, shards
from jaxcell.data.store import Store
from jaxcell.data.vocabulary import Vocabulary
from tests.data.conftest import ENSEMBL, GENES, cells, counts, dense


def everything(store, split="train"):
    rows = store.read(split, np.arange(store.sizes[split]))
    return rows, dense(rows, len(store.vocabulary))


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_store_to_dense_equals_the_matrix(h5ad, make, form):
    matrix = counts()
    store = make(h5ad(form(matrix)))
    rows, got = everything(store)
    np.testing.assert_array_equal(got, matrix)
    np.testing.assert_array_equal(rows.total, matrix.sum(1))
    assert store.vocabulary.symbols == tuple(GENES)
    assert store.measured.tolist() == [[True] * 8]
    assert store.sizes == {"train": 30, "valid": 0}
    assert store.max_nonzero == (matrix > 0).sum(1).max()
    for i, ids in enumerate(np.split(rows.ids, rows.indptr[1:-1])):
        assert ids.tolist() == np.flatnonzero(matrix[i]).tolist()


@pytest.mark.parametrize("place", ["layers/umi", "raw"])
def test_counts_elsewhere(h5ad, make, place):
    adata = cells(np.log1p(counts(seed=2)), umi=counts())
    adata.raw = cells(counts())
    np.testing.assert_array_equal(everything(make(h5ad(adata), counts=place))[1], counts())


def test_labels_are_strings_with_unknowns(make):
    adata = cells()
    adata.obs["age"] = [np.nan, 2.5, 10] * 10
    store = make(adata, labels=["type", "age"])
    assert store.labels == {"type": ["B", "T"], "age": ["10.0", "2.5"]}
    rows, _ = everything(store)
    assert rows.labels[:3].tolist() == [[1, -1], [0, 1], [-1, 0]]
    np.testing.assert_array_equal(store.index("train", "labels"), rows.labels)


def test_what_says_not_known_is_no_class_and_is_counted(h5ad, make):
    adata = cells()
    adata.obs["sex"] = ["female", "unknown", " Unknown ", "nan", None, "male"] * 5
    adata.obs["type"] = ["T", "B", "None"] * 10
    store = make(h5ad(adata), labels=["type", "sex", "batch"])
    assert store.labels == {"type": ["B", "T"], "sex": ["female", "male"], "batch": ["a", "b", "c"]}
    rows, _ = everything(store)
    assert rows.labels[:6, 1].tolist() == [0, -1, -1, -1, -1, 1]
    for text in (
        "sex unknown for 20 cells (' Unknown ' 5, 'NaN' 5, 'nan' 5, 'unknown' 5)",
        "type unknown for 10 cells ('None' 10)",
    ):
        assert text in store.table()
    assert "batch unknown" not in store.table()


def test_classes_are_the_union_of_the_files_and_may_lack_in_some(h5ad, make):
    other = cells(seed=1)
    other.obs["type"] = "NK"
    bare = cells(seed=2)
    del bare.obs["type"]
    files = [h5ad(cells(), "a.h5ad"), h5ad(other, "b.h5ad"), h5ad(bare, "c.h5ad")]
    store = make(files, labels=["type"])
    assert store.labels == {"type": ["B", "NK", "T"]}
    rows, _ = everything(store)
    assert rows.labels[[0, 30, 60], 0].tolist() == [2, 1, -1]
    assert "c.h5ad has no type: unknown for all its cells" in store.table()


def test_cells_are_filtered_first_then_genes(make):
    matrix = np.zeros((6, 8), np.float32)
    matrix[:4, :3] = 2
    matrix[4, [0, 3]] = 5  # falls below min_genes, and with it gene 3
    matrix[5, :4] = 1
    store = make(cells(matrix), min_genes=3, min_cells=2)
    assert store.vocabulary.symbols == tuple(GENES[:3])
    rows, got = everything(store)
    np.testing.assert_array_equal(got, matrix[[0, 1, 2, 3, 5], :3])
    assert rows.total.tolist() == [6, 6, 6, 6, 4]  # before any filter: gene 3 of the last is in
    facts = store.datasets[0]
    assert (facts["cells"], facts["below_min_genes"]) == (6, 1)
    assert (facts["genes"], facts["below_min_cells"]) == (8, 5)
    assert re.search(r"AnnData +6 +1 +5 +0 +8 +0 +5 +3 +X, integer", store.table())


def test_each_file_has_its_own_measured_genes(h5ad, make):
    a, b = cells(counts(n_genes=5)), cells(counts(n_genes=4, seed=1), symbols=GENES[3:7])
    c = cells(counts(n_genes=5, seed=2))
    store = make([h5ad(a, "a.h5ad"), h5ad(b, "b.h5ad"), h5ad(c, "c.h5ad")])
    assert store.vocabulary.symbols == tuple(GENES[:7])
    assert store.gene_set.tolist() == [0, 1, 0]
    assert store.measured.astype(int).tolist() == [[1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1]]
    rows, got = everything(store)
    np.testing.assert_array_equal(got[30:60, 3:], counts(n_genes=4, seed=1))
    assert rows.dataset.tolist() == [0] * 30 + [1] * 30 + [2] * 30


def test_statistics_are_those_of_the_training_cells(h5ad, make):
    a, b = cells(counts()), cells(counts(seed=1)[:, :4], symbols=GENES[:4])
    v = Vocabulary(tuple(GENES[:4]), ("",) * 4)
    files = [h5ad(a, "a.h5ad"), h5ad(b, "b.h5ad")]
    store = make(files, hold_out=["batch=c"], vocabulary=v)
    stats = store.stats
    training = np.arange(30) % 3 != 2
    assert stats["cells"].tolist() == [20, 20]
    for dataset, adata in enumerate((a, b)):
        source = adata.X[training].astype(np.float64)
        x = source[:, :4]
        measured = x.sum(1, keepdims=True)
        share = np.divide(x, measured, out=np.zeros_like(x), where=measured > 0)
        np.testing.assert_array_equal(stats["nonzero"][dataset], (x > 0).sum(0))
        np.testing.assert_allclose(stats["sum"][dataset], x.sum(0))
        np.testing.assert_allclose(stats["sum_sq"][dataset], (x**2).sum(0))
        np.testing.assert_allclose(stats["share"][dataset], share.sum(0))
        total = np.maximum(source.sum(1, keepdims=True), 1)
        np.testing.assert_allclose(stats["share_source"][dataset], (x / total).sum(0))


def test_hold_out_by_value_fraction_and_file(h5ad, tmp_path):
    a, b = h5ad(cells(), "a.h5ad"), h5ad(cells(seed=1), "b.h5ad")

    def sizes(name, **options):
        return prepare(tmp_path / name, a, progress=False, **options).sizes

    assert sizes("1", hold_out=["batch=a", "batch=b"]) == {"train": 10, "valid": 20}
    assert sizes("2", hold_out="batch=a") == {"train": 20, "valid": 10}
    assert sizes("3", hold_out_file=[b]) == {"train": 30, "valid": 30}
    assert sizes("3b", hold_out_file=f"{tmp_path}/./b.h5ad") == {"train": 30, "valid": 30}
    with pytest.raises(ValueError, match="no cell is left for training"):
        sizes("3c", hold_out_file=f"{tmp_path}/./a.h5ad")
    bare = cells(seed=1)
    del bare.obs["type"]
    c = h5ad(bare, "c.h5ad")
    assert sizes("3d", hold_out_file=c, hold_out="type=T") == {"train": 20, "valid": 40}
    assert sizes("4", hold_out_file=[b], hold_out="type=T") == {"train": 20, "valid": 40}
    fraction = sizes("5", hold_out_fraction=0.4)
    assert 3 < fraction["valid"] < 20
    assert sizes("6", hold_out_fraction=0.4) == fraction
    held = [Store.open(tmp_path / n).index("valid", "total").tolist() for n in "56"]
    assert held[0] == held[1]
    sizes("7", hold_out_fraction=0.4, seed=1)
    assert Store.open(tmp_path / "7").index("valid", "total").tolist() != held[0]
    # Which cells are drawn depends on their position alone, so a filter moves none of them.
    sizes("8", hold_out_fraction=0.4, min_genes=4)
    assert set(Store.open(tmp_path / "8").index("valid", "total")) <= set(held[0])


def test_held_out_rows_are_the_held_out_cells(make):
    store = make(cells(), hold_out=["batch=b"], labels=["batch"])
    for split, wanted in (("valid", [1]), ("train", [0, 2])):
        _, got = everything(store, split)
        np.testing.assert_array_equal(got, counts()[np.isin(np.arange(30) % 3, wanted)])
        assert set(store.index(split, "labels")[:, 0]) == set(wanted)


def test_ensembl_ids_with_versions_against_a_vocabulary(make):
    var = pd.DataFrame(index=[f"{e}.{i}" for i, e in enumerate(ENSEMBL)])
    v = Vocabulary(("x", "y"), (ENSEMBL[4], ENSEMBL[1]))
    store = make(cells(var=var), vocabulary=v)
    assert store.vocabulary == v
    np.testing.assert_array_equal(everything(store)[1], counts()[:, [4, 1]])
    assert store.datasets[0]["unmatched"] == 6
    np.testing.assert_array_equal(store.index("train", "total"), counts().sum(1))


def test_a_given_vocabulary_keeps_genes_that_are_not_measured(make, tmp_path):
    (tmp_path / "genes.txt").write_text("ACTB\nNOT_THERE\nTP53\n")
    store = make(cells(), vocabulary=tmp_path / "genes.txt")
    assert store.measured.tolist() == [[True, False, True]]
    again = prepare(tmp_path / "two", cells(seed=3), vocabulary=store.path, progress=False)
    assert again.vocabulary == store.vocabulary


def test_mixed_identifiers_with_and_without_a_map(h5ad, make, tmp_path):
    a, b = cells(), cells(seed=1, var=pd.DataFrame(index=ENSEMBL))
    files = [h5ad(a, "a.h5ad"), h5ad(b, "b.h5ad")]
    with pytest.raises(ValueError, match=r"mixed identifiers: .*--gene-map FILE"):
        make(files)
    lines = [f"{e}\t{s}" for e, s in zip(ENSEMBL, GENES, strict=True)]
    (tmp_path / "map.tsv").write_text("\n".join(lines))
    store = make(files, gene_map=tmp_path / "map.tsv")
    assert store.vocabulary == Vocabulary(tuple(GENES), tuple(ENSEMBL))
    np.testing.assert_array_equal(everything(store)[1], np.vstack([counts(), counts(seed=1)]))


def test_duplicated_genes(tmp_path):
    var = pd.DataFrame({"gene_symbols": ["A", "B", "A", *GENES[3:]]}, index=list("abcdefgh"))
    adata = cells(var=var)
    with pytest.raises(ValueError, match=r"AnnData: 1 genes stand in more than one column: A.*sum"):
        prepare(tmp_path / "x", adata, progress=False)
    x = counts()
    for how, first in (("sum", x[:, 0] + x[:, 2]), ("first", x[:, 0])):
        store = prepare(tmp_path / how, adata, duplicates=how, progress=False)
        assert store.vocabulary.symbols == ("A", "B", *GENES[3:])
        rows, got = everything(store)
        np.testing.assert_array_equal(got[:, 0], first)
        np.testing.assert_array_equal(rows.total, x.sum(1))


def test_non_integer_is_refused_or_warned_of_and_recorded(make):
    adata = cells(counts() * 37.25)
    with pytest.raises(ValueError, match=r"AnnData, X: .* not integers .*--allow-non-integer"):
        make(adata)
    with pytest.warns(UserWarning, match="AnnData: non-integer values taken as they are: these lo"):
        store = make(adata, allow_non_integer=True)
    assert "estimated" in store.datasets[0]["non_integer"]
    assert "NOT integer" in store.table()
    np.testing.assert_array_equal(everything(store)[1], counts() * np.float32(37.25))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["tissue"]}, r"label column 'tissue': .*cells.h5ad has no such obs column; it "
         "has: batch, type"),
        ({"hold_out": ["donor=1"]}, "hold-out column 'donor': .* has no such obs column"),
        ({"hold_out": ["batch=z"]}, "batch=z: no cell has this value; batch has: a, b, c"),
        ({"hold_out": ["batch"]}, "hold_out 'batch': write column=value"),
        ({"hold_out": ["batch=a", "batch=b", "batch=c"]}, "no cell is left for training"),
        ({"hold_out_fraction": 1.0}, "hold_out_fraction is 1.0; expected 0 <= fraction < 1"),
        ({"hold_out_fraction": 1e-9}, "no cell is left for validation"),
        ({"min_genes": -5}, "min_genes is -5; expected 0 or more"),
        ({"shards": 0}, "shards is 0; expected 1 or more"),
        ({"min_genes": 9}, r"none of the 30 cells has 9 genes > 0 \(the most is [78]\)"),
        ({"min_cells": 31}, "no gene is > 0 in 31 of the 30 kept cells"),
        ({"counts": "layers/umi"}, "no counts at 'layers/umi'; it has X"),
        ({"identifiers": "ensembl"}, "has no Ensembl ids in var"),
        ({"vocabulary": Vocabulary(("Q",), ("",))}, "no gene matches the vocabulary"),
    ],
)  # fmt: skip
def test_refusals(h5ad, make, tmp_path, options, message):
    path = h5ad()
    with pytest.raises(ValueError, match=message):
        make(path, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["cells.h5ad"]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (counts() - 2, "values below zero"),
        (np.where(counts() > 4, np.nan, counts()), "NaN or infinite"),
        (np.log1p(counts()), "log1p of counts"),
        (counts() * 0, "all 30 cells are empty"),
    ],
)
def test_values_that_are_not_counts(h5ad, make, matrix, message):
    with pytest.raises(ValueError, match=message):
        make(h5ad(matrix))


def test_a_bad_value_in_the_last_chunk_is_found(make, monkeypatch):
    monkeypatch.setattr(order, "open_source", _small_chunks(order.open_source))
    matrix = counts()
    matrix[-1, -1] = 0.5
    with pytest.raises(ValueError, match="not integers"):
        make(cells(matrix))


def _small_chunks(open_source):
    return lambda spec, counts: open_source(spec, counts=counts, chunk_cells=7)


def test_files_that_are_wrong(h5ad, make, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.h5ad does not exist"):
        make([h5ad(), tmp_path / "absent.h5ad"])
    with pytest.raises(ValueError, match=r"cells\.h5ad is given twice"):
        make([h5ad(), f"{tmp_path}/./cells.h5ad"])
    with pytest.raises(ValueError, match=r"cells\.h5ad is given twice"):
        make([h5ad(), f"h5ad:{tmp_path}/cells.h5ad"])
    with pytest.raises(ValueError, match="no input"):
        make([])
    with pytest.raises(ValueError, match="unknown kind of input"):
        make(tmp_path / "matrix.parquet")


def test_output_that_exists_is_refused_before_anything_is_read(make, tmp_path):
    (tmp_path / "store").mkdir()
    with pytest.raises(FileExistsError, match="store exists already: remove it, or choose"):
        make(tmp_path / "absent.h5ad")


def test_output_that_cannot_be_made(h5ad, tmp_path):
    with pytest.raises(ValueError, match=r"cannot be made: .*cells\.h5ad is not a folder one can"):
        prepare(tmp_path / "cells.h5ad" / "store", h5ad(), progress=False)


def test_an_interrupted_run_leaves_nothing(make, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(shards, "encode_batch", stop)
    with pytest.raises(KeyboardInterrupt):
        make(cells())
    assert list(tmp_path.iterdir()) == []


def test_small_chunks_and_shards_change_nothing(h5ad, tmp_path, monkeypatch):
    path = h5ad()
    options = {"hold_out_fraction": 0.3, "labels": ["type"], "progress": False}
    one = prepare(tmp_path / "one", path, **options)
    monkeypatch.setattr(order, "open_source", _small_chunks(order.open_source))
    many = prepare(tmp_path / "many", path, shards=4, **options)
    assert len(list(many.path.glob("train-*-of-00004.array_record"))) == 4
    assert one.content_hash == many.content_hash
    for split in ("train", "valid"):
        np.testing.assert_array_equal(everything(one, split)[1], everything(many, split)[1])
    np.testing.assert_allclose(one.stats["share"], many.stats["share"], rtol=1e-14)
    other = prepare(tmp_path / "other", cells(seed=1), **options)
    assert other.content_hash != one.content_hash


def test_progress_and_table_are_shown(h5ad, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    prepare(tmp_path / "store", [h5ad(), cells(seed=1)], labels=["type"], hold_out="batch=a")
    out, err = capfd.readouterr()
    assert "checking: 100%" in err
    assert "writing: 100%" in err
    assert re.search(r"cells\.h5ad +30 +0 +20 +10 +8 +0 +0 +8 +X, integer", out)
    assert "labels: type (2 classes)" in out
    assert "60 cells × 8 genes" in out


def test_the_store_remembers_how_it_was_made(make):
    store = make([cells(), cells(seed=1)], min_genes=1, hold_out=["batch=a"])
    summary = json.loads((store.path / "store.json").read_text())
    assert summary["options"]["min_genes"] == 1
    assert summary["options"]["hold_out"] == ["batch=a"]
    assert [d["source"] for d in store.datasets] == ["AnnData 1", "AnnData 2"]
    assert all(len(d["checksum"]) == 64 for d in store.datasets)


def test_cells_without_any_measured_gene_are_kept(make):
    matrix = counts()
    matrix[3, :4] = 0
    store = make(cells(matrix), vocabulary=Vocabulary(tuple(GENES[:4]), ("",) * 4))
    np.testing.assert_array_equal(everything(store)[1], matrix[:, :4])
    assert np.isfinite(store.stats["share"]).all()
    assert store.index("train", "n_genes")[3] == 0


def test_many_cells_keep_their_order_over_chunks(make):
    matrix = counts(5000)
    np.testing.assert_array_equal(everything(make(cells(matrix)))[1], matrix)


def test_values_of_0_and_1_are_warned_of(make):
    with pytest.warns(UserWarning, match="AnnData, X: holds only 0 and 1: this looks binarised"):
        make(cells((counts(600) > 0).astype(np.float32)))

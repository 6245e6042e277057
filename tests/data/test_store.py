import json
import pickle
import shutil

import numpy as np
import pytest

from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store, dataset_name
from tests.data.conftest import cells, counts, dense


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "store"
    return prepare(path, cells(), hold_out="batch=b", labels=["batch", "type"], progress=False)


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made.path, tmp_path / "copy")


def test_reads_come_in_the_order_asked_for(made):
    train = counts()[np.arange(30) % 3 != 1]
    order = [7, 0, 0, 19, 3]
    rows = made.read("train", np.array(order))
    np.testing.assert_array_equal(dense(rows, 8), train[order])
    assert len(made.read("valid", [])) == 0
    assert made.read("valid", []).labels.shape == (0, 2)


def test_index_columns_are_mapped_and_agree_with_the_records(made):
    for split in ("train", "valid"):
        rows = made.read(split, np.arange(made.sizes[split]))
        wanted = {
            "dataset": rows.dataset,
            "labels": rows.labels,
            "total": rows.total,
            "n_genes": np.diff(rows.indptr),
        }
        for column, values in wanted.items():
            got = made.index(split, column)
            assert isinstance(got, np.memmap)
            np.testing.assert_array_equal(got, values)
    with pytest.raises(ValueError, match="no index train/donor; splits: train, valid; columns"):
        made.index("train", "donor")


def test_panel_width_is_a_multiple_of_256(made):
    assert made.max_nonzero <= 8
    assert made.panel_width == 256


def test_a_pickled_store_reads_the_same(made):
    made.read("train", [0])
    again = pickle.loads(pickle.dumps(made))
    assert again.read("train", [5]).ids.tolist() == made.read("train", [5]).ids.tolist()
    assert again.content_hash == made.content_hash


def test_no_validation_cells(tmp_path):
    store = prepare(tmp_path / "s", cells(), progress=False)
    assert store.index("valid", "labels").shape == (0, 0)
    assert store.index("valid", "total").shape == (0,)
    with pytest.raises(ValueError, match="has no valid cells"):
        store.read("valid", [0])


def test_open_refuses_what_is_not_a_store(copy, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"absent does not exist; make a store with: jaxcell"
    ):
        Store.open(tmp_path / "absent")
    summary = json.loads((copy / "store.json").read_text())
    (copy / "store.json").write_text(json.dumps(summary | {"schema_version": 99}))
    with pytest.raises(ValueError, match="schema 99, this jaxcell reads 2"):
        Store.open(copy)
    (copy / "store.json").unlink()
    with pytest.raises(
        FileNotFoundError, match="not a store or was left by an interrupted prepare"
    ):
        Store.open(copy)


def test_missing_truncated_and_changed_files_are_found(copy):
    Store.open(copy).verify()
    records = next(copy.glob("train-*"))
    content = bytearray(records.read_bytes())
    content[len(content) // 2] ^= 1
    records.write_bytes(content)
    with pytest.raises(ValueError, match=f"is damaged: {records.name} changed since prepare"):
        Store.open(copy).verify()
    Store.open(copy).verify(records=False)
    with pytest.raises(RuntimeError, match="hash mismatch"):  # reading finds damaged records
        Store.open(copy).read("train", range(Store.open(copy).sizes["train"]))
    records.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=f"{records.name} is damaged: .* bytes"):
        Store.open(copy)
    records.unlink()
    with pytest.raises(FileNotFoundError, match=f"not complete: {records.name} is missing"):
        Store.open(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"files": ', r"store\.json is damaged: Expecting value"),
        ("[]", r"store\.json is damaged: found list, expected fields"),
        ("{}", "copy has store schema None, this jaxcell reads 2"),
    ],
)
def test_a_damaged_summary_is_named(copy, text, message):
    (copy / "store.json").write_text(text)
    for place in (copy, f"file://{copy}"):
        with pytest.raises(ValueError, match=message):
            Store.open(place)


def test_the_cells_files_are_a_column_beside_the_labels(made, tmp_path):
    names = made.names
    assert made.classes == {**made.labels, "dataset": names}
    rows = made.read("train", [3, 0, 7])
    found = made.labels_of(rows)
    assert list(found) == ["dataset", "batch", "type"]
    for name, codes in found.items():
        assert codes.dtype == np.int32
        np.testing.assert_array_equal(codes, made.codes("train", name)[[3, 0, 7]])
    np.testing.assert_array_equal(found["dataset"], rows.dataset)
    np.testing.assert_array_equal(found["type"], rows.labels[:, 1])
    # A label of that name comes first.
    adata = cells()
    adata.obs["dataset"] = adata.obs["batch"].astype(str)
    own = prepare(tmp_path / "own", adata, labels=["dataset"], progress=False)
    assert own.classes == own.labels == {"dataset": ["a", "b", "c"]}
    rows = own.read("train", np.arange(6))
    np.testing.assert_array_equal(own.labels_of(rows)["dataset"], rows.labels[:, 0])
    np.testing.assert_array_equal(own.codes("train", "dataset")[:6], rows.labels[:, 0])
    assert dataset_name("a/b.h5ad") == "b.h5ad"
    assert dataset_name("a/b.h5ad", "batch", "2") == "b.h5ad batch=2"

import json
import re
import shutil

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from jaxcell import cli
from jaxcell.data import verification
from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store, file_facts, summary_checksum
from jaxcell.data.verification import verify
from tests.data.conftest import cells, counts


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "store"
    options = {"hold_out": "batch=b", "labels": ["batch", "type"], "shards": 4}
    return prepare(path, cells(counts(200)), progress=False, **options)


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made.path, tmp_path / "copy")


def test_a_store_as_it_was_made(made, capsys):
    assert verify(made.path) == []
    assert "verifying: 100%" in capsys.readouterr().err
    cli.main(["verify", str(made.path)])
    assert "is whole" in capsys.readouterr().out


def test_each_damaged_shard_is_named(copy, capsys):
    shards = sorted(copy.glob("train-*"))
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-5])
    content = bytearray(shards[2].read_bytes())
    content[len(content) // 2] ^= 4
    shards[2].write_bytes(content)
    (copy / "train-00004-of-00005.array_record").write_bytes(b"")
    (copy / "index" / "train" / "total.npy").unlink()
    wanted = [
        "index/train/total.npy is missing",
        "train-00000-of-00004.array_record is missing",
        r"train-00001-of-00004.array_record is truncated: \d+ bytes, \d+ were written",
        "train-00002-of-00004.array_record changed since prepare: its sha256 is another",
        "train-00004-of-00005.array_record is no file of this store",
    ]
    found = verify(copy, progress=False)
    assert len(found) == len(wanted)
    for text, pattern in zip(found, wanted, strict=True):
        assert re.fullmatch(pattern, text), text
    with pytest.raises(SystemExit) as stopped:
        cli.main(["verify", str(copy)])
    lines = str(stopped.value).splitlines()
    assert lines == [f"error: {copy}: {text}" for text in found]


def test_without_the_records(copy):
    records = next(copy.glob("train-*"))
    records.write_bytes(records.read_bytes()[:-1] + b"x")
    assert verify(copy, records=False, progress=False) == []


def resealed(copy, **changes):
    """Write store.json anew, so that the checksums fit what is there now."""
    summary = json.loads((copy / "store.json").read_text())
    summary["files"] = {name: file_facts(copy / name) for name in summary["files"]}
    summary |= changes
    summary["checksum"] = summary_checksum(summary)
    (copy / "store.json").write_text(json.dumps(summary))


def edited(copy, *without, **changes):
    """Change store.json alone."""
    summary = json.loads((copy / "store.json").read_text()) | changes
    summary = {name: one for name, one in summary.items() if name not in without}
    (copy / "store.json").write_text(json.dumps(summary))


@pytest.mark.parametrize("changes", [{"content_hash": "0" * 64}, {"options": {}}, {"new": 1}])
def test_an_edited_summary(copy, changes):
    edited(copy)  # another layout alone
    assert verify(copy, progress=False) == []
    edited(copy, **changes)
    for records in (True, False):
        found = verify(copy, progress=False, records=records)
        assert found == ["store.json changed since prepare: its checksum is another"]


def test_a_store_of_before_summaries_had_checksums(copy, made, monkeypatch):
    monkeypatch.setattr(verification, "AT_ONCE", 50)
    edited(copy, "checksum")
    assert verify(copy, progress=False) == []
    edited(copy, "checksum", content_hash="0" * 64)
    assert verify(copy, progress=False) == [
        f"store.json, content_hash: found {'0' * 64}, expected {made.content_hash}"
    ]


def change(path, at, value):
    array = np.load(path)
    array[at] = value
    np.save(path, array)


def test_files_that_are_whole_but_do_not_agree(copy):
    index = copy / "index" / "train"
    change(index / "total.npy", 0, 7e6)
    change(index / "labels.npy", (3, 1), 9)
    change(index / "dataset.npy", 5, 2)
    change(index / "n_genes.npy", 8, 99)
    datasets = json.loads((copy / "datasets.json").read_text())
    datasets[0]["valid"] += 1
    (copy / "datasets.json").write_text(json.dumps(datasets))
    resealed(copy)
    found = "\n".join(verify(copy, progress=False))
    for text in (
        "datasets.json, valid cells: found 68, expected 67",
        "index/train, cells of no known dataset: found 1, expected 0",
        "index/train, cells of no known type: found 1, expected 0",
        "train-00000-of-00004.array_record, total as in the index: found False, expected True",
        "the index, most genes > 0 of a cell: found 99, expected",
        "gene_stats.npz, training cells: found [133], expected [132, 0, 1]",
    ):
        assert text in found
    with pytest.raises(ValueError, match="is damaged: .*datasets.json, valid cells"):
        Store.open(copy).verify()


def test_a_shard_of_fewer_cells(copy):
    shard = sorted(copy.glob("train-*"))[3]
    records = Store.open(copy).records("train", [130, 131])
    writer = ArrayRecordWriter(str(shard), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    resealed(copy)
    found = verify(copy, progress=False)
    assert found[0] == f"{shard.name}, cells: found 2, expected 33"


def test_no_store_and_a_summary_that_cannot_be_read(copy, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        verify(tmp_path / "absent")
    (copy / "store.json").write_text((copy / "store.json").read_text()[:-40])
    assert verify(copy)[0].startswith("store.json cannot be read: JSONDecodeError")


def _without(*path):
    def change(summary):
        for part in path[:-1]:
            summary = summary[part]
        del summary[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("sizes"), "store.json is damaged: it lacks sizes"),
        (_without("files", "labels.json"), "store.json is damaged: it lacks the file labels.json"),
        (_without("files", "labels.json", "sha256"), "lacks sizes and sha256s of its files"),
        (lambda s: s["files"].update({"labels.json": 5}), "store.json cannot be read: Attribute"),
    ],
)
def test_a_summary_that_says_too_little(copy, change, message):
    summary = json.loads((copy / "store.json").read_text())
    change(summary)
    (copy / "store.json").write_text(json.dumps(summary))
    (found,) = verify(copy, progress=False)
    assert message in found


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "cells.h5ad").write_bytes(b"no store")
    with pytest.raises(FileNotFoundError, match=r"cells\.h5ad is not a store"):
        verify(tmp_path / "cells.h5ad")

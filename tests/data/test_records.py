import struct

import numpy as np
import pytest

from jaxcell.data.records import VERSION, decode_batch, encode, encode_batch


def test_layout_is_the_documented_one():
    record = encode([3, 258, 600], np.array([1.0, 70000, 255]), dataset=7, total=2.5, labels=[-1])
    assert record == (
        bytes([VERSION, 0]) + (3).to_bytes(4, "little") + (7).to_bytes(2, "little")
        + np.float32(2.5).tobytes() + b"\xff" * 4
        + bytes([4, 255, 0]) + bytes([1, 0, 255])
        + (342).to_bytes(4, "little") + (70000).to_bytes(4, "little")
    )  # fmt: skip


def test_round_trip_of_every_kind_of_count():
    cells = [
        ([0, 5, 9], [1, 2, 255], 0),
        ([2], [65536], 0),
        ([1, 2], [0.5, 3], 1),
        ([], [], 0),
        ([4], [1e10], 1),  # an integer beyond u32
    ]
    records = [
        encode(np.array(ids), np.array(c, np.float64), dataset=i, total=10 + i, labels=[i, -1])
        for i, (ids, c, _) in enumerate(cells)
    ]
    assert [r[1] for r in records] == [flag for _, _, flag in cells]
    rows = decode_batch(records, 2)
    assert rows.indptr.tolist() == [0, 3, 4, 6, 6, 7]
    assert rows.ids.tolist() == [0, 5, 9, 2, 1, 2, 4]
    np.testing.assert_array_equal(
        rows.counts, np.array([1, 2, 255, 65536, 0.5, 3, 1e10], np.float32)
    )
    assert rows.dataset.tolist() == [0, 1, 2, 3, 4]
    assert rows.total.tolist() == [10, 11, 12, 13, 14]
    assert rows.labels.tolist() == [[i, -1] for i in range(5)]
    kinds = [rows.indptr, rows.ids, rows.counts, rows.dataset, rows.total, rows.labels]
    assert [a.dtype.str for a in kinds] == ["<i8", "<i4", "<f4", "<i4", "<f4", "<i4"]


def test_no_cells_and_no_labels():
    rows = decode_batch([], 0)
    assert len(rows) == 0
    assert rows.indptr.tolist() == [0]
    assert rows.labels.shape == (0, 0)
    assert decode_batch([encode([], np.zeros(0), dataset=0, total=0)], 0).labels.shape == (1, 0)


def test_other_versions_and_lengths_are_refused():
    record = encode([1], np.array([1]), dataset=0, total=1, labels=[0])
    with pytest.raises(ValueError, match="version 9 found, this jaxcell reads version 2"):
        decode_batch([record, bytes([9]) + record[1:]], 1)
    with pytest.raises(ValueError, match="does not fit its header and 1 label columns"):
        decode_batch([record[:-1]], 1)
    with pytest.raises(ValueError, match="does not fit its header and 2 label columns"):
        decode_batch([record], 2)
    with pytest.raises(ValueError, match="unknown flags 7"):
        decode_batch([record[:1] + bytes([7]) + record[2:]], 1)


def test_a_batch_is_the_cells_one_by_one():
    """Against the format as its docstring gives it, written here with struct."""
    random = np.random.default_rng(0)
    tops = [3, 255, 256, 2**16 - 1, 2**32 - 256, 2**32]
    rows = [random.integers(1, 1 + min(t, 9), 5).astype(np.float64) for t in tops]
    for row, top in zip(rows, tops, strict=True):
        row[2] = top
    rows += [np.array([0.5, 2000.0]), np.array([]), np.array([7.0])]
    ids = [np.sort(random.choice(2000, len(row), replace=False)) for row in rows]
    labels = random.integers(-1, 9, (len(rows), 2)).astype(np.int32)
    total = random.random(len(rows)).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    found = encode_batch(
        indptr, np.concatenate(ids), np.concatenate(rows), np.arange(len(rows)), total, labels
    )
    kinds = [0, 0, 0, 0, 0, 1, 1, 0, 0]
    for i, (row, kind) in enumerate(zip(rows, kinds, strict=True)):
        n, gaps, counts = len(row), np.diff(ids[i], prepend=-1).tolist(), row.tolist()
        wanted = struct.pack("<BBIHf2i", 2, kind, n, i, total[i], *labels[i])
        wanted += bytes(g if g < 256 else 0 for g in gaps)
        if kind:
            wanted += struct.pack(f"<{n}f", *counts)
        else:
            wanted += bytes(int(x) if x < 256 else 0 for x in counts)
        wide = [g for g in gaps if g > 255] + [int(x) for x in counts if x > 255 and not kind]
        assert found[i] == wanted + struct.pack(f"<{len(wide)}I", *wide)
    rows_found = decode_batch(found, 2)
    np.testing.assert_array_equal(rows_found.ids, np.concatenate(ids))
    np.testing.assert_array_equal(rows_found.counts, np.concatenate(rows).astype(np.float32))
    assert encode_batch([0], np.empty(0, int), np.empty(0), [], [], np.empty((0, 2), int)) == []


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint32])
def test_genes_that_do_not_ascend_are_refused(kind):
    for ids in ([4, 4], [4, 2]):
        with pytest.raises(ValueError, match="do not ascend"):
            encode(np.array(ids, kind), np.array([1, 1]), dataset=0, total=2)


def test_wide_values_that_are_not_there_are_found():
    record = encode([1, 900], np.array([1, 300]), dataset=0, total=301)
    for other in (record[:-4], record + b"\0" * 4):
        with pytest.raises(ValueError, match="does not fit its header"):
            decode_batch([other], 0)


def test_a_count_above_zero_stays_so():
    rows = decode_batch([encode([1], np.array([1e-60]), dataset=0, total=1)], 0)
    assert rows.counts[0] > 0

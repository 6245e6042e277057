import struct

import numpy as np
import pytest

from jaxcell.data.records import VERSION, decode_batch, encode, encode_batch


def test_layout_is_the_documented_one():
    record = encode([3, 258], np.array([1.0, 70000.0]), dataset=7, total=2.5, labels=[-1])
    assert record == (
        bytes([VERSION, 1]) + (2).to_bytes(4, "little") + (7).to_bytes(2, "little")
        + np.float32(2.5).tobytes() + b"\xff" * 4
        + (1).to_bytes(4, "little") + (70000).to_bytes(4, "little") + bytes([3, 255, 0])
    )  # fmt: skip


@pytest.mark.parametrize("genes", [10, 254, 255, 256, 600, 60_000, 3_000_000])
def test_ids_come_back_however_far_apart_they_lie(genes):
    random = np.random.default_rng(genes)
    sets = [[], [0], [genes - 1], [0, genes - 1], np.arange(min(genes, 3000))]
    for n in (1, 2, 7, 300):
        sets += [np.sort(random.choice(genes, min(n, genes), replace=False)) for _ in range(5)]
    sets = [np.asarray(sets[i], np.int64) for i in random.permutation(len(sets))]
    counts = [random.integers(1, 300, len(ids)) for ids in sets]
    indptr = np.concatenate([[0], np.cumsum([len(ids) for ids in sets])])
    nothing = np.zeros(len(sets))
    records = encode_batch(
        indptr, np.concatenate(sets), np.concatenate(counts), nothing, nothing,
        np.full((len(sets), 1), -1, np.int32),
    )  # fmt: skip
    rows = decode_batch(records, 1)
    np.testing.assert_array_equal(rows.indptr, indptr)
    np.testing.assert_array_equal(rows.ids, np.concatenate(sets))
    np.testing.assert_array_equal(rows.counts, np.concatenate(counts))
    head = 12 + 4
    for record, ids, one in zip(records, sets, counts, strict=True):
        width = 1 if one.max(initial=0) < 256 else 2
        assert len(record) <= head + (width + 1) * len(ids) + genes // 255
        # A cell does not hang on those beside it.
        np.testing.assert_array_equal(decode_batch([record], 1).ids, ids)


def test_sums_of_gaps_beyond_32_bits_lose_nothing():
    cells = 1500
    ids = np.tile(np.array([5, 3_000_000]), cells)  # together 4.5 billion
    indptr, nothing = 2 * np.arange(cells + 1), np.zeros(cells)
    labels = np.empty((cells, 0), np.int32)
    records = encode_batch(indptr, ids, np.ones(2 * cells), nothing, nothing, labels)
    np.testing.assert_array_equal(decode_batch(records, 0).ids, ids)


def test_ids_that_do_not_ascend_are_refused():
    with pytest.raises(ValueError, match="a lower one behind a higher; expected ascending"):
        encode([4, 3], np.ones(2), dataset=0, total=0)


def test_round_trip_of_every_count_type():
    cells = [
        ([0, 5, 9], [1, 2, 65535], 0),  # u16
        ([3, 8], [255, 1], 3),  # u8
        ([6], [256], 0),
        ([2], [65536], 1),  # u32
        ([1, 2], [0.5, 3], 2),  # f32
        ([], [], 3),
        ([4], [1e10], 2),  # an integer beyond u32
    ]
    records = [
        encode(np.array(ids), np.array(c, np.float64), dataset=i, total=10 + i, labels=[i, -1])
        for i, (ids, c, _) in enumerate(cells)
    ]
    assert [r[1] for r in records] == [flag for _, _, flag in cells]
    rows = decode_batch(records, 2)
    assert rows.indptr.tolist() == [0, 3, 5, 6, 7, 9, 9, 10]
    assert rows.ids.tolist() == [0, 5, 9, 3, 8, 6, 2, 1, 2, 4]
    counts = np.array([1, 2, 65535, 255, 1, 256, 65536, 0.5, 3, 1e10], np.float32)
    np.testing.assert_array_equal(rows.counts, counts)
    assert rows.dataset.tolist() == list(range(7))
    assert rows.total.tolist() == list(range(10, 17))
    assert rows.labels.tolist() == [[i, -1] for i in range(7)]
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
    with pytest.raises(ValueError, match="unknown count type 7"):
        decode_batch([record[:1] + bytes([7]) + record[2:]], 1)
    with pytest.raises(ValueError, match="does not fit its header and 1 label columns"):
        decode_batch([record[:-1] + b"\xff"], 1)  # a gap without an end
    with pytest.raises(ValueError, match="does not fit its header and 1 label columns"):
        decode_batch([record + b"\x01"], 1)


def test_a_batch_is_the_cells_one_by_one():
    """Against the format as its docstring gives it, written here with struct."""
    random = np.random.default_rng(0)
    tops = [3, 2**16 - 1, 2**16, 2**32 - 256, 2**32]
    rows = [random.integers(1, 1 + min(t, 9), 5).astype(np.float64) for t in tops]
    for row, top in zip(rows, tops, strict=True):
        row[2] = top
    rows += [np.array([0.5, 2.0]), np.array([]), np.array([7.0])]
    ids = [np.sort(random.choice(900, len(row), replace=False)) for row in rows]
    labels = random.integers(-1, 9, (len(rows), 2)).astype(np.int32)
    total = random.random(len(rows)).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    found = encode_batch(
        indptr, np.concatenate(ids), np.concatenate(rows), np.arange(len(rows)), total, labels
    )
    kinds = [3, 0, 1, 1, 2, 2, 3, 3]
    for i, (row, kind) in enumerate(zip(rows, kinds, strict=True)):
        n = len(row)
        wanted = struct.pack("<BBIHf2i", VERSION, kind, n, i, total[i], *labels[i])
        letter = "HIfB"[kind]
        wanted += struct.pack(f"<{n}{letter}", *(row if kind == 2 else row.astype(int)))
        for gap in np.diff(ids[i], prepend=0).tolist():
            wanted += b"\xff" * (gap // 255) + bytes([gap % 255])
        assert found[i] == wanted
    assert encode_batch([0], np.empty(0, int), np.empty(0), [], [], np.empty((0, 2), int)) == []

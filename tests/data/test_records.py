import numpy as np
import pytest

from jaxcell.data.records import VERSION, decode_batch, encode


def test_layout_is_the_documented_one():
    record = encode([3, 258], np.array([1.0, 70000.0]), dataset=7, total=2.5, labels=[-1])
    assert record == (
        bytes([VERSION, 1]) + (2).to_bytes(4, "little") + (7).to_bytes(2, "little")
        + np.float32(2.5).tobytes() + b"\xff" * 4
        + bytes([3, 0, 0, 0, 2, 1, 0, 0]) + (1).to_bytes(4, "little")
        + (70000).to_bytes(4, "little")
    )  # fmt: skip


def test_round_trip_of_every_count_type():
    cells = [
        ([0, 5, 9], [1, 2, 65535], 0),  # u16
        ([2], [65536], 1),  # u32
        ([1, 2], [0.5, 3], 2),  # f32
        ([], [], 0),
        ([4], [1e10], 2),  # an integer beyond u32
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
        rows.counts, np.array([1, 2, 65535, 65536, 0.5, 3, 1e10], np.float32)
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
    with pytest.raises(ValueError, match="version 9 found, this jaxcell reads version 1"):
        decode_batch([record, bytes([9]) + record[1:]], 1)
    with pytest.raises(ValueError, match="does not fit its header and 1 label columns"):
        decode_batch([record[:-1]], 1)
    with pytest.raises(ValueError, match="does not fit its header and 2 label columns"):
        decode_batch([record], 2)
    with pytest.raises(ValueError, match="unknown count type 7"):
        decode_batch([record[:1] + bytes([7]) + record[2:]], 1)

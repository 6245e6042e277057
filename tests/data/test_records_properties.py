"""Whatever cells there are, their bytes give them back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from jaxcell.data.records import MAX_DATASETS, decode_batch, encode, encode_batch
from jaxcell.data.sources.sound import check_pointers
from tests.data.drawn import batches


@given(batches())
def test_what_is_encoded_is_decoded(batch):
    rows, n_labels = batch
    records = encode_batch(
        rows.indptr, rows.ids, rows.counts, rows.dataset, rows.total, rows.labels
    )
    found = decode_batch(records, n_labels)
    for name in ("indptr", "ids", "counts", "dataset", "total", "labels"):
        a, b = getattr(rows, name), getattr(found, name)
        np.testing.assert_array_equal(a, b, err_msg=name)
    # One at a time they are the same, and in any order.
    for i in range(len(rows)):
        one = rows.take(i, i + 1)
        facts = dict(dataset=one.dataset[0], total=one.total[0], labels=one.labels[0])
        assert encode(one.ids, one.counts, **facts) == records[i]
    back = decode_batch(records[::-1], n_labels)
    np.testing.assert_array_equal(back.total, rows.total[::-1])
    assert (
        not len(rows)
        or back.take(0, 1).ids.tolist() == rows.take(len(rows) - 1, len(rows)).ids.tolist()
    )


@given(batches(least=1), some.data())
def test_a_record_of_another_length_is_refused(batch, data):
    rows, n_labels = batch
    records = encode_batch(
        rows.indptr, rows.ids, rows.counts, rows.dataset, rows.total, rows.labels
    )
    i = data.draw(some.integers(0, len(records) - 1))
    cut = data.draw(some.integers(12, max(12, len(records[i]) - 1)))
    longer = data.draw(some.booleans()) or cut >= len(records[i])
    records[i] = records[i] + b"\0" if longer else records[i][:cut]
    with pytest.raises(ValueError, match="does not fit its header"):
        decode_batch(records, n_labels)


@given(arrays.arrays(np.int64, some.integers(1, 8), elements=some.integers(-3, 9)))
def test_pointers_are_sound_or_refused(pointers):
    """Only those that start at 0, never fall and end at the number of values are taken."""
    values = np.zeros(6, np.float32)
    sound = pointers[0] == 0 and pointers[-1] == 6 and (np.diff(pointers) >= 0).all()
    if sound:
        check_pointers(pointers, len(pointers) - 1, values, values, "X")
    else:
        with pytest.raises(ValueError, match="X"):
            check_pointers(pointers, len(pointers) - 1, values, values, "X")


def test_datasets_beyond_two_bytes_do_not_become_others():
    with pytest.raises(ValueError, match="dataset 65536 found; a record takes 0 to 65535"):
        encode([1], [1], dataset=MAX_DATASETS, total=1.0)

"""One cell ↔ bytes. B = cells of a batch, L = label columns, n = genes of a cell with counts > 0.

A record is little endian and packed: version u8, flags u8, n u32, dataset u16, total f32,
labels i32 [L], counts u16 | u32 | f32 | u8 [n], gaps u8; flags say which type the counts have.

Gaps are the ids: how far each lies from the one before it in the cell, the first from 0. A byte of
255 goes on in the next one, so that a gap of 600 is 255, 255, 90. So a cell takes about two bytes
a gene and is not compressed: of 2 000 genes 4.2 kB, where u32 ids and u16 counts took 6.1 behind
zstd, and reading it 4 µs instead of 19.
"""

from dataclasses import dataclass

import numpy as np

VERSION = 2
# A record's flags index these.
COUNT_TYPES = (np.dtype("<u2"), np.dtype("<u4"), np.dtype("<f4"), np.dtype("u1"))
MORE = 255  # of a gap's byte: the next one belongs to the same gap
MAX_DATASETS = 2**16

_HEADER = np.dtype(
    [("version", "u1"), ("flags", "u1"), ("n", "<u4"), ("dataset", "<u2"), ("total", "<f4")]
)


@dataclass
class Rows:
    """Decoded cells in CSR form; nnz = non-zero counts of all B cells together.

    Attributes
    ----------
    indptr : i64 [B + 1]
        Cell b owns ids and counts from indptr[b] to indptr[b + 1].
    ids : i32 [nnz]
        Gene indices, ascending within a cell.
    counts : f32 [nnz]
        Counts, above zero.
    dataset : i32 [B]
        Dataset code.
    total : f32 [B]
        Sum of the counts over all genes of the source, before any filter.
    labels : i32 [B, L]
        Class indices; -1 is unknown.
    """

    indptr: np.ndarray
    ids: np.ndarray
    counts: np.ndarray
    dataset: np.ndarray
    total: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.dataset)

    def take(self, start, stop):
        """Cells [start, stop) of these."""
        first, last = self.indptr[start], self.indptr[stop]
        return Rows(
            self.indptr[start : stop + 1] - first,
            self.ids[first:last],
            self.counts[first:last],
            *(x[start:stop] for x in (self.dataset, self.total, self.labels)),
        )


def encode(ids, counts, *, dataset, total, labels=()):
    """Bytes of one cell.

    Parameters
    ----------
    ids : integers [n]
        Gene indices, ascending.
    counts : numbers [n]
        Counts, above zero. Integers are stored in 1, 2 or 4 bytes, anything else as float32.
    dataset : int
        Dataset code, below 65 536.
    total : float
        Sum over all genes of the source, before any filter.
    labels : integers [L]
        Class indices; -1 is unknown.
    """
    one = np.asarray(labels, np.int32).reshape(1, -1)
    ids, counts = np.asarray(ids), np.asarray(counts)
    return encode_batch([0, len(ids)], ids, counts, np.array([dataset]), np.array([total]), one)[0]


def encode_batch(indptr, ids, counts, dataset, total, labels):
    """Bytes of each of some cells; nothing here is done gene by gene.

    Parameters
    ----------
    indptr : integers [B + 1]
        Cell b owns ids and counts from indptr[b] to indptr[b + 1].
    ids, counts : [nnz]
        As in `encode`, cell after cell.
    dataset, total : [B]
    labels : i32 [B, L]

    Returns
    -------
    list of bytes, [B]
    """
    indptr = np.asarray(indptr, np.int64)
    kind = _count_types(indptr, counts)
    heads = np.empty(len(dataset), _HEADER)
    heads["version"], heads["flags"], heads["n"] = VERSION, kind, np.diff(indptr)
    heads["dataset"], heads["total"] = dataset, total
    size = _HEADER.itemsize + 4 * labels.shape[1]
    labels = np.ascontiguousarray(labels, "<i4").tobytes()
    labels = np.frombuffer(labels, np.uint8).reshape(len(heads), size - _HEADER.itemsize)
    heads = np.frombuffer(heads.tobytes(), np.uint8).reshape(len(heads), _HEADER.itemsize)
    front = memoryview(np.concatenate([heads, labels], axis=1).tobytes())
    gaps, ends = _gaps(indptr, np.asarray(ids))
    types, of_value, packed = np.unique(kind).tolist(), np.repeat(kind, np.diff(indptr)), {}
    for k in types:
        # Where cells differ in type, each type is cast from its own cells' values alone.
        own = counts if len(types) == 1 else np.where(of_value == k, counts, 0)
        packed[k] = _bytes(own, COUNT_TYPES[k])
    bounds, ends, widths = indptr.tolist(), ends.tolist(), [t.itemsize for t in COUNT_TYPES]
    return [
        b"".join(
            (
                front[i * size : (i + 1) * size],
                packed[k][widths[k] * bounds[i] : widths[k] * bounds[i + 1]],
                gaps[ends[i] : ends[i + 1]],
            )
        )
        for i, k in enumerate(kind.tolist())
    ]


def _bytes(values, dtype):
    return memoryview(np.ascontiguousarray(values, dtype)).cast("B")


def _gaps(indptr, ids):
    """The bytes of all cells' gaps, and the bounds of each cell's among them, i64 [B + 1]."""
    first = indptr[:-1][np.diff(indptr) > 0]
    gaps = np.diff(ids.astype(np.int64, copy=False), prepend=0)
    gaps[first] = ids[first]
    if gaps.min(initial=0) < 0:
        raise ValueError("a cell's gene ids: found a lower one behind a higher; expected ascending")
    if gaps.max(initial=0) < MORE:
        return _bytes(gaps, np.uint8), indptr
    more, rest = np.divmod(gaps, MORE)
    ends = np.cumsum(more + 1)
    packed = np.full(ends[-1], MORE, np.uint8)
    packed[ends - 1] = rest
    return _bytes(packed, np.uint8), np.concatenate([[0], ends])[indptr]


def _count_types(indptr, counts):
    """Index into COUNT_TYPES of each cell's counts, u8 [B]."""
    kind = np.full(len(indptr) - 1, COUNT_TYPES.index(np.uint8), np.uint8)
    filled = np.flatnonzero(np.diff(indptr))  # reduceat has no empty runs
    if not len(filled):
        return kind
    top = np.maximum.reduceat(counts, indptr[filled])
    whole = np.ones(len(top), bool)
    if counts.dtype.kind == "f" and not (same := counts == np.rint(counts)).all():
        whole = np.logical_and.reduceat(same, indptr[filled])
    found = np.full(len(top), COUNT_TYPES.index(np.uint8), np.uint8)
    for least, wider in ((2**8, np.uint16), (2**16, np.uint32), (2**32, np.float32)):
        found[top >= least] = COUNT_TYPES.index(wider)
    found[~whole] = COUNT_TYPES.index(np.float32)
    kind[filled] = found
    return kind


def decode_batch(records, n_labels):
    """Cells of a list of records, in its order.

    Parameters
    ----------
    records : list of bytes, [B]
    n_labels : int
        Number of label columns L; a record does not carry it, the store does.

    Returns
    -------
    Rows

    Raises
    ------
    ValueError
        A record has another version, or its length does not fit its header.
    """
    size = len(records)
    heads = np.frombuffer(b"".join(r[: _HEADER.itemsize] for r in records), _HEADER, size)
    wrong = heads["version"][heads["version"] != VERSION]
    if len(wrong):
        raise ValueError(
            f"record version {wrong[0]} found, this jaxcell reads version {VERSION}: "
            "prepare the store again with this version"
        )
    if heads["flags"].max(initial=0) >= len(COUNT_TYPES):
        raise ValueError(f"a record has the unknown count type {heads['flags'].max()}")
    n = heads["n"].astype(np.int64)
    start = _HEADER.itemsize + 4 * n_labels
    widths = np.array([t.itemsize for t in COUNT_TYPES])[heads["flags"]]
    gaps = np.fromiter(map(len, records), np.int64, size) - start - widths * n  # bytes of them
    wrong = ValueError(f"a record's length does not fit its header and {n_labels} label columns")
    if (gaps < n).any():
        raise wrong
    packed, counts = [np.empty(0, np.uint8)], [np.empty(0, "<u2")]
    each = zip(records, n.tolist(), widths.tolist(), heads["flags"].tolist(), strict=True)
    for record, k, width, flag in each:
        counts.append(np.frombuffer(record, COUNT_TYPES[flag], k, start))
        packed.append(np.frombuffer(record, np.uint8, -1, start + width * k))
    ids, found = _ids(np.concatenate(packed), np.concatenate([[0], np.cumsum(gaps)]))
    if (found != n).any():
        raise wrong
    labels = b"".join(r[_HEADER.itemsize : start] for r in records)
    return Rows(
        indptr=np.concatenate([[0], np.cumsum(n)]),
        ids=ids,
        counts=np.concatenate(counts, dtype=np.float32, casting="unsafe"),
        dataset=heads["dataset"].astype(np.int32),
        total=heads["total"].astype(np.float32),
        labels=np.frombuffer(labels, "<i4").reshape(size, n_labels).astype(np.int32),
    )


def _ids(packed, bounds):
    """Ids i32 [nnz] of the bytes of all cells' gaps, bounded by [B + 1], and each cell's number."""
    sums = np.zeros(len(packed) + 1, np.int32)
    np.cumsum(packed, dtype=np.int32, out=sums[1:])  # beyond 2³¹ it wraps, and back below
    ids, number = sums[1:], np.diff(bounds)
    last = packed != MORE
    if not last.all():
        number = np.diff(np.concatenate([[0], np.cumsum(last)])[bounds])
        ids = ids[last]
    return ids - np.repeat(sums[bounds[:-1]], number), number

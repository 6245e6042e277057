"""One cell ↔ bytes. B = cells of a batch, L = label columns, n = genes of a cell with counts > 0.

A record is little endian and packed: version u8, flags u8, n u32, dataset u16, total f32,
labels i32 [L], ids u32 [n], counts u16 | u32 | f32 [n]; flags say which type the counts have.
"""

from dataclasses import dataclass

import numpy as np

VERSION = 1
COUNT_TYPES = (np.dtype("<u2"), np.dtype("<u4"), np.dtype("<f4"))  # a record's flags index these
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
        Counts, above zero. Integers are stored in 2 or 4 bytes, anything else as float32.
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
    if np.max(dataset, initial=0) >= MAX_DATASETS:
        raise ValueError(f"dataset {np.max(dataset)} found; a record takes 0 to {MAX_DATASETS - 1}")
    kind = _count_types(indptr, counts)
    heads = np.empty(len(dataset), _HEADER)
    heads["version"], heads["flags"], heads["n"] = VERSION, kind, np.diff(indptr)
    heads["dataset"], heads["total"] = dataset, total
    size = _HEADER.itemsize + 4 * labels.shape[1]
    labels = np.ascontiguousarray(labels, "<i4").tobytes()
    labels = np.frombuffer(labels, np.uint8).reshape(len(heads), size - _HEADER.itemsize)
    heads = np.frombuffer(heads.tobytes(), np.uint8).reshape(len(heads), _HEADER.itemsize)
    front = memoryview(np.concatenate([heads, labels], axis=1).tobytes())
    ids = _bytes(ids, "<u4")
    of_value = np.repeat(kind, np.diff(indptr)) if kind.any() else None
    packed = {}
    for k in np.unique(kind).tolist():
        # Where cells differ in type, each type is cast from its own cells' values alone.
        own = counts if of_value is None else np.where(of_value == k, counts, 0)
        packed[k] = _bytes(own, COUNT_TYPES[k])
    bounds, widths = indptr.tolist(), [t.itemsize for t in COUNT_TYPES]
    return [
        b"".join(
            (
                front[i * size : (i + 1) * size],
                ids[4 * a : 4 * b],
                packed[k][widths[k] * a : widths[k] * b],
            )
        )
        for i, (a, b, k) in enumerate(zip(bounds[:-1], bounds[1:], kind.tolist(), strict=True))
    ]


def _bytes(values, dtype):
    return memoryview(np.ascontiguousarray(values, dtype)).cast("B")


def _count_types(indptr, counts):
    """Index into COUNT_TYPES of each cell's counts, u8 [B]."""
    whole = counts == np.rint(counts) if counts.dtype.kind == "f" else np.True_
    kind = np.zeros(len(indptr) - 1, np.uint8)
    if counts.max(initial=0) < 2**16 and np.all(whole):
        return kind
    filled = np.flatnonzero(np.diff(indptr))  # reduceat has no empty runs
    top = np.maximum.reduceat(counts, indptr[filled])
    whole = np.logical_and.reduceat(np.broadcast_to(whole, counts.shape), indptr[filled])
    kind[filled] = np.where((top >= 2**32) | ~whole, 2, top >= 2**16)
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
    if (start + (4 + widths) * n != np.fromiter(map(len, records), np.int64, size)).any():
        raise ValueError(f"a record's length does not fit its header and {n_labels} label columns")

    ids, counts = [np.empty(0, "<u4")], [np.empty(0, "<u2")]
    for record, k, flag in zip(records, n.tolist(), heads["flags"].tolist(), strict=True):
        ids.append(np.frombuffer(record, "<u4", k, start))
        counts.append(np.frombuffer(record, COUNT_TYPES[flag], k, start + 4 * k))
    labels = b"".join(r[_HEADER.itemsize : start] for r in records)
    return Rows(
        indptr=np.concatenate([[0], np.cumsum(n)]),
        ids=np.concatenate(ids, dtype=np.int32, casting="unsafe"),
        counts=np.concatenate(counts, dtype=np.float32, casting="unsafe"),
        dataset=heads["dataset"].astype(np.int32),
        total=heads["total"].astype(np.float32),
        labels=np.frombuffer(labels, "<i4").reshape(size, n_labels).astype(np.int32),
    )

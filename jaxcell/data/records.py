"""One cell ↔ bytes. B = cells of a batch, L = label columns, n = genes of a cell with counts > 0.

A record is little endian and packed: version u8, flags u8, n u32, dataset u16, total f32,
labels i32 [L], gaps u8 [n], counts u8 [n] (f32 [n] where flags is 1), wide gaps u32, wide counts
u32. A gap is how far a gene's index lies above that of the gene before (of the first: above -1); a
gap or count that a byte does not hold is 0 there, and stands among the wide ones.

Most gaps and counts are small: a cell takes a third of the bytes of u32 indices and u16 counts, so
that it need not be compressed.
"""

from dataclasses import dataclass

import numpy as np

VERSION = 2
FRACTIONS = 1  # flags of a cell whose counts are float32
MAX_DATASETS = 2**16

WRONG_LENGTH = "a record's length does not fit its header and {} label columns"

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
        Gene indices, ascending; none twice.
    counts : numbers [n]
        Counts, above zero. Integers below 2^32 are kept as they are, anything else as float32.
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

    Raises
    ------
    ValueError
        A cell's ids do not ascend, or its dataset is beyond MAX_DATASETS.
    """
    indptr, counts = np.asarray(indptr, np.int64), np.asarray(counts)
    if np.max(dataset, initial=0) >= MAX_DATASETS:
        raise ValueError(f"dataset {np.max(dataset)} found; a record takes 0 to {MAX_DATASETS - 1}")
    fractions = _fractions(indptr, counts)
    front = _front(indptr, fractions, dataset, total, labels)
    size = len(front) // max(1, len(dataset))
    gaps, wide_gaps, g = _narrow(_gaps(indptr, np.asarray(ids)), indptr)
    whole, wide_counts, c = _narrow(counts, indptr, fractions)
    # A count is above zero, in float32 too.
    real = _bytes(np.maximum(counts, np.finfo("<f4").tiny), "<f4") if fractions.any() else None
    bounds, records = indptr.tolist(), []
    for i, (a, b, fraction) in enumerate(
        zip(bounds[:-1], bounds[1:], fractions.tolist(), strict=True)
    ):
        of_cell = [front[i * size : (i + 1) * size], gaps[a:b]]
        of_cell.append(real[4 * a : 4 * b] if fraction else whole[a:b])
        if g[i] < g[i + 1]:
            of_cell.append(wide_gaps[4 * g[i] : 4 * g[i + 1]])
        if c[i] < c[i + 1]:
            of_cell.append(wide_counts[4 * c[i] : 4 * c[i + 1]])
        records.append(b"".join(of_cell))
    return records


def _front(indptr, fractions, dataset, total, labels):
    """Headers and labels of the cells, as bytes."""
    heads = np.empty(len(dataset), _HEADER)
    heads["version"], heads["flags"] = VERSION, np.where(fractions, FRACTIONS, 0)
    heads["n"], heads["dataset"], heads["total"] = np.diff(indptr), dataset, total
    width = 4 * labels.shape[1]
    labels = np.ascontiguousarray(labels, "<i4").tobytes()
    labels = np.frombuffer(labels, np.uint8).reshape(len(heads), width)
    heads = np.frombuffer(heads.tobytes(), np.uint8).reshape(len(heads), _HEADER.itemsize)
    return memoryview(np.concatenate([heads, labels], axis=1).tobytes())


def _gaps(indptr, ids):
    """How far each id lies above the one before in its cell, [nnz]."""
    if ids.dtype.kind == "u":  # whose differences never fall below 0
        ids = ids.astype(np.int64)
    gaps = np.diff(ids, prepend=ids.dtype.type(-1))
    first = indptr[:-1][np.diff(indptr) > 0]
    gaps[first] = ids[first] + 1
    if gaps.min(initial=1) < 1:
        raise ValueError("the genes of a cell do not ascend, or one is there twice")
    return gaps


def _narrow(values, indptr, apart=None):
    """(u8 [nnz] with 0 for what does not fit, those u32, where each cell's begin [B + 1])."""
    places = np.flatnonzero(values > 255)
    if apart is not None and apart.any():  # cells whose bytes nobody reads
        cell = np.searchsorted(indptr, places, side="right") - 1
        values = np.where(np.repeat(apart, np.diff(indptr)), 0, values)
        places = places[~apart[cell]]
    if not len(places):
        return _bytes(values, "u1"), _bytes(places, "<u4"), [0] * len(indptr)
    wide, values = values[places], values.copy()
    values[places] = 0
    return _bytes(values, "u1"), _bytes(wide, "<u4"), np.searchsorted(places, indptr).tolist()


def _bytes(values, dtype):
    return memoryview(np.ascontiguousarray(values, dtype)).cast("B")


def _fractions(indptr, counts):
    """Whether a cell has a count that is no integer, or 2^32 or more; bool [B]."""
    found = np.zeros(len(indptr) - 1, bool)
    odd = counts >= 2**32
    if counts.dtype.kind == "f":
        odd |= counts != np.rint(counts)
    if odd.any():
        found[np.searchsorted(indptr, np.flatnonzero(odd), side="right") - 1] = True
    return found


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
    if heads["flags"].max(initial=0) > FRACTIONS:
        raise ValueError(f"a record has the unknown flags {heads['flags'].max()}")
    n = heads["n"].astype(np.int64)
    start = _HEADER.itemsize + 4 * n_labels
    gaps, counts, wide = [np.empty(0, "u1")], [np.empty(0, "u1")], []
    for record, k, flag in zip(records, n.tolist(), heads["flags"].tolist(), strict=True):
        end = start + (5 if flag else 2) * k
        if len(record) < end or (len(record) - end) % 4:
            raise ValueError(WRONG_LENGTH.format(n_labels))
        gaps.append(np.frombuffer(record, "u1", k, start))
        counts.append(np.frombuffer(record, "<f4" if flag else "u1", k, start + k))
        wide.append(record[end:])
    indptr = np.concatenate([[0], np.cumsum(n)])
    gaps = np.concatenate(gaps, dtype=np.int32)
    counts = np.concatenate(counts, dtype=np.float32)
    if not _widened(indptr, gaps, counts, wide):
        raise ValueError(WRONG_LENGTH.format(n_labels))
    labels = b"".join(r[_HEADER.itemsize : start] for r in records)
    return Rows(
        indptr=indptr,
        ids=_ids(indptr, gaps),
        counts=counts,
        dataset=heads["dataset"].astype(np.int32),
        total=heads["total"].astype(np.float32),
        labels=np.frombuffer(labels, "<i4").reshape(size, n_labels).astype(np.int32),
    )


def _widened(indptr, gaps, counts, wide):
    """Put the wide values, bytes of each cell, where gaps and counts are 0; are there as many?"""
    of_gap, of_count = np.flatnonzero(gaps == 0), np.flatnonzero(counts == 0)
    g, c = (np.diff(np.searchsorted(places, indptr)) for places in (of_gap, of_count))
    if (4 * (g + c) != np.fromiter(map(len, wide), np.int64, len(wide))).any():
        return False
    values = np.frombuffer(b"".join(wide), "<u4")
    of_gaps = np.repeat(np.tile([True, False], len(wide)), np.stack([g, c], axis=1).ravel())
    gaps[of_gap], counts[of_count] = values[of_gaps], values[~of_gaps]
    return True


def _ids(indptr, gaps):
    """Gene indices i32 [nnz] of gaps, which are lost."""
    first = indptr[:-1][np.diff(indptr) > 0]  # reduceat has no empty runs
    if len(first):
        above = np.add.reduceat(gaps, first)  # the last index of each cell, plus 1
        gaps[first[1:]] -= above[:-1]
        gaps[0] -= 1
    return np.cumsum(gaps, dtype=np.int32, out=gaps)

"""Sources and what was decided over their cells and genes → the files of a store.

V = genes of the vocabulary, L = label columns.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from jaxcell.data.matching import project
from jaxcell.data.records import encode
from jaxcell.data.splits import TRAIN
from jaxcell.data.store import SCHEMA_VERSION, SPLITS, file_facts

CELLS_PER_SHARD = 2**18
STATISTICS = ("nonzero", "sum", "sum_sq", "share", "share_source")


@dataclass
class Part:
    """What of a source goes into the store.

    source : opened source
    columns : i32 [n_var], gene index of each column, -1 = left out
    measured : bool [datasets of the source, V]
    dataset : i32 [cells], which of these datasets a cell is in
    split : i8 [cells], TRAIN, VALID or DROPPED
    total : f32 [cells], over all genes of the source
    labels : i32 [cells, L]
    facts : list of dict, the entries of its datasets in datasets.json
    """

    source: object
    columns: np.ndarray
    measured: np.ndarray
    dataset: np.ndarray
    split: np.ndarray
    total: np.ndarray
    labels: np.ndarray
    facts: list


def write_store(folder, vocabulary, labels, parts, *, shards=None, options=None, advance=None):
    """Write the files of a store into an existing, empty folder; store.json last.

    Parameters
    ----------
    folder : path
    vocabulary : Vocabulary, V genes
    labels : dict
        {obs column: [classes]}, L columns.
    parts : list of Part
        One per source.
    shards : int, optional
        Record files of each split; by default one for each 262 144 cells.
    options : dict
        How `prepare` was called, for store.json.
    advance : callable
        Called with the number of cells done.
    """
    folder = Path(folder)
    sets = {}  # measured genes, as bytes → gene set
    datasets = [facts for part in parts for facts in part.facts]
    for facts, genes in zip(datasets, (m for p in parts for m in p.measured), strict=True):
        facts["gene_set"] = sets.setdefault(genes.tobytes(), len(sets))
    measured = np.stack([np.frombuffer(key, bool) for key in sets])
    vocabulary.save(folder / "vocabulary.json")
    _save_json(folder / "labels.json", labels)
    np.save(folder / "measured.npy", np.packbits(measured, axis=1))

    sizes = [sum(int((p.split == s).sum()) for p in parts) for s in range(len(SPLITS))]
    writers = [
        _Split(folder, name, size, len(labels), shards)
        for name, size in zip(SPLITS, sizes, strict=True)
    ]
    statistics = _Statistics(len(datasets), len(vocabulary))
    first = 0  # dataset of the source
    for part in parts:
        _write_part(first, part, writers, statistics, len(vocabulary), advance)
        first += len(part.facts)
    for writer in writers:
        writer.close()
    np.savez(folder / "gene_stats.npz", **statistics.arrays)
    _save_json(folder / "datasets.json", datasets)

    content = hashlib.sha256(vocabulary.sha256.encode())
    content.update(json.dumps(labels).encode())
    content.update(np.array([facts["gene_set"] for facts in datasets], "<u4").tobytes())
    content.update(measured.tobytes())
    for writer in writers:
        content.update(writer.digest.digest())
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    summary = {
        "schema_version": SCHEMA_VERSION,
        "sizes": dict(zip(SPLITS, sizes, strict=True)),
        "max_nonzero": max(writer.max_nonzero for writer in writers),
        "content_hash": content.hexdigest(),
        "options": options or {},
        "files": {p.relative_to(folder).as_posix(): file_facts(p) for p in files},
    }
    _save_json(folder / "store.json.partial", summary)
    os.replace(folder / "store.json.partial", folder / "store.json")


def _write_part(first, part, writers, statistics, n_genes, advance):
    start = 0
    for chunk in part.source.chunks():
        rows = np.arange(start, start + chunk.shape[0])
        start += chunk.shape[0]
        kept = part.split[rows] >= 0
        cells = project(chunk if kept.all() else chunk[kept], part.columns, n_genes)
        rows = rows[kept]
        split, dataset = part.split[rows], first + part.dataset[rows]
        for s, writer in enumerate(writers):
            mine = np.flatnonzero(split == s)
            writer.write(
                cells[mine], dataset[mine], part.total[rows[mine]], part.labels[rows[mine]]
            )
        for one in np.unique(dataset[split == TRAIN]):
            mine = np.flatnonzero((split == TRAIN) & (dataset == one))
            statistics.add(one, cells[mine], part.total[rows[mine]])
        if advance:
            advance(chunk.shape[0])


class _Split:
    """The record files and the index of a split."""

    def __init__(self, folder, name, size, n_labels, shards):
        self._folder, self._name, self._size = folder, name, size
        self._shards = min(shards or -(-size // CELLS_PER_SHARD), size)
        self._records, self._done = None, 0
        self.max_nonzero, self.digest = 0, hashlib.sha256()
        index = folder / "index" / name
        index.mkdir(parents=True)
        kinds = {"dataset": "<i4", "total": "<f4", "n_genes": "<i4", "labels": "<i4"}
        shapes = {column: (size, n_labels) if column == "labels" else (size,) for column in kinds}
        self._index = {}
        for column, kind in kinds.items():
            path = index / f"{column}.npy"
            if 0 in shapes[column]:  # nothing to map
                np.save(path, np.empty(shapes[column], kind))
            else:
                self._index[column] = np.lib.format.open_memmap(path, "w+", kind, shapes[column])

    def write(self, cells, dataset, total, labels):
        """Append cells (canonical CSR [n, V]); dataset, total [n] and labels i32 [n, L] of each."""
        n_genes = np.diff(cells.indptr)
        rows = slice(self._done, self._done + len(total))
        columns = {"dataset": dataset, "total": total, "n_genes": n_genes, "labels": labels}
        for column, array in self._index.items():
            array[rows] = columns[column]
        self.max_nonzero = max(self.max_nonzero, int(n_genes.max(initial=0)))
        for i, (a, b) in enumerate(zip(cells.indptr[:-1], cells.indptr[1:], strict=True)):
            record = encode(
                cells.indices[a:b],
                cells.data[a:b],
                dataset=dataset[i],
                total=total[i],
                labels=labels[i],
            )
            self.digest.update(record)
            self._file().write(record)
            self._done += 1

    def _file(self):
        """The file that the next record belongs to; shards differ by one record at most."""
        shard = self._done * self._shards // self._size
        if self._records is None or shard != self._shard:
            self._close_file()
            path = self._folder / f"{self._name}-{shard:05}-of-{self._shards:05}.array_record"
            # group_size 1: any single cell can be read without its neighbours.
            self._records, self._shard = ArrayRecordWriter(str(path), "group_size:1,zstd"), shard
        return self._records

    def _close_file(self):
        if self._records is not None:
            self._records.close()
            self._records = None

    def close(self):
        """Finish the files."""
        self._close_file()
        for array in self._index.values():
            array.flush()


class _Statistics:
    """Per dataset and gene, over training cells; `Store.stats` says what each array is."""

    def __init__(self, datasets, n_genes):
        self._n_genes = n_genes
        self.arrays = {name: np.zeros((datasets, n_genes)) for name in STATISTICS}
        self.arrays["nonzero"] = self.arrays["nonzero"].astype(np.int64)
        self.arrays["cells"] = np.zeros(datasets, np.int64)

    def add(self, dataset, cells, total):
        """Add cells (CSR [n, V]) with total f32 [n]."""
        counts, n_genes = cells.data.astype(np.float64), np.diff(cells.indptr)
        measured_total = np.asarray(cells.sum(axis=1, dtype=np.float64)).ravel()
        values = {
            "nonzero": None,
            "sum": counts,
            "sum_sq": counts**2,
            "share": counts / np.repeat(measured_total, n_genes),
            "share_source": counts / np.repeat(total.astype(np.float64), n_genes),
        }
        for name, weights in values.items():
            added = np.bincount(cells.indices, weights, minlength=self._n_genes)
            self.arrays[name][dataset] += added
        self.arrays["cells"][dataset] += cells.shape[0]


def _save_json(path, content):
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")

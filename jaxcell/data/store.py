"""A prepared store: what lies in it, and batched reads. V = genes, L = label columns."""

import functools
import hashlib
import json
from pathlib import Path

import numpy as np

from jaxcell.data.memory import keep_freed
from jaxcell.data.record_files import RecordFiles
from jaxcell.data.records import decode_batch
from jaxcell.data.remote import Remote, is_url, summary_of
from jaxcell.data.store_table import table
from jaxcell.data.vocabulary import Vocabulary

SCHEMA_VERSION = 2
SPLITS = ("train", "valid")
INDEX_COLUMNS = ("dataset", "labels", "total", "n_genes")
PANEL_MULTIPLE = 256
VALUES = ("counts", "log1p")  # what a store holds: raw counts, or values that are normalised


class Store:
    """A folder written by `jaxcell prepare`; see `Store.open`.

    It can be pickled: a worker process opens the files anew.

    Attributes
    ----------
    path : Path; of a store that lies elsewhere its URL
    vocabulary : Vocabulary
    labels : dict
        {obs column: [classes]}, in the order of the columns of `Rows.labels`.
    datasets : list of dict
        Source, cells, genes, checks and gene set of each dataset code.
    names : list of str
        Of each dataset: its file, with 'column=value' behind it where `prepare` divided the file by
        --measured-by.
    gene_set : i32 [datasets]
        Row of `measured` of each dataset.
    sizes : dict
        {'train': cells, 'valid': cells}.
    max_nonzero : int
        Most genes with counts > 0 in a cell.
    panel_width : int
        max_nonzero rounded up to a multiple of 256.
    content_hash : str
        Hash of genes, labels and records, whatever the number of files they are spread over.
    """

    def __init__(self, path, summary, remote=None):
        self.path, self._remote = remote.url if remote else Path(path), remote
        self._files = dict(sorted(summary["files"].items()))
        self._cells = summary.get("records", {})  # of each record file; old stores do not say
        self._hvg = {k: v for k, v in summary["options"].items() if k.startswith("hvg")}
        self.sizes = {split: summary["sizes"][split] for split in SPLITS}
        self.max_nonzero = summary["max_nonzero"]
        self.panel_width = panel_width(self.max_nonzero)
        self.content_hash = summary["content_hash"]
        self.vocabulary = Vocabulary.load(self._file("vocabulary.json"))
        self.labels = json.loads(self._file("labels.json").read_text(encoding="utf-8"))
        self.datasets = json.loads(self._file("datasets.json").read_text(encoding="utf-8"))
        self.names = [
            dataset_name(d["source"], d.get("measured_by"), d.get("value")) for d in self.datasets
        ]
        self.gene_set = np.array([d["gene_set"] for d in self.datasets], np.int32)
        self._records = {}

    @classmethod
    def open(cls, path):
        """Open a store: a folder, or the URL of one (gs://, s3://; see `jaxcell.data.remote`).

        Raises
        ------
        ImportError
            A URL, and what reads it is not installed.
        FileNotFoundError
            No store there, or an interrupted `prepare`; or one of its files is gone.
        ValueError
            Another schema version, a store.json that is none, or a file whose size has changed.
        """
        if is_url(path):
            remote = Remote(path)
            _check_schema(remote.url, remote.summary)
            return cls(remote.url, remote.summary, remote)
        path = Path(path)
        if not (path / "store.json").is_file():
            what = "is not a store or was left by an interrupted prepare (it has no store.json)"
            raise FileNotFoundError(
                f"{path} {what if path.exists() else 'does not exist'}; make a store with: "
                f"jaxcell prepare {path} FILE.h5ad"
            )
        summary = summary_of((path / "store.json").read_bytes(), path / "store.json")
        _check_schema(path, summary)
        for name, facts in summary["files"].items():
            if not (path / name).is_file():
                raise FileNotFoundError(
                    f"{path} is not complete: {name} is missing; copy the store again, or prepare "
                    "it anew"
                )
            size = (path / name).stat().st_size
            if size != facts["bytes"]:
                raise ValueError(
                    f"{path / name} is damaged: {size} bytes, {facts['bytes']} were written; "
                    "copy the store again"
                )
        return cls(path, summary)

    def __reduce__(self):
        return Store.open, (self.path,)

    def __repr__(self):
        sizes = ", ".join(f"{n} {split}" for split, n in self.sizes.items())
        return f"Store({str(self.path)!r}: {sizes} cells × {len(self.vocabulary)} genes)"

    @functools.cached_property
    def measured(self):
        """Genes that each gene set measured, bool [gene sets, V]."""
        packed = np.load(self._file("measured.npy"))
        return np.unpackbits(packed, axis=1, count=len(self.vocabulary)).astype(bool)

    @functools.cached_property
    def stats(self):
        """Per-dataset statistics of the training cells, dict of arrays.

        ``cells [datasets]``, and [datasets, V]: ``nonzero`` (cells with the gene > 0), ``sum`` and
        ``sum_sq`` of the counts, ``share`` = Σ over cells of count / the cell's total over measured
        genes, ``share_source`` = Σ of count / the record's total (over all genes of the source).
        """
        with np.load(self._file("gene_stats.npz")) as arrays:
            return dict(arrays)

    def index(self, split, column):
        """A column of a split in record order, memory-mapped [cells] (labels: [cells, L]).

        Columns: dataset i32, labels i32, total f32, n_genes i32 (measured genes > 0).
        """
        self._check_index(split, column)
        path = self._file(f"index/{split}/{column}.npy")
        return np.load(path, mmap_mode="r" if self.sizes[split] else None)

    @staticmethod
    def _check_index(split, column):
        if split not in SPLITS or column not in INDEX_COLUMNS:
            raise ValueError(
                f"no index {split}/{column}; splits: {', '.join(SPLITS)}; "
                f"columns: {', '.join(INDEX_COLUMNS)}"
            )

    def records(self, split, positions):
        """Bytes of the cells at some positions of a split, in that order; one batched read."""
        if split not in self._records:  # opened at the first read, in the process that reads
            sizes = {f: self._cells.get(f) for f in self._files if f.startswith(f"{split}-")}
            if not sizes:
                raise ValueError(f"{self.path} has no {split} cells")
            keep_freed()
            at_once = self._remote.at_once if self._remote else 1
            self._records[split] = RecordFiles(self._record_file, sizes, at_once)
        return self._records[split].read(positions)

    def _file(self, name):
        return self._remote.file(name) if self._remote else self.path / name

    def _record_file(self, name):
        return self._remote.record_file(name) if self._remote else str(self.path / name)

    def read(self, split, positions):
        """Cells at some positions of a split, in that order, as `Rows`; one batched read."""
        records = self.records(split, positions) if len(positions) else []
        return decode_batch(records, len(self.labels))

    @property
    def classes(self):
        """{column: names of its classes}: the labels and, unless one is called so, 'dataset'."""
        return {**self.labels, "dataset": self.labels.get("dataset", self.names)}

    def labels_of(self, rows):
        """{column: class i32 [B]} of decoded cells, for the columns of `classes`; −1 = unknown."""
        columns = zip(self.labels, rows.labels.T.astype(np.int32), strict=True)
        return {"dataset": rows.dataset.astype(np.int32), **dict(columns)}

    def codes(self, split, name):
        """Class of each cell in a column of `classes`, in record order, i32 [cells]."""
        if name in self.labels:
            return self.index(split, "labels")[:, list(self.labels).index(name)]
        return self.index(split, "dataset")

    def verify(self, records=True):
        """Compare every file with what `prepare` wrote, and the files with each other.

        Parameters
        ----------
        records : bool
            False leaves out the record files: their chunks carry checksums, which every read
            compares, and hashing an atlas takes minutes.

        Raises
        ------
        ValueError
            A file has changed or does not fit the others; the message names all that have.
        """
        from jaxcell.data.verification import verify

        if self._remote:  # of its copies the checksums alone
            files = {n: f for n, f in self._files.items() if records or ".array_record" not in n}
            problems = [n for n, facts in files.items() if facts != file_facts(self._file(n))]
            problems = [f"{name} changed since prepare" for name in problems]
        else:
            problems = verify(self.path, records=records, progress=False)
        if problems:
            raise ValueError(f"{self.path} is damaged: {'; '.join(problems)}")

    def table(self):
        """What was kept and dropped per dataset, as aligned text; of many the first 40."""
        return table(self)


def panel_width(most):
    """The width of a panel that holds cells of ``most`` genes > 0: a multiple of 256."""
    return -(-max(most, 1) // PANEL_MULTIPLE) * PANEL_MULTIPLE


def _check_schema(path, summary):
    found = summary.get("schema_version")
    if found != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has store schema {found}, this jaxcell reads {SCHEMA_VERSION}: prepare it "
            "again with this version"
        )


def dataset_name(source, measured_by=None, value=None):
    """The name of a dataset: its file, and the value of the column that divides it."""
    file = Path(source).name
    return f"{file} {measured_by}={value}" if value else file


def summary_checksum(summary):
    """sha256 of what store.json says, but for the checksum itself; whatever its layout."""
    said = json.loads(json.dumps({k: v for k, v in summary.items() if k != "checksum"}))
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def file_facts(path):
    """Size and sha256 of a file, as store.json lists them."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": Path(path).stat().st_size, "sha256": digest}

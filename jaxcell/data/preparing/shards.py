"""One record file, with what the store's index and content hash need of its cells."""

import hashlib
import struct

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from jaxcell.data.records import encode_batch
from jaxcell.data.store import file_facts
from jaxcell.writing import whole_file

# group_size 1: any single cell can be read without its neighbours. Not compressed: zstd's first
# level makes 2.2 kB of the 4.3 of a cell of 2 000 genes, but takes 7 µs more to read it, an eighth
# of making a batch of it, and 16 to write it.
OPTIONS = "group_size:1,uncompressed"


class Shard:
    """A record file; a context manager, at whose end the file is whole and has its name.

    Parameters
    ----------
    path : path
    size : int
        Cells that will be written.
    first : int
        Position in the split of the first of them.

    Attributes
    ----------
    index : {column: array [size] or [size, L]}
    digest : int, see `digest_text`
    facts : size and sha256 of the file, when it is whole
    """

    def __init__(self, path, size, first):
        self._path, self._size, self._first = path, size, first
        self._done, self._seen = 0, []
        self.digest = 0

    def __enter__(self):
        self._file = whole_file(self._path)
        self._partial = self._file.__enter__()
        self._records = ArrayRecordWriter(str(self._partial), OPTIONS)
        return self

    def write(self, cells, dataset, total, labels):
        """Append cells (canonical CSR [n, V]); dataset, total [n] and labels i32 [n, L] of each."""
        self._seen.append((dataset, labels, total, np.diff(cells.indptr)))
        position, digest = self._first + self._done, 0
        records = encode_batch(cells.indptr, cells.indices, cells.data, dataset, total, labels)
        for record in records:
            self._records.write(record)
            digest += record_digest(position, record)
            position += 1
        self.digest += digest
        self._done += len(records)

    def __exit__(self, *error):
        try:
            self._records.close()
            if error[0] is None:
                if self._done != self._size:
                    raise ValueError(f"{self._path}: {self._done} cells came, not {self._size}")
                self.facts = file_facts(self._partial)
        except BaseException:
            self._partial.unlink(missing_ok=True)
            raise
        if error[0] is None:
            kinds = {"dataset": "<i4", "labels": "<i4", "total": "<f4", "n_genes": "<i4"}
            columns = zip(kinds.items(), zip(*self._seen, strict=True), strict=True)
            self.index = {name: np.concatenate(x).astype(kind) for (name, kind), x in columns}
        return self._file.__exit__(*error)


def record_digest(position, record):
    """Of a cell at a position of its split what `digest_text` adds up."""
    hashed = hashlib.sha256(struct.pack("<Q", position))
    hashed.update(record)
    return int.from_bytes(hashed.digest(), "little")


def digest_text(digest):
    """The digest of a split as text: Σ over its cells of sha256(position u64, record) mod 2^256.

    It does not depend on the order or the grouping in which cells are added up, so any number of
    processes find the same.
    """
    return f"{digest % 2**256:064x}"

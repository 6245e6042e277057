"""Is a store what `prepare` wrote? Checksums of its files, and whether they fit each other."""

import hashlib
import json
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from jaxcell.data.preparing.shards import digest_text, record_digest
from jaxcell.data.preparing.writer import content_of
from jaxcell.data.remote import Remote, is_url
from jaxcell.data.store import INDEX_COLUMNS, SPLITS, Store, summary_checksum
from jaxcell.data.types import StrPath
from jaxcell.progress import bar

READ = 2**22  # bytes hashed at a time
FIELDS = ("schema_version", "sizes", "max_nonzero", "content_hash", "options")
FILES = ("vocabulary.json", "labels.json", "measured.npy", "datasets.json", "gene_stats.npz")
AT_ONCE = 1024  # records read at a time
LOOKED_AT = 64  # cells of each record file that are compared with the index


def verify(
    path: StrPath,
    *,
    records: bool = True,
    progress: bool = True,
) -> list[str]:
    """Find what is wrong with a store.

    Every file is compared with the size and sha256 that `prepare` wrote down. Where all are whole,
    the numbers of cells of files, index and statistics must agree, and some cells of each record
    file, the first and the last among them, must be those of the index.

    Parameters
    ----------
    path : path or URL
        The store; of one that lies elsewhere the files are read there, and not the copies that
        training made. Where these are whole, they are copied for the rest, as training copies them.
    records : bool
        False leaves out the record files.
    progress : bool
        Show a bar of the bytes read.

    Returns
    -------
    list of str
        What is wrong, each with the name of its file; empty for a store that is whole.

    Raises
    ------
    FileNotFoundError
        No store is there.
    ValueError
        It has another schema version.
    """
    remote = Remote(path) if is_url(path) else None
    try:
        summary = remote.summary if remote else json.loads((Path(path) / "store.json").read_bytes())
        lacking = _lacking(summary)
        files = summary["files"]
    except (FileNotFoundError, NotADirectoryError):
        Store.open(path)  # says what is there instead
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"store.json cannot be read: {error!r}"]
    if lacking:
        return [f"store.json is damaged: it lacks {', '.join(lacking)}"]
    opened = remote.opened if remote else lambda name: (Path(path) / name).open("rb")
    listed = {n: f for n, f in files.items() if records or not n.endswith(".array_record")}
    total = sum(facts["bytes"] for facts in listed.values())
    with bar(total, "verify", "B", shown=progress) as shown:
        found = [_wrong(opened, name, facts, shown.update) for name, facts in listed.items()]
    problems = [text for text in found if text]
    problems += [
        f"{other.name} is no file of this store"
        for other in ([] if remote else sorted(Path(path).glob("*.array_record")))
        if other.name not in files
    ]
    if "checksum" in summary and summary["checksum"] != summary_checksum(summary):
        problems.append("store.json changed since prepare: its checksum is another")
    return problems or _disagreements(Store.open(path), summary, records)


def _lacking(summary):
    """What every store.json says, and this one does not."""
    lacking = [field for field in FIELDS if field not in summary]
    if any(not {"bytes", "sha256"} <= facts.keys() for facts in summary["files"].values()):
        lacking.append("sizes and sha256s of its files")
    names = [*FILES, *(f"index/{split}/{c}.npy" for split in SPLITS for c in INDEX_COLUMNS)]
    return lacking + [f"the file {name}" for name in names if name not in summary["files"]]


def _wrong(opened, name, facts, advance):
    """What is wrong with a file, or None; opened: name → context with the file."""
    digest, size, asked = hashlib.sha256(), 0, facts["bytes"]
    try:
        with opened(name) as file:
            while part := file.read(READ):
                digest.update(part)
                size += len(part)
                advance(len(part))
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read: {error}"
    if size != asked:
        what = "is truncated" if size < asked else "has grown"
        return f"{name} {what}: {size} bytes, {asked} were written"
    if digest.hexdigest() != facts["sha256"]:
        return f"{name} changed since prepare: its sha256 is another"
    return None


def _disagreements(store, summary, records):
    """What does not fit in a store whose files are whole."""
    problems = []

    def expect(what, found, expected):
        if found != expected:
            problems.append(f"{what}: found {found}, expected {expected}")

    most = 0
    for split, size in store.sizes.items():
        index = {column: store.index(split, column) for column in INDEX_COLUMNS}
        for column, array in index.items():
            expect(f"index/{split}/{column}.npy, cells", len(array), size)
        said = sum(facts[split] for facts in store.datasets)
        expect(f"datasets.json, {split} cells", said, size)
        if size:
            most = max(most, int(index["n_genes"].max()))
            codes = {"dataset": (index["dataset"], store.names)}
            columns = index["labels"].T
            codes |= {c: (columns[i], names) for i, (c, names) in enumerate(store.labels.items())}
            for column, (code, names) in codes.items():
                beyond = int((code >= len(names)).sum())
                expect(f"index/{split}, cells of no known {column}", beyond, 0)
        if records:
            _compare(store, summary, split, index, expect)
    expect("the index, most genes > 0 of a cell", most, store.max_nonzero)
    train = np.bincount(store.index("train", "dataset"), minlength=len(store.names))
    expect("gene_stats.npz, training cells", store.stats["cells"].tolist(), train.tolist())
    expect("measured.npy, gene sets", len(store.measured), int(store.gene_set.max()) + 1)
    if records and "checksum" not in summary and not problems:
        expect("store.json, content_hash", summary["content_hash"], _content_hash(store))
    return problems


def _content_hash(store):
    """The content hash of what is there, by reading all records."""
    content = content_of(store.vocabulary, store.labels, store.gene_set, store.measured)
    for split, size in store.sizes.items():
        digest = 0
        for start in range(0, size, AT_ONCE):
            here = np.arange(start, min(start + AT_ONCE, size))
            digest += sum(map(record_digest, here.tolist(), store.records(split, here)))
        content.update(digest_text(digest).encode())
    return content.hexdigest()


def _compare(store, summary, split, index, expect):
    """The record files of a split with its index."""
    names = sorted(name for name in summary["files"] if name.startswith(f"{split}-"))
    first = 0
    for name in names:
        reader = ArrayRecordReader(str(store._file(name)))
        size = reader.num_records()
        reader.close()
        said = summary.get("records", {}).get(name, size)
        if size != said:
            expect(f"{name}, cells", size, said)
            continue
        here = np.unique(np.linspace(first, first + size - 1, LOOKED_AT).astype(int))
        first += size
        if first > store.sizes[split]:
            break
        rows = store.read(split, here)
        found = {**vars(rows), "n_genes": np.diff(rows.indptr)}
        for column in INDEX_COLUMNS:
            same = np.array_equal(found[column], index[column][here])
            expect(f"{name}, {column} as in the index", same, True)
    expect(f"{split}-*.array_record, cells", first, store.sizes[split])

"""Sources and what was decided over their cells and genes → the files of a store.

V = genes of the vocabulary, L = label columns.
"""

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcell.data.matching import project
from jaxcell.data.preparing.assembly import assemble
from jaxcell.data.preparing.blocks import cut, pending, run_here
from jaxcell.data.preparing.gene_sums import GeneSums
from jaxcell.data.preparing.shards import Shard, digest_text
from jaxcell.data.preparing.unfinished import Results
from jaxcell.data.splits import TRAIN
from jaxcell.data.store import SCHEMA_VERSION, SPLITS, file_facts, summary_checksum

ARRAYS = ("columns", "measured", "dataset", "split", "total", "labels")


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


class Writing:
    """The writing of the cells, block by block.

    folder : where the record files go
    parts : sequence of Part
    first : dataset code of the first dataset of each part
    n_genes : V
    tasks : list of Block
    results : what was found of each block, by name
    mark : what all of it depends on, as a checksum
    """

    def __init__(self, folder, parts, first, n_genes, tasks, results, mark):
        self.folder, self.parts, self.first = Path(folder), parts, first
        self.n_genes, self.tasks, self.results, self.mark = n_genes, tasks, results, mark

    def cells(self, block):
        """Cells of a task."""
        return block.cells

    def found(self, block):
        """What was found of a block, or None if it is not done: a file is gone or truncated."""
        found = self.results.get(f"write-{block.number:05}")
        if found is None or str(found["mark"]) != self.mark:
            return None
        for name, facts in json.loads(str(found["files"])).items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != facts["bytes"]:
                return None
        return found

    def is_done(self, block):
        """Whether a block need not be written any more."""
        return self.found(block) is not None

    def do(self, block, advance=None):
        """Write the record files of a block, and keep what else the store needs of it."""
        sums = GeneSums(self.n_genes)
        with contextlib.ExitStack() as opened:
            shards = {
                name: opened.enter_context(
                    Shard(self.folder / file, block.sizes[name], block.first[name])
                )
                for name, file in block.files.items()
            }
            for part, start, stop in block.pieces:
                self._write(part, start, stop, shards, sums, advance)
        found = {"mark": np.array(self.mark), **sums.packed()}
        for name, shard in shards.items():
            found |= {f"{name}-{column}": array for column, array in shard.index.items()}
            found[f"{name}-digest"] = np.array(digest_text(shard.digest))
        facts = {block.files[name]: shard.facts for name, shard in shards.items()}
        self.results[f"write-{block.number:05}"] = found | {"files": np.array(json.dumps(facts))}

    def _write(self, number, start, stop, shards, sums, advance):
        part, first = self.parts[number], self.first[number]
        for chunk in part.source.chunks(start, stop):
            rows = slice(start, start + chunk.shape[0])
            start = rows.stop
            split, dataset, total = part.split[rows], first + part.dataset[rows], part.total[rows]
            labels = part.labels[rows]
            cells = project(chunk, part.columns, self.n_genes)
            for s, name in enumerate(SPLITS):
                mine = _chosen(cells, split == s)
                if mine is not None:
                    shards[name].write(mine[1], *(x[mine[0]] for x in (dataset, total, labels)))
            for one in np.unique(dataset[split == TRAIN]).tolist():
                index, mine = _chosen(cells, (split == TRAIN) & (dataset == one))
                sums.add(one, mine, total[index])
            if advance:
                advance(chunk.shape[0])


def _chosen(cells, mask):
    """(index, those cells) of the chosen, not copied where that is all; None if there are none."""
    if mask.all():
        return slice(None), cells
    index = np.flatnonzero(mask)
    return (index, cells[index]) if len(index) else None


def write_store(
    folder,
    vocabulary,
    labels,
    parts,
    *,
    shards=None,
    options=None,
    advance=None,
    skip=None,
    results=None,
    run=run_here,
):
    """Write the files of a store into an existing folder; store.json last.

    Parameters
    ----------
    folder : path
        Empty, but for record files of blocks that `results` knows.
    vocabulary : Vocabulary, V genes
    labels : dict
        {obs column: [classes]}, L columns.
    parts : list of Part
        One per source.
    shards : int, optional
        Runs that the cells are cut into, each a record file of each split that has cells there; by
        default one for each 65 536 cells.
    options : dict
        How `prepare` was called, for store.json.
    advance : callable
        Called with the number of cells done.
    skip : callable
        The same of those that were done before; `advance` by default.
    results : Results or KeptResults
        Where the results of blocks are kept; those that are there are not done again.
    run : callable
        (Writing, tasks, advance) → does the tasks.
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
    _save_json(folder / "datasets.json", datasets)

    content = content_of(vocabulary, labels, [facts["gene_set"] for facts in datasets], measured)
    first = np.cumsum([0, *(len(part.facts) for part in parts)])[:-1].tolist()
    tasks = cut([part.split for part in parts], shards)
    results = Results() if results is None else results
    mark = _mark(parts, tasks, content)
    writing = Writing(folder, parts, first, len(vocabulary), tasks, results, mark)
    run(writing, pending(writing, skip or advance), advance)
    digests, most, files = assemble(writing, len(datasets), len(labels))
    for left in folder.glob("*.array_record*"):
        if left.name not in files:  # of a try that a kill ended, or of cells that changed since
            left.unlink()
    for digest in digests:
        content.update(digest_text(digest).encode())
    files |= {
        p.relative_to(folder).as_posix(): file_facts(p)
        for p in folder.rglob("*")
        if p.is_file() and p.suffix in (".json", ".npy", ".npz", ".tsv") and p.name != "store.json"
    }
    summary = {
        "schema_version": SCHEMA_VERSION,
        "sizes": {name: sum(block.sizes[name] for block in tasks) for name in SPLITS},
        "max_nonzero": most,
        "content_hash": content.hexdigest(),
        "options": options or {},
        "files": dict(sorted(files.items())),
        "records": {b.files[name]: b.sizes[name] for b in tasks for name in b.files},
    }
    summary["checksum"] = summary_checksum(summary)
    _save_json(folder / "store.json.partial", summary)
    os.replace(folder / "store.json.partial", folder / "store.json")


def content_of(vocabulary, labels, gene_sets, measured):
    """The content hash of a store before its records: a sha256 that the splits' digests go into.

    gene_sets : int [datasets]; measured : bool [gene sets, V]
    """
    content = hashlib.sha256(vocabulary.sha256.encode())
    content.update(json.dumps(labels).encode())
    content.update(np.array(gene_sets, "<u4").tobytes())
    content.update(measured.tobytes())
    return content


def _mark(parts, tasks, content):
    """A checksum of all that the blocks depend on but the sources' content."""
    mark = content.copy()
    for part in parts:
        for name in ARRAYS:
            mark.update(getattr(part, name).tobytes())
    mark.update(repr([block.pieces for block in tasks]).encode())
    return mark.hexdigest()


def _save_json(path, content):
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")

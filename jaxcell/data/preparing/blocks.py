"""Work in blocks of cells: runs of rows that one process does at a time, in any order.

What a block gives depends on its rows alone, so that a run may stop after any of them, and any
number of processes may share them.
"""

from dataclasses import dataclass

import numpy as np

from jaxcell.data.store import SPLITS

CELLS = 2**16  # of a block: some seconds of work, and 0.3 GB of records


@dataclass(frozen=True)
class Block:
    """Cells that are written together, into one record file of each split.

    number : its place among the blocks
    pieces : list of (part, start, stop), rows of sources
    files : {split: file name}, of splits that have cells here
    sizes : {split: cells here}
    first : {split: position of the first of them in the split}
    """

    number: int
    pieces: tuple
    files: dict
    sizes: dict
    first: dict

    @property
    def cells(self):
        """Rows to read."""
        return sum(stop - start for _, start, stop in self.pieces)


def rows(n_cells, size=CELLS):
    """[start, stop) of each block of a source's rows."""
    return [(a, min(a + size, n_cells)) for a in range(0, n_cells, size)]


def cut(splits, shards=None):
    """Blocks of about as many kept cells each.

    Parameters
    ----------
    splits : list of i8 [cells of the source]
        Place in SPLITS of each cell, below 0 = left out.
    shards : int, optional
        How many; by default one for each 65 536 cells.

    Returns
    -------
    list of Block
    """
    kept = [np.flatnonzero(split >= 0) for split in splits]
    total = sum(map(len, kept))
    number = min(shards or -(-total // CELLS), total)
    bounds = np.array([i * total // number for i in range(number)])
    pieces = [[] for _ in bounds]
    before = 0  # kept cells of the sources before
    for part, (split, places) in enumerate(zip(splits, kept, strict=True)):
        block = int(np.searchsorted(bounds, before, side="right")) - 1
        inside = bounds[(bounds > before) & (bounds < before + len(places))] - before
        ends = [*(places[inside - 1] + 1).tolist(), len(split)]
        for i, (start, stop) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            pieces[block + i].append((part, start, stop))
        before += len(places)
    return _named(splits, pieces)


def _named(splits, pieces):
    """Blocks of some pieces, with their files."""
    sizes = [
        {
            name: sum(int((splits[part][a:b] == s).sum()) for part, a, b in block)
            for s, name in enumerate(SPLITS)
        }
        for block in pieces
    ]
    shards = {name: sum(size[name] > 0 for size in sizes) for name in SPLITS}
    done, first = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    blocks = []
    for number, (block, size) in enumerate(zip(pieces, sizes, strict=True)):
        files = {
            name: f"{name}-{done[name]:05}-of-{shards[name]:05}.array_record"
            for name in SPLITS
            if size[name]
        }
        blocks.append(Block(number, tuple(block), files, size, dict(first)))
        for name in files:
            done[name] += 1
            first[name] += size[name]
    return blocks


def run_here(work, tasks, advance=None):
    """Do tasks one after the other in this process."""
    for task in tasks:
        work.do(task, advance)


def pending(work, advance=None):
    """The tasks of some work that are not done; `advance` is told of the cells of the others."""
    left = []
    for task in work.tasks:
        if not work.is_done(task):
            left.append(task)
        elif advance:
            advance(work.cells(task))
    return left

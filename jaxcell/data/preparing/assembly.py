"""What was kept of the blocks → the index and the gene statistics of a store."""

import contextlib
import json

import numpy as np

from jaxcell.data.preparing import gene_sums
from jaxcell.data.store import INDEX_COLUMNS, SPLITS


def assemble(writing, n_datasets, n_labels):
    """Put the blocks together: index and gene_stats.

    Returns
    -------
    digest of each split, the most genes > 0 of a cell, {record file: its facts}
    """
    kinds = dict(zip(INDEX_COLUMNS, ("<i4", "<i4", "<f4", "<i4"), strict=True))
    digests, most, files = dict.fromkeys(SPLITS, 0), 0, {}
    stats = gene_sums.empty(n_datasets, writing.n_genes)
    with contextlib.ExitStack() as opened:
        index = {}
        for name in SPLITS:
            size = sum(block.sizes[name] for block in writing.tasks)
            for column, kind in kinds.items():
                shape = (size, n_labels) if column == "labels" else (size,)
                path = writing.folder / "index" / name / f"{column}.npy"
                index[name, column] = opened.enter_context(_array_file(path, kind, shape))
        for block in writing.tasks:  # in the order of the cells
            found = writing.found(block)
            if found is None:
                raise OSError(
                    f"{writing.folder}: block {block.number} is not there, though it was done"
                )
            files |= json.loads(str(found["files"]))
            gene_sums.unpack(found, stats)
            for name in block.files:
                digests[name] += int(str(found[f"{name}-digest"]), 16)
                most = max(most, int(found[f"{name}-n_genes"].max()))
                for column, kind in kinds.items():
                    array = np.ascontiguousarray(found[f"{name}-{column}"], kind)
                    index[name, column].write(array.tobytes())
    np.savez(writing.folder / "gene_stats.npz", **stats)
    return [digests[name] for name in SPLITS], most, files


@contextlib.contextmanager
def _array_file(path, kind, shape):
    """A .npy file of an array that is written piece by piece.

    Not mapped: where a disk is full, a write says so, and a page of a map kills the process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descr = np.lib.format.dtype_to_descr(np.dtype(kind))
    told = {"descr": descr, "fortran_order": False, "shape": shape}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, told)
        yield file

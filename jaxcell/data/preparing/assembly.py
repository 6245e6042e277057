"""What was kept of the blocks → the index and the gene statistics of a store."""

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
    index = {}
    for name in SPLITS:
        size = sum(block.sizes[name] for block in writing.tasks)
        (writing.folder / "index" / name).mkdir(parents=True, exist_ok=True)
        for column, kind in kinds.items():
            shape = (size, n_labels) if column == "labels" else (size,)
            path = writing.folder / "index" / name / f"{column}.npy"
            if 0 in shape:  # nothing to map
                np.save(path, np.empty(shape, kind))
            else:
                index[name, column] = np.lib.format.open_memmap(path, "w+", kind, shape)
    digests, most, files = dict.fromkeys(SPLITS, 0), 0, {}
    stats = gene_sums.empty(n_datasets, writing.n_genes)
    for block in writing.tasks:
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
            here = slice(block.first[name], block.first[name] + block.sizes[name])
            for column in kinds:
                if (name, column) in index:
                    index[name, column][here] = found[f"{name}-{column}"]
    for array in index.values():
        array.flush()
    np.savez(writing.folder / "gene_stats.npz", **stats)
    return [digests[name] for name in SPLITS], most, files

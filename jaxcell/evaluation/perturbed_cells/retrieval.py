"""Retrieval across batches: is a cell's nearest perturbation its own? n cells, d dimensions."""

import numpy as np

from ..consistency import blocks
from .ranking import averages, judged

QUERIES = 512  # cells whose distances to all others are held at a time


def retrieve(x, perturbation, batch):
    """Top-1 and top-5 retrieval of a cell's perturbation among the cells of all other batches.

    Perturbations are ranked by their cell nearest to the query (Euclidean); top-k is the share of
    cells whose own perturbation, the control among them, is one of the first k. Top-1 is thus a
    1-nearest-neighbour classifier that never looks into the cell's own batch. Cells whose
    perturbation is in no other batch are not scored, nor those of a batch of which the others hold
    one perturbation alone; top-5 is scored where they hold more than five, and nothing where all
    scored cells are of one perturbation. Source: TxFM, B.1.1,
    which names kNN retrieval "across disjoint biological batches" and no more than that.

    Parameters
    ----------
    x : [n, d]
    perturbation, batch : [n]

    Returns
    -------
    dict
        ``top1``, ``top5`` (None: nothing to score) and ``scored``, the number of cells
    """
    _, batch = np.unique(np.asarray(batch).astype(str), return_inverse=True)
    _, code = np.unique(np.asarray(perturbation).astype(str), return_inverse=True)
    found, own = [], []
    x = np.asarray(x, np.float32)
    x = x - x.mean(axis=0)  # distances of far-off points would cancel
    for b in np.unique(batch):
        others = np.flatnonzero(batch != b)
        others = others[np.argsort(code[others], kind="stable")]
        there, starts = np.unique(code[others], return_index=True)
        queries = np.flatnonzero((batch == b) & np.isin(code, there))
        if not len(queries) or len(there) < 2:
            continue
        candidates = x[others]
        square = (candidates**2).sum(axis=1)
        for rows in blocks(len(queries), QUERIES):
            mine = queries[rows]
            distances = square - 2 * (x[mine] @ candidates.T)
            nearest = np.minimum.reduceat(distances, starts, axis=1)  # of each perturbation
            found.append(judged(-nearest, np.searchsorted(there, code[mine])))
            own.append(code[mine])
    return averages(found, own)

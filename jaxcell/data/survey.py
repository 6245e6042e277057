"""The first pass over a source: checks its values, and finds the cells and genes to keep."""

import warnings
from dataclasses import dataclass

import numpy as np

from jaxcell.data.checks import check_chunk
from jaxcell.data.matching import GeneMatch


@dataclass
class Survey:
    """What the first pass found; n_cells cells of the source, V genes of the vocabulary.

    source : opened source
    match : GeneMatch
    kept : bool [n_cells], cells with enough genes
    total : f32 [n_cells], sum of the counts over all columns of the source
    measured : bool [V], genes of the source after the gene filter
    looks : '' for integer counts, otherwise what the values look like
    """

    source: object
    match: GeneMatch
    kept: np.ndarray
    total: np.ndarray
    measured: np.ndarray
    looks: str


def survey(source, match, *, min_genes=0, min_cells=0, allow_non_integer=False, advance=None):
    """Read a source once.

    Parameters
    ----------
    source : opened source
    match : GeneMatch
    min_genes : int
        A cell needs that many genes > 0, whether in the vocabulary or not.
    min_cells : int
        A gene needs to be > 0 in that many of the kept cells.
    allow_non_integer : bool
        Warn of non-integer values instead of refusing them.
    advance : callable
        Called with the number of cells done.

    Raises
    ------
    ValueError
        Values that are not counts, no counts at all, no cell or no gene kept.
    """
    n_genes = np.empty(source.n_cells, np.int64)
    total = np.empty(source.n_cells, np.float32)
    cells_with = np.zeros(match.n_genes, np.int64)
    looks, start = "", 0
    for chunk in source.chunks():
        looks = check_chunk(chunk, source, allow_non_integer) or looks
        rows = slice(start, start + chunk.shape[0])
        n_genes[rows] = np.diff(chunk.indptr)
        total[rows] = np.asarray(chunk.sum(axis=1, dtype=np.float64)).ravel()
        if min_cells:
            kept = match.apply(chunk[n_genes[rows] >= min_genes])
            cells_with += np.bincount(kept.indices, minlength=match.n_genes)
        start = rows.stop
        if advance:
            advance(chunk.shape[0])
    kept = n_genes >= min_genes
    measured = np.zeros(match.n_genes, bool)
    measured[match.columns[match.columns >= 0]] = True
    measured &= cells_with >= min_cells
    if not total.any():
        raise ValueError(f"{source.name}, {source.counts}: all {source.n_cells} cells are empty")
    if not kept.any():
        raise ValueError(
            f"{source.name}: none of the {source.n_cells} cells has {min_genes} genes > 0 "
            f"(the most is {n_genes.max()}); lower --min-genes"
        )
    if not measured.any():
        raise ValueError(
            f"{source.name}: no gene is > 0 in {min_cells} of the {kept.sum()} kept cells "
            f"(the most is {cells_with.max()}); lower --min-cells"
        )
    if looks:
        warnings.warn(f"{source.name}: non-integer values taken as they are: {looks}", stacklevel=3)
    return Survey(source, match, kept, total, measured, looks)

"""The first pass over a source: checks its values, and finds the cells and genes to keep."""

import warnings
from dataclasses import dataclass

import numpy as np

from jaxcell.data.checks import check_chunk
from jaxcell.data.matching import GeneMatch
from jaxcell.data.splits import classes


@dataclass
class Survey:
    """What the first pass found; n_cells cells of the source, V genes of the vocabulary.

    A source is one dataset, or one for each value of the obs column that ``measured_by`` names.

    source : opened source
    match : GeneMatch
    kept : bool [n_cells], cells with enough genes
    total : f32 [n_cells], sum of the counts over all columns of the source
    filtered : bool [V], genes of the source after the gene filter
    measured : bool [datasets of the source, V], those of each dataset
    dataset : i32 [n_cells], which of its datasets a cell is in
    values : list of str, the value of each dataset; [''] for the source as a whole
    looks : '' for integer counts, otherwise what the values look like
    """

    source: object
    match: GeneMatch
    kept: np.ndarray
    total: np.ndarray
    filtered: np.ndarray
    measured: np.ndarray
    dataset: np.ndarray
    values: list
    looks: str


def survey(
    source,
    match,
    *,
    min_genes=0,
    min_cells=0,
    allow_non_integer=False,
    values="counts",
    measured_by=None,
    advance=None,
):
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
    values : {'counts', 'log1p'}
        What the source holds; normalised values are not counts.
    measured_by : str, optional
        obs column; a gene without a count in the kept cells of a value is not measured there,
        unless the source itself says which are. A source without this column is one dataset.
    advance : callable
        Called with the number of cells done.

    Raises
    ------
    ValueError
        Values that are not counts, no counts at all, no cell or no gene kept, in the source or in
        a value of ``measured_by``.
    """
    given = values
    dataset, values = divide(source, measured_by)
    detected = np.zeros((len(values), match.n_genes), bool)
    n_genes = np.empty(source.n_cells, np.int64)
    total = np.empty(source.n_cells, np.float32)
    cells_with = np.zeros(match.n_genes, np.int64)
    looks, start = "", 0
    for chunk in source.chunks():
        looks = check_chunk(chunk, source, allow_non_integer, given) or looks
        rows = slice(start, start + chunk.shape[0])
        n_genes[rows] = np.diff(chunk.indptr)
        total[rows] = np.asarray(chunk.sum(axis=1, dtype=np.float64)).ravel()
        if min_cells or measured_by:
            enough = n_genes[rows] >= min_genes
            kept = match.apply(chunk[enough])
            cells_with += np.bincount(kept.indices, minlength=match.n_genes)
            detected[np.repeat(dataset[rows][enough], np.diff(kept.indptr)), kept.indices] = True
        start = rows.stop
        if advance:
            advance(chunk.shape[0])
    kept = n_genes >= min_genes
    filtered = np.zeros(match.n_genes, bool)
    filtered[match.columns[match.columns >= 0]] = True
    filtered &= cells_with >= min_cells
    if not total.any():
        raise ValueError(f"{source.name}, {source.counts}: all {source.n_cells} cells are empty")
    if not kept.any():
        raise ValueError(
            f"{source.name}: none of the {source.n_cells} cells has {min_genes} genes > 0 "
            f"(the most is {n_genes.max()}); lower --min-genes"
        )
    if not filtered.any():
        raise ValueError(
            f"{source.name}: no gene is > 0 in {min_cells} of the {kept.sum()} kept cells "
            f"(the most is {cells_with.max()}); lower --min-cells"
        )
    if looks and given == "counts":
        warnings.warn(f"{source.name}: non-integer values taken as they are: {looks}", stacklevel=3)
    if source.presence and source.presence.column == measured_by:
        detected = source.presence.of(source, values, match, detected)
    measured = filtered & detected if len(values) > 1 or values[0] else filtered[None]
    for i in np.unique(dataset[kept]):
        if not measured[i].any():
            raise ValueError(
                f"{source.name}: the kept cells of {measured_by}={values[i]} have no count in any "
                "gene of the vocabulary, so none is measured there (--measured-by)"
            )
    return Survey(source, match, kept, total, filtered, measured, dataset, values, looks)


def divide(source, measured_by):
    """Dataset of each cell i32 [n_cells], and the value of each dataset ([''] for one dataset).

    Raises
    ------
    ValueError
        A cell has no value in the column: which genes were measured in it nobody knows.
    """
    if not measured_by or measured_by not in source.obs:
        return np.zeros(source.n_cells, np.int32), [""]
    codes, names = classes(source.obs[measured_by])
    if (codes < 0).any():
        raise ValueError(
            f"{source.name}: {measured_by} is empty (NaN or '') for {(codes < 0).sum()} of "
            f"{source.n_cells} cells, so their measured genes are unknown; give them a value of "
            "their own, or leave them out (--measured-by)"
        )
    present, codes = np.unique(codes, return_inverse=True)
    return codes.astype(np.int32), [names[i] for i in present]

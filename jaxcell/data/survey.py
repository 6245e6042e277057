"""The first pass over a source: checks its values, and finds the cells and genes to keep."""

import warnings
from dataclasses import dataclass

import numpy as np

from jaxcell.data import blocks
from jaxcell.data.checks import check_chunk
from jaxcell.data.gene_sums import row_sums
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


@dataclass(frozen=True)
class Asked:
    """What a survey goes by.

    min_genes : a cell needs that many genes > 0, whether in the vocabulary or not
    min_cells : a gene needs to be > 0 in that many of the kept cells
    allow_non_integer : warn of non-integer values instead of refusing them
    values : 'counts' or 'log1p', what the sources hold
    measured_by : obs column or None; a gene without a count in the kept cells of a value is not
        measured there. A source without this column is one dataset
    """

    min_genes: int = 0
    min_cells: int = 0
    allow_non_integer: bool = False
    values: str = "counts"
    measured_by: str | None = None


def survey(source, match, *, advance=None, **asked):
    """Read a source once.

    Parameters
    ----------
    source : opened source
    match : GeneMatch
    advance : callable
        Called with the number of cells done.
    **asked
        The fields of `Asked`.

    Raises
    ------
    ValueError
        Values that are not counts, no counts at all, no cell or no gene kept, in the source or in
        a value of ``measured_by``.
    """
    asked = Asked(**asked)
    found = survey_block(source, match, asked, 0, source.n_cells, advance)
    return gather(source, match, asked, [found])


class Surveying:
    """The survey of some sources, block by block.

    sources, matches : list of opened source, and of GeneMatch
    asked : Asked
    results : what was found of each block, by name
    tasks : list of (source, start, stop)
    """

    def __init__(self, sources, matches, asked, results, tasks=None):
        self.sources, self.matches, self.asked, self.results = sources, matches, asked, results
        self.tasks = tasks
        if tasks is None:
            each = enumerate(sources)
            self.tasks = [(i, *rows) for i, source in each for rows in blocks.rows(source.n_cells)]

    def cells(self, task):
        """Cells of a task."""
        return task[2] - task[1]

    def is_done(self, task):
        """Whether a block need not be read any more."""
        return self.results.get(_name(task)) is not None

    def do(self, task, advance=None):
        """Survey a block and keep what was found."""
        i, *rows = task
        source, match = self.sources[i], self.matches[i]
        self.results[_name(task)] = survey_block(source, match, self.asked, *rows, advance)

    def surveys(self):
        """Put the blocks together: a Survey of each source; raises what `gather` does."""
        found = [[] for _ in self.sources]
        for task in self.tasks:
            found[task[0]].append(self.results.get(_name(task)))
        each = zip(self.sources, self.matches, found, strict=True)
        return [gather(source, match, self.asked, mine) for source, match, mine in each]


def _name(task):
    return f"survey-{task[0]:05}-{task[1]:012}"


def survey_block(source, match, asked, start, stop, advance=None):
    """What cells [start, stop) of a source hold, as arrays that `gather` puts together.

    Returns
    -------
    dict
        n_genes i64 and total f32 [stop - start]; cells_with i64 [V], its kept cells in which a gene
        is > 0; detected bool [datasets of the source, V]; looks, see `check_chunk`.

    Raises
    ------
    ValueError
        Values that are not counts.
    """
    dataset, values = divide(source, asked.measured_by)
    detected = np.zeros((len(values), match.n_genes), bool)
    n_genes = np.empty(stop - start, np.int64)
    total = np.empty(stop - start, np.float32)
    cells_with = np.zeros(match.n_genes, np.int64)
    looks, at = "", 0
    for chunk in source.chunks(start, stop):
        looks = check_chunk(chunk, source, asked.allow_non_integer, asked.values) or looks
        rows = slice(at, at + chunk.shape[0])
        n_genes[rows] = np.diff(chunk.indptr)
        total[rows] = row_sums(chunk)
        if asked.min_cells or asked.measured_by:
            enough = n_genes[rows] >= asked.min_genes
            kept = match.apply(chunk if enough.all() else chunk[enough])
            cells_with += np.bincount(kept.indices, minlength=match.n_genes)
            of_cell = dataset[start + rows.start : start + rows.stop][enough]
            detected[np.repeat(of_cell, np.diff(kept.indptr)), kept.indices] = True
        at = rows.stop
        if advance:
            advance(chunk.shape[0])
    return {
        "n_genes": n_genes,
        "total": total,
        "cells_with": cells_with,
        "detected": detected,
        "looks": np.array(looks),
    }


def gather(source, match, asked, found):
    """What `survey_block` found of all cells of a source, in order -> Survey.

    Raises
    ------
    ValueError
        No counts at all, no cell or no gene kept, in the source or in a value of ``measured_by``.
    """
    dataset, values = divide(source, asked.measured_by)
    n_genes, total = (np.concatenate([b[k] for b in found]) for k in ("n_genes", "total"))
    cells_with = sum(b["cells_with"] for b in found)
    looks = next((str(b["looks"]) for b in found[::-1] if str(b["looks"])), "")
    kept = n_genes >= asked.min_genes
    filtered = np.zeros(match.n_genes, bool)
    filtered[match.columns[match.columns >= 0]] = True
    filtered &= cells_with >= asked.min_cells
    if not total.any():
        raise ValueError(f"{source.name}, {source.counts}: all {source.n_cells} cells are empty")
    if not kept.any():
        raise ValueError(
            f"{source.name}: none of the {source.n_cells} cells has {asked.min_genes} genes > 0 "
            f"(the most is {n_genes.max()}); lower --min-genes"
        )
    if not filtered.any():
        raise ValueError(
            f"{source.name}: no gene is > 0 in {asked.min_cells} of the {kept.sum()} kept cells "
            f"(the most is {cells_with.max()}); lower --min-cells"
        )
    if looks and asked.values == "counts":
        warnings.warn(f"{source.name}: non-integer values taken as they are: {looks}", stacklevel=3)
    measured = filtered[None]
    if len(values) > 1 or values[0]:
        measured = filtered & np.any([b["detected"] for b in found], axis=0)
    for i in np.unique(dataset[kept]):
        if not measured[i].any():
            raise ValueError(
                f"{source.name}: the kept cells of {asked.measured_by}={values[i]} have no count "
                "in any gene of the vocabulary, so none is measured there (--measured-by)"
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

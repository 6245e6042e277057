"""The first pass over a source: checks its values, and finds the cells and genes to keep."""

import warnings
from dataclasses import dataclass, field

import numpy as np

from jaxcell.data.checks import check_chunk
from jaxcell.data.filters import (
    GENE_FILTERS,
    UNWANTED,
    Filters,
    GeneTotals,
    no_gene,
    none_kept,
)
from jaxcell.data.matching import GeneMatch
from jaxcell.data.preparing import blocks
from jaxcell.data.preparing.gene_sums import row_sums
from jaxcell.data.splits import classes


@dataclass
class Survey:
    """What the first pass found; n_cells cells of the source, V genes of the vocabulary.

    A source is one dataset, or one for each value of the obs column that ``measured_by`` names.

    source : opened source
    match : GeneMatch
    kept : bool [n_cells], cells that nothing removes
    removed : i8 [n_cells], what removes a cell: a place in REMOVED, 0 for one that is kept
    total : f32 [n_cells], sum of the counts over all columns of the source
    n_genes : i32 [n_cells], columns of the source > 0
    filtered : bool [V], genes of the source after the gene filters
    few : dict, {gene filter: genes of the source that it removes}
    measured : bool [datasets of the source, V], those of each dataset
    dataset : i32 [n_cells], which of its datasets a cell is in
    values : list of str, the value of each dataset; [''] for the source as a whole
    looks : '' for integer counts, otherwise what the values look like
    """

    source: object
    match: GeneMatch
    kept: np.ndarray
    removed: np.ndarray
    total: np.ndarray
    n_genes: np.ndarray
    filtered: np.ndarray
    few: dict
    measured: np.ndarray
    dataset: np.ndarray
    values: list
    looks: str


@dataclass(frozen=True)
class Asked:
    """What a survey goes by.

    filters : Filters
    mito : bool [n_var], the mitochondrial columns; None where no filter asks for them
    wanted : bool [n_cells], cells that are looked at; None for all
    allow_non_integer : warn of non-integer values instead of refusing them
    values : 'counts' or 'log1p', what the sources hold
    measured_by : obs column or None; a gene without a count in the kept cells of a value is not
        measured there, unless the source itself says which are. A source without this column is
        one dataset
    """

    filters: Filters = field(default_factory=Filters)
    mito: np.ndarray | None = None
    wanted: np.ndarray | None = None
    allow_non_integer: bool = False
    values: str = "counts"
    measured_by: str | None = None


class Surveying:
    """The survey of some sources, block by block.

    sources, matches : list of opened source, and of GeneMatch
    asked : list of Asked
    results : what was found of each block, by name
    tasks : list of (source, start, stop)
    """

    def __init__(self, sources, matches, asked, results, tasks=None):
        self.sources, self.matches, self.asked, self.results = sources, matches, asked, results
        self.tasks, self._divided = tasks, (None, None)  # a source, and its datasets
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
        source, match, asked = self.sources[i], self.matches[i], self.asked[i]
        divided = self._divided  # a worker's threads share this object
        if divided[0] != i:  # once for all its blocks: it looks at all cells of the source
            divided = self._divided = i, divide(source, asked.measured_by)
        block = survey_block(source, match, asked, *rows, advance, divided[1])
        self.results[_name(task)] = block

    def surveys(self):
        """Put the blocks together: a Survey of each source; raises what `gather` does."""
        tasks = [[] for _ in self.sources]
        for task in self.tasks:
            tasks[task[0]].append(_name(task))
        each = zip(self.sources, self.matches, self.asked, tasks, strict=True)
        # Block by block: those of an atlas are many, and each has arrays of all genes.
        return [gather(*one, map(self.results.get, names)) for *one, names in each]


def _name(task):
    return f"survey-{task[0]:05}-{task[1]:012}"


def survey_block(source, match, asked, start, stop, advance=None, divided=None):
    """What cells [start, stop) of a source hold, as arrays that `gather` puts together.

    Parameters
    ----------
    divided : what `divide` finds of the source, if that is known

    Returns
    -------
    dict
        removed i8, total f32 and n_genes i32 [stop - start]; cells,
        cells_with, sum, squares [V]: `GeneTotals` of the kept cells; datasets i32 [D], those of
        the source that are here, and detected, packed bits [D, V]: their genes with a count in a
        kept cell; looks, see `check_chunk`.

    Raises
    ------
    ValueError
        Values that are not counts.
    """
    dataset, _ = divided or divide(source, asked.measured_by)
    here, place = np.unique(dataset[start:stop], return_inverse=True)
    detected = np.zeros((len(here), match.n_genes), bool)
    kinds = {"removed": np.int8, "total": np.float32, "n_genes": np.int32}
    of_cells = {name: np.empty(stop - start, kind) for name, kind in kinds.items()}
    sums = GeneTotals(match.n_genes)
    looks, at = "", start
    for chunk in source.chunks(start, stop):
        looks = check_chunk(chunk, source, asked.allow_non_integer, asked.values) or looks
        rows, inside = (
            slice(at, at + chunk.shape[0]),
            slice(at - start, at - start + chunk.shape[0]),
        )
        n_genes, sum_of = np.diff(chunk.indptr), row_sums(chunk)
        removed = _removed(chunk, n_genes, sum_of, asked, rows)
        for name, found in zip(kinds, (removed, sum_of, n_genes), strict=True):
            of_cells[name][inside] = found
        if asked.filters.of_genes or asked.measured_by:
            enough = removed == 0
            kept = match.apply(chunk if enough.all() else chunk[enough])
            sums.add(kept)
            of_cell = place[inside][enough]
            detected[np.repeat(of_cell, np.diff(kept.indptr)), kept.indices] = True
        at = rows.stop
        if advance:
            advance(chunk.shape[0])
    return {
        **of_cells,
        "datasets": here,
        "detected": np.packbits(detected, axis=1),
        "looks": np.array(looks),
        **sums.arrays(),
    }


def _removed(chunk, n_genes, total, asked, rows):
    """What removes each cell of a chunk, i8 [n]: a place in REMOVED."""
    mito = np.zeros(len(total))
    if asked.mito is not None:
        mito = chunk @ asked.mito.astype(np.float64)
    removed = asked.filters.cells(n_genes, total, mito)
    if asked.wanted is not None:
        removed[~asked.wanted[rows]] = UNWANTED
    return removed


def gather(source, match, asked, found):
    """What `survey_block` found of all cells of a source, an iterable in order -> Survey.

    Raises
    ------
    ValueError
        No counts at all, no cell or no gene kept, in the source or in a value of ``measured_by``.
    """
    dataset, values = divide(source, asked.measured_by)
    sums, looks, of_cells = GeneTotals(match.n_genes), "", []
    detected = np.zeros((len(values), match.n_genes), bool)
    for block in found:
        of_cells.append([block[name] for name in ("removed", "total", "n_genes")])
        sums.add_arrays(block)
        looks = str(block["looks"]) or looks
        genes = np.unpackbits(block["detected"], axis=1, count=match.n_genes)
        detected[block["datasets"]] |= genes.astype(bool)
    removed, total, n_genes = map(np.concatenate, zip(*of_cells, strict=True))
    kept = removed == 0
    filtered = np.zeros(match.n_genes, bool)
    filtered[match.columns[match.columns >= 0]] = True
    if not total.any():
        raise ValueError(
            f"{source.name}, {source.counts}: all {source.n_cells} cells are empty; name another "
            "place of the counts (--counts), or another file"
        )
    if not kept.any():
        raise ValueError(none_kept(source, removed, asked.filters, int(n_genes.max())))
    few = {}
    if asked.filters.of_genes:
        fails = asked.filters.genes(sums)
        few = {name: int((filtered & (fails == i)).sum()) for i, name in enumerate(GENE_FILTERS, 1)}
        filtered &= fails == 0
    if not filtered.any():
        raise ValueError(no_gene(source, asked.filters, sums, few))
    if looks and asked.values == "counts":
        warnings.warn(f"{source.name}: non-integer values taken as they are: {looks}", stacklevel=3)
    measured = filtered[None]
    if len(values) > 1 or values[0]:
        if source.presence and source.presence.column == asked.measured_by:
            detected = source.presence.of(source, values, match, detected)
        measured = filtered & detected
    for i in np.unique(dataset[kept]):
        if not measured[i].any():
            raise ValueError(
                f"{source.name}: the kept cells of {asked.measured_by}={values[i]} have no count "
                "in any gene of the vocabulary, so none is measured there (--measured-by)"
            )
    return Survey(
        source,
        match,
        kept,
        removed,
        total,
        n_genes,
        filtered,
        few,
        measured,
        dataset,
        values,
        looks,
    )


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

"""Which cells and genes of a source are good enough: thresholds on statistics of the first pass.

Cells first, then genes among the cells that are left, per source. n cells, n_var columns of the
source, V genes of the vocabulary. Source: BMFM-RNA 12.2.2, after scanpy's quality control.
"""

from dataclasses import dataclass, fields

import numpy as np

MITOCHONDRIAL = "MT-"  # how the symbols of mitochondrial genes begin; case does not matter
CELL_FILTERS = ("min_genes", "max_genes", "min_total", "max_total", "max_mito")
GENE_FILTERS = ("min_cells", "min_frequency", "min_dispersion")
# What removes a cell, by number; those of the filters first.
REMOVED = ("", *CELL_FILTERS, "not_asked_for", "beyond_cap")
UNWANTED, CAPPED = len(REMOVED) - 2, len(REMOVED) - 1
# Of logarithms: sums, shares of them, and variance over mean say nothing of quality.
OF_COUNTS = ("min_total", "max_total", "max_mito", "min_dispersion")


@dataclass(frozen=True)
class Filters:
    """Thresholds; each but `mito_prefix` leaves all in by default.

    min_genes, max_genes : int
        Genes > 0 of a cell, whether in the vocabulary or not.
    min_total, max_total : float
        Sum of a cell's counts (UMIs) over all columns of the source.
    max_mito : float
        Share of it in mitochondrial genes, 0 to 1: scanpy's pct_counts_mt / 100. 0 in a cell
        without counts.
    mito_prefix : str
        How the symbols of mitochondrial genes begin.
    min_cells : int
        Cells in which a gene is > 0.
    min_frequency : float
        The same as a share of the cells, 0 to 1.
    min_dispersion : float
        Variance (of n − 1) over mean of a gene's counts: scanpy's `dispersions` of the flavour
        cell_ranger, on counts that are not normalised. 1 is that of a Poisson variable.

    Raises
    ------
    ValueError
        A threshold that no filter can have.
    """

    min_genes: int = 0
    max_genes: int | None = None
    min_total: float = 0
    max_total: float | None = None
    max_mito: float | None = None
    mito_prefix: str = MITOCHONDRIAL
    min_cells: int = 0
    min_frequency: float = 0
    min_dispersion: float | None = None

    def __post_init__(self):
        for name in (*CELL_FILTERS, *GENE_FILTERS):
            value = getattr(self, name)
            share = name in ("max_mito", "min_frequency")
            if value is None:
                continue
            if not 0 <= value <= (1 if share else np.inf):
                expected = "a share from 0 to 1" if share else "0 or more"
                raise ValueError(f"{name} is {value}; expected {expected}")
        for what in ("genes", "total"):
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if most is not None and most < least:
                raise ValueError(
                    f"max_{what} is {most} with min_{what} = {least}; expected {least} or more"
                )
        if not self.mito_prefix:
            raise ValueError("mito_prefix is ''; expected how mitochondrial symbols begin")

    def check_values(self, values):
        """Refuse what asks for counts where a source holds their logarithms."""
        wrong = [name for name in OF_COUNTS if name in self.asked]
        if values == "log1p" and wrong:
            raise ValueError(
                f"values is 'log1p' with {wrong[0]} = {getattr(self, wrong[0])}; expected no such "
                f"{wrong[0]}: it is for counts, not for their logarithms"
            )

    @property
    def of_genes(self):
        """Whether any gene filter is asked for."""
        return any(getattr(self, name) for name in GENE_FILTERS)

    @property
    def asked(self):
        """{name: threshold} of what differs from the default."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) != f.default}

    def cells(self, n_genes, total, mito):
        """What removes each cell: n_genes, total, mito (its mitochondrial counts) [n] -> i8 [n].

        0 for a cell that is kept, otherwise 1 + the place in CELL_FILTERS of the first that fails.
        """
        share = np.divide(mito, total, out=np.zeros(len(total)), where=total > 0)
        values = (n_genes, n_genes, total, total, share)
        return self._first(CELL_FILTERS, values)

    def genes(self, sums):
        """What removes each gene, by the kept cells: GeneTotals -> i8 [V], of GENE_FILTERS."""
        frequency = sums.cells_with / max(sums.cells, 1)
        return self._first(GENE_FILTERS, (sums.cells_with, frequency, sums.dispersion))

    def _first(self, names, values):
        removed = np.zeros(len(values[0]), np.int8)
        for number, (name, value) in enumerate(zip(names, values, strict=True), 1):
            threshold = getattr(self, name)
            if threshold is not None:
                fails = value < threshold if name.startswith("min") else value > threshold
                removed[fails & (removed == 0)] = number
        return removed


class GeneTotals:
    """Sums over cells, gene by gene, from which the gene filters are decided; they add up.

    cells : int
    cells_with : i64 [V], cells in which the gene is > 0
    total, squares : f64 [V], sums of the counts and of their squares
    """

    def __init__(self, n_genes):
        self.cells = 0
        self.cells_with = np.zeros(n_genes, np.int64)
        self.total, self.squares = np.zeros(n_genes), np.zeros(n_genes)

    def add(self, counts):
        """Add cells: canonical CSR [n, V]."""
        n_genes, data = len(self.total), counts.data.astype(np.float64)
        self.cells += counts.shape[0]
        self.cells_with += np.bincount(counts.indices, minlength=n_genes)
        self.total += np.bincount(counts.indices, data, minlength=n_genes)
        self.squares += np.bincount(counts.indices, data**2, minlength=n_genes)

    def arrays(self):
        """The sums as arrays, which `add_arrays` adds to others."""
        return {
            "cells": np.array(self.cells),
            "cells_with": self.cells_with,
            "sum": self.total,
            "squares": self.squares,
        }

    def add_arrays(self, arrays):
        """Add what `arrays` gave."""
        self.cells += int(arrays["cells"])
        self.cells_with += arrays["cells_with"]
        self.total += arrays["sum"]
        self.squares += arrays["squares"]

    @property
    def dispersion(self):
        """Variance over mean, f64 [V]; 0 where a gene has no count, or there is one cell."""
        mean = self.total / max(self.cells, 1)
        variance = (self.squares - self.total * mean) / max(self.cells - 1, 1)
        return np.divide(variance, mean, out=np.zeros_like(mean), where=mean > 0)


def mitochondrial(names, gene_map=None, prefix=MITOCHONDRIAL, where="the file"):
    """Which columns of a file are mitochondrial genes: GeneNames [n_var] -> bool [n_var].

    By the symbols of the file or, where it has none, those that the gene map has for its ids.

    Raises
    ------
    ValueError
        None is: the filter would remove nothing, whatever its threshold.
    """
    symbols = names.symbols
    if gene_map is not None:
        pairs = zip(names.symbols, names.ensembl, strict=True)
        symbols = [gene_map.complete(symbol, ensembl)[0] for symbol, ensembl in pairs]
    found = np.array([s.casefold().startswith(prefix.casefold()) for s in symbols], bool)
    if not found.any():
        shown = ", ".join(names.show(range(min(3, len(names)))))
        raise ValueError(
            f"{where}: max_mito is asked for, but no gene's symbol begins with {prefix!r} (the "
            f"file has {shown} …); give another prefix (mito_prefix), a gene map where the file "
            "has Ensembl ids alone (--gene-map), or leave the filter out"
        )
    return found


def fact(name):
    """What datasets.json calls the number that a filter removed: min_genes -> below_min_genes."""
    return f"{'below' if name.startswith('min') else 'above'}_{name}"


def none_kept(source, removed, filters, most):
    """That no cell of a source is left, and why."""
    asked = filters.asked
    if asked.keys() & set(CELL_FILTERS) == {"min_genes"} and not (removed == UNWANTED).any():
        return (
            f"{source.name}: none of the {source.n_cells} cells has {filters.min_genes} genes > 0 "
            f"(the most is {most}); lower --min-genes"
        )
    each = ", ".join(
        f"{name} {asked.get(name, '')}".rstrip() + f": {cells:,}"
        for i, name in enumerate(REMOVED)
        if (cells := int((removed == i).sum()))
    )
    return (
        f"{source.name}: the filters leave none of the {source.n_cells} cells; removed are by "
        f"{each}"
    )


def no_gene(source, filters, sums, few):
    """That no gene of a source is left, and why."""
    if filters.asked.keys() & set(GENE_FILTERS) == {"min_cells"}:
        return (
            f"{source.name}: no gene is > 0 in {filters.min_cells} of the {sums.cells} kept cells "
            f"(the most is {sums.cells_with.max()}); lower --min-cells"
        )
    each = ", ".join(f"{name} {filters.asked[name]}: {n:,}" for name, n in few.items() if n)
    return f"{source.name}: the filters leave none of its genes; removed are by {each}"

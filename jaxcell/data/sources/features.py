"""Features that are not genes (surface proteins, guides, peaks): left out, unless asked for."""

from dataclasses import replace

import numpy as np
import pandas as pd

from jaxcell.data.genes import identify
from jaxcell.data.sources.source import Source

COLUMN = "feature_types"  # of var; CELLxGENE's feature_type is another matter: kinds of genes
GENES = "Gene Expression"
OTHERS = ("Antibody Capture", "Antigen Capture", "CRISPR Guide Capture", "Custom",
          "Multiplexing Capture", "Peaks")  # fmt: skip


def types_of(var):
    """Type of each feature, str [n_var], or None where var does not say it in 10x's words.

    A feature without a type (as after a join of files) counts as a gene.
    """
    if COLUMN not in var:
        return None
    given = var[COLUMN].astype(object)
    if not {GENES, *OTHERS} & set(given):
        return None
    return given.where(given.notna() & (given != ""), GENES).astype(str).to_numpy(object)


def without_other_features(source, asked=()):
    """The source with the columns that are genes, and features of other types by their own name.

    A cell's total and its number of genes are then those of genes (and of what was asked for).

    Parameters
    ----------
    source : Source
        var may have a column feature_types.
    asked : list of str
        Types to keep beside 'Gene Expression'. Such a feature is called TYPE:NAME and has no
        Ensembl id, so that CD3 the protein is not CD3 the gene.

    Returns
    -------
    Source
        With ``left_out`` {type: number of columns}; the source itself where all are genes.

    Raises
    ------
    ValueError
        No column is a gene or was asked for.
    """
    types = types_of(source.var)
    present = [] if types is None else sorted(set(types) - {GENES})
    if not present:
        return source
    kept = np.isin(types, [GENES, *asked])
    if not kept.any():
        raise ValueError(
            f"{source.name} has no genes: its features are {', '.join(present)}, expected "
            f"{GENES} (--features keeps others)"
        )
    return GenesOf(source, kept, types, asked)


def check_features(sources, asked):
    """Refuse types of features that none of the sources has."""
    each = [types_of(source.var) for source in sources]
    there = {kind for types in each if types is not None for kind in types}
    there |= {kind for source in sources for kind in source.left_out}
    absent = [kind for kind in asked if kind not in there]
    if absent:
        raise ValueError(
            f"no source has features of type {', '.join(absent)}; found were "
            f"{', '.join(sorted(there)) or 'none with a type'} (--features)"
        )


class GenesOf(Source):
    """Some columns of another source.

    Attributes
    ----------
    left_out : dict
        {type of feature: columns left out}.
    """

    def __init__(self, source, kept, types, asked):
        self._source, self._asked, self._kept = source, asked, np.flatnonzero(kept)
        self.name, self.obs, self.n_cells = source.name, source.obs, source.n_cells
        self.places, self.counts = source.places, source.counts
        self._chunk_cells = source._chunk_cells
        self.var = source.var[kept].copy()
        other = types[kept] != GENES
        if other.any():
            self.var = _renamed(self.var, other, types[kept])
        if source.presence:
            genes = {value: found[kept] for value, found in source.presence.genes.items()}
            self.presence = replace(source.presence, genes=genes)
        left, times = np.unique(types[~kept].astype(str), return_counts=True)
        self.left_out = {str(kind): int(n) for kind, n in zip(left, times, strict=True)}

    def at(self, counts):
        """The same cells and features with the counts of another place."""
        return without_other_features(self._source.at(counts), self._asked)

    def cell_ids(self):
        """Of the source."""
        return self._source.cell_ids()

    def chunks(self, start=0, stop=None):
        """Yield canonical CSR [cells, kept columns] of cells [start, stop)."""
        yield from map(self._genes_of, self._source.chunks(start, stop))

    def rows(self, positions):
        """Canonical CSR [b, kept columns] of cells anywhere, integers [b], in that order."""
        return self._genes_of(self._source.rows(positions))

    def _genes_of(self, chunk):
        part = chunk[:, self._kept]
        part.has_canonical_format = True  # the columns kept are in their order
        return part

    def checksum(self):
        """Of the source."""
        return self._source.checksum()

    def stamp(self):
        """Of the source."""
        return self._source.stamp()

    def settle(self, folder):
        """Settle the source."""
        self._source.settle(folder)
        self._settled = folder


def _renamed(var, other, types):
    """Var with TYPE:NAME in its index, and no further name, where ``other`` bool [n_var]."""
    names = identify(var[other]).show(range(other.sum()))
    index = var.index.to_numpy(object, copy=True)
    index[other] = [f"{kind}:{name}" for kind, name in zip(types[other], names, strict=True)]
    var = var.astype(object)
    var.loc[other, [c for c in var if c != COLUMN]] = None
    return var.set_index(pd.Index(index, dtype=object))

"""What is known of one dataset after a look at it: an input of `prepare`, or a store's dataset."""

from dataclasses import dataclass, field

import numpy as np

QUANTILES = {"least": 0, "5 %": 5, "quarter": 25, "median": 50, "three quarters": 75, "95 %": 95,
             "most": 100}  # fmt: skip
POINTS = 200  # of the curve of genes by the share of cells that have them


@dataclass
class Look:
    """A dataset: n cells read of n_cells, G genes.

    Attributes
    ----------
    name, file : str
        What it is called, and the path or name that it was opened by.
    n_cells, read : int
        Its cells, and how many of them the numbers are of.
    counts, values : str
        Where the counts are, and what those values look like.
    places : dict
        {place: what its values look like}, of all places.
    depth : f32 [n], n_genes : i32 [n]
        Sum of each cell's counts, and its genes > 0.
    names : GeneNames [G]
    share : f64 [G]
        Share of the read cells that have each gene; of a store its training cells.
    mitochondrial : dict or None
        'genes' and, in per cent of a cell's counts, 'mean'; 'median' and '95 %' where cells were
        read. None where no name is one of a mitochondrial gene.
    identifiers : dict
        As `identifiers.facts` finds them.
    labels : dict
        {obs column: as `labels.balance` finds it}.
    other_columns : dict
        {obs column: why it is no label}.
    cells : u64 [n_cells] or None
        Hash of each cell's name; a store keeps none.
    panels : dict or None
        As `panels.Panels.facts` finds them.
    refused, warned : list of str
        What `prepare` would say.
    """

    name: str
    file: str
    n_cells: int
    read: int
    counts: str
    values: str
    places: dict
    depth: np.ndarray
    n_genes: np.ndarray
    names: object
    share: np.ndarray
    mitochondrial: dict | None
    identifiers: dict
    labels: dict
    other_columns: dict
    cells: np.ndarray | None = None
    panels: dict | None = None
    refused: list = field(default_factory=list)
    warned: list = field(default_factory=list)

    @property
    def sparsity(self):
        """Share of zeros in cells × genes."""
        return 1 - float(self.n_genes.sum(dtype=np.float64)) / (self.read * len(self.names))

    def facts(self):
        """The same as JSON takes it: quantiles for the cells, a thinned curve for the genes."""
        repeated = None if self.cells is None else len(self.cells) - len(np.unique(self.cells))
        return {
            "name": self.name,
            "file": self.file,
            "cells": self.n_cells,
            "cells_read": self.read,
            "genes": len(self.names),
            "genes_without_count": int((self.share == 0).sum()),
            "sparsity": self.sparsity,
            "counts": self.counts,
            "values": self.values,
            "places": self.places,
            "depth": quantiles(self.depth),
            "genes_per_cell": quantiles(self.n_genes),
            "share_of_cells_by_gene_rank": curve(self.share),
            "mitochondrial": self.mitochondrial,
            "identifiers": self.identifiers,
            "duplicate_barcodes": repeated,
            "labels": self.labels,
            "other_columns": self.other_columns,
            "panels": self.panels,
            "refused": self.refused,
            "warned": self.warned,
        }


def quantiles(values):
    """{name: value} of QUANTILES, and the mean; values [n]."""
    found = np.percentile(values, list(QUANTILES.values()))
    shown = {name: float(value) for name, value in zip(QUANTILES, found, strict=True)}
    return {**shown, "mean": float(values.mean(dtype=np.float64))}


def curve(share):
    """[[rank from 1, share of cells], …] of the genes, the most frequent first; thinned by log."""
    ordered = np.sort(share)[::-1]
    ranks = np.unique(np.geomspace(1, len(ordered), POINTS).astype(int))
    return [[int(rank), float(ordered[rank - 1])] for rank in ranks]

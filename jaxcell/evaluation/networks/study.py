"""What a study of gene networks looks at, and what it has found on the way."""

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from .known import FEWEST

TOPS = (20, 100)  # targets of a source: for overlaps with known ones; and for gene sets


@dataclass
class Study:
    """M genes, n cells, k conditions.

    Attributes
    ----------
    genes : names [M], each once
    sources : those whose edges are told
    counts : CSR float32 [n, M], normalised and logged, of the cells that have a condition
    codes : int [n], each one's condition
    conditions : their names [k]
    reference : the one that others are compared with
    known : {factor: set of targets}, or None
    sets : {name: set of genes}, or None
    seed : of clusters, layouts, draws
    """

    genes: list
    sources: list
    counts: sp.csr_matrix
    codes: np.ndarray
    conditions: list
    reference: str
    known: dict | None = None
    sets: dict | None = None
    seed: int = 0

    def place(self, gene):
        """Row of a gene."""
        return self.genes.index(gene)

    @property
    def places(self):
        """Rows of the sources."""
        return [self.genes.index(gene) for gene in self.sources]

    def settle(self, received=None):
        """Name the sources where nobody has: factors with 5 known targets or more here, most first.

        Without these the ten genes that receive most attention; without that, all genes.

        received : {model: what genes receive [k, M]}, or None
        """
        if self.sources:
            return
        genes, known = set(self.genes), self.known or {}
        targets = {s: len(own & (genes - {s})) for s, own in known.items() if s in genes}
        named = sorted((s for s in targets if targets[s] >= FEWEST), key=lambda s: (-targets[s], s))
        if not named and received is not None:
            total = np.mean([one.mean(axis=0) for one in received.values()], axis=0)
            named = [self.genes[i] for i in np.argsort(-total, kind="stable")[:10]]
        self.sources = named or list(self.genes)


@dataclass
class Found:
    """What a route has found.

    results : for results.json
    tables : {file: (columns, rows)}
    pictures : [(file, title, function of the path that draws it)]
    scores : {(route, model, condition): [M, M]}, to be compared with known targets
    texts : {file: its text}
    """

    results: dict
    tables: dict = field(default_factory=dict)
    pictures: list = field(default_factory=list)
    scores: dict = field(default_factory=dict)
    texts: dict = field(default_factory=dict)

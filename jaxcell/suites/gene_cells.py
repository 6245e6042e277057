"""The cells of the suite ``genes``: counts of the genes that all vectors have, and cell types.

n cells, V genes.
"""

from functools import cached_property

import numpy as np
import scipy.sparse as sp

from jaxcell.data.genes import identify
from jaxcell.data.sources import open_source
from jaxcell.evaluation import baselines, count_statistics, gene_baselines
from jaxcell.evaluation.networks import programs
from jaxcell.suites.vectors import fingerprint


class Cells:
    """Raw counts of some files' cells, at most 10 000 of each drawn by seed 0."""

    def __init__(self, paths, where, allow_non_integer):
        self._paths, self._where, self._integer = paths, where, allow_non_integer
        opened = [open_source(path, counts=where) for path in paths]
        self.names = [(s.name, identify(s.var, where=s.name)) for s in opened]
        self._obs = [s.obs[gene_baselines.drawn_cells(s.n_cells)] for s in opened]
        self.mark = [[fingerprint(path) for path in paths], where]

    def on(self, vocabulary):
        """Read the counts of the shared genes; they are ``counts`` from then on."""
        self.vocabulary = vocabulary
        self.counts = sp.vstack(
            [
                gene_baselines.read_counts(
                    path, vocabulary, counts=self._where, allow_non_integer=self._integer
                )[0]
                for path in self._paths
            ],
            format="csr",
        )

    def labels(self, column):
        """A column of obs, str [n]; '' where there is none.

        Raises
        ------
        ValueError
            A file without it.
        """
        found = []
        for (name, _), obs in zip(self.names, self._obs, strict=True):
            if column not in obs:
                raise ValueError(f"--markers: {name} has no obs {column!r}; it has {list(obs)}")
            values = obs[column]
            found.append(np.where(values.isna(), "", values.astype(str).str.strip()).astype(str))
        return np.concatenate(found)

    @cached_property
    def normalised(self):
        """(Lib+Log)Norm of the shared genes, CSR [n, V]."""
        return baselines.normalise(self.counts)

    @cached_property
    def moments(self):
        """As `count_statistics.moments`."""
        return count_statistics.moments(self.counts, self.normalised)

    def markers(self, column, k):
        """{type: [row of the gene, …]} of the 8 most frequent types; a gene is of the first."""
        rows = [str(i) for i in range(len(self.vocabulary))]  # names may stand there twice
        found = programs.markers(self.normalised, rows, self.labels(column), k)
        taken = {}
        for kind, own in found.items():
            for gene in own:
                taken.setdefault(int(gene), kind)
        return {kind: [i for i, of in taken.items() if of == kind] for kind in found}

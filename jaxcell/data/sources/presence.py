"""Which genes were measured where, by the source's own word."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Presence:
    """Genes that each value of an obs column measured.

    column : str, of obs
    genes : dict, {value of the column: bool [n_var]}
    """

    column: str
    genes: dict

    def of(self, values, match):
        """Genes of the vocabulary that some values of the column measured, bool [values, V]."""
        found = np.zeros((len(values), match.n_genes), bool)
        for i, value in enumerate(values):
            found[i, match.columns[(match.columns >= 0) & self.genes[value]]] = True
        return found


def column_of(sources):
    """The column that divides the first source which knows its measured genes, or None."""
    return next((s.presence.column for s in sources if s.presence), None)

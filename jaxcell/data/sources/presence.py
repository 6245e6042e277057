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

    def of(self, source, values, match, detected):
        """Genes of the vocabulary that some values of the column measured, bool [values, V].

        Parameters
        ----------
        source : Source, for errors
        values : list of str
        match : GeneMatch
        detected : bool [values, V]
            Genes with a count there.

        Raises
        ------
        ValueError
            A gene has a count where it was not measured.
        """
        found = np.zeros((len(values), match.n_genes), bool)
        for i, value in enumerate(values):
            found[i, match.columns[(match.columns >= 0) & self.genes[value]]] = True
        wrong = detected & ~found
        if wrong.any():
            i = int(np.argmax(wrong.any(axis=1)))
            raise ValueError(
                f"{source.name} contradicts itself: {self.column}={values[i]} has counts of "
                f"{wrong[i].sum()} genes that its presence matrix calls not measured there"
            )
        return found


def column_of(sources):
    """The column that divides the first source which knows its measured genes, or None."""
    return next((s.presence.column for s in sources if s.presence), None)

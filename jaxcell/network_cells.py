"""What a study of gene networks reads of a file: conditions, counts, and which genes are looked at.

n cells of the file, n_var its columns, M chosen genes.
"""

import warnings

import numpy as np
import pandas as pd
import scipy.sparse as sp

from jaxcell.data.checks import check_chunk
from jaxcell.data.vocabulary import read_vocabulary
from jaxcell.evaluation.baselines import highly_variable, normalise

FEWEST_CELLS = 10  # of a condition
MANY_CONDITIONS = 20


def conditions_of(source, condition, cells=None, seed=0):
    """Names of the conditions [k], and each cell's number among them, -1 for none; int [n].

    cells : at most so many of each condition, drawn; None: all

    Raises
    ------
    ValueError
        No such column, too few cells of a condition, or too many conditions.
    """
    if condition not in source.obs:
        raise ValueError(
            f"condition: {source.name} has no obs column {condition!r}; it has {list(source.obs)}"
        )
    column = source.obs[condition]
    known = column.notna().to_numpy() & (column.astype(str).str.strip() != "").to_numpy()
    names, codes = np.unique(column[known].astype(str), return_inverse=True)
    sizes = np.bincount(codes, minlength=len(names))
    if len(names) > MANY_CONDITIONS:
        raise ValueError(
            f"condition: obs[{condition!r}] has {len(names)} values, expected at most "
            f"{MANY_CONDITIONS}: a matrix of all genes is kept for each"
        )
    few = [f"{n} ({s})" for n, s in zip(names, sizes, strict=True) if s < FEWEST_CELLS]
    if few or not len(names):
        raise ValueError(
            f"condition: obs[{condition!r}] has too few cells of {', '.join(few) or 'any value'}, "
            f"expected {FEWEST_CELLS} or more of each"
        )
    found = np.full(source.n_cells, -1)
    found[known] = codes
    if cells is not None:
        rng = np.random.default_rng(seed)
        for i in np.flatnonzero(sizes > cells):
            mine = rng.permutation(np.flatnonzero(found == i))
            found[mine[cells:]] = -1
    return names.tolist(), found


def types_of(source, label):
    """Cells' types as an obs column has them, str [n]; '' for none."""
    if label not in source.obs:
        raise ValueError(
            f"label: {source.name} has no obs column {label!r}; it has {list(source.obs)}"
        )
    column = source.obs[label]
    return column.astype(str).where(column.notna(), "").to_numpy(str)


def normalised_counts(source, kept, allow_non_integer, shown):
    """Counts of some cells, normalised and logged: CSR float32 [kept, n_var]; how they look."""
    parts, start, looks = [], 0, ""
    for chunk in source.chunks():
        looks = check_chunk(chunk, source, allow_non_integer) or looks
        parts.append(chunk[kept[start : start + chunk.shape[0]]])
        start += chunk.shape[0]
        shown.update(chunk.shape[0])
    if looks:
        warnings.warn(f"{source.name}: non-integer values taken as they are: {looks}", stacklevel=3)
    return normalise(sp.vstack(parts, format="csr")), looks


class Names:
    """Columns of a file by name, and what each is called here; names are GeneNames [n_var]."""

    def __init__(self, names, var, where):
        self._where, self.shown = where, names.show(range(len(names)))
        twice = pd.Index(self.shown).duplicated()  # of one name only the first is a gene here
        self.unique = [
            f"{n} ({i})" if t else n for i, (n, t) in enumerate(zip(self.shown, twice, strict=True))
        ]
        self.first = ~twice
        self._column = {}
        for own in (var.index.astype(str), names.ensembl, names.symbols):  # the last wins
            for i, name in reversed(list(enumerate(own))):
                if name:
                    self._column[name] = i

    def __contains__(self, name):
        return name in self._column

    def column(self, name, field):
        """The column of a gene, or a ValueError that names the field."""
        if name not in self._column:
            close = [n for n in self._column if n.casefold() == name.casefold()]
            hint = f"; it has {close[0]}" if close else ""
            raise ValueError(f"{field}: {self._where} has no gene {name!r}{hint}")
        return self._column[name]

    def factors(self, tf, usable):
        """Columns of the named factors, each once; usable bool [n_var]: which may be among them."""
        found = list(dict.fromkeys(self.column(name, "tf") for name in tf))
        if lost := [self.shown[i] for i in found if not usable[i]]:
            raise ValueError(
                f"tf: found {', '.join(lost)}, expected some of the {int(usable.sum())} genes of "
                f"{self._where} that training cells of every model measured (and that have vectors)"
            )
        return found


def choose_genes(names, usable, counts, *, genes=None, number=1200, forced=()):
    """The columns of the genes to look at, ascending; int [M].

    Parameters
    ----------
    names : Names
    usable : bool [n_var], columns that every model knows
    counts : CSR [cells, n_var], normalised and logged
    genes : names, or a file of them; None: the ``number`` most variable of the usable ones, or all
        where these are fewer
    forced : columns that are there whatever else is

    Raises
    ------
    ValueError
        None of the genes, or fewer than 20.
    """
    usable = usable & names.first
    if genes is not None:
        given = genes if isinstance(genes, list | tuple) else _listed(genes)
        columns = {names.column(g, "genes") for g in given if g in names}
        chosen = np.isin(np.arange(len(usable)), list(columns)) & usable
        if (lost := len(given) - int(chosen.sum())) > 0:
            warnings.warn(
                f"genes: {lost} of the {len(given)} named are not in the file, or no model knows "
                "them; they are left out",
                stacklevel=3,
            )
    elif usable.sum() <= number:
        chosen = usable.copy()
    else:
        chosen = np.zeros(len(usable), bool)
        own = np.flatnonzero(usable)
        chosen[own[highly_variable(counts[:, own], number)]] = True
    chosen[list(forced)] = True
    if chosen.sum() < 20:
        raise ValueError(
            f"genes: found {int(chosen.sum())} that the file has and every model knows, expected "
            "20 or more"
        )
    return np.flatnonzero(chosen)


def _listed(path):
    found = read_vocabulary(path)
    return [e or s for s, e in zip(found.symbols, found.ensembl, strict=True)]

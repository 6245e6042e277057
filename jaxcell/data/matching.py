"""Which column of a file is which gene of a vocabulary.

A gene is found by, in this order: the Ensembl id and then the symbol that the file itself gives,
exactly as spelled; then what a gene map says of them; then the symbol that R has changed (HLA.A);
then, of a few columns, the symbol in another case. Nothing is downloaded.
n_var = columns of a file, V = genes of the vocabulary.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from jaxcell.data.letter_case import another_species, ignoring_case
from jaxcell.data.r_names import through_r

DUPLICATES = ("error", "sum", "first")
FEW = 0.2  # of the genes that a file and a vocabulary could share: below it is warned of
LEVELS = (
    "Ensembl id", "symbol", "gene map", "symbol that R changed", "symbol in another case",
)  # fmt: skip
ORTHOLOGS = (
    "Give a table of orthologs (jaxcell prepare --orthologs), or a gene map with them as aliases"
)
GIVE_MAP = (
    "give a gene map (--gene-map FILE, or JAXCELL_GENES=FILE; tab-separated: ensembl, symbol, "
    "aliases with | between)"
)


@dataclass(frozen=True)
class GeneMatch:
    """Which column of a file is which gene of a vocabulary.

    Attributes
    ----------
    columns : i32 [n_var]
        Gene index of each column; -1 = none. With duplicates='sum' several columns share one.
    n_genes : int
        Genes of the vocabulary, V.
    missing, unmatched, duplicated : tuple of str
        Genes of the vocabulary that the file lacks; names of the file that the vocabulary lacks;
        genes of the vocabulary that several columns of the file are.
    levels : dict
        Columns matched by each of LEVELS.
    where, duplicates : str
        The file, and what was done with duplicated genes.
    level : i8 [n_var]
        Which of the levels each column was found at; -1 = none.
    note : str
        What was done to the names before.
    """

    columns: np.ndarray
    n_genes: int
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]
    duplicated: tuple[str, ...]
    levels: dict[str, int]
    where: str
    duplicates: str
    level: np.ndarray
    note: str = ""

    @property
    def n_matched(self):
        """Number of the vocabulary's genes that the file has."""
        return self.n_genes - len(self.missing)

    def apply(self, matrix):
        """Counts of the file's columns as counts of the vocabulary's genes, see `project`."""
        return project(matrix, self.columns, self.n_genes)

    def only(self, genes):
        """The same without the columns of other genes: bool [V] -> GeneMatch."""
        kept = (self.columns >= 0) & genes[np.maximum(self.columns, 0)]
        return replace(self, columns=np.where(kept, self.columns, -1).astype(np.int32))

    def report(self):
        """What matched and what did not, in one paragraph."""
        how = ", ".join(f"{n} by {level}" for level, n in self.levels.items() if n)
        text = [
            f"{self.where}: {self.n_matched} of the {self.n_genes} genes of the vocabulary found "
            f"({how}) among {len(self.columns)} columns."
        ]
        for names, what in (
            (self.missing, "genes of the vocabulary are not in the file"),
            (self.unmatched, "columns are not in the vocabulary and were left out"),
            (self.duplicated, f"genes stand there more than once ({self.duplicates} taken)"),
        ):
            if names:
                text.append(f"{len(names)} {what}: {_some(names)}.")
        if self.note:
            text.append(f"{self.note}.")
        return " ".join(text)


def project(matrix, columns, n_genes):
    """Counts [n, n_var] → canonical CSR [n, n_genes]: columns renamed, sorted, without zeros.

    Column j becomes gene columns[j]; -1 leaves it out; columns of the same gene are summed.
    """
    matrix = sp.csr_matrix(matrix)
    same = n_genes == len(columns) and np.array_equal(columns, np.arange(n_genes))
    if same and matrix.has_canonical_format and np.all(matrix.data):
        return matrix  # the file's genes are the vocabulary's
    gene = np.asarray(columns)[matrix.indices]
    keep = (gene >= 0) & (matrix.data != 0)
    data, pointers = matrix.data, matrix.indptr
    if not keep.all():
        data, gene = data[keep], gene[keep]
        pointers = np.concatenate([[0], np.cumsum(keep)])[pointers]
    result = sp.csr_matrix((data, gene, pointers), (matrix.shape[0], n_genes))
    if not result.has_canonical_format:
        # Two transpositions sort in linear time, and leave the caller's values alone.
        result = result.tocsc().tocsr()
        result.sum_duplicates()
    return result


def match(names, vocabulary, gene_map=None, duplicates="error", where="the file"):
    """Find a file's genes in a vocabulary.

    A gene that one column has by a better name (Ensembl id, then symbol, then gene map) is not
    given to a column with a worse one: the alias of a gene that is there itself stays unmatched.

    Parameters
    ----------
    names : GeneNames, [n_var]
    vocabulary : Vocabulary, V genes
    gene_map : GeneMap, optional
    duplicates : {'error', 'sum', 'first'}
        What to do where several columns are the same gene by equally good names.
    where : str
        Name of the file in errors and in the report.

    Returns
    -------
    GeneMatch

    Raises
    ------
    ValueError
        No gene matches, or genes are duplicated and `duplicates` is 'error'.
    """
    if duplicates not in DUPLICATES:
        raise ValueError(f"duplicates is {duplicates!r}; known: {', '.join(DUPLICATES)}")
    columns, level, foreign = find(names, vocabulary, gene_map)
    if not (columns >= 0).any():
        raise ValueError(_no_match(names, vocabulary, where))
    if foreign:
        raise ValueError(other_species(names, foreign, (columns >= 0).sum(), where))
    order = np.flatnonzero(columns >= 0)
    genes, first, times = np.unique(columns[order], return_index=True, return_counts=True)
    duplicated = tuple(vocabulary.names[i] for i in genes[times > 1])
    if duplicated and duplicates == "error":
        raise ValueError(
            f"{where}: {len(duplicated)} genes stand in more than one column: "
            f"{_some(duplicated)}. --duplicates sum adds them up, --duplicates first takes the "
            "first column of each"
        )
    unmatched = names.show(np.flatnonzero(columns < 0))
    if duplicates == "first":
        later = np.setdiff1d(order, order[first])
        columns[later] = -1
    present = np.zeros(len(vocabulary), bool)
    present[genes] = True
    return GeneMatch(
        columns=columns,
        n_genes=len(vocabulary),
        missing=tuple(vocabulary.names[i] for i in np.flatnonzero(~present)),
        unmatched=unmatched,
        duplicated=duplicated,
        levels={what: int((level == i).sum()) for i, what in enumerate(LEVELS)},
        where=where,
        duplicates=duplicates,
        level=level,
        note=names.note,
    )


def warn_few(found):
    """Warn where a file and a vocabulary share few of the genes that they could.

    found : GeneMatch
    """
    columns = int((found.columns >= 0).sum())
    most = min(len(found.columns), found.n_genes)
    if columns < FEW * most:
        warnings.warn(
            f"{found.where}: only {columns:,} of {len(found.columns):,} columns are among the "
            f"{found.n_genes:,} genes of the vocabulary ({columns / most:.1%} of what could "
            f"match), unmatched are {_some(found.unmatched)}. Is it the same species and kind of "
            "name? See --gene-map and --identifiers",
            stacklevel=3,
        )


def find(names, vocabulary, gene_map):
    """Gene index i32 [n_var] (-1 = none), level i8 [n_var], and the columns of another species.

    The last are those that would be genes if case were ignored, where they are the more.
    """
    by_ensembl, by_symbol = vocabulary.by_ensembl, vocabulary.by_symbol
    n_var = len(names)
    columns, level = np.full(n_var, -1, np.int32), np.full(n_var, -1, np.int8)
    tables = [lambda s, e: by_ensembl.get(e, -1), lambda s, e: by_symbol.get(s, -1)]
    known = set(vocabulary.symbols)
    if gene_map is not None:
        # The vocabulary's own blanks are filled too, so that an alias finds its approved symbol.
        filled = [gene_map.complete(s, e)[1] for s, e in zip(*pairs_of(vocabulary), strict=True)]
        mapped = {e: i for i, e in reversed(list(enumerate(filled))) if e} | by_ensembl

        def through_map(symbol, ensembl):
            symbol, ensembl = gene_map.complete(symbol, ensembl)
            return mapped.get(ensembl, by_symbol.get(symbol, -1))

        tables.append(through_map)
        known |= gene_map.symbols
    taken = np.zeros(len(vocabulary) + 1, bool)  # the last stands for -1 and stays False
    for i, table in enumerate(tables):
        found = np.array([table(s, e) for s, e in zip(*pairs_of(names), strict=True)], np.int32)
        new = (columns < 0) & (found >= 0) & ~taken[found]
        columns[new], level[new] = found[new], i
        taken[found[new]] = True
    found = through_r(names, known, columns, lambda s: max(table(s, "") for table in tables))
    new = (found >= 0) & ~taken[found]
    columns[new], level[new] = found[new], len(LEVELS) - 2
    by_case = ignoring_case(names, vocabulary, columns)
    new = by_case >= 0
    if another_species(columns, by_case):
        return columns, level, np.flatnonzero(new).tolist()
    columns[new], level[new] = by_case[new], len(LEVELS) - 1
    return columns, level, []


def pairs_of(names):
    """(symbols, Ensembl ids) of GeneNames or a Vocabulary."""
    return names.symbols, names.ensembl


def _some(names, most=5):
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def other_species(names, foreign, n_exact, where):
    """The error of a file whose columns are genes mostly if case is ignored."""
    return (
        f"{where}: {len(foreign)} columns would be genes if case were ignored "
        f"({_some(names.show(foreign[:6]))}), and {n_exact} are as they are spelled: is this "
        f"another species? {ORTHOLOGS}"
    )


def _no_match(names, vocabulary, where):
    ours, theirs = names.show(range(min(3, len(names)))), vocabulary.names[:3]
    text = f"{where}: no gene matches the vocabulary: the file has {_some(ours)}, the vocabulary "
    text += f"{_some(theirs)}. "
    folded = {name.casefold() for name in vocabulary.symbols if name}
    if any(name.casefold() in folded for name in names.symbols if name):
        text += "They would match if case were ignored: is this another species? "
        return text + ORTHOLOGS
    if (any(names.ensembl) and not any(vocabulary.ensembl)) or (
        any(vocabulary.ensembl) and not any(names.ensembl)
    ):
        return text + f"One has Ensembl ids and the other symbols: {GIVE_MAP}"
    return text + "Are they the same species and kind of feature? See --identifiers"

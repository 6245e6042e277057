"""Which column of a file is which gene of a vocabulary, and the vocabulary of several files.

A gene is found by, in this order: the Ensembl id and then the symbol that the file itself gives,
exactly as spelled; then what a gene map says of them. Nothing is guessed and nothing downloaded.
n_var = columns of a file, V = genes of the vocabulary.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from jaxcell.data.genes import GeneNames
from jaxcell.data.vocabulary import Vocabulary

DUPLICATES = ("error", "sum", "first")
LEVELS = ("Ensembl id", "symbol", "gene map")
_GIVE_MAP = (
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
        Columns matched by 'Ensembl id', 'symbol' and 'gene map'.
    where, duplicates : str
        The file, and what was done with duplicated genes.
    """

    columns: np.ndarray
    n_genes: int
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]
    duplicated: tuple[str, ...]
    levels: dict[str, int]
    where: str
    duplicates: str

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
    columns, level = _find(names, vocabulary, gene_map)
    if not (columns >= 0).any():
        raise ValueError(_no_match(names, vocabulary, where))
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
    )


def _find(names, vocabulary, gene_map):
    """Gene index i32 [n_var] (-1 = none) and level [n_var] at which it was found."""
    by_ensembl, by_symbol = vocabulary.by_ensembl, vocabulary.by_symbol
    n_var = len(names)
    columns, level = np.full(n_var, -1, np.int32), np.full(n_var, -1, np.int8)
    tables = [lambda s, e: by_ensembl.get(e, -1), lambda s, e: by_symbol.get(s, -1)]
    if gene_map is not None:
        # The vocabulary's own blanks are filled too, so that an alias finds its approved symbol.
        known = [gene_map.complete(s, e)[1] for s, e in zip(*_pairs(vocabulary), strict=True)]
        mapped = {e: i for i, e in reversed(list(enumerate(known))) if e} | by_ensembl

        def through_map(symbol, ensembl):
            symbol, ensembl = gene_map.complete(symbol, ensembl)
            return mapped.get(ensembl, by_symbol.get(symbol, -1))

        tables.append(through_map)
    taken = np.zeros(len(vocabulary) + 1, bool)  # the last stands for -1 and stays False
    for i, table in enumerate(tables):
        found = np.array([table(s, e) for s, e in zip(*_pairs(names), strict=True)], np.int32)
        new = (columns < 0) & (found >= 0) & ~taken[found]
        columns[new], level[new] = found[new], i
        taken[found[new]] = True
    return columns, level


def _pairs(names):
    return names.symbols, names.ensembl


def _some(names, most=5):
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def _no_match(names, vocabulary, where):
    ours, theirs = names.show(range(min(3, len(names)))), vocabulary.names[:3]
    text = f"{where}: no gene matches the vocabulary: the file has {_some(ours)}, the vocabulary "
    text += f"{_some(theirs)}. "
    folded = {name.casefold() for name in vocabulary.symbols if name}
    if any(name.casefold() in folded for name in names.symbols if name):
        return text + "They would match if case were ignored: is this another species?"
    if (any(names.ensembl) and not any(vocabulary.ensembl)) or (
        any(vocabulary.ensembl) and not any(names.ensembl)
    ):
        return text + f"One has Ensembl ids and the other symbols: {_GIVE_MAP}"
    return text + "Are they the same species and kind of feature? See --identifiers"


def union(files, gene_map=None):
    """Vocabulary of all genes of several files.

    Files that give both names of a gene come first, so that they join files that give only one.

    Parameters
    ----------
    files : dict
        {name of the file: GeneNames}.
    gene_map : GeneMap, optional
        Fills in names that a file does not give.

    Returns
    -------
    Vocabulary

    Raises
    ------
    ValueError
        Some files have symbols, others Ensembl ids, and nothing says which is which.
    """
    symbols, ensembl = [], []
    only = {"symbols": [], "Ensembl ids": []}
    for where in sorted(files, key=lambda file: _share_with_both(files[file]), reverse=True):
        names = files[where] if gene_map is None else _completed(files[where], gene_map)
        genes = _find(names, Vocabulary(symbols, ensembl), None)[0]
        _add(symbols, ensembl, names, genes)
        genes = _find(names, Vocabulary(symbols, ensembl), None)[0]
        genes = genes[genes >= 0]
        if np.mean([ensembl[i] == "" for i in genes]) > 0.5:
            only["symbols"].append(where)
        elif np.mean([symbols[i] == "" for i in genes]) > 0.5:
            only["Ensembl ids"].append(where)
    if all(only.values()):
        named = "; ".join(f"{', '.join(where)} by {how} only" for how, where in only.items())
        raise ValueError(
            f"mixed identifiers: genes are named in {named}, and nothing says which is which: "
            f"{_GIVE_MAP}"
        )
    return Vocabulary(symbols, ensembl)


def _share_with_both(names):
    return np.mean([bool(s and e) for s, e in zip(*_pairs(names), strict=True)])


def _completed(names, gene_map):
    """Names with the Ensembl ids of the map, an alias' only where no other column has that id."""
    ensembl = [e or gene_map.ensembl_of.get(s, "") for s, e in zip(*_pairs(names), strict=True)]
    taken = set(ensembl)
    for i, symbol in enumerate(names.symbols):
        alias = gene_map.alias_of.get(symbol)
        if not ensembl[i] and alias and alias not in taken:
            ensembl[i] = alias
            taken.add(alias)
    pairs = zip(names.symbols, ensembl, strict=True)
    symbols = [s or gene_map.symbol_of.get(e, "") for s, e in pairs]
    return GeneNames(tuple(symbols), tuple(ensembl))


def _add(symbols, ensembl, names, genes):
    """Fill blanks of the genes that were found (genes [n_var] >= 0); append the others once."""
    known_symbols, known_ensembl = set(symbols), set(ensembl)
    for s, e, i in zip(*_pairs(names), genes, strict=True):
        if i >= 0 and not symbols[i] and s not in known_symbols:
            symbols[i] = s
        elif i >= 0 and not ensembl[i] and e not in known_ensembl:
            ensembl[i] = e
    with_id = {s for s, e in zip(*_pairs(names), strict=True) if e} | set(symbols)
    for s, e, i in zip(*_pairs(names), genes, strict=True):
        if i < 0 and (e not in known_ensembl if e else s and s not in with_id):
            symbols.append(s)
            ensembl.append(e)
            known_ensembl.add(e)
            if not e:
                with_id.add(s)

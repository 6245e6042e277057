"""Symbols that differ from a gene's in case alone: C1ORF112 for C1orf112, or another species.

HGNC writes human symbols in capitals but for the orf in the middle, MGI those of mouse with one
capital. So a few such names are spellings, while a file of them is of another species.
"""

import numpy as np


def ignoring_case(names, vocabulary, columns):
    """Genes that case alone keeps from columns without a gene.

    Only where the folded symbol is one column's and one gene's, that gene has no column yet, and
    Ensembl ids do not tell the two apart.

    Parameters
    ----------
    names : GeneNames, [n_var]
    vocabulary : Vocabulary
    columns : i32 [n_var]
        Gene of each column by its exact names; -1 = none.

    Returns
    -------
    genes : i32 [n_var]
        -1 where there is none.
    """
    genes = {}
    for i, symbol in enumerate(vocabulary.symbols):
        if symbol:
            genes.setdefault(symbol.casefold(), []).append(i)
    taken, found = set(columns.tolist()), {}
    for j, (symbol, ensembl) in enumerate(zip(names.symbols, names.ensembl, strict=True)):
        mine = genes.get(symbol.casefold(), ())
        if columns[j] >= 0 or len(mine) != 1 or mine[0] in taken:
            continue
        if not (ensembl and vocabulary.ensembl[mine[0]]):
            found.setdefault(mine[0], []).append(j)
    result = np.full(len(names), -1, np.int32)
    for gene, those in found.items():
        if len(those) == 1:
            result[those[0]] = gene
    return result


def another_species(columns, by_case):
    """Whether more columns would be genes by ignoring case than are exactly, i32 [n_var] each."""
    return (by_case >= 0).sum() > (columns >= 0).sum()

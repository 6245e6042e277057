"""The vocabulary of several files: all their genes, each once."""

from dataclasses import replace

import numpy as np

from jaxcell.data.matching import GIVE_MAP, find, other_species, pairs_of
from jaxcell.data.r_names import as_in_r, before_r
from jaxcell.data.vocabulary import Vocabulary


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
        Some files have symbols, others Ensembl ids, and nothing says which is which; or files are
        of two species.
    """
    files = _as_before_r(files, gene_map)
    symbols, ensembl = [], []
    only = {"symbols": [], "Ensembl ids": []}
    for where in sorted(files, key=lambda file: _share_with_both(files[file]), reverse=True):
        names = files[where] if gene_map is None else _completed(files[where], gene_map)
        genes, _, foreign = find(names, Vocabulary(symbols, ensembl), None)
        if foreign:
            raise ValueError(other_species(names, foreign, (genes >= 0).sum(), where))
        _add(symbols, ensembl, names, genes)
        genes = find(names, Vocabulary(symbols, ensembl), None)[0]
        genes = genes[genes >= 0]
        if np.mean([ensembl[i] == "" for i in genes]) > 0.5:
            only["symbols"].append(where)
        elif np.mean([symbols[i] == "" for i in genes]) > 0.5:
            only["Ensembl ids"].append(where)
    if all(only.values()):
        named = "; ".join(f"{', '.join(where)} by {how} only" for how, where in only.items())
        raise ValueError(
            f"mixed identifiers: genes are named in {named}, and nothing says which is which: "
            f"{GIVE_MAP}"
        )
    return Vocabulary(symbols, ensembl)


def _as_before_r(files, gene_map):
    """The names of the files, those that R changed as the gene map or another file has them."""
    known = {s for names in files.values() for s in names.symbols if as_in_r(s) != s}
    known |= gene_map.symbols if gene_map else set()
    result = {}
    for where, names in files.items():
        asked = ["" if e else s for s, e in zip(*pairs_of(names), strict=True)]
        pairs = zip(before_r(asked, known), names.symbols, strict=True)
        result[where] = replace(names, symbols=tuple(before or symbol for before, symbol in pairs))
    return result


def _share_with_both(names):
    return np.mean([bool(s and e) for s, e in zip(*pairs_of(names), strict=True)])


def _completed(names, gene_map):
    """Names with the Ensembl ids of the map, an alias' only where no other column has that id."""
    ensembl = [e or gene_map.ensembl_of.get(s, "") for s, e in zip(*pairs_of(names), strict=True)]
    taken = set(ensembl)
    for i, symbol in enumerate(names.symbols):
        alias = gene_map.alias_of.get(ensembl[i] or symbol)  # an ortholog's id is an alias too
        if alias and alias not in taken:
            ensembl[i] = alias
            taken.add(alias)
    pairs = zip(names.symbols, ensembl, strict=True)
    symbols = [s or gene_map.symbol_of.get(e, "") for s, e in pairs]
    return replace(names, symbols=tuple(symbols), ensembl=tuple(ensembl))


def _add(symbols, ensembl, names, genes):
    """Fill blanks of the genes that were found (genes [n_var] >= 0); append the others once."""
    known_symbols, known_ensembl = set(symbols), set(ensembl)
    for s, e, i in zip(*pairs_of(names), genes, strict=True):
        if i >= 0 and not symbols[i] and s not in known_symbols:
            symbols[i] = s
        elif i >= 0 and not ensembl[i] and e not in known_ensembl:
            ensembl[i] = e
    with_id = {s for s, e in zip(*pairs_of(names), strict=True) if e} | set(symbols)
    for s, e, i in zip(*pairs_of(names), genes, strict=True):
        if i < 0 and (e not in known_ensembl if e else s and s not in with_id):
            symbols.append(s)
            ensembl.append(e)
            known_ensembl.add(e)
            if not e:
                with_id.add(s)

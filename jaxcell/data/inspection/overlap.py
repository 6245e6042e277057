"""Genes and cells that several datasets share. D datasets."""

import numpy as np

from jaxcell.data.matching import match
from jaxcell.data.union import union

INTERSECTIONS = 24  # the largest groups of genes that the same datasets have


def genes(looks, gene_map=None):
    """Which genes are in which datasets.

    Parameters
    ----------
    looks : list of Look, D
    gene_map : GeneMap, optional

    Returns
    -------
    dict
        'shared' [D, D] (genes of both; on the diagonal a dataset's own), 'all', 'any' (genes of
        every and of any dataset), 'groups' (largest first: {'datasets': [numbers], 'genes'}), and
        'how': by which names.
    """
    has, how = _has(looks, gene_map)
    shared = has.astype(np.float32) @ has.T.astype(np.float32)  # exact below 2^24 genes
    patterns, number = np.unique(has[:, has.any(axis=0)].T, axis=0, return_counts=True)
    order = np.argsort(-number, kind="stable")[:INTERSECTIONS]
    return {
        "shared": shared.astype(int).tolist(),
        "all": int(has.all(axis=0).sum()),
        "any": int(has.any(axis=0).sum()),
        "groups": [
            {"datasets": np.flatnonzero(patterns[i]).tolist(), "genes": int(number[i])}
            for i in order
        ],
        "how": how,
    }


def _has(looks, gene_map):
    """Bool [D, genes], and by which names they were told apart."""
    distinct = {}  # the datasets of a store often have the same genes
    number = [distinct.setdefault(look.names, len(distinct)) for look in looks]
    try:
        has = _told_apart(list(distinct), gene_map)
        how = "as prepare would: Ensembl id, then symbol" + ", then gene map" * bool(gene_map)
    except ValueError:  # symbols here, ids there, and nothing says which is which
        has, how = _as_spelled(list(distinct)), "as they are spelled: mixed identifiers"
    return has[number], how


def _told_apart(names, gene_map):
    known = union({str(i): one for i, one in enumerate(names) if _named(one)}, gene_map)
    has = np.zeros((len(names), len(known)), bool)
    for i, one in enumerate(names):
        if _named(one):
            found = match(one, known, gene_map, duplicates="first").columns
            has[i, found[found >= 0]] = True
    return has


def _named(names):
    return any(names.symbols) or any(names.ensembl)


def _as_spelled(names):
    own = [{e or s for s, e in zip(n.symbols, n.ensembl, strict=True)} - {""} for n in names]
    place = {name: i for i, name in enumerate(sorted(set().union(*own)))}
    has = np.zeros((len(names), len(place)), bool)
    for i, mine in enumerate(own):
        has[i, [place[name] for name in mine]] = True
    return has


def cells(looks):
    """Names of cells that two datasets share, [D, D]; None where a dataset keeps no names."""
    own = [None if look.cells is None else np.unique(look.cells) for look in looks]
    return [
        [None if a is None or b is None else len(np.intersect1d(a, b)) for b in own] for a in own
    ]

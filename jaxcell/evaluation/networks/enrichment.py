"""Is a list of genes part of a gene set more than by chance? The hypergeometric test."""

from scipy import stats


def overlap_test(found, members, background):
    """P that so many of the genes found are members, or more, were they drawn evenly.

    Genes outside the background do not count. One-sided: scipy.stats.hypergeom, the same as
    Fisher's exact test with alternative='greater'.

    Parameters
    ----------
    found, members, background : sets of names

    Returns
    -------
    dict : ``overlap``, ``found``, ``members`` (both within the background), ``p``, ``fold`` (over
        what chance gives; None where that is 0)
    """
    found, members = found & background, members & background
    both, n = len(found & members), len(background)
    expected = len(found) * len(members) / n if n else 0
    return {
        "overlap": both,
        "found": len(found),
        "members": len(members),
        "p": float(stats.hypergeom.sf(both - 1, n, len(members), len(found))),
        "fold": both / expected if expected else None,
    }


def enriched(lists, sets, background, fewest=5):
    """Each list of genes against each gene set, with Bonferroni's correction over all of them.

    Parameters
    ----------
    lists : {name: genes}
    sets : {name: set of genes}
    background : names of all genes that could have been found
    fewest : members of a set within the background; smaller sets are not tested

    Returns
    -------
    [{'list', 'set', as of `overlap_test`, 'p_bonferroni', 'genes'}] of those with an overlap, by p;
    the number of tests, which is what the correction multiplies by
    """
    background = set(background)
    tested = {name: own & background for name, own in sets.items()}
    tested = {name: own for name, own in tested.items() if len(own) >= fewest}
    number, rows = len(lists) * len(tested), []
    for name, genes in lists.items():
        genes = set(genes)
        for what, own in tested.items():
            if shared := genes & own:
                row = overlap_test(genes, own, background)
                row["p_bonferroni"] = min(1.0, row["p"] * number)
                rows.append({"list": name, "set": what, **row, "genes": sorted(shared)})
    return sorted(rows, key=lambda row: (row["p"], row["list"], row["set"])), number

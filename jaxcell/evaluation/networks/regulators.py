"""Key regulators: the genes that receive most attention, and what is known of them.

M genes. Source: BioFormers 3.4: genes of the highest attention drive others; pathways among them,
and the factors that are known to regulate them.
"""

import numpy as np

from .enrichment import enriched
from .known import FEWEST

FEWEST_FACTORS = 3  # among the genes: of fewer nobody can say where they stand


def driver_number(genes, most, least):
    """How many of M genes are called regulators: a fifth, at least and at most so many."""
    return min(most, max(least, genes // 5))


def factors_among(received, genes, factors):
    """Do factors receive more attention than other genes? The Mann–Whitney test, one-sided.

    Parameters
    ----------
    received : [M]
    genes : names [M]
    factors : names of factors, of which some are among the genes

    Returns
    -------
    dict : ``factors`` (how many are among the genes), ``auroc`` (the share of pairs of a factor and
        another gene of which the factor receives more) and ``p``; None of both where fewer than 3
        genes are factors, or all are
    """
    from scipy.stats import mannwhitneyu

    own = np.isin(np.array(genes, str), list(factors))
    number = int(own.sum())
    if number < FEWEST_FACTORS or number == len(own):
        return {"factors": number, "auroc": None, "p": None}
    found = mannwhitneyu(received[own], received[~own], alternative="greater")
    share = found.statistic / (number * (len(own) - number))
    return {"factors": number, "auroc": float(share), "p": float(found.pvalue)}


def behind(drivers, known, genes):
    """Factors whose known targets are among the regulators more than by chance.

    Parameters
    ----------
    drivers : {condition: names of its regulators}
    known : {factor: set of targets}, of factors that need not be among the genes
    genes : names [M], the background

    Returns
    -------
    As of `enrichment.enriched`: rows by p, and how many tests they are of
    """
    return enriched(drivers, known, genes, FEWEST)

"""Known relations among the most and least similar perturbations. P perturbations, d dimensions."""

import numpy as np

from .. import relations
from ..consistency import blocks, sums

FEWEST_RELATIONS = relations.FEWEST
DECIMALS = 13  # of cosines: what differs less does so by the rounding of float64


def known_relations(pairs, perturbation, control, fewest=FEWEST_RELATIONS):
    """The known pairs whose genes were both perturbed, alone.

    Parameters
    ----------
    pairs : {database: list of (str, str)}, from `relations.read_pairs`
    perturbation : [n], names of genes (symbols or Ensembl ids) among others
    control : its value of unperturbed cells
    fewest : of a database with fewer pairs nothing is said

    Returns
    -------
    {database: int [m, 2]}, rows of the perturbations in alphabetical order; and {database: pairs
    found} of those that were left out
    """
    names = treatments(perturbation, control)
    found = {
        database: relations.locate(some, names, [""] * len(names), database, fewest=0)
        for database, some in pairs.items()
    }
    few = {database: len(rows) for database, rows in found.items() if len(rows) < fewest}
    return {k: rows for k, rows in found.items() if k not in few}, few


def treatments(perturbation, control):
    """Names of the perturbations but for the control, in alphabetical order: list of str."""
    return [name for name in np.unique(np.asarray(perturbation).astype(str)) if name != control]


def mean_embeddings(x, perturbation, control):
    """Mean of each perturbation's cells: x [n, d] -> float64 [P, d], in alphabetical order."""
    perturbation = np.asarray(perturbation).astype(str)
    names = np.array(treatments(perturbation, control))
    cells = np.flatnonzero(perturbation != control)
    code = np.searchsorted(names, perturbation[cells])
    total = np.zeros((len(names), x.shape[1]))
    for rows in blocks(len(cells)):
        total += sums(np.asarray(x[cells[rows]], np.float64), code[rows], len(names))
    return total / np.bincount(code, minlength=len(names))[:, None]


def relationship_recall(x, perturbation, control, known, share=0.05):
    """Recall of the known pairs in the top and bottom 5 % of cosines between perturbations.

    Cosines of the mean embeddings as they are: what they are measured from is the
    post-processing's. Chance is 2 · share, of random embeddings as of those that all coincide
    (`predicted`). Source: TxFM, B.1.1.

    Parameters
    ----------
    x : [n, d]
    perturbation : [n]
    control : str
    known : {database: int [m, 2]} from `known_relations`

    Returns
    -------
    dict
        {database: recall, 'mean': over databases (None where there is none)}
    """
    if not known:
        return {"mean": None}
    return relations.recall(predicted(mean_embeddings(x, perturbation, control), known, share))


def predicted(means, known, share=0.05):
    """Chance that a known pair is among the ``share`` of pairs of each end, ties broken at random.

    The cosines of all P (P - 1) / 2 pairs are ranked in float64, without bins: of vectors with a
    common offset nearly all cosines are 1 to six digits, and still one of them is the largest. Of
    a number of pairs that is no whole one the last counts in part.

    Parameters
    ----------
    means : [P, d], P of a few thousand at most; a row of zeros has the cosine 0 to all others
    known : {database: int [m, 2]}
    share : of all pairs, at each end, at most 0.5

    Returns
    -------
    {database: float [m] in [0, 1]}
    """
    means = np.asarray(means, np.float64)
    norm = np.linalg.norm(means, axis=1, keepdims=True)
    unit = means / np.where(norm > 0, norm, 1)
    cosine = np.round(unit @ unit.T, DECIMALS)
    ranked = np.sort(cosine[np.triu_indices(len(cosine), k=1)])
    wanted, found = share * len(ranked), {}
    for name, pairs in known.items():
        # The upper triangle: a product and its mirror image may be rounded differently.
        own = cosine[pairs.min(axis=1), pairs.max(axis=1)]
        lower = np.searchsorted(ranked, own, side="left")
        higher = len(ranked) - np.searchsorted(ranked, own, side="right")
        tied = len(ranked) - lower - higher  # itself among them
        ends = [np.clip((wanted - beyond) / tied, 0, 1) for beyond in (lower, higher)]
        found[name] = ends[0] + ends[1]
    return found

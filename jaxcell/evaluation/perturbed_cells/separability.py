"""Linear separability: are perturbations told apart in batches that were never seen?

n cells, d dimensions, c perturbations.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..probes import MAX_ITERATIONS, C
from .ranking import TOP, averages, judged

FOLDS = 5


def folds_of_batches(batch, seed=0, folds=FOLDS):
    """Fold of each cell, whole batches in one: batch [n] -> int [n], or None of one batch.

    Batches are dealt in random order, each to the fold with the fewest cells; of as many batches
    as folds or fewer, each is a fold.
    """
    names, code, size = np.unique(batch, return_inverse=True, return_counts=True)
    if len(names) < 2:
        return None
    if len(names) <= folds:
        return code
    place, filled = np.empty(len(names), int), np.zeros(folds, int)
    for b in np.random.default_rng(seed).permutation(len(names)):
        place[b] = np.argmin(filled)
        filled[place[b]] += size[b]
    return place[code]


def separate(x, perturbation, batch, seed=0):
    """Top-1 and top-5 accuracy of a linear classifier of perturbations on unseen batches.

    Multinomial logistic regression on standardised features (L2, C = 0.1, as the probes of
    `evaluate`), five folds of whole batches, so that each cell is predicted once. The control is a
    class like the others; cells whose perturbation is in no training batch are not scored, nor
    those of a fold whose training batches hold one perturbation alone; top-5 is scored where they
    hold more than five, and nothing where all scored cells are of one perturbation.
    Source: TxFM, B.1.1.

    Parameters
    ----------
    x : [n, d]
    perturbation, batch : [n]
    seed : of the folds

    Returns
    -------
    dict
        ``top1``, ``top5`` (None: nothing to score), ``scored``, the number of cells, and
        ``converged``: whether the solver did in each fold
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    perturbation = np.asarray(perturbation).astype(str)
    fold = folds_of_batches(np.asarray(batch).astype(str), seed)
    if fold is None:
        return {**averages([], []), "converged": True}
    x = np.asarray(x, np.float32)
    with warnings.catch_warnings():  # around all threads, whose filters are the same
        warnings.simplefilter("ignore", ConvergenceWarning)  # the result says so
        with threadpool_limits(1), ThreadPoolExecutor(2) as pool:  # the products are thin
            done = pool.map(lambda f: _fold(x, perturbation, fold == f), np.unique(fold))
            found, own, converged = zip(*done, strict=True)
    return {**averages(found, own), "converged": all(converged)}


def _fold(x, perturbation, held):
    """Hits of the held-out cells [., len(TOP)], what they are, and whether the solver converged."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    known = perturbation[~held]
    names = np.unique(known)
    test = np.flatnonzero(held)[np.isin(perturbation[held], names)]
    if not len(test) or len(names) < 2:
        return np.empty((0, len(TOP))), known[:0], True
    own = np.searchsorted(names, perturbation[test])
    scaler = StandardScaler().fit(x[~held])
    model = LogisticRegression(C=C, max_iter=MAX_ITERATIONS)
    model.fit(scaler.transform(x[~held]), known)
    scores = model.decision_function(scaler.transform(x[test]))
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    return judged(scores, own), perturbation[test], bool(np.max(model.n_iter_) < MAX_ITERATIONS)

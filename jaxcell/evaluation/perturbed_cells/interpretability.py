"""Latent interpretability: what of gene expression can be read off an embedding by a linear map.

n cells, d dimensions, g genes.
"""

import warnings

import numpy as np

from ..consistency import blocks
from .postprocessing import FEWEST_CONTROLS

FOLDS = 5
STRENGTHS = 10.0 ** np.arange(-4, 3)  # of the ridge, in units of the mean variance of a dimension
TRIED_CELLS, TRIED_GENES = 1000, 200  # on which the strength is chosen
GENE_BLOCK = 500


def decode(x, expression, seed=0):
    """Expression of each cell as a ridge regression on its embedding predicts it, out of fold.

    Five folds of cells, drawn at random. The penalty is λ = s · m · (mean variance of a dimension),
    m training cells; s of `STRENGTHS` is chosen once, by leave-one-out error on 1 000 cells and 200
    genes.

    Parameters
    ----------
    x : [n, d]
    expression : [n, g], log-normalised

    Returns
    -------
    float32 [n, g]
    """
    x, y = np.asarray(x, np.float32), np.asarray(expression, np.float32)
    rng = np.random.default_rng(seed)
    fold = rng.permutation(len(x)) % min(FOLDS, len(x))
    genes = rng.permutation(y.shape[1])[:TRIED_GENES]
    some = rng.permutation(len(x))[:TRIED_CELLS]
    strength = _strength(x[some], y[np.ix_(some, genes)])
    found = np.empty_like(y)
    for f in range(fold.max() + 1):
        train, test = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        found[test] = _ridge(x[train], y[train], x[test], strength)
    return found


def _strength(x, y):
    from sklearn.linear_model import RidgeCV

    x = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    unit = len(x) * max(x.var(axis=0).mean(), np.finfo(np.float32).tiny)
    model = RidgeCV(STRENGTHS * unit).fit(x, y - y.mean(axis=0))
    return float(model.alpha_ / unit)


def _ridge(x, y, test, strength):
    """Predictions for test, by the smaller of the two systems of equations."""
    from scipy.linalg import solve

    wide = x.shape[1] > len(x)  # then the Gram matrix is most of the work: in float32
    mean, offset = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    mean = mean.astype(np.float32) if wide else mean
    x, test, y = x - mean, test - mean, y - offset
    weight = strength * len(x) * max((x**2).mean(dtype=np.float64), np.finfo(np.float32).tiny)
    gram = (x @ x.T if wide else x.T @ x).astype(np.float64)
    gram[np.diag_indices_from(gram)] += weight
    if wide:
        return (test @ x.T) @ solve(gram, y, assume_a="pos") + offset
    return test @ solve(gram, x.T @ y, assume_a="pos") + offset


def spearman(truth, predicted):
    """Rank correlation of each gene over cells, averaged over the genes that vary in truth.

    A constant prediction counts as 0. truth, predicted [n, g] -> float, or None where none varies
    """
    from scipy.stats import rankdata

    found = []
    for genes in blocks(truth.shape[1], GENE_BLOCK):
        a, b = (rankdata(v[:, genes], axis=0) for v in (truth, predicted))
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        varies = (a != 0).any(axis=0)
        norm = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
        r = (a * b).sum(axis=0) / np.where(norm > 0, norm, 1)
        found.append(r[varies])
    found = np.concatenate([np.empty(0), *found])
    return float(found.mean()) if len(found) else None


def integrity(truth, predicted, control, batch):
    """Structural Integrity: how much of the change of expression against controls is predicted.

    1 − mean over batches of min(1, ‖P − T‖_F / ‖T‖_F); T and P are the true and the predicted
    expression of the batch's cells, each minus the mean of its own controls of the batch. The
    paper's upper bound "estimated from the actual data" is here ‖T‖_F, the error of predicting the
    control mean: perfect decoding gives 1, the control mean 0, and what is worse than that 0 too.
    √n_b of the paper's formula cancels in the ratio. Source: TxFM, B.1.1.

    Parameters
    ----------
    truth, predicted : [n, g]
    control : bool [n]
    batch : [n]; batches of fewer than 3 controls do not count

    Returns
    -------
    float, or None where no batch counts
    """
    _, code = np.unique(np.asarray(batch).astype(str), return_inverse=True)
    found = []
    for b in range(code.max() + 1):
        here = np.flatnonzero(code == b)
        own = control[here]
        if own.sum() < FEWEST_CONTROLS:
            continue
        t, p = truth[here], predicted[here]
        t, p = t - t[own].mean(axis=0), p - p[own].mean(axis=0)
        bound = np.linalg.norm(t)
        if bound > 0:
            found.append(min(1.0, float(np.linalg.norm(p - t) / bound)))
    return 1 - float(np.mean(found)) if found else None


def interpretability(x, expression, control, batch, seed=0):
    """Both metrics of one decoding: {'spearman': float or None, 'integrity': float or None}."""
    with warnings.catch_warnings():
        # A nearly singular system of equations at the weakest strengths, which are then not chosen.
        warnings.filterwarnings("ignore", message="Ill-conditioned matrix")
        predicted = decode(x, expression, seed)
    return {
        "spearman": spearman(expression, predicted),
        "integrity": integrity(expression, predicted, control, batch),
    }

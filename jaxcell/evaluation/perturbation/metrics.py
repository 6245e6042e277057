"""How near a predicted mean expression is to the true one of a condition.

G genes, P conditions. Δ is the difference from the mean control. Source: SYSTEMS.md, F (GEARS and
scGPT), D6 (discrimination) and A6 (BioFormer).

Where a correlation is undefined, because one side is constant (Δ of 'no change' is 0 everywhere),
GEARS takes 0, and so is it done here.
"""

import numpy as np

from jaxcell.evaluation.seed_tables import mean as mean_of

METRICS = {
    "pearson": "corr",
    "pearson_delta": "corr(Δ)",
    "pearson_de": "corr DE",
    "pearson_delta_de": "corr(Δ) DE",
    "pearson_delta_nd": "corr(Δ) DE, no dropouts",
    "mse": "MSE",
    "mse_de": "MSE DE",
    "direction_de": "direction DE",
    "discrimination": "discrimination",
}
LOWER = ("mse", "mse_de")  # is better
MAIN = "pearson_delta"


def pearson(a, b):
    """Pearson's correlation of two vectors, float64; 0 where one is constant (GEARS' NaN → 0)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(a) < 2:
        return 0.0
    # A constant's deviations are rounding errors, and their correlation would be of these.
    if np.ptp(a) <= 1e-12 * np.abs(a).max() or np.ptp(b) <= 1e-12 * np.abs(b).max():
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))


def condition_scores(predicted, truth, control, top, top_non_dropout):
    """The metrics of one condition, but for `discrimination`.

    - pearson, pearson_delta: over all genes, of the means and of Δ.
    - …_de: over the top DE genes; pearson_delta_nd: over the top ones that are no dropouts.
    - mse, mse_de: mean squared error over all genes and over the top DE genes.
    - direction_de: share of the top DE genes whose predicted Δ has the sign of the true one
      (0 has no sign), of those whose true Δ is not 0; 0 where there is none.

    Parameters
    ----------
    predicted, truth : [G]
        Mean log-normalised expression over cells.
    control : [G]
        The same of the control cells.
    top, top_non_dropout : int
        Columns of the DE genes (`differential`).

    Returns
    -------
    dict {metric: float}
    """
    predicted, truth, control = (np.asarray(v, np.float64) for v in (predicted, truth, control))
    delta, true_delta, error = predicted - control, truth - control, (predicted - truth) ** 2
    moved = top[true_delta[top] != 0]
    right = np.sign(delta[moved]) == np.sign(true_delta[moved])
    return {
        "pearson": pearson(predicted, truth),
        "pearson_delta": pearson(delta, true_delta),
        "pearson_de": pearson(predicted[top], truth[top]),
        "pearson_delta_de": pearson(delta[top], true_delta[top]),
        "pearson_delta_nd": pearson(delta[top_non_dropout], true_delta[top_non_dropout]),
        "mse": float(error.mean()),
        "mse_de": float(error[top].mean()),
        "direction_de": float(right.mean()) if len(moved) else 0.0,
    }


def discrimination(predicted, truth, own_genes):
    """Whether a prediction is nearer to its own truth than to those of other conditions.

    1 - rank / P, with rank the number of other conditions whose true mean is strictly closer (L1)
    to the prediction than its own; the genes that the condition perturbs are left out, which say
    themselves what was done. 1 is best; by chance (P + 1) / 2P.

    Parameters
    ----------
    predicted, truth : [P, G]
        Rows are the same conditions.
    own_genes : sequence of P int sequences
        Columns of each condition's perturbed genes.

    Returns
    -------
    float64 [P]; NaN of one condition alone, which there is nothing to tell from
    """
    if len(truth) < 2:
        return np.full(len(truth), np.nan)
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    found = np.empty(len(truth))
    for i, own in enumerate(own_genes):
        apart = np.abs(truth - predicted[i])
        apart[:, list(own)] = 0
        distance = apart.sum(axis=1)
        found[i] = 1 - (distance < distance[i]).sum() / len(truth)
    return found


def cell_pearson(predicted, cells):
    """Pearson's correlation of each cell with its prediction, over the genes that it expresses.

    BioFormer's own metric (A6). It is of absolute values: a mean profile of all cells has most
    of it.

    Parameters
    ----------
    predicted : [n, G], or [G] for all cells
    cells : CSR [n, G]
        True log-normalised expression.

    Returns
    -------
    float64 [n]; 0 where fewer than two genes are above 0, or one side is constant
    """
    predicted = np.asarray(predicted)
    found = np.zeros(cells.shape[0])
    for i in range(len(found)):
        span = slice(cells.indptr[i], cells.indptr[i + 1])
        above = cells.data[span] > 0
        genes = cells.indices[span][above]
        own = predicted[i] if predicted.ndim == 2 else predicted
        found[i] = pearson(own[genes], cells.data[span][above])
    return found


def summary(scores, groups):
    """Means over the conditions of each group.

    Parameters
    ----------
    scores : {condition: {metric: float}}
    groups : {group: conditions}

    Returns
    -------
    {group: {metric: {'mean' (None where a value is), 'sd' (over conditions; None of one), 'n'}}}
    """
    found = {}
    for group, names in groups.items():
        rows = [scores[name] for name in names if name in scores]
        found[group] = {}
        for metric in rows[0] if rows else ():
            values = [row[metric] for row in rows]
            known = None not in values and len(values) > 1
            sd = float(np.std(values, ddof=1)) if known else None
            found[group][metric] = {"mean": mean_of(values), "sd": sd, "n": len(values)}
    return {group: row for group, row in found.items() if row}

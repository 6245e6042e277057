"""Baselines that are fitted: a low-rank linear model, ridge regression on genes, a perceptron.

m training conditions, G genes, k components, V perturbed genes in training.
"""

import warnings

import numpy as np

COMPONENTS = 10  # k
RIDGE = 0.1  # λ
HIDDEN = (64,)
OUTPUTS = 64  # components that the perceptron predicts
ITERATIONS = 1000


def gene_components(means, k=COMPONENTS):
    """Principal components of the genes: U_k S_k of the means, centred within conditions.

    Each gene is a point whose coordinates are its means in the m conditions.

    means [m, G] -> float64 [G, min(k, m, G)]
    """
    y = means.T - means.T.mean(axis=0)
    u, s, _ = np.linalg.svd(y, full_matrices=False)
    return u[:, :k] * s[:k]


def linear(training, asked, _=0):
    """The linear model of Ahlmann-Eltze, Huber and Anders: both sides by the same components.

    With Y [G, m] the training means and b their mean over conditions, E [G, k] the components of
    the genes (`gene_components`) and R [m, k] those of the perturbed genes (rows of E; of a double
    their sum):

        W = (EᵀE + λI)⁻¹ Eᵀ (Y - b) R (RᵀR + λI)⁻¹,    prediction = E W r + b

    which solves Y - b ≈ E W Rᵀ with the ridge λ = .1 on each side. Conditions of which no gene has
    a column are not fitted, and are predicted by b.

    Returns
    -------
    {condition: [G]}, {condition: what was done instead}
    """
    means, mean = training.means, training.means.mean(axis=0)
    e = gene_components(means)
    r, fitted = _rows(training.conditions, training.columns, e)
    if not fitted.any():
        return dict.fromkeys(asked, mean), dict.fromkeys(asked, _NO_COLUMN)
    y = (means - mean)[fitted].T
    w = np.linalg.solve(e.T @ e + _ridge(e), e.T @ y)
    w = np.linalg.solve(r[fitted].T @ r[fitted] + _ridge(e), (w @ r[fitted]).T).T
    wanted, known = _rows(asked, training.columns, e)
    found = wanted @ w.T @ e.T + mean
    return dict(zip(asked, found, strict=True)), _instead(asked, known, _NO_COLUMN)


_NO_COLUMN = "none of its genes is measured: mean"
_UNSEEN = "no gene of it seen: mean"


def _ridge(e):
    return RIDGE * np.eye(e.shape[1])


def _rows(conditions, columns, e):
    """Sums of the rows of ``e`` of each condition's genes, and which have any."""
    r, known = np.zeros((len(conditions), e.shape[1])), np.zeros(len(conditions), bool)
    for i, genes in enumerate(conditions.values()):
        own = [columns[gene] for gene in genes if gene in columns]
        r[i], known[i] = e[own].sum(axis=0), bool(own)
    return r, known


def _instead(asked, known, why):
    return {c: why for c, able in zip(asked, known, strict=True) if not able}


def _indicators(training, conditions):
    """Which genes a condition perturbs, of those in training: float [., V], and which any."""
    genes = sorted({gene for some in training.conditions.values() for gene in some})
    place = {gene: i for i, gene in enumerate(genes)}
    z = np.zeros((len(conditions), len(genes)))
    for i, some in enumerate(conditions.values()):
        z[i, [place[gene] for gene in some if gene in place]] = 1
    return z, z.any(axis=1)


def indicator(training, asked, _=0):
    """Ridge regression of Δ on which genes are perturbed, without intercept.

    The additive model fitted on singles and doubles together, so that a gene need not have been
    seen alone: Δ = Z W, W = (ZᵀZ + λI)⁻¹ Zᵀ Δ. A condition without a seen gene gets the mean.

    Returns
    -------
    {condition: [G]}, {condition: what was done instead}
    """
    z, _ = _indicators(training, training.conditions)
    w = np.linalg.solve(
        z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ (training.means - training.control)
    )
    wanted, known = _indicators(training, asked)
    found = training.control + wanted @ w
    found[~known] = training.means.mean(axis=0)
    return dict(zip(asked, found, strict=True)), _instead(asked, known, _UNSEEN)


def mlp(training, asked, seed=0):
    """scikit-learn's MLPRegressor from a condition's inputs to its Δ.

    Inputs are those of both regressions: the summed components of its genes (0 where a gene has no
    column; each component scaled to sd 1 over genes), and which genes are perturbed. One hidden
    layer of 64 ReLUs, L2 1e-3, L-BFGS. Outputs are the leading components of the training Δ (all up
    to 64 conditions), scaled by one number: weights for each of thousands of genes would
    cost minutes, and say no more. A condition without any input gets the mean.

    Returns
    -------
    {condition: [G]}, {condition: what was done instead}
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    e = gene_components(training.means)
    e = e / np.maximum(e.std(axis=0), 1e-12)

    _, fitted = _rows(training.conditions, training.columns, e)
    # Inputs that are 0 in all of training would be extrapolated from nothing.
    columns = training.columns if fitted.any() else {}

    def inputs(conditions):
        r, measured = _rows(conditions, columns, e)
        z, seen = _indicators(training, conditions)
        return np.concatenate([r, z], axis=1), measured | seen

    x, _ = inputs(training.conditions)
    u, sd, axes = np.linalg.svd(training.means - training.control, full_matrices=False)
    scores, axes = (u * sd)[:, :OUTPUTS], axes[:OUTPUTS]
    scale = max(np.sqrt(np.mean(scores**2)), 1e-12)
    model = MLPRegressor(
        hidden_layer_sizes=HIDDEN,
        solver="lbfgs",
        alpha=1e-3,
        max_iter=ITERATIONS,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # Where it stops is part of the baseline.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, (scores / scale).squeeze(axis=1) if len(axes) == 1 else scores / scale)
    wanted, known = inputs(asked)
    drawn = model.predict(wanted).reshape(len(wanted), -1)
    found = training.control + drawn * scale @ axes
    found[~known] = training.means.mean(axis=0)
    return dict(zip(asked, found, strict=True)), _instead(asked, known, _UNSEEN)


FIT = {"linear": linear, "indicator": indicator, "mlp": mlp}

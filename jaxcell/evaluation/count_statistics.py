"""Whether gene vectors hold the mean and the variance of the genes' counts (TxFM A.5, figure 9).

V genes, D dimensions, K principal components. The paper: "We regressed gene count mean (mu) and
variance (var) independently and jointly against projections of TxFM's gene codebook embeddings onto
their principal components to obtain estimates of the explained variance captured by these
statistics. We repeated this procedure 100 times using shuffled embeddings […] increased variance
explained when fitted jointly compared to each independently." It can be read two ways, both by
ordinary least squares with an intercept:

- ``vectors``: the statistics explain the components. R² is the share of the components' total
  variance; jointly both statistics are predictors. Only here can a joint fit explain more than
  each alone, as the paper reports; it never explains less, so ``gain``, what it explains beyond
  the better statistic, has a null of its own.
- ``statistics``: the components explain the statistic ("regressed … against"). Jointly both are
  responses, scaled to unit variance: joint is the mean of the two.
"""

import numpy as np

from .relations import centred, principal_scores

READINGS = {
    "vectors": ("mean", "variance", "joint", "gain"),
    "statistics": ("mean", "variance", "joint"),
}
SCALES = ("log", "counts", "normalised")
SHUFFLES = 100


def moments(counts, normalised):
    """Mean and variance of each gene over cells, on three scales.

    The paper does not say on which scale; the moments of counts span orders of magnitude, and least
    squares on them is decided by a few genes, so that their logarithms stand first here.

    Parameters
    ----------
    counts : CSR [n, V], raw
    normalised : CSR [n, V], (Lib+Log)Norm of the same cells

    Returns
    -------
    dict
        {'log': natural logarithms of the counts' moments, 'counts', 'normalised'}: float64 [V, 2],
        mean and variance (divided by n); NaN in 'log' for a gene that does not vary
    """
    raw = _moments(counts)
    varies = raw[:, 1] > 0
    log = np.full_like(raw, np.nan)
    log[varies] = np.log(raw[varies])
    return {"log": log, "counts": raw, "normalised": _moments(normalised)}


def _moments(x):
    x = x.astype(np.float64)
    mean = np.asarray(x.mean(axis=0)).ravel()
    square = np.asarray(x.multiply(x).mean(axis=0)).ravel()
    return np.stack([mean, np.maximum(square - mean**2, 0.0)], axis=1)


def explained(vectors, statistics, *, components=None, shuffles=SHUFFLES, seed=0, name="vectors"):
    """R² between gene vectors and mean and variance, in both readings, against shuffled vectors.

    Parameters
    ----------
    vectors : [V, D]
    statistics : [V, 2], mean and variance; genes with NaN are left out
    components : leading principal components taken; None: all, at most one for two genes (as many
        components as genes explain any statistic in full, shuffled or not)
    shuffles : of the vectors' rows
    seed : of the shuffles
    name : of the vectors, for errors

    Returns
    -------
    dict
        ``genes``, ``components`` and {reading: {part: {'r2': float, 'null': [shuffles], 'p':
        float}}} for the parts of READINGS. p = (1 + shuffles that reach r2) / (1 + shuffles).

    Raises
    ------
    ValueError
        Lengths differ; fewer genes than components + 3; a statistic that is the same for all genes;
        or the vectors say nothing, see `relations.centred`.
    """
    y = np.asarray(statistics, np.float64)
    if y.shape != (len(vectors), 2):
        raise ValueError(
            f"{name}: found statistics {list(y.shape)} of {len(vectors)} genes, expected mean and "
            "variance of each"
        )
    if shuffles < 1:
        raise ValueError(f"shuffles: found {shuffles}, expected 1 or more")
    kept = np.isfinite(y).all(axis=1)
    most = kept.sum() // 2 if components is None else components
    x = principal_scores(centred(np.asarray(vectors)[kept], name))[:, :most]
    y = y[kept] - y[kept].mean(axis=0)
    if len(x) < x.shape[1] + 3:
        raise ValueError(
            f"{name}: found {len(x)} genes for {x.shape[1]} components, expected 3 more at least; "
            "take fewer components"
        )
    spread = y.std(axis=0)
    if not (spread > 1e-12 * np.abs(np.asarray(statistics)[kept]).max(axis=0)).all():
        raise ValueError(f"{name}: mean or variance is the same for all {len(x)} genes")
    y = y / spread
    rng, moved = np.random.default_rng(seed), [y]
    for _ in range(shuffles):  # to move the vectors' rows is to move the statistics' back
        moved.append(np.empty_like(y))
        moved[-1][rng.permutation(len(x))] = y
    products = np.split(x.T @ np.concatenate(moved, axis=1), shuffles + 1, axis=1)
    size, overlap = np.square(x).sum(axis=0), np.linalg.pinv(y.T @ y, rcond=1e-12, hermitian=True)
    actual, *null = (_both(c, size, overlap, len(y)) for c in products)
    return {
        "genes": len(x),
        "components": x.shape[1],
        **{
            reading: {
                part: _against(actual[reading][part], [one[reading][part] for one in null])
                for part in parts
            }
            for reading, parts in READINGS.items()
        },
    }


def _both(c, size, overlap, n):
    """{reading: {part: R²}} of products c [K, 2] = xᵀ y of n genes.

    x [n, K]: principal components, orthogonal, of squared lengths size [K]; y [n, 2]: centred, of
    unit variance; overlap [2, 2]: inverse of yᵀ y.
    """
    responses = (np.square(c) / size[:, None]).sum(axis=0) / n  # each component on its own
    mean, variance = np.square(c).sum(axis=0) / (n * size.sum())
    joint = ((c @ overlap) * c).sum() / size.sum()
    values = {
        "vectors": (mean, variance, joint, joint - max(mean, variance)),
        "statistics": (*responses, responses.mean()),
    }
    return {
        reading: dict(zip(parts, map(float, values[reading]), strict=True))
        for reading, parts in READINGS.items()
    }


def _against(value, null):
    reach = sum(one >= value for one in null)
    return {"r2": value, "null": null, "p": (1 + reach) / (1 + len(null))}

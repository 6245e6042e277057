"""What planted perturbations should come out as.

n cells, V genes.
"""

import numpy as np


def normalised(adata, size):
    """Ln(1 + size · count / total), f64 [n, V]."""
    x = np.asarray(adata.X.todense(), np.float64)
    return np.log1p(x * size / x.sum(axis=1, keepdims=True))


def means(adata, size):
    """{condition: mean normalised expression f64 [V]}."""
    x, names = normalised(adata, size), adata.obs["condition"].astype(str).to_numpy()
    return {name: x[names == name].mean(axis=0) for name in np.unique(names)}


def pearson(a, b):
    return float(np.corrcoef(a, b)[0, 1])

"""Batch mixing: the integration LISI of each batch's cells. n cells, d dimensions, k neighbours."""

import numpy as np

from ..clustering import LISI_NEIGHBOURS, scib
from ..consistency import blocks


def ilisi(x, batch):
    """Integration LISI (iLISI) of each batch's cells, averaged over batches.

    The inverse Simpson index of the batches among a cell's 90 nearest cells (Euclidean, exact,
    perplexity 30) is scib-metrics'; a batch's value is the median of its cells, scaled as there to
    (median − 1) / (batches − 1). Source: TxFM, B.1.1; Korsunsky et al. 2019. With more batches than
    an effective neighbourhood has cells, 1 is out of reach.

    Parameters
    ----------
    x : [n, d]
    batch : [n]

    Returns
    -------
    float, or None of one batch
    """
    names, code = np.unique(np.asarray(batch).astype(str), return_inverse=True)
    if len(names) < 2:
        return None
    value = lisi(x, code)
    median = np.array([np.nanmedian(value[code == b]) for b in range(len(names))])
    return float(np.mean((median - 1) / (len(names) - 1)))


def lisi(x, code):
    """Effective number of batches around each cell: x [n, d], code int [n] -> float [n].

    Neighbours are searched and judged in blocks of cells; no [n, n] is held.
    """
    import jax
    from sklearn.neighbors import NearestNeighbors

    compute = scib().utils.compute_simpson_index
    n, k = len(x), min(LISI_NEIGHBOURS, len(x))
    search = NearestNeighbors(n_neighbors=k - 1, algorithm="brute").fit(x)
    distances, near = search.kneighbors()  # of the cells themselves: excludes the cell
    own = np.arange(n)[:, None]
    near, distances = np.hstack([own, near]), np.pad(distances, ((0, 0), (1, 0)))
    found = np.empty(n)
    # A caller may have set 'raise' or float64; scib-metrics' code takes neither.
    with jax.numpy_rank_promotion("allow"), jax.enable_x64(False):
        for rows in blocks(n):
            found[rows] = 1 / compute(
                distances[rows].astype(np.float32), near[rows], own[rows], code,
                int(code.max()) + 1, perplexity=k // 3,
            )  # fmt: skip
    return found

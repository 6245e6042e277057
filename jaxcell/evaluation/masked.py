"""Masked expression that is predicted as a bin: BioFormers' metrics and its linear regression.

m training cells, n entries (a gene of a cell), g genes, k neighbours of a gene. Bins are whole
numbers, 0 for a count of zero. Source: BioFormers (Biostate 2023), section 3.2.
"""

from dataclasses import dataclass

import numpy as np

from jaxcell.progress import each

NEIGHBOURS = 300  # the paper's k
INDEPENDENT = 1e-4  # share of a gene's sd that the genes before it leave: below, not by Cholesky


def scores(truth, predicted, cut):
    """Sensitivity, HEL sensitivity, NPV-50 and what becomes of a true 1.

    - sensitivity: of the entries with a true bin above 0, the share predicted exactly.
    - hel_sensitivity: of those with a true bin above `cut`, the share at most one bin off.
    - npv_50: of the entries predicted as 0, the share that are 0, if as many entries were zero as
      not: a / (a + b), with a and b the shares of the true zeros and of the true non-zeros that
      are predicted as 0. On entries that are half zero this is the plain share, which is what the
      paper reports; on others they are so weighed, so that masks of any p can be compared.
    - one_as_one, one_as_zero, one_as_more: of the entries with a true 1, the shares predicted as
      1, as 0 and above 1. (The last column of the paper's Table 3 is headed '> 0', but the three
      shares of a row add up to 1, so it is '> 1'.)

    Parameters
    ----------
    truth, predicted : int [n]
        Bins, 0 or above.
    cut : int
        The last bin that holds one count: c of value binning (the paper: 8).

    Returns
    -------
    dict
        {metric: float, or None where no entry is of that kind}, and how many there are:
        n_entries, n_nonzero, n_high (above `cut`), n_one, n_predicted_zero.

    Raises
    ------
    ValueError
        Shapes that differ, no entries, or values that are no bins.
    """
    truth, predicted = _bins("truth", truth), _bins("predicted", predicted)
    if truth.shape != predicted.shape or truth.ndim != 1 or not len(truth):
        raise ValueError(
            f"truth, predicted: found {list(truth.shape)} and {list(predicted.shape)}, expected"
            " two vectors of one length above 0"
        )
    zero, high, one = truth == 0, truth > cut, truth == 1
    said_zero = predicted == 0
    near = np.abs(predicted - truth) <= 1
    of_zeros, of_others = _share(said_zero, zero), _share(said_zero, ~zero)
    npv = None
    if None not in (of_zeros, of_others) and of_zeros + of_others > 0:
        npv = of_zeros / (of_zeros + of_others)
    return {
        "sensitivity": _share(predicted == truth, ~zero),
        "hel_sensitivity": _share(near, high),
        "npv_50": npv,
        "one_as_one": _share(predicted == 1, one),
        "one_as_zero": _share(said_zero, one),
        "one_as_more": _share(predicted > 1, one),
        "n_entries": len(truth),
        "n_nonzero": int((~zero).sum()),
        "n_high": int(high.sum()),
        "n_one": int(one.sum()),
        "n_predicted_zero": int(said_zero.sum()),
    }


def _bins(name, values):
    values = np.asarray(values)
    if values.dtype.kind not in "iuf" or not ((values >= 0) & (values % 1 == 0)).all():
        raise ValueError(
            f"{name}: found values that are no bins ({values.dtype}), expected whole numbers, 0 or"
            " above"
        )
    return values.astype(np.int64)


def _share(hit, among):
    return float(hit[among].mean()) if among.any() else None


@dataclass(frozen=True)
class Regressions:
    """A linear regression of every gene on others, fitted on binned values (`fit`).

    mean f64 [g]; genes i64 [g, k]: the others; weights f64 [g, k], 0 where there are fewer than k;
    bins: the largest bin of the training cells.
    """

    mean: np.ndarray
    genes: np.ndarray
    weights: np.ndarray
    bins: int

    def predict(self, cells, rows, columns):
        """Bins of some entries, from the true bins of the other genes of the same cell.

        The regression sees the true, unmasked value of every other gene, also of those that are
        masked for a model beside it, as the paper's does. Predictions are rounded (halves to
        even) and clipped to 0 … `bins`.

        Parameters
        ----------
        cells : [., g]
            Binned values.
        rows, columns : int [n]
            Cell and gene of each entry.

        Returns
        -------
        int64 [n]
        """
        rows, columns = np.asarray(rows), np.asarray(columns)
        raw = np.empty(len(rows))
        order = np.argsort(columns, kind="stable")
        genes, first = np.unique(columns[order], return_index=True)
        for gene, own in zip(genes, np.split(order, first[1:]), strict=True):
            others = self.genes[gene]
            x = np.asarray(cells[np.ix_(rows[own], others)], np.float64) - self.mean[others]
            raw[own] = self.mean[gene] + x @ self.weights[gene]
        return np.clip(np.rint(raw), 0, self.bins).astype(np.int64)


def fit(train, k=NEIGHBOURS):
    """Least-squares regression of each gene on the k genes most correlated with it.

    The k of highest Pearson correlation of binned values over the training cells: the signed one,
    as the paper says 'highest', so a gene that goes down as this one goes up is not among them.
    With intercept; where the k genes are not independent (or k exceeds the cells), the solution
    of least norm in standardised genes. A constant gene is nobody's neighbour, and is predicted
    by its constant.

    Parameters
    ----------
    train : [m, g], dense
        Binned values of the training cells.
    k : int
        Genes to regress on; all others where there are not so many.

    Returns
    -------
    Regressions

    Raises
    ------
    ValueError
        k below 1, or fewer than two cells or genes.
    """
    m, g = np.shape(train)
    if k < 1 or min(m, g) < 2:
        raise ValueError(
            f"linear regression: found k = {k}, {m} cells, {g} genes; expected 1, 2 and 2 at least"
        )
    from threadpoolctl import threadpool_limits

    x = np.array(train, np.float64)
    bins = int(x.max())
    mean = x.mean(axis=0)
    x -= mean
    scale = np.sqrt((x * x).sum(axis=0))
    varies = scale > 1e-12 * np.sqrt(m) * np.maximum(1.0, np.abs(mean))
    scale[~varies] = 1.0
    x /= scale
    correlation = x.T @ x  # [g, g]
    k = min(k, g - 1)
    genes, weights = np.zeros((g, k), np.int64), np.zeros((g, k))
    with threadpool_limits(1):  # threads of BLAS cost more than a system of 300 equations
        for gene in each(range(g), "regressions", "gene"):
            rank = np.where(varies, correlation[gene], -np.inf)
            rank[gene] = -np.inf
            genes[gene] = np.argsort(-rank, kind="stable")[:k]
            own = genes[gene][np.isfinite(rank[genes[gene]])]
            if varies[gene] and len(own):
                solved = _least_squares(correlation[np.ix_(own, own)], correlation[own, gene])
                weights[gene, : len(own)] = solved * scale[gene] / scale[own]
    return Regressions(mean, genes, weights, bins)


def _least_squares(a, b):
    """The solution of least norm of A w = b, A [k, k] a matrix of correlations."""
    from scipy.linalg import cho_solve

    try:
        factor = np.linalg.cholesky(a)
        # The least of these is what a gene has of its own beside the genes before it.
        if np.diag(factor).min() > INDEPENDENT:
            return cho_solve((factor, True), b)
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(a)
    keep = values > values[-1] * len(a) * np.finfo(np.float64).eps
    return vectors[:, keep] @ ((vectors[:, keep].T @ b) / values[keep])

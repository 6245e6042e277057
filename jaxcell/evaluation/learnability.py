"""Which genes a model predicts better or worse than others that are as sparse.

G genes of a gene-error table. Source: BMFM-RNA, section 2.2 and supplement 10. Defined here:

- zero fraction: 1 - n_detected / n_cells, of the evaluated entries.
- rescaled MAE: mean absolute error over the non-zero entries / their mean value (log1p space). The
  paper does not print it. Under this reading predicting 0 gives 1 ("effectively bounded at 1"), and
  beating the null is a question of its own: the null predicts that mean, and its error is the mean
  absolute deviation from it.
- trend: non-decreasing (isotonic) regression of the log rescaled MAE over the zero fraction.
- Z: residual / local sd. The sd is that of the residuals of the genes whose zero fraction is at
  most half a window away, around their own mean; of the `FEWEST` nearest genes where these are
  fewer. The paper prints neither its window nor its cut on Z.
- winner (loser): Z below -cut (above cut), and rescaled MAE more than the margin, 10 %, below
  (above) the trend, not in logs.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from jaxcell.files import near

COLUMNS = (
    *("gene", "ensembl", "n_cells", "n_detected"),
    *("auc", "mae_nonzero", "mean_nonzero", "null_nonzero"),
)
MIN_DETECTED = 100  # the paper's: below it a gene is not reliable
WINDOW, CUT, MARGIN = 0.1, 2.0, 0.1
SPARSE = 0.5  # Z is read above this zero fraction: below it few and similar genes are compared
FEWEST = 50  # genes of a window


def read_errors(path):
    """A gene-error table, a row for each gene, by Ensembl id or, without one, by symbol.

    Returns
    -------
    DataFrame [G] with `COLUMNS`

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, columns that it lacks, numbers that cannot be, or a gene twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such gene-error table; `jaxcell gene-errors` writes one{near(path)}"
        )
    try:
        table = pd.read_csv(path, sep="\t", dtype={"gene": str, "ensembl": str})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: no tab-separated table ({error}); expected one of `jaxcell gene-errors`"
        ) from None
    if lacks := [name for name in COLUMNS if name not in table]:
        raise ValueError(
            f"{path}: has no tab-separated column {', '.join(lacks)}; write the table anew with "
            "`jaxcell gene-errors STORE OUT --checkpoint RUN`"
        )
    table = table[list(COLUMNS)].copy()
    table[["gene", "ensembl"]] = table[["gene", "ensembl"]].fillna("")
    for name in COLUMNS[2:]:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise ValueError(
                f"{path}: {name} is not a number in every row; write the table anew with "
                "`jaxcell gene-errors`"
            )
    n, detected = table["n_cells"], table["n_detected"]
    if not ((detected >= 0) & (detected <= n)).all():
        raise ValueError(
            f"{path}: n_detected must be between 0 and n_cells; write the table anew with "
            "`jaxcell gene-errors`"
        )
    some = table[detected > 0]
    known = np.isfinite(some[["mae_nonzero", "mean_nonzero", "null_nonzero"]]).all(axis=1)
    known &= (some["mae_nonzero"] >= 0) & (some["mean_nonzero"] > 0) & (some["null_nonzero"] >= 0)
    if not known.all():
        raise ValueError(
            f"{path}: {some['gene'][~known].iloc[0]} has non-zero entries, but not all of "
            "mae_nonzero (0 or more), mean_nonzero (above 0) and null_nonzero (0 or more)"
        )
    table.index = pd.Index(table["ensembl"].where(table["ensembl"] != "", table["gene"]), name="id")
    if twice := table.index[table.index.duplicated()].tolist():
        raise ValueError(
            f"{path}: names {', '.join(twice[:5])} twice; expected a row for each gene"
        )
    return table


def trend(zero_fraction, rescaled):
    """Rescaled MAE that is expected at a zero fraction: isotonic in logs. [G], [G] -> [G]"""
    from sklearn.isotonic import IsotonicRegression

    fit = IsotonicRegression(increasing=True).fit(zero_fraction, np.log(rescaled))
    return np.exp(fit.predict(zero_fraction))


def local_sd(zero_fraction, residual, window=WINDOW, fewest=FEWEST):
    """Standard deviation (n - 1) of the residuals near each gene's zero fraction.

    zero_fraction, residual [G] -> [G]; near: at most window / 2 away, or the ``fewest`` nearest.
    """
    order = np.argsort(zero_fraction, kind="stable")
    x, r = np.asarray(zero_fraction, float)[order], np.asarray(residual, float)[order]
    first = np.searchsorted(x, x - window / 2, side="left")
    last = np.searchsorted(x, x + window / 2, side="right")
    for i in np.flatnonzero(last - first < fewest):
        starts = np.arange(max(0, i - fewest + 1), min(i, len(x) - fewest) + 1)
        reach = np.maximum(x[i] - x[starts], x[starts + fewest - 1] - x[i])
        first[i] = starts[reach.argmin()]
        last[i] = first[i] + fewest
    sums = np.concatenate([[0], np.cumsum(r)])
    squares = np.concatenate([[0], np.cumsum(r**2)])
    n = last - first
    mean = (sums[last] - sums[first]) / n
    variance = np.maximum((squares[last] - squares[first]) / n - mean**2, 0) * n / (n - 1)
    found = np.empty(len(x))
    found[order] = np.sqrt(variance)
    return found


def score(table, name, *, min_detected=MIN_DETECTED, window=WINDOW, cut=CUT, margin=MARGIN):
    """What the table says of each gene, absolutely and beside genes as sparse.

    Parameters
    ----------
    table : DataFrame of `read_errors`
    name : of the table, for errors
    min_detected : non-zero entries for a gene to be reliable
    window : width in zero fraction; cut : of Z; margin : share beyond the trend

    Returns
    -------
    DataFrame [G] with gene, ensembl, n_cells, n_detected, auc; zero_fraction, rescaled_mae,
    null_ratio (below 1 beats the null), beats_null, reliable, sparse; of the reliable genes trend,
    z, verdict ('winner', 'loser', '')

    Raises
    ------
    ValueError
        A parameter out of its range, or fewer than `FEWEST` reliable genes.
    """
    if not (min_detected >= 1 and 0 < window <= 1 and cut >= 0 and 0 <= margin < 1):
        raise ValueError(
            f"learnability: found min_detected {min_detected}, window {window}, cut {cut}, margin "
            f"{margin}; expected 1 or more, above 0 up to 1, 0 or more, from 0 to below 1"
        )
    found = table[["gene", "ensembl", "n_cells", "n_detected", "auc"]].copy()
    entries = table["n_cells"].where(table["n_cells"] > 0)
    found["zero_fraction"] = 1 - table["n_detected"] / entries
    found["rescaled_mae"] = table["mae_nonzero"] / table["mean_nonzero"]
    null = table["null_nonzero"]
    found["null_ratio"] = table["mae_nonzero"] / null.where(null > 0)
    found["beats_null"] = table["mae_nonzero"] < null
    found["reliable"] = table["n_detected"] >= min_detected
    found["sparse"] = found["zero_fraction"] > SPARSE
    own = found["reliable"].to_numpy()
    if own.sum() < FEWEST:
        raise ValueError(
            f"{name}: {own.sum()} genes have {min_detected} non-zero entries or more, expected "
            f"{FEWEST} genes at least; evaluate more cells or lower min_detected"
        )
    x = found["zero_fraction"].to_numpy()[own]
    rescaled = found["rescaled_mae"].to_numpy()[own]
    if not rescaled.all():
        gene = found["gene"][own][rescaled == 0].iloc[0]
        raise ValueError(
            f"{name}: mae_nonzero of {gene} is 0; expected an error above 0, for its log"
        )
    expected = trend(x, rescaled)
    residual = np.log(rescaled / expected)
    spread = local_sd(x, residual, window)
    # No spread but rounding: nothing stands out there.
    z = np.divide(residual, spread, out=np.zeros_like(spread), where=spread > 1e-7)
    won = (z < -cut) & (rescaled < (1 - margin) * expected)
    lost = (z > cut) & (rescaled > (1 + margin) * expected)
    for column, values, empty in (
        ("trend", expected, np.nan),
        ("z", z, np.nan),
        ("verdict", np.select([won, lost], ["winner", "loser"], ""), ""),
    ):
        whole = np.full(len(found), empty, dtype=object if empty == "" else float)
        whole[own] = values
        found[column] = whole
    return found


def summary(genes):
    """Of a `score`: counts, shares and how much of the error sparsity explains.

    ``r2`` is the squared correlation of zero fraction and rescaled MAE, ``r2_trend`` that of the
    isotonic trend in logs; the paper's 42 % does not say which it is.
    """
    own = genes[genes["reliable"]]
    x, error = own["zero_fraction"].to_numpy(), own["rescaled_mae"].to_numpy()
    log, expected = np.log(error), np.log(own["trend"].to_numpy(float))
    spread = ((log - log.mean()) ** 2).sum()
    flat = np.ptp(x) == 0 or spread == 0
    found = {
        "genes": len(genes),
        "reliable": len(own),
        "sparse": int(own["sparse"].sum()),
        "beats_null": float(own["beats_null"].mean()),
        "median_auc": median(own["auc"]),
        "median_rescaled_mae": median(own["rescaled_mae"]),
        "r2": None if flat else float(np.corrcoef(x, error)[0, 1] ** 2),
        "r2_trend": None if flat else float(1 - ((log - expected) ** 2).sum() / spread),
    }
    for verdict in ("winner", "loser"):
        own_verdict = own["verdict"] == verdict
        found[f"{verdict}s"] = int(own_verdict.sum())
        found[f"{verdict}s_sparse"] = int((own_verdict & own["sparse"]).sum())
    return found


def median(values):
    """Median of what is known, None where nothing is."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def curves(tables, genes, labels):
    """Median rescaled MAE of each family in each epoch, over the genes reliable in all of them.

    Parameters
    ----------
    tables : {name of the epoch: DataFrame of `read_errors`}, in order
    genes : `score` of the last of them (or of the model that they led to)
    labels : Series of str by gene id, its families

    Returns
    -------
    {'epochs': [name], 'genes': {family: number}, 'medians': {family: [median of each epoch]}}

    Raises
    ------
    ValueError
        A table of other genes, or no gene that all of them have.
    """
    own = genes.index[genes["reliable"]]
    for name, table in tables.items():
        if lacks := own.difference(table.index).tolist():
            raise ValueError(f"{name}: lacks {len(lacks)} of the model's genes ({lacks[0]} …)")
        own = own[np.isfinite(table.loc[own, "mae_nonzero"].to_numpy(float))]
    if not len(own):
        raise ValueError("epochs: no reliable gene has non-zero entries in every table")
    values = pd.DataFrame(
        {n: (t["mae_nonzero"] / t["mean_nonzero"]).loc[own] for n, t in tables.items()}
    )
    grouped = values.groupby(labels.loc[own].to_numpy())
    medians = grouped.median()
    return {
        "epochs": list(tables),
        "genes": {family: int(n) for family, n in grouped.size().items()},
        "medians": {family: row.tolist() for family, row in medians.iterrows()},
    }

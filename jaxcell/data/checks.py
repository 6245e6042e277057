"""Are these values raw counts? What was found, and what to do, in one error."""

import warnings

import numpy as np
import scipy.sparse as sp

WHERE_COUNTS = "Say where the raw counts are: --counts layers/NAME or --counts raw"
BINARY_FROM = 1000  # non-zero values, all of them 1, from which on that is no chance
HIGHEST_COUNT = 2.0**32  # nobody sequences a gene of a cell so often
HIGHEST_LOG = 30.0  # of ln(1 + x): that of 10^13
ESTIMATED = "these look like estimated or corrected counts"


def check_counts(matrix, where, allow_non_integer=False, hint=WHERE_COUNTS):
    """Refuse values that are not counts.

    Parameters
    ----------
    matrix : sparse or dense, [n, n_var]
        Some cells of the input.
    where : str
        Name of the matrix in errors.
    allow_non_integer : bool
        Take non-integer values too (RSEM counts, for example). Negative ones never.
    hint : str
        The end of an error: what can be done.

    Returns
    -------
    str
        '' for integers, otherwise what the values look like, for a warning.

    Raises
    ------
    ValueError
        NaN or infinite, negative, 2^32 or more, or non-integer values.
    """
    values = matrix.data if sp.issparse(matrix) else np.asarray(matrix).ravel()
    # Of NaN neither holds.
    fine = values.min(initial=0) >= 0 and values.max(initial=0) < HIGHEST_COUNT
    if fine and (values.dtype.kind in "iu" or np.array_equal(values, np.rint(values))):
        return ""
    finite = np.isfinite(values)
    if not finite.all():
        raise ValueError(
            f"{where}: {np.count_nonzero(~finite)} of the values read are NaN or infinite; counts "
            f"are finite. {hint}"
        )
    if values.min(initial=0) < 0:
        raise ValueError(
            f"{where}: values below zero (least {values.min():.4g}): this looks scaled "
            f"(z-scored) or centred, not counts. {hint}"
        )
    if values.max(initial=0) >= HIGHEST_COUNT:
        raise ValueError(
            f"{where}: values up to {values.max():.4g}; counts are below {HIGHEST_COUNT:.0f}. "
            f"{hint}"
        )
    values = values[values != 0]
    fraction = values != np.rint(values)
    if not fraction.any():
        return ""
    looks = looks_like(matrix)
    if not allow_non_integer:
        # Whoever has normalised values should go back to the counts, not past this check.
        otherwise = (
            "; or take these values as they are with --allow-non-integer (estimated counts of RSEM "
            "or salmon)"
        )
        raise ValueError(
            f"{where}: {fraction.mean():.0%} of the non-zero values are not integers "
            f"(for example {values[fraction][0]:.6g}, largest {values.max():.6g}): {looks}, not "
            f"raw counts. {hint}{otherwise if looks == ESTIMATED else ''}"
        )
    return looks


def check_log1p(matrix, where):
    """Refuse values [n, n_var] that are not log-normalised: what they look like otherwise.

    Raises
    ------
    ValueError
        Counts, NaN or infinite, negative values, or values above what a logarithm of counts has.
    """
    looks = check_counts(matrix, where, allow_non_integer=True)
    top = matrix.data.max(initial=0) if sp.issparse(matrix) else np.max(matrix, initial=0)
    if (not looks and top > 0) or top >= HIGHEST_LOG:
        raise ValueError(
            f"{where}: found {looks or 'integers, as of raw counts'} (largest {top:.6g}), expected "
            f"values that are ln(1 + x) of normalised counts already, below {HIGHEST_LOG:g}"
        )
    return looks


def check_chunk(chunk, source, allow_non_integer=False, values="counts", hint=WHERE_COUNTS):
    """`check_counts` on a chunk of a source; the error also names where the source has counts.

    Warns of many values that are all 0 or 1. ``values`` 'log1p': `check_log1p` instead. ``hint``
    as there.
    """
    if values == "log1p":
        return check_log1p(chunk, f"{source.name}, {source.counts}")
    if chunk.nnz >= BINARY_FROM and chunk.data.min() == chunk.data.max() == 1:
        warnings.warn(
            f"{source.name}, {source.counts}: holds only 0 and 1: this looks binarised (detected "
            f"or not), not counts. {hint}",
            stacklevel=2,
        )
    try:
        return check_counts(chunk, f"{source.name}, {source.counts}", allow_non_integer, hint)
    except ValueError as error:
        others = [p for p in source.places if p != source.counts and _integers(source, p)]
        if not others:
            raise
        option = "{0} (--counts {0})" if hint == WHERE_COUNTS else "{0}"
        found = " and ".join(map(option.format, others))
        raise ValueError(f"{error}. Counts were found in {found}") from None


def _integers(source, place):
    try:
        values = next(source.at(place).chunks()).data
    except ValueError:  # no matrix of numbers: no counts either
        return False
    return bool(
        np.isfinite(values).all()
        and (values == np.rint(values)).all()
        and values.min(initial=1) > 0
    )


def looks_like(matrix):
    """What non-integer, non-negative values [n, n_var] look like, in words."""
    matrix = sp.csr_matrix(matrix).astype(np.float64)
    matrix = matrix[matrix.getnnz(axis=1) > 0]
    top = matrix.max() if matrix.nnz else 0.0
    if top < 30:
        raised = matrix.expm1()
        total = _constant(raised)
        if total:
            return f"this looks log-normalised to a total of about {total:.4g}"
        if np.abs(raised.data - np.rint(raised.data)).max(initial=0) < 1e-2:
            return "this looks like log1p of counts"
    total = _constant(matrix)
    if total:
        return f"this looks library-size normalised to a total of about {total:.4g}"
    if top < 20:
        return f"this looks log-transformed or scaled (nothing above {top:.3g})"
    return ESTIMATED


def _constant(matrix):
    """The rows' sum where it is nearly the same for all (two cells at least), else None."""
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    if len(sums) < 2 or np.ptp(sums) > 0.02 * sums.mean():
        return None
    return sums.mean()

"""Adaptive masking: genes that a model predicts badly are masked more often. V genes, R rows.

Rates change with each validation, and a run that goes on must go on with them: they are kept in
``WORKDIR/mask_rates/<step>.npy``.
"""

from pathlib import Path

import numpy as np

from jaxcell.writing import whole_file

BINS = 100


def rates(errors, ratio):
    """How often each gene is masked, f32 [V], ``ratio`` on average.

    Errors fall into 100 bins of equal width; bin b weighs (b + 1) / 101; a gene without an error
    (NaN) weighs as the median one. Source: BMFM-RNA's adaptive masking.

    errors : mean absolute error of each gene [V]
    """
    errors = np.asarray(errors, np.float64)
    known = np.isfinite(errors)
    if not known.any():
        return np.full(len(errors), ratio, np.float32)
    errors = np.where(known, errors, np.median(errors[known]))
    low, high = errors.min(), errors.max()
    share = (errors - low) / (high - low) if high > low else np.zeros(len(errors))
    weight = (np.minimum((share * BINS).astype(int), BINS - 1) + 1) / (BINS + 1)
    return np.minimum(ratio * weight / weight.mean(), 1).astype(np.float32)


def save(workdir, step, mask_rate):
    """Keep the rates [R] that hold from behind a step on."""
    folder = Path(workdir) / "mask_rates"
    with whole_file(folder / f"{step}.npy") as new, open(new, "wb") as file:
        np.save(file, mask_rate)


def load(workdir, step):
    """The rates [R] that held at a step; None before the first validation."""
    steps = [int(p.stem) for p in (Path(workdir) / "mask_rates").glob("*.npy")]
    before = [s for s in steps if s <= step]
    return np.load(Path(workdir) / "mask_rates" / f"{max(before)}.npy") if before else None

"""Predictions made elsewhere: an h5ad of another tool or of our own, or vectors.

G genes of the data.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from jaxcell.data.sources import read_h5ad
from jaxcell.evaluation.inputs import obs_column
from jaxcell.files import near

from .baselines import Predictions
from .conditions import sums_of
from .names import listed

FEWEST = 0.5  # share of the genes that a file has to have


def read_predictions(given, data, asked, control, *, name, tested=None):
    """Predictions for some conditions, from a file or from vectors.

    Parameters
    ----------
    given : path, or {condition: vector [G]}
        An h5ad: X predicted log-normalised expression, ``obs['condition']`` the condition of each
        row, spelled as in any GEARS file; several rows of one are cells, and averaged. var_names
        are the genes, in any order; what the data has and the file has not is taken as unchanged.
    data : Perturbations
    asked : sequence of str
        Conditions that need a prediction.
    control : [G]
        Mean control.
    name : str
        Of the method, for errors.
    tested : bool [n], optional
        Cells that are tested: where the file has rows of all their names, those are kept as well.

    Returns
    -------
    Predictions

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, conditions without a prediction, too few genes, or values that are not finite.
    """
    if isinstance(given, Mapping):
        found = _vectors(given, data, name)
    else:
        found = _file(given, data, control, name, tested)
    absent = [c for c in asked if c not in found.means]
    if absent:
        raise ValueError(
            f"{name}: no prediction for {len(absent)} of {len(asked)} tested conditions:"
            f" {listed(absent)}; it has {listed(found.means)}"
        )
    found.means = {c: found.means[c] for c in asked}
    bad = [c for c, vector in found.means.items() if not np.isfinite(vector).all()]
    if bad:
        raise ValueError(f"{name}: NaN or infinite values for {bad[0]!r}; expected numbers")
    return found


def _vectors(given, data, name):
    found, genes = {}, len(data.genes)
    for condition, vector in given.items():
        vector = np.asarray(vector, np.float32)
        if vector.shape != (genes,):
            raise ValueError(
                f"{name}: the prediction for {condition!r} has the shape {list(vector.shape)},"
                f" expected [{genes}], a number for each gene of the data"
            )
        found[data.named(str(condition))] = vector
    return Predictions(found)


def _file(path, data, control, name, tested):
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{name}: {path}: no such file; expected an h5ad of predictions{near(path)}"
        )
    try:
        adata = read_h5ad(path)
        spelled = obs_column(adata, "condition", "condition")
    except ValueError as error:
        raise ValueError(f"{name}: {path}: {error}") from None
    x, missing, notes = _columns(sp.csr_matrix(adata.X, dtype=np.float32), adata, data, path, name)
    own = np.array([data.named(text) for text in spelled])
    names, code = np.unique(own, return_inverse=True)
    sums, rows = sums_of(x, code, len(names))
    means = (sums / rows[:, None]).astype(np.float32)
    means[:, missing] = control[missing]
    found = Predictions(dict(zip(map(str, names), means, strict=True)), notes=notes)
    place = {cell: i for i, cell in enumerate(adata.obs_names.astype(str))}
    cells = data.cells[tested] if tested is not None else []
    if len(cells) and not missing.any() and all(cell in place for cell in cells):
        found.cells = x[[place[cell] for cell in cells]]
    return found


def _columns(x, adata, data, path, name):
    """Columns in the order of the data's genes, bool [G]: which the file has not, and notes."""
    import pandas as pd

    names = pd.Index(adata.var_names.astype(str))
    if not names.is_unique:
        raise ValueError(
            f"{name}: {path}: var names {names[names.duplicated()][0]!r} twice; expected each once"
        )
    column = names.get_indexer(data.genes)
    missing = column < 0
    if missing.mean() > 1 - FEWEST:
        raise ValueError(
            f"{name}: {path}: var has {int((~missing).sum())} of the {len(missing)} genes of the"
            f" data, expected at least half; it begins {listed(names[:3])}, the data"
            f" {listed(data.genes[:3])}"
        )
    notes = []
    if missing.any():
        notes.append(
            f"{name}: {int(missing.sum())} of {len(missing)} genes are not in its file, and taken"
            " as unchanged."
        )
    x = sp.csr_matrix(sp.hstack([x, sp.csr_matrix((x.shape[0], 1), dtype=np.float32)]))
    return x[:, np.where(missing, x.shape[1] - 1, column)], missing, notes

"""Perturbed cells of an AnnData: those whose perturbation and batch are known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcell.data.sources import read_h5ad
from jaxcell.files import near

from ..inputs import is_missing, obs_column

FEWEST_CONTROLS = 3


@dataclass(frozen=True)
class Found:
    """Some cells of an AnnData of all.

    keep : bool [all]; perturbation : str [n]; columns : {obs column: str [n]}
    """

    keep: np.ndarray
    perturbation: np.ndarray
    columns: dict

    def joined(self, names):
        """Values of several columns, together a cell's group: str [n]."""
        return np.array(
            [" ".join(parts) for parts in zip(*(self.columns[name] for name in names), strict=True)]
        )


def find(adata, perturbation, control, columns, where):
    """The cells whose perturbation and other columns are known.

    Parameters
    ----------
    adata : AnnData
    perturbation : obs column; control : its value of unperturbed cells (which may be called "none")
    columns : other obs columns, none of which may be missing
    where : name of the data, for errors

    Returns
    -------
    Found

    Raises
    ------
    ValueError
        A column that is not there; fewer than 3 controls; nothing but controls.
    """
    columns = tuple(dict.fromkeys(columns))
    absent = [column for column in (perturbation, *columns) if column not in adata.obs]
    if absent:
        raise ValueError(
            f"{where}: obs has no column {', '.join(absent)}; it has {list(adata.obs)}"
        )
    values = {column: obs_column(adata, column, "batch") for column in columns}
    treated = obs_column(adata, perturbation, "perturbation")
    unknown = is_missing(treated) & (treated != control)
    keep = ~np.any([unknown, *map(is_missing, values.values())], axis=0)
    treated = treated[keep]
    if (treated == control).sum() < FEWEST_CONTROLS or (treated == control).all():
        raise ValueError(
            f"{where}: obs[{perturbation!r}] of the {keep.sum()} cells whose perturbation "
            f"and batch are known: {shown(set(treated))}; expected --control {control!r}, in "
            f"{FEWEST_CONTROLS} cells or more, and other values"
        )
    return Found(keep, treated, {name: value[keep] for name, value in values.items()})


def read(path):
    """The AnnData of an h5ad file; FileNotFoundError names what it is for."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected an h5ad of perturbed cells{near(path)}"
        )
    return read_h5ad(path)


def shown(values, most=10):
    """Some values for an error: 'found a, b, …'."""
    values = sorted(values)
    return "found " + ", ".join(values[:most]) + (", …" if len(values) > most else "")

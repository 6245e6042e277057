"""Perturbed cells as GEARS lays them out, and as others do: one condition a cell.

n cells, G genes, P conditions (the control is none of them). A condition is named by its perturbed
genes in alphabetical order, 'A' or 'A+B', however the file writes it: 'A+ctrl', 'ctrl+A', 'B+A'.
Source of the layout: SYSTEMS.md, F (perturb_processed.h5ad of GEARS: Roohani et al. 2023).
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from jaxcell.data.splits import is_missing
from jaxcell.evaluation.baselines import normalise
from jaxcell.evaluation.inputs import obs_column, read

from .names import CONTROL, JOINED, listed, name_of, parts_of

LARGEST = 20.0  # of a logarithm of counts: e²⁰ counts of one gene are in no cell
VALUES = ("log", "counts")


@dataclass(frozen=True)
class Perturbations:
    """Cells, the condition of each, and the genes of each condition (`perturbations`).

    Attributes
    ----------
    x : float32 CSR [n, G], log-normalised
    genes : names of the columns, str [G]
    cells : names of the cells, str [n]
    conditions : {condition: its perturbed genes, or () of a treatment that is no gene}, sorted
    code : int [n], the condition of each cell by its place among ``conditions``; -1: control
    written : {condition: as the file writes it}, GEARS' split depends on the spelling
    layout : control, separator and treatment, as in `parts_of`
    left_out : {reason: cells}
    """

    x: sp.csr_matrix
    genes: np.ndarray
    cells: np.ndarray
    conditions: dict
    code: np.ndarray
    written: dict
    layout: dict = field(default_factory=dict)
    left_out: dict = field(default_factory=dict)

    @property
    def control(self):
        """Bool [n]: the control cells."""
        return self.code < 0

    @cached_property
    def columns(self):
        """{perturbed gene: its column of ``x``}, without those that have none."""
        perturbed = {gene for genes in self.conditions.values() for gene in genes}
        return {str(g): i for i, g in enumerate(self.genes) if g in perturbed}

    @property
    def unknown(self):
        """Perturbed genes that ``x`` has no column for."""
        perturbed = {gene for genes in self.conditions.values() for gene in genes}
        return tuple(sorted(perturbed - set(self.columns)))

    def named(self, text):
        """Our name of a condition, as the file, GEARS or we spell it; 'ctrl' of the control."""
        if text in self.conditions:
            return text
        genes = [gene for gene in parts_of(text, **self.layout) if gene != CONTROL]
        return name_of(genes) if genes else text if self.layout.get("treatment") else CONTROL

    def place(self, condition):
        """Its place among ``conditions``; ValueError for one that no cell has."""
        names = list(self.conditions)
        if condition not in self.conditions:
            raise ValueError(
                f"condition {condition!r}: no cell has it; there is {listed(names)} ({len(names)})"
            )
        return names.index(condition)

    def means(self, rows=None):
        """Mean of the cells of each condition and of the control, over some rows or all.

        rows : bool [n], optional

        Returns
        -------
        float64 [P, G], float64 [G], int [P] : means (NaN where there is no cell), the control's,
            and how many cells
        """
        rows = np.ones(len(self.code), bool) if rows is None else rows
        own = np.where(rows, np.where(self.control, len(self.conditions), self.code), -1)
        sums, cells = sums_of(self.x, own, len(self.conditions) + 1)
        with np.errstate(invalid="ignore"):
            means = sums / cells[:, None]
        return means[:-1], means[-1], cells[:-1]


def sums_of(x, code, groups):
    """Sums of the rows of each group, and their number.

    x CSR [n, G], code int [n], -1: in none -> float64 [groups, G], int [groups]
    """
    rows = np.flatnonzero(code >= 0)
    ones = np.ones(len(rows), np.float64)
    member = sp.csr_matrix((ones, (code[rows], rows)), (groups, x.shape[0]))
    return np.asarray((member @ x).todense()), np.bincount(code[rows], minlength=groups)


def perturbations(
    data,
    *,
    condition="condition",
    control=CONTROL,
    separator=JOINED,
    treatment=False,
    cells="",
    values="log",
    where=None,
):
    """Read perturbed cells and their controls.

    Parameters
    ----------
    data : path or anndata.AnnData
        X: log-normalised expression, ``obs[condition]`` what was done to each cell: the control's
        name, 'A+ctrl', 'ctrl+A', 'A+B', or plain 'A'.
    condition : str
        Column of ``obs``.
    control : str
        Its value for control cells, also as the partner in 'A+ctrl'.
    separator : str
        Between the genes of a condition.
    treatment : bool
        Conditions are names of treatments (a cytokine, a drug): not split, and no genes.
    cells : str
        'OBS=VALUE': only these cells, one cell line of several for example. Other conditions than
        the control's cells can only be told from it within one kind of cells.
    values : str
        What X holds: 'log', or 'counts', raw counts, which are then normalised to ln(1 + 10⁴ ·
        count / total).
    where : path, optional
        Of the file, for errors, where ``data`` is what was read of it.

    Returns
    -------
    Perturbations

    Raises
    ------
    FileNotFoundError, ValueError
        No such file or column, no control cell or nothing but control, X not what ``values``
        says, or genes named twice.
    """
    if values not in VALUES:
        raise ValueError(f"values: found {values!r}, expected one of {', '.join(VALUES)}")
    if not separator:
        raise ValueError("separator: found '', expected what is between two genes, + or _")
    adata = read(data)
    layout = dict(control=control, separator=separator, treatment=treatment)
    try:
        return _adapted(adata, condition, cells, values, layout)
    except ValueError as error:
        where = data if where is None else where
        raise ValueError(f"{where}: {error}" if isinstance(where, str | Path) else error) from error


def _adapted(adata, condition, cells, values, layout):
    """The `Perturbations` of an AnnData; layout : what tells a class's genes from its control."""
    names, control = adata.var_names.astype(str), layout["control"]
    if not names.is_unique:
        raise ValueError(f"var names {names[names.duplicated()][0]!r} twice; expected each once")
    given = obs_column(adata, condition, "condition")
    missing, chosen = is_missing(given), _chosen(adata, cells)
    left_out = {
        f"not {cells}": int((~chosen).sum()),
        f"no condition in obs[{condition!r}]": int((chosen & missing).sum()),
    }
    keep = chosen & ~missing
    spelled, place = np.unique(given[keep], return_inverse=True)
    spelled = spelled.tolist()
    parts = [parts_of(name, **layout) for name in spelled]
    own = [name_of(genes) if genes else ("" if name == control else name)
           for genes, name in zip(parts, spelled, strict=True)]  # fmt: skip
    _check_conditions(own, spelled, condition, control)
    conditions = {name: genes for name, genes in zip(own, parts, strict=True) if name}
    conditions = {name: conditions[name] for name in sorted(conditions)}
    index = {name: i for i, name in enumerate(conditions)} | {"": -1}
    written = {name: as_is for name, as_is in zip(own, spelled, strict=True) if name}
    x = sp.csr_matrix(adata.X[np.flatnonzero(keep)], dtype=np.float32)
    _check_values(x, values)
    return Perturbations(
        x=normalise(x) if values == "counts" else x,
        genes=np.array(names, str),
        cells=np.array(adata.obs_names[keep].astype(str), str),
        conditions=conditions,
        code=np.array([index[name] for name in own])[place],
        written=written,
        layout=layout,
        left_out={reason: n for reason, n in left_out.items() if n},
    )


def _chosen(adata, cells):
    if not cells:
        return np.ones(adata.n_obs, bool)
    column, sign, value = cells.partition("=")
    if not sign:
        raise ValueError(f"cells: found {cells!r}, expected OBS=VALUE")
    values = obs_column(adata, column, "cells")
    if value not in values:
        raise ValueError(
            f"cells: obs[{column!r}] has no {value!r}; it has {listed(np.unique(values))}"
        )
    return values == value


def _check_conditions(own, spelled, condition, control):
    if "" not in own:
        raise ValueError(
            f"obs[{condition!r}]: no cell is {control!r}, the control; it has {listed(spelled)}."
            " Name it with control= (--control)"
        )
    if len(own) < 2:
        raise ValueError(f"obs[{condition!r}]: every cell is {control!r}, expected others too")


def _check_values(x, values):
    """Refuse an X that is not what it is said to be."""
    found = x.data
    if not np.isfinite(found).all() or (found < 0).any():
        what = "NaN or infinite" if not np.isfinite(found).all() else f"below 0 ({found.min():.3g})"
        raise ValueError(f"X: found values that are {what}, expected expression of 0 or above")
    whole = not (found % 1).any()
    if values == "log" and len(found) and (whole or found.max() > LARGEST):
        raise ValueError(
            f"X: found {'whole numbers' if whole else 'values'} up to {found.max():g}, which look"
            " like raw counts, expected log-normalised expression; if counts they are, say so:"
            " values='counts' (--values counts)"
        )
    if values == "counts" and not whole:
        raise ValueError(
            f"X: found values that are no whole numbers ({found[found % 1 != 0][0]:.4g}), expected"
            " raw counts; log-normalised expression is values='log' (--values log)"
        )

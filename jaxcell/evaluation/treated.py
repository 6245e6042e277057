"""The cells of a drug screen that a mechanism is to be read off.

n cells. Source: BMFM-RNA (2026), section 4.5.
"""

from dataclasses import dataclass

import numpy as np

from jaxcell.data.splits import is_missing

AT, BELOW = 10_000.0, 0.85  # nM; share of the vehicle's living cells
FEWEST_DRUGS, FEWEST_CELLS = 2, 50
UNITS = {"nM": 1.0, "uM": 1e3, "µM": 1e3, "mM": 1e6, "M": 1e9}  # in nM; case matters: mM is no MM
TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True)
class Treated:
    """The cells that are kept."""

    keep: np.ndarray  # bool [cells of the file]
    drug: np.ndarray  # str [n], of the kept ones
    mechanism: np.ndarray  # str [n]
    dropped: dict  # reason -> cells, in the order in which they were dropped


def treated(
    obs,
    *,
    drug,
    mechanism,
    dose,
    viability,
    vehicle,
    cells="",
    at=AT,
    below=BELOW,
    unit="nM",
    fewest_drugs=FEWEST_DRUGS,
    fewest_cells=FEWEST_CELLS,
):
    """The cells that show a drug's strong effect, of mechanisms that several drugs have.

    Those at one dose, where few cells lived on; without vehicle controls; last, without mechanisms
    of too few drugs or cells.

    Parameters
    ----------
    obs : DataFrame [cells of the file]
    drug, mechanism, dose, viability, vehicle : columns of ``obs``. ``viability``: a share of the
        vehicle's living cells, or None: all are kept. ``vehicle``: true where a cell got no drug,
        or 'COLUMN=VALUE'.
    cells : 'COLUMN=VALUE' of those that count, such as one cell line's; '': all
    at : the dose, in nM
    below : viability must be less
    unit : of the column ``dose``, one of `UNITS`
    fewest_drugs, fewest_cells : of a mechanism, after all else; 2 drugs at least

    Returns
    -------
    Treated

    Raises
    ------
    ValueError
        A column that is not there or holds something else, no cell left, fewer than two mechanisms,
        or a drug of two mechanisms.
    """
    if fewest_drugs < 2:
        raise ValueError(
            f"fewest_drugs: found {fewest_drugs}, expected 2 or more: one is held out whole"
        )
    names, kinds = texts(obs, drug, "drug"), texts(obs, mechanism, "mechanism")
    keep, dropped = np.ones(len(obs), bool), {}

    def drop(where, reason):
        if lost := int((keep & where).sum()):
            dropped[reason] = lost
        keep[where] = False

    if cells:
        drop(~of_value(obs, cells, "cells"), f"not of {cells}")
    drop(is_missing(names) | is_missing(kinds), "without a drug or a mechanism")
    drop(truth(obs, vehicle, "vehicle"), "vehicle controls")
    drop(~np.isclose(_doses(obs, dose, unit, at), at), f"at another dose than {at:,.0f} nM")
    if viability is not None:
        drop(~(_numbers(obs, viability, "viability") < below), f"viability not below {below:g}")
    if not keep.any():
        raise ValueError(f"no cell is left to classify: {_said(dropped)}")
    few = []
    for kind in np.unique(kinds[keep]):
        own = keep & (kinds == kind)
        if len(np.unique(names[own])) < fewest_drugs or own.sum() < fewest_cells:
            few.append(kind)
    rare = f"of mechanisms with fewer than {fewest_drugs} drugs or {fewest_cells} cells"
    drop(np.isin(kinds, few), rare)
    if len(np.unique(kinds[keep])) < 2:
        raise ValueError(
            f"obs[{mechanism!r}]: {len(np.unique(kinds[keep]))} mechanisms are left, expected 2 or "
            f"more: {_said(dropped)}"
        )
    one_each(names[keep], kinds[keep], f"obs[{drug!r}]")
    return Treated(keep, names[keep], kinds[keep], dropped)


def one_each(drug, mechanism, what):
    """Raise ValueError where a drug has two mechanisms: drug, mechanism str [n]."""
    pairs = np.unique(np.stack([drug, mechanism]), axis=1)
    names, number = np.unique(pairs[0], return_counts=True)
    if (number > 1).any():
        name = str(names[number > 1][0])
        kinds = ", ".join(pairs[1][pairs[0] == name])
        raise ValueError(f"{what}: {name!r} has several mechanisms ({kinds}), expected one")


def of_value(obs, asked, what):
    """Which cells are of 'COLUMN=VALUE': bool [cells]; ValueError where none is."""
    name, equals, value = asked.partition("=")
    if not equals:
        raise ValueError(f"{what}: found {asked!r}, expected COLUMN=VALUE")
    found = texts(obs, name, what)
    if not (found == value).any():
        have = ", ".join(np.unique(found)[:12])
        raise ValueError(f"{what}: no cell has {value!r} in obs[{name!r}]; it holds {have}")
    return found == value


def _column(obs, name, what):
    if name not in obs:
        have = ", ".join(map(str, obs.columns[:20]))
        raise ValueError(f"{what}: obs has no column {name!r}; it has {have or 'none'}")
    return obs[name]


def texts(obs, name, what):
    """A column as text, '' where it has none: str [cells]."""
    column = _column(obs, name, what)
    return np.where(column.isna(), "", column.astype(str)).astype(str)


def _numbers(obs, name, what):
    import pandas as pd

    column = _column(obs, name, what)
    found = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(np.float64)
    wrong = np.isnan(found) & ~is_missing(texts(obs, name, what))
    if wrong.any():
        value = column.iloc[int(np.flatnonzero(wrong)[0])]
        raise ValueError(f"{what}: obs[{name!r}] holds {value!r}, expected numbers")
    return found


def _doses(obs, name, unit, at):
    """The doses of all cells in nM; an error that tells what would help where none is ``at``."""
    if unit not in UNITS:
        raise ValueError(f"dose unit: found {unit!r}, expected {', '.join(UNITS)} (case matters)")
    given = _numbers(obs, name, "dose")
    found = given * UNITS[unit]
    if not np.isclose(found, at).any():
        values = np.unique(given[~np.isnan(given)])
        other = [u for u, nm in UNITS.items() if np.isclose(values * nm, at).any() and u != "µM"]
        hint = f"; in {other[0]} one of them would be" if other else ""
        shown = ", ".join(f"{v:g}" for v in values[:12])
        raise ValueError(
            f"dose: no cell of obs[{name!r}] is at {at:g} nM, read in {unit}: found {shown}{hint} "
            "(dose unit, or the dose asked for)"
        )
    return found


def truth(obs, asked, what):
    """Which cells are of 'COLUMN=VALUE', or have true in a column of truth values: bool [cells]."""
    if "=" in asked:
        return of_value(obs, asked, what)
    low = np.char.lower(texts(obs, asked, what))
    if unknown := sorted(set(low) - set(TRUTH) - {""}):
        raise ValueError(
            f"{what}: obs[{asked!r}] holds {str(unknown[0])!r}, expected true or false, or "
            "COLUMN=VALUE"
        )
    return np.isin(low, [text for text, true in TRUTH.items() if true])


def _said(dropped):
    return "; ".join(f"{n} cells {why}" for why, n in dropped.items()) or "no cell was dropped"

"""Which cells of a drug screen are kept, and why the others are not."""

import numpy as np
import pandas as pd
import pytest

from jaxcell.evaluation.treated import of_value, treated

COLUMNS = dict(
    drug="product_name", mechanism="pathway_level_1", dose="dose", viability="viability",
    vehicle="vehicle",
)  # fmt: skip


def screen():
    """Two mechanisms of two drugs at 10 000 nM, and one group of cells for each reason to go."""
    groups = [
        # drug, mechanism, dose, viability, vehicle, cells
        ("a1", "A", 1e4, 0.3, False, 6),
        ("a2", "A", 1e4, 0.8, False, 5),
        ("b1", "B", 1e4, 0.5, False, 4),
        ("b2", "B", 1e4, 0.84, False, 7),
        ("a1", "A", 1e3, 0.3, False, 3),  # another dose
        ("a3", "A", 1e4, 0.85, False, 2),  # alive: less is asked for
        ("a4", "A", 1e4, np.nan, False, 1),  # viability unknown
        ("rare", "C", 1e4, 0.2, False, 9),  # one drug
        ("Vehicle", "Vehicle", 0.0, 1.0, True, 8),
        (None, "A", 1e4, 0.2, False, 2),
    ]
    rows = [row[:5] for row in groups for _ in range(row[5])]
    return pd.DataFrame(rows, columns=list(COLUMNS.values()))


def test_the_kept_cells_and_the_reasons():
    found = treated(screen(), **COLUMNS, fewest_cells=5)
    assert found.dropped == {
        "without a drug or a mechanism": 2,
        "vehicle controls": 8,
        "at another dose than 10,000 nM": 3,
        "viability not below 0.85": 3,
        "of mechanisms with fewer than 2 drugs or 5 cells": 9,
    }
    assert sorted(set(found.drug)) == ["a1", "a2", "b1", "b2"]
    assert found.keep.sum() == 22 == len(found.drug) == len(found.mechanism)
    assert found.keep.sum() + sum(found.dropped.values()) == len(screen())


def test_rare_is_what_is_rare_after_all_else():
    """Of A 11 cells are at the dose, 3 at another, 3 live on: only the 11 count."""
    with pytest.raises(ValueError, match=r"\['pathway_level_1'\]: 0 mechanisms are left"):
        treated(screen(), **COLUMNS, fewest_cells=12)
    assert set(treated(screen(), **COLUMNS, fewest_cells=11).mechanism) == {"A", "B"}


@pytest.mark.parametrize(
    "values",
    [[True, False], [1, 0], [1.0, 0.0], ["TRUE", "FALSE"], ["true", "false"]],
    ids=str,
)
def test_how_files_write_the_vehicle(values):
    obs = screen()
    obs["vehicle"] = np.where(obs["vehicle"], *np.array(values, object))
    assert treated(obs, **COLUMNS, fewest_cells=5).dropped["vehicle controls"] == 8


def test_the_vehicle_by_its_name():
    by_name = treated(screen(), **COLUMNS | {"vehicle": "product_name=Vehicle"}, fewest_cells=5)
    assert by_name.dropped == treated(screen(), **COLUMNS, fewest_cells=5).dropped


def test_the_unit_of_the_dose():
    obs = screen()
    obs["dose"] /= 1e3
    with pytest.raises(ValueError, match=r"no cell of obs\['dose'\] is at 10000 nM.*in uM one of"):
        treated(obs, **COLUMNS, fewest_cells=5)
    same = treated(obs, **COLUMNS, fewest_cells=5, unit="uM")
    assert (same.keep == treated(screen(), **COLUMNS, fewest_cells=5).keep).all()
    with pytest.raises(ValueError, match="found 'NM', expected nM, uM"):
        treated(obs, **COLUMNS, unit="NM")


def test_one_cell_line():
    obs = screen()
    obs["cell_type"] = np.where(np.arange(len(obs)) == 0, "K562", "A549")
    found = treated(obs, **COLUMNS, fewest_cells=5, cells="cell_type=A549")
    assert found.dropped["not of cell_type=A549"] == 1
    assert not found.keep[0]
    with pytest.raises(ValueError, match=r"cells: no cell has 'MCF7'.*it holds A549, K562"):
        treated(obs, **COLUMNS, cells="cell_type=MCF7")
    with pytest.raises(ValueError, match="expected COLUMN=VALUE"):
        of_value(obs, "cell_type", "cells")


def change(column, value, of=slice(None)):
    obs = screen()
    obs[column] = obs[column].astype(object)
    obs.loc[obs.index[of], column] = value
    return obs


@pytest.mark.parametrize(
    ("obs", "asked", "message"),
    [
        (screen(), {"drug": "drug"}, "drug: obs has no column 'drug'; it has product_name"),
        (screen(), {"below": 0.1}, "no cell is left to classify: 2 cells without a drug"),
        (screen(), {"fewest_drugs": 1}, "fewest_drugs: found 1, expected 2 or more"),
        (screen(), {"vehicle": "product_name=DMSO"}, "vehicle: no cell has 'DMSO'"),
        (change("dose", "high", [0]), {}, r"dose: obs\['dose'\] holds 'high', expected numbers"),
        (change("vehicle", "maybe", [0]), {}, "holds 'maybe', expected true or false"),
        (change("pathway_level_1", "B", [0]), {}, r"'a1' has several mechanisms \(A, B\)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(obs, asked, message):
    with pytest.raises(ValueError, match=message):
        treated(obs, **COLUMNS | {"fewest_cells": 4} | asked)

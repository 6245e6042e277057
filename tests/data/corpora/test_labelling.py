"""Labels renamed, mapped and made terms of an ontology."""

import numpy as np
import pandas as pd
import pytest

from jaxcell.data.corpora.labelling import read_changes, relabelled
from jaxcell.data.ontology import Ontology

ONTOLOGY = Ontology(
    ("CL:0000000", "CL:0000084", "CL:0000236"),
    ("cell", "T cell", "B cell"),
    ((), (0,), (0,)),
    ((), ("T lymphocyte",), ("B lymphocyte",)),
    "cl.obo",
)


def column(*values):
    return pd.Series(values, index=[f"c{i}" for i in range(len(values))])


def as_list(found):
    return [None if pd.isna(v) else v for v in found]


def test_labels_become_terms_by_map_id_name_and_synonym():
    given = column("Bs", "b CELL", "CL:0000236", "T lymphocyte", "unknown", np.nan)
    found = relabelled(given, {"Bs": "B cell"}, ONTOLOGY, "error", "a")
    assert as_list(found) == ["CL:0000236"] * 3 + ["CL:0000084", None, None]
    assert list(found.cat.categories) == ["CL:0000084", "CL:0000236"]
    assert list(found.index) == list(given.index)


def test_without_an_ontology_the_rest_stays():
    found = relabelled(column("x", "y", "z", None), {"x": "y"}, None, "error", "a")
    assert as_list(found) == ["y", "y", "z", None]


def test_labels_that_are_no_terms():
    given = column("Bs", "Bs", "Tcell", "T cell")
    with pytest.raises(
        ValueError, match=r"mine: found 2 of 3 labels, 3 cells.*'Bs' \(2\), 'Tcell'"
    ):
        relabelled(given, {}, ONTOLOGY, "error", "mine")
    with pytest.warns(UserWarning, match="their label is unknown"):
        found = relabelled(given, {}, ONTOLOGY, "unknown", "mine")
    assert as_list(found) == [None, None, None, "CL:0000084"]


def test_a_category_without_cells_need_be_no_term():
    given = column("T cell").astype(pd.CategoricalDtype(["T cell", "nothing"]))
    assert as_list(relabelled(given, {}, ONTOLOGY, "error", "a")) == ["CL:0000084"]


def test_changes_from_a_file(tmp_path):
    path = tmp_path / "map.tsv"
    path.write_text("label\tname\tcl_id\nBs\tB cell\tCL:0000236\n\nTs\tCL:0000084\n")
    assert read_changes(path, "m") == {"Bs": "CL:0000236", "Ts": "CL:0000084"}
    assert read_changes({"a": "b"}, "m") == {"a": "b"}
    path.write_text("Bs\tB cell\nBs\tT cell\n")
    with pytest.raises(ValueError, match="line 2: found 'Bs' again"):
        read_changes(path, "m")
    path.write_text("Bs B cell\n")
    with pytest.raises(ValueError, match="m: .*line 1: found 'Bs B cell', expected a label, a tab"):
        read_changes(path, "m")
    with pytest.raises(FileNotFoundError, match="m: found no file"):
        read_changes(tmp_path / "none.tsv", "m")

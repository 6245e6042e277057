import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from jaxcell.evaluation.perturbation.conditions import perturbations
from jaxcell.evaluation.perturbation.names import parts_of

ROWS = {  # condition of a cell: its expression of A, B, C
    "ctrl": [0.5, 1.5, 0.0],
    "A+ctrl": [1.5, 1.0, 0.0],
    "ctrl+A": [2.5, 1.0, 0.0],
    "B+A": [2.0, 0.0, 0.25],
    "A+B": [1.0, 0.0, 0.75],
    "Z+ctrl": [0.5, 0.5, 0.5],
}


def adata(names=tuple(ROWS), rows=None, **obs):
    x = np.array(
        [ROWS.get(name, [0.5, 1, 0]) for name in names] if rows is None else rows, np.float32
    )
    obs = pd.DataFrame({"condition": list(names), **obs}, index=[f"c{i}" for i in range(len(x))])
    return anndata.AnnData(sp.csr_matrix(x), obs=obs, var=pd.DataFrame(index=["A", "B", "C"]))


def test_spellings_of_a_condition_are_one():
    found = perturbations(adata())
    assert found.conditions == {"A": ("A",), "A+B": ("A", "B"), "Z": ("Z",)}
    np.testing.assert_array_equal(found.code, [-1, 0, 0, 1, 1, 2])
    np.testing.assert_array_equal(found.control, found.code < 0)
    assert found.columns == {"A": 0, "B": 1}
    assert found.unknown == ("Z",)
    means, control, cells = found.means()
    np.testing.assert_allclose(means, [[2, 1, 0], [1.5, 0, 0.5], [0.5, 0.5, 0.5]])
    np.testing.assert_allclose(control, [0.5, 1.5, 0])
    np.testing.assert_array_equal(cells, [2, 2, 1])
    means, _, cells = found.means(np.array([1, 1, 0, 0, 0, 1], bool))
    np.testing.assert_allclose(means[[0, 2]], [[1.5, 1, 0], [0.5, 0.5, 0.5]])
    assert np.isnan(means[1]).all()
    assert cells.tolist() == [1, 0, 1]


@pytest.mark.parametrize("text", ["B+A", "A+B"])
def test_any_spelling_finds_the_condition(text):
    assert perturbations(adata()).named(text) == "A+B"


def test_names_of_other_files():
    data = adata(["control", "A", "A_B"], [[0.5, 1, 1], [1, 2, 0.5], [1, 0, 0]])
    found = perturbations(data, control="control", separator="_")
    assert found.conditions == {"A": ("A",), "A+B": ("A", "B")}
    assert [found.named(t) for t in ("A_ctrl", "B_A", "control", "A+B")] == [
        "A",
        "A+B",
        "ctrl",
        "A+B",
    ]
    assert parts_of("A+control", "control") == ("A",)


def test_a_treatment_is_no_gene():
    data = adata(["ctrl", "IFN-b+x"], [[1, 0, 3], [2, 0, 8]])
    found = perturbations(data, treatment=True, values="counts")
    assert found.conditions == {"IFN-b+x": ()}
    assert found.unknown == ()
    np.testing.assert_allclose(found.x.toarray()[0], np.log1p([2500, 0, 7500]), rtol=1e-6)


def test_some_cells_alone():
    data = adata(line=["k"] * 4 + ["u", "u"])
    found = perturbations(data, cells="line=k")
    assert list(found.conditions) == ["A", "A+B"]
    assert found.left_out == {"not line=k": 2}


@pytest.mark.parametrize(
    ("change", "asked", "text"),
    [
        ({}, dict(condition="x"), "no condition column 'x'.*'condition'"),
        ({}, dict(control="non-targeting"), "no cell is 'non-targeting', the control; it has A"),
        (dict(names=["ctrl", "ctrl"]), {}, "every cell is 'ctrl'"),
        (dict(names=["ctrl", "A+"]), {}, "condition 'A\\+': expected genes"),
        (dict(names=["ctrl", "A+A"]), {}, "condition 'A\\+A': expected genes, each once"),
        (dict(rows=[[3, 0, 1]] * 6), {}, "whole numbers up to 3.*--values counts"),
        (dict(rows=[[300.5, 0, 1]] * 6), {}, "values up to 300.5, which look like raw"),
        (dict(rows=[[-0.5, 0, 1]] * 6), {}, "below 0 \\(-0.5\\)"),
        (dict(rows=[[np.nan, 0, 1]] * 6), {}, "NaN or infinite"),
        ({}, dict(values="counts"), "no whole numbers \\(0.5\\).*--values log"),
        ({}, dict(values="raw"), "values: found 'raw', expected one of log, counts"),
        ({}, dict(cells="line"), "cells: found 'line', expected OBS=VALUE"),
        ({}, dict(cells="condition=x"), "obs\\['condition'\\] has no 'x'"),
        ({}, dict(separator=""), "separator: found ''"),
    ],
)
def test_what_is_wrong_is_named(change, asked, text):
    with pytest.raises(ValueError, match=text):
        perturbations(adata(**change), **asked)


def test_a_gene_twice_and_no_file_are_refused(tmp_path):
    data = adata()
    data.var_names = ["A", "A", "C"]
    with pytest.raises(ValueError, match="names 'A' twice"):
        perturbations(data)
    with pytest.raises(FileNotFoundError, match="no such file"):
        perturbations(tmp_path / "none.h5ad")


def test_errors_of_a_file_name_it(tmp_path):
    adata = anndata.AnnData(np.ones((2, 3), np.float32))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(ValueError, match=r"cells\.h5ad: obs has no condition column"):
        perturbations(tmp_path / "cells.h5ad")

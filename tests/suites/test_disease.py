"""The suite of disease subtypes, end to end."""

import anndata
import pytest

from jaxcell import benchmark
from jaxcell.evaluation.signature_report import carrier_table
from jaxcell.suites import disease
from jaxcell.suites.planted_screen import planted_astrocytes

SMALL = {"seeds": 1, "baselines": ("pca20",), "progress": False}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("brain") / "brain.h5ad"
    adata = planted_astrocytes(cells=900, genes=300, strength=1.2)
    adata.obs["sick"] = adata.obs["disease"] == "AD"
    adata.write_h5ad(path)
    return path


def test_a_run_and_its_report(file, tmp_path, monkeypatch):
    asked = {"data": str(file), "disease": "disease", "cells": "cell_type=astrocyte", **SMALL}
    asked["truth"] = "planted=DAA"
    results = benchmark("disease", tmp_path, **asked)
    rows = {row["name"]: row for row in carrier_table(results).rows}
    own = rows["PCA 20 (transductive)"]
    assert own["times"] == "1 of 1"
    assert own["jaccard"][0] > 0.8
    assert own["diseased"][0] > 0.6
    for name in disease.REFERENCES.values():
        assert rows[name]["times"] == "0 of 1"
        assert rows[name]["reference"]
    page = (tmp_path / "report.html").read_text()
    assert "carries it" in page
    assert (tmp_path / "figures" / "clusters_0.png").stat().st_size > 20_000
    monkeypatch.setattr(disease.signatures, "clusters", None)
    assert benchmark("disease", tmp_path, **asked) == results
    with pytest.raises(TypeError):
        benchmark("disease", tmp_path, **asked | {"resolution": 0.5})


def test_a_signature_of_its_own(file, tmp_path):
    own = tmp_path / "own.tsv"
    own.write_text("gene\tdirection\nGENE1\tup\nGENE2\tup\nNONE\tdown\n")
    results = benchmark("disease", tmp_path / "out", data=str(file), disease="sick",
                        signature=str(own), **SMALL)  # fmt: skip
    cells = results["parts"]["cells"]
    assert cells["absent"] == ["NONE"]
    assert cells["found"] == 2
    assert cells["cells"] == 900


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, r"disease: name the column of obs"),
        ({"disease": "none"}, "disease: obs has no column 'none'; it has cell_type, disease"),
        ({"disease": "donor"}, r"disease: obs\['donor'\] holds 'donor 1', expected true or false"),
        (
            {"disease": "disease=AD", "cells": "planted=DAA"},
            "of 48 cells are diseased, expe",
        ),
        ({"disease": "disease", "truth": "planted=B"}, "truth: no cell has 'B'"),
        ({"disease": "disease", "resolution": 0}, "resolution: found 0, expected a number above"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(file, tmp_path, asked, message):
    with pytest.raises(ValueError, match=message):
        benchmark("disease", tmp_path / "out", **{"data": str(file), **SMALL, **asked})
    assert not (tmp_path / "out").exists()


def test_genes_of_another_kind(file, tmp_path):
    adata = anndata.read_h5ad(file)
    adata.var_names = [f"X{i}" for i in range(adata.n_vars)]
    adata.write_h5ad(tmp_path / "other.h5ad")
    with pytest.raises(ValueError, match="signature: none of its genes"):
        benchmark("disease", tmp_path / "out", data=str(tmp_path / "other.h5ad"),
                  disease="disease", **SMALL)  # fmt: skip

"""What ``jaxcell inspect`` says of real files, beside what their README says."""

import os
from pathlib import Path

import pytest

import jaxcell
from jaxcell.evaluation.source_page import format_inspection
from tests.conftest import ROOT

DATA = Path(os.environ.get("JAXCELL_DATA", ROOT.parent / "shared" / "data"))
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no data folder at {DATA}; set JAXCELL_DATA"),
]
SHAPES = {
    "single_cell/crohn_gut_1020x18708_scp1884": (1020, 18708),
    "single_cell/crohn_gut_depth500_scp1884": (1005, 18708),
    "single_cell/pancreas_3studies_counts": (702, 1341),
    "single_cell/pbmc3k_500x13865": (500, 13865),
    "single_cell/scmixology_5batch": (1408, 11533),
    "bulk/islets_fadista77": (77, 32581),
    "perturbation/norman19_mcfaline23_perturbench_devel": (5961, 500),
}


def test_real_files_are_what_their_readme_says(tmp_path):
    files = [DATA / f"{name}.h5ad" for name in SHAPES]
    results = jaxcell.inspect(files, out=tmp_path / "out", progress=False)
    found = {Path(one["file"]).stem: one for one in results["sources"]}
    assert [(one["cells"], one["genes"]) for one in results["sources"]] == list(SHAPES.values())
    assert all(one["identifiers"]["species"].startswith("human") for one in results["sources"])
    thinned = found["crohn_gut_depth500_scp1884"]
    assert thinned["depth"]["least"] == thinned["depth"]["most"] == 500
    assert thinned["labels"]["cell_type"]["classes"] == 67
    assert found["crohn_gut_1020x18708_scp1884"]["labels"]["cell_type"]["classes"] == 68
    assert found["scmixology_5batch"]["labels"]["cell_line"]["classes"] == 5
    assert found["pancreas_3studies_counts"]["values"] == "estimated or corrected counts"
    assert found["norman19_mcfaline23_perturbench_devel"]["values"].startswith("log-transformed")
    refused = {name for name, one in found.items() if one["refused"]}
    assert refused == {"pancreas_3studies_counts", "norman19_mcfaline23_perturbench_devel"}
    assert 2 < found["pbmc3k_500x13865"]["mitochondrial"]["mean"] < 2.5
    said = format_inspection(results)
    assert "note: 1,005 cell names of crohn_gut_depth500_scp1884.h5ad are in crohn_gut_1020" in said
    pictures = {p.stem for p in (tmp_path / "out" / "figures").iterdir()}
    assert pictures == {"depth", "groups", "labels", "overlap", "sparsity"}

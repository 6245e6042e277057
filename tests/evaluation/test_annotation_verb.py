"""``jaxcell annotation``: a file that embed annotated, and the checkpoint that did."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest

from jaxcell import annotation, cli
from jaxcell.data.ontology_reading import read_ontology
from tests.conftest import OBO

LEAVES = ("CL:0000084", "CL:0000236", "CL:0000576")  # T, B, monocyte
KINDS = ("exact", "descendant", "ancestor", "off-lineage")


@pytest.fixture
def checkpoint(tmp_path):
    """A workdir with what the verb reads of a model: its heads and their ontology."""
    (tmp_path / "small.obo").write_text(OBO)
    ontology = read_ontology(tmp_path / "small.obo")
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    heads = {"cell_type": {"label": "type"}, "tissue": {"label": "organ"}}
    (folder / "config.json").write_text(json.dumps({"model": {"heads": heads}}))
    known = {"type": json.loads(ontology.to_json())}
    (folder / "ontologies.json").write_text(json.dumps(known))
    return tmp_path / "run"


@pytest.fixture
def cells():
    """Exact, exact, a descendant of the label, an ancestor of it, off its lineage; half a batch."""
    truth = ["T cell", "CL:0000236", "lymphocyte", "B cell", "monocyte", None]
    p = np.array([[8, 1, 1], [1, 8, 1], [6, 3, 1], [5, 4, 1], [1, 6, 3], [1, 1, 8]]) / 10
    ids = [LEAVES[i] for i in p.argmax(axis=1)]
    ids[3] = "CL:0000542"  # lymphocyte: as a decoding that stops early would
    obs = pd.DataFrame({"true": truth, "cell_type_pred_id": ids})
    obs["batch"] = ["a", "a", "a", "b", "b", "b"]
    obs.index = obs.index.astype(str)
    return anndata.AnnData(np.zeros((6, 1), np.float32), obs=obs, obsm={"cell_type_leaves": p})


def test_shares_of_what_was_written(cells, checkpoint, tmp_path):
    del cells.obsm["cell_type_leaves"]
    found = annotation(cells, checkpoint, truth="true", out=tmp_path / "out")
    (shares,) = found["decodings"].values()
    assert shares["cells"] == 5
    of = {kind: shares[kind]["share"] for kind in KINDS}
    assert list(of.values()) == [0.4, 0.2, 0.2, 0.2]
    assert found["meta"]["left_out"] == {"no label in obs['true']": 1}
    assert (tmp_path / "out" / "annotation_flow.png").exists()


def test_of_sigmoids_the_most_probable_leaf_is_compared(cells, checkpoint, tmp_path):
    path = checkpoint / "model" / "config.json"
    loss = {"kind": "independent_sigmoids", "pred": "heads.cell_type", "weight": 1.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"losses": {"cell_type": loss}}))
    expected = annotation(cells, checkpoint, truth="true", out=tmp_path / "sums")  # to 1
    cells.obsm["cell_type_leaves"] *= 0.5
    found = annotation(cells, checkpoint, truth="true", out=tmp_path / "out")
    assert found["decodings"] == expected["decodings"]
    assert list(found["decodings"]) == ["leaf argmax"]
    assert list(found["meta"]["figures"]) == ["flow"]
    assert "a sigmoid for each leaf" in (tmp_path / "out" / "annotation.md").read_text()


def test_classes_of_a_head_without_an_ontology_are_compared_by_name(cells, checkpoint, tmp_path):
    (checkpoint / "model" / "ontologies.json").unlink()
    obo = str(tmp_path / "small.obo")
    names = {term: read_ontology(obo).names[read_ontology(obo).resolve(term)] for term in LEAVES}
    names["CL:0000542"] = "lymphocyte"
    cells.obs["cell_type_pred"] = cells.obs["cell_type_pred_id"].map(names)
    del cells.obsm["cell_type_leaves"], cells.obs["cell_type_pred_id"]
    found = annotation(cells, checkpoint, truth="true", out=tmp_path / "out", ontology=obo)
    (shares,) = found["decodings"].values()
    assert [shares[kind]["share"] for kind in KINDS] == [0.4, 0.2, 0.2, 0.2]


def test_a_file_and_some_of_its_cells_by_command(cells, checkpoint, tmp_path, capsys):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    out = tmp_path / "out"
    argv = ["annotation", tmp_path / "cells.h5ad", "--checkpoint", checkpoint, "--truth", "true"]
    argv += ["--cells", "batch=a", "--level", "lines=lymphocyte,monocyte", "--out", out]
    cli.main([str(a) for a in argv])
    said = capsys.readouterr().out
    assert f"report: {out}/annotation.md" in said
    found = json.loads((out / "annotation.json").read_text())
    assert found["decodings"]["leaf argmax"]["cells"] == 3
    assert found["decodings"]["leaf argmax"]["levels"]["lines"]["share"] == 1.0
    assert "obs['cell_type_pred_id']" not in found["decodings"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"head": "tissue"}, r"its head 'tissue' has no ontology; name one .* \(--ontology\)"),
        ({"head": "donor"}, "has no label head 'donor'; it has cell_type, tissue"),
        ({"cells": "patch=a"}, "obs has no column 'patch'; it has true, "),
        ({"cells": "batch=c"}, "no cell has batch=c; batch has a, b"),
        ({"truth": "label"}, "label"),
        ({"checkpoint": "elsewhere"}, "elsewhere: no model there"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_written(cells, checkpoint, tmp_path, change, text):
    asked = {"checkpoint": checkpoint, "truth": "true", "out": tmp_path / "out", **change}
    with pytest.raises(ValueError, match=text):
        annotation(cells, **asked)
    assert not (tmp_path / "out").exists()


def test_cells_without_predictions_are_refused(cells, checkpoint, tmp_path):
    del cells.obsm["cell_type_leaves"], cells.obs["cell_type_pred_id"]
    with pytest.raises(ValueError, match="annotate the file first, with jaxcell embed"):
        annotation(cells, checkpoint, truth="true", out=tmp_path / "out")

"""``jaxcell annotation``: a file that embed annotated, and the checkpoint that did."""

import json
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict

from jaxcell import annotation, cell_types, cli
from jaxcell.data.ontology_reading import read_ontology
from tests.conftest import OBO

LEAVES = ("CL:0000084", "CL:0000236", "CL:0000576")  # T, B, monocyte
KINDS = ("exact", "descendant", "ancestor", "off-lineage")


@pytest.fixture(autouse=True)
def model(tmp_path, monkeypatch):
    """What the verb reads of a checkpoint: its heads, their ontology, and its hash."""
    (tmp_path / "small.obo").write_text(OBO)
    heads = {"cell_type": {"label": "type"}, "tissue": {"label": "organ"}}
    c = ConfigDict({"model": {"heads": heads}, "losses": {}, "targets": {}})
    ontologies = {"type": read_ontology(tmp_path / "small.obo")}
    one = SimpleNamespace(sha256="r1", config=c, ontologies=ontologies)
    real = cell_types.load_model
    fake = lambda path: one if path == checkpoint_of(tmp_path) else real(path)
    monkeypatch.setattr(cell_types, "load_model", lambda path: fake(Path(path)))
    return one


def checkpoint_of(folder):
    return folder / "run"


@pytest.fixture
def checkpoint(tmp_path):
    return checkpoint_of(tmp_path)


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
    said = {"predictions": {"cell_type": {"key": "X_a", "checkpoint_hash": "r1"}}}
    said["X_a"] = {"checkpoint": "runs/a", "cell_type_leaves": list(LEAVES)}
    x, uns = np.zeros((6, 1), np.float32), {"jaxcell": said}
    return anndata.AnnData(x, obs=obs, obsm={"cell_type_leaves": p}, uns=uns)


def test_shares_of_what_was_written(cells, checkpoint, tmp_path):
    del cells.obsm["cell_type_leaves"]
    found = annotation(cells, checkpoint, truth="true", out=tmp_path / "out")
    (shares,) = found["decodings"].values()
    assert shares["cells"] == 5
    of = {kind: shares[kind]["share"] for kind in KINDS}
    assert list(of.values()) == [0.4, 0.2, 0.2, 0.2]
    assert found["meta"]["left_out"] == {"no label in obs['true']": 1}
    assert (tmp_path / "out" / "annotation_flow.png").exists()


def test_of_sigmoids_the_most_probable_leaf_is_compared(cells, model, checkpoint, tmp_path):
    loss = {"kind": "independent_sigmoids", "pred": "heads.cell_type", "weight": 1.0}
    model.config.losses = {"cell_type": loss}
    expected = annotation(cells, checkpoint, truth="true", out=tmp_path / "sums")  # to 1
    cells.obsm["cell_type_leaves"] *= 0.5
    found = annotation(cells, checkpoint, truth="true", out=tmp_path / "out")
    assert found["decodings"] == expected["decodings"]
    assert list(found["decodings"]) == ["leaf argmax"]
    assert list(found["meta"]["figures"]) == ["tree", "flow", "confusion"]
    assert "a sigmoid for each leaf" in (tmp_path / "out" / "annotation.md").read_text()


def test_classes_of_a_head_without_an_ontology_are_compared_by_name(
    cells, model, checkpoint, tmp_path
):
    model.ontologies = {}
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


def test_predictions_of_another_model_or_of_none_are_refused(cells, checkpoint, tmp_path, model):
    def text_of(adata):
        with pytest.raises(ValueError, match="embed the cells with .*run again, or name") as said:
            annotation(adata, checkpoint, truth="true", out=tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return str(said.value)

    permuted = cells.copy()
    permuted.uns["jaxcell"]["X_a"]["cell_type_leaves"] = LEAVES[::-1]
    assert "does not say that these are the 3 leaves" in text_of(permuted)
    model.sha256 = "r2"
    assert "of another model than" in text_of(cells)
    assert "embedded as 'X_a', by runs/a" in text_of(cells)
    del cells.uns["jaxcell"]["predictions"]
    assert "does not say which model predicted cell_type" in text_of(cells)
    cells.uns["jaxcell"] = "mine"
    assert "does not say which model predicted cell_type" in text_of(cells)


def test_labels_that_are_no_terms_can_be_left_out_by_command(cells, checkpoint, tmp_path):
    cells.obs.loc["0", "true"] = "T cel"
    cells.write_h5ad(tmp_path / "cells.h5ad")
    argv = ["annotation", tmp_path / "cells.h5ad", "--checkpoint", checkpoint, "--truth", "true"]
    argv = [str(a) for a in (*argv, "--out", tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"'T cel'.*--ontology, compare_in=.*--leave-out, leave_o"):
        cli.main(argv)
    cli.main([*argv, "--leave-out", "T cel"])
    found = json.loads((tmp_path / "out" / "annotation.json").read_text())["meta"]
    assert found["cells"] == 4
    assert found["left_out"]["'T cel' by leave_out"] == 1


@pytest.mark.parametrize("leaves", [True, False])
def test_cells_without_a_prediction_are_left_out_and_counted(cells, checkpoint, tmp_path, leaves):
    if leaves:
        cells.obsm["cell_type_leaves"][1] = np.nan
    else:
        del cells.obsm["cell_type_leaves"]
        cells.obs.loc["1", "cell_type_pred_id"] = np.nan
    found = annotation(cells, checkpoint, truth="true", out=tmp_path / "out")
    assert found["meta"]["left_out"] == {"no label in obs['true']": 1, "no prediction": 1}
    assert {one["cells"] for one in found["decodings"].values()} == {4}

"""The folder for the Hub: the model as it was, and a card that tells what the run's files tell."""

import json
import shutil

import numpy as np
import pytest

import jaxcell
from jaxcell.conversion.card import hub_folder
from jaxcell.training import loop
from jaxcell.training.checkpoint import flatten, load_model
from tests.conftest import draw_cells
from tests.training.test_training import tiny

REPORT = """\
# Evaluation

`secret/embeddings.h5ad`: 700 cells

## Probes

| method | linear accuracy |
|:--|--:|
| X_txfm_b_tiny | .819 |

## Clustering and batch mixing

| method | NMI |
|:--|--:|
| X_txfm_b_tiny | .653 |

| method | ASW batch | iLISI |
|:--|--:|--:|
| X_txfm_b_tiny | – | – |

![side by side](comparison.png)

## Cells

- none left out
"""


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    c = tiny(store, **{"embed.genes": 32, "train.init_from": "", "embed.input": "/home/me/a.h5ad"})
    loop.train(c, workdir)
    (workdir / "report.md").write_text(REPORT)
    return workdir


def test_the_model_is_the_runs_and_its_paths_stay_at_home(run, store, tmp_path):
    out = hub_folder(run, tmp_path / "hub", licence="mit")
    ours, theirs = load_model(run), load_model(out)
    a, b = flatten(ours.variables), flatten(theirs.variables)
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[k], b[k]) for k in a)
    for file in out.iterdir():
        text = file.read_bytes()
        for secret in (str(store), str(run), "/home/me", "secret/"):
            assert secret.encode() not in text, file
    assert not list(tmp_path.glob("*.partial"))
    cells = draw_cells(5, 7, 300)
    one, other = cells.copy(), cells.copy()
    jaxcell.embed(one, run, key="X", progress=False)
    jaxcell.embed(other, out, key="X", progress=False)
    np.testing.assert_array_equal(one.obsm["X"], other.obsm["X"])


def test_the_card_tells_what_the_run_was(run, tmp_path):
    text = (hub_folder(run, tmp_path / "hub", licence="mit") / "README.md").read_text()
    head, _, body = text.removeprefix("---\n").partition("\n---\n")
    assert "license: mit" in head.split("\n")
    assert "- jaxcell" in head.split("\n")
    model = load_model(run)
    for said in (
        f"vocabulary of {len(model.vocabulary)} genes",
        f"| step | {model.info['step']}, the lowest val/loss |",
        "--checkpoint hf://ORG/txfm_b_tiny",
        "| first.h5ad | 90 |",
        "| second.h5ad | 60 |",
        "### Probes",
        "Of embeddings.h5ad (700 cells).",
        "| X_txfm_b_tiny | .819 |",
        "| X_txfm_b_tiny | .653 |",
    ):
        assert said in body, said
    assert "comparison.png" not in body
    assert "iLISI" not in body
    assert "none left out" not in body


def test_what_is_not_there_is_said(run, tmp_path):
    shutil.copytree(run / "model", tmp_path / "model")
    c = json.loads((tmp_path / "model/config.json").read_text())
    text = (hub_folder(tmp_path / "model", tmp_path / "hub") / "README.md").read_text()
    assert "without an evaluation" in text
    assert "license" not in text
    assert c["data"]["store"]  # of the source nothing is changed
    (tmp_path / "report.md").write_text(REPORT.replace("X_txfm_b_tiny", "X_other"))
    for asked, message in (
        (dict(out=tmp_path / "other", report=tmp_path), "tells nothing of X_txfm_b_tiny"),
        (dict(out=tmp_path / "other", licence="mit\nx: y"), "licence: found"),
        (dict(out=tmp_path / "hub"), "hub: exists already"),
        (dict(out=tmp_path / "other", report=tmp_path / "model"), "has no report.md"),
        (dict(source=tmp_path / "none", out=tmp_path / "other"), "no model there"),
    ):
        with pytest.raises(ValueError, match=message):
            hub_folder(**{"source": tmp_path / "model", **asked})
    assert not (tmp_path / "other").exists()

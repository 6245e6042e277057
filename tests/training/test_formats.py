"""What older versions saved: kept in tests/golden_checkpoints/, one folder each, and still read.

Each folder is a model as that version wrote it (1: the first commits of November 2026), with
cells.npz beside it: counts of six cells, and the vectors that they had then.
"""

import json
import shutil
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

import jaxcell
from jaxcell import config
from jaxcell.training import checksums, formats, loop
from jaxcell.training.checkpoint import load_model, save_model
from jaxcell.training.saved_steps import Checkpoints
from tests.training.test_training import tiny

GOLDEN = Path(__file__).parents[1] / "golden_checkpoints"


@pytest.mark.parametrize("version", [*formats.STEPS, formats.VERSION])
def test_a_model_of_each_version_embeds_as_it_did(version, tmp_path):
    folder = GOLDEN / str(version)
    assert (folder / "format_version").read_text().strip() == str(version)
    with np.load(folder / "cells.npz") as kept:
        counts, vectors = kept["counts"], kept["vectors"]
    cells = anndata.AnnData(counts, var=pd.DataFrame(index=[f"G{i}" for i in range(24)]))
    jaxcell.embed(cells, folder, key="X_again", progress=False)
    np.testing.assert_allclose(cells.obsm["X_again"], vectors, rtol=0, atol=1e-5)
    # Saved anew it is of this version, and the same model.
    model = load_model(folder)
    save_model(tmp_path, model)
    assert (tmp_path / "model/format_version").read_text().strip() == str(formats.VERSION)
    again = load_model(tmp_path)
    assert config.to_json(again.config) == config.to_json(model.config)
    assert again.vocabulary.sha256 == model.vocabulary.sha256


def test_configs_of_version_1_are_brought_up_to_date():
    for old, new in formats.REMAT.items():
        c = {"model": {"encoder": {"remat": old}}}
        assert formats.upgrade(c, 1, "x")["model"]["encoder"]["remat"] == new
    assert formats.upgrade({}, "1", "x") == {}
    same = {"model": {"encoder": {"remat": "dots"}}}
    assert formats.upgrade(json.loads(json.dumps(same)), formats.VERSION, "x") == same


@pytest.mark.parametrize("version", ["99", "0", "", "two", "1.0"])
def test_a_version_that_is_not_known_is_refused(version, tmp_path):
    shutil.copytree(GOLDEN / "2", tmp_path / "model")
    (tmp_path / "model/format_version").write_text(version)
    with pytest.raises(ValueError, match=f"model: has format '{version}', this jaxcell reads 1 to"):
        load_model(tmp_path)


def test_a_run_of_version_1_goes_on(store, tmp_path):
    """Its steps named no version and had no checksums, and their configs say remat as a bool."""
    c = tiny(store)
    loop.train(c, tmp_path)
    (saved,) = (tmp_path / "checkpoints").glob("*/config/metadata")
    (saved.parents[1] / checksums.NAME).unlink()
    there = json.loads(saved.read_text())
    assert there.pop("format_version") == formats.VERSION
    there["model"]["encoder"]["remat"] = False
    saved.write_text(json.dumps(there))
    checkpoints = Checkpoints(tmp_path, c)
    checkpoints.check()
    saved.write_text(json.dumps(there | {"format_version": 7}))
    with pytest.raises(ValueError, match="has format '7'.*update jaxcell"):
        checkpoints.check()
    checkpoints.close()


def test_the_tensors_are_as_readable_as_what_lies_beside_them(tmp_path):
    save_model(tmp_path, load_model(GOLDEN / "2"))
    modes = {p.stat().st_mode for p in (tmp_path / "model").iterdir()}
    assert len(modes) == 1

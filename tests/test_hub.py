"""Addresses on the Hugging Face Hub: the cache stands for it, and nothing is fetched."""

import sys

import anndata
import numpy as np
import pandas as pd
import pytest

import jaxcell
from jaxcell import hub
from jaxcell.conversion.files import read_source
from jaxcell.training.checkpoint import load_model
from tests.training.test_formats import GOLDEN

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A cache with one repository in it, org/cells, whose main branch and tag v1 are COMMIT."""
    constants = pytest.importorskip("huggingface_hub.constants")
    repository = tmp_path / "hub/models--org--cells"
    (repository / "refs").mkdir(parents=True)
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    for file in (GOLDEN / "2").iterdir():
        (repository / "snapshots" / COMMIT / file.name).write_bytes(file.read_bytes())
    for name in ("main", "v1"):
        (repository / "refs" / name).write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return repository / "snapshots" / COMMIT


@pytest.mark.parametrize(
    "address", ["hf://org/cells", "hf://org/cells@v1", f"hf://org/cells@{COMMIT}"]
)
def test_a_model_of_the_hub_is_that_of_its_folder(cached, address):
    with np.load(GOLDEN / "2/cells.npz") as kept:
        counts, vectors = kept["counts"], kept["vectors"]
    cells = anndata.AnnData(counts, var=pd.DataFrame(index=[f"G{i}" for i in range(24)]))
    jaxcell.embed(cells, address, key="X_hub", progress=False)
    np.testing.assert_allclose(cells.obsm["X_hub"], vectors, rtol=0, atol=1e-5)
    said = cells.uns["jaxcell"]["X_hub"]
    assert (said["checkpoint"], said["checkpoint_revision"]) == (address, COMMIT)
    assert load_model(address).sha256 == load_model(cached).sha256 == said["checkpoint_hash"]
    assert read_source(address).weights == cached / "model.safetensors"


def test_without_connection_and_copy_the_way_is_said(cached):
    for address, more in (
        ("hf://org/other", "hf download org/other --local-dir FOLDER"),
        ("hf://org/cells@v2", "hf download org/cells --revision v2 --local-dir FOLDER"),
    ):
        with pytest.raises(ValueError, match=f"^{address}: the Hub cannot be reached.*{more}"):
            load_model(address)


@pytest.mark.parametrize(
    "address", ["hf://cells", "hf://a/b/c", "hf://a/b@", "hf:a/b", "hf://a b/c"]
)
def test_addresses_that_are_none(address):
    with pytest.raises(ValueError, match="is no address on the Hub; expected hf://ORG/NAME"):
        hub.fetch(address)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"jaxcell\[hub\]"):
        hub.fetch("hf://org/cells")


def test_a_folder_of_another_framework_is_told_from_ours(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(
        ValueError, match=f"If it is one of PyTorch: jaxcell convert {tmp_path} OUT"
    ):
        load_model(tmp_path)

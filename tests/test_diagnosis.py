"""``jaxcell doctor``: what it says of a machine and of a file, and that what it advises works."""

import json
import shlex
from importlib.metadata import version

import anndata
import jax
import pytest

from jaxcell import cli, diagnosis, doctor, file_advice
from jaxcell.training import machine, trial
from tests.conftest import draw_cells


def test_of_the_machine(monkeypatch, tmp_path):
    monkeypatch.delenv("JAXCELL_DATA", raising=False)
    monkeypatch.delenv("JAXCELL_GENES", raising=False)
    found = doctor(seconds=0)
    assert found["problems"] == []
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["anndata"] == version("anndata")
    assert len(found["devices"]) == jax.device_count()
    assert found["devices"][0]["bfloat16"] == "emulated"
    assert found["devices"][0]["training"] == "float32"  # on a CPU; what compute_dtype decides
    assert 0 < found["memory"]["free"] <= found["memory"]["total"]
    assert found["training"] is None
    json.dumps(found)


def test_extras_are_those_of_the_metadata(monkeypatch):
    found = diagnosis._extras()
    assert {"eval", "cuda", "tpu", "torch"} <= set(found)
    assert found["eval"]["missing"] == []
    assert found["tpu"]["missing"] == ["jax[tpu]>=0.10"]  # jax is here, libtpu is not
    assert found["tpu"]["pip"] == "pip install 'jaxcell[tpu]'"
    installed = diagnosis._version
    monkeypatch.setattr(diagnosis, "_version", lambda n: None if n == "scanpy" else installed(n))
    found = diagnosis._extras()
    assert found["eval"]["missing"] == ["scanpy>=1.10"]
    assert "scanpy>=1.10" in found["test"]["missing"]  # an extra that contains it


def test_a_version_that_does_not_fit_is_a_problem(monkeypatch):
    installed = diagnosis._version
    old = {"flax": "0.10.0", "grain": None}
    monkeypatch.setattr(diagnosis, "_version", lambda name: old.get(name, installed(name)))
    problems = []
    diagnosis._versions(problems)
    flax, grain = sorted(problems)
    assert flax.startswith("flax: found 0.10.0, expected flax>=0.12")
    assert "pip install -U 'flax>=0.12" in flax
    assert grain.startswith("grain: found none, expected grain>=")


def test_a_variable_that_names_nothing_is_a_problem(monkeypatch):
    monkeypatch.setenv("JAXCELL_GENES", "/nowhere.tsv")
    (said,) = doctor(seconds=0)["problems"]
    assert said.startswith("JAXCELL_GENES: found /nowhere.tsv, which does not exist")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"finite": False}, "losses are NaN or infinite in float32; train with --config.dtype"),
        ({"last": 3.0}, "the loss did not fall (2 → 3 in 100 steps)"),
    ],
)
def test_training_that_goes_wrong_is_a_problem(changed, said, monkeypatch):
    good = {"dtype": "float32", "first": 2.0, "last": 1.0, "steps": 100, "finite": True}
    monkeypatch.setattr(trial, "trial", lambda seconds: good | changed)
    problems = []
    diagnosis._training(1, problems)
    assert said in problems[0]


def test_training_that_fails_is_a_problem(monkeypatch):
    def fail(seconds):
        raise RuntimeError("no device")

    monkeypatch.setattr(trial, "trial", fail)
    problems = []
    assert diagnosis._training(1, problems) is None
    assert "RuntimeError: no device" in problems[0]


class Device:
    platform, device_kind = "gpu", "Tesla T4"

    def __init__(self, capability):
        self.compute_capability = capability


@pytest.mark.parametrize(("capability", "fast"), [("7.5", False), ("8.0", True), ("9.0", True)])
def test_bfloat16_is_of_the_hardware_from_ampere_on(capability, fast, monkeypatch):
    assert machine.has_bfloat16(Device(capability)) == fast
    monkeypatch.setattr(machine.jax, "devices", lambda: [Device(capability)])
    assert machine.compute_dtype("auto") == ("bfloat16" if fast else "float32")


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """An h5ad whose counts are in a layer, with batches of equal panels."""
    adata = draw_cells(5, 90, 60)
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X.log1p()
    adata.obs["donor"] = [f"donor {i % 2}" for i in range(90)]
    path = tmp_path_factory.mktemp("cells") / "my cells.h5ad"
    adata.write_h5ad(path)
    return path


def test_of_a_file(cells, capsys):
    problems = []
    found = file_advice.advise(str(cells), None, problems, progress=False)
    assert problems == []
    counts, genes, labels, batches = found["said"]
    assert counts.startswith("raw counts are in layers/counts; beside them X (")
    assert genes.startswith("60 of 60 genes are named, by symbols")
    assert labels == "labels that could be learned or compared with: kind (3 classes)"
    assert batches == "batches are in donor (2 of them)"
    prepare, train, embed, evaluate = found["commands"]
    assert f"'{cells}' --counts layers/counts --labels kind donor" in prepare
    assert "--config.data.store=stores/my_cells --workdir=runs/my_cells" in train
    assert embed.endswith("--counts layers/counts")
    assert "--label kind --batch donor" in evaluate


def test_of_a_file_that_cannot_be_used(tmp_path, cells, capsys):
    adata = anndata.read_h5ad(cells)
    del adata.layers["counts"]
    adata.write_h5ad(tmp_path / "log.h5ad")
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor", str(tmp_path / "log.h5ad"), "--seconds", "0"])
    assert stop.value.code == 1
    said = capsys.readouterr().out
    assert "- no raw counts; X is like log1p of counts" in said
    assert "wrong: " in said
    assert "--counts layers/NAME" in said
    assert "to paste next" not in said


def test_what_flags_mend_is_no_problem(tmp_path):
    adata = draw_cells(6, 60, 80)
    adata.X = (adata.X * 137.13).tocsr()
    adata.var_names = ["G1", *adata.var_names[1:]]  # G1 twice
    adata.write_h5ad(tmp_path / "rsem.h5ad")
    problems = []
    found = file_advice.advise(str(tmp_path / "rsem.h5ad"), None, problems, progress=False)
    assert problems == []
    assert "--allow-non-integer --duplicates sum" in found["commands"][0]


def test_json(cells, capsys):
    cli.main(["doctor", str(cells), "--seconds", "0", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["source"]["inspection"]["sources"][0]["counts"] == "layers/counts"


def test_of_a_store_and_of_a_model_s_genes(store, capsys):
    problems = []
    found = file_advice.advise(str(store.path), None, problems, progress=False)
    assert found["commands"][0] == f"jaxcell verify {store.path}"
    assert problems == []


@pytest.mark.slow
def test_the_training_step(capsys):
    cli.main(["doctor", "--seconds", "10"])
    said = capsys.readouterr().out
    assert "jaxcell works here" in said
    assert "txfm_b_tiny, float32: compiled in" in said
    found = trial.trial(1.0)
    assert found["finite"]
    assert found["last"] < found["first"]


@pytest.mark.slow
def test_what_it_says_to_paste_works(cells, tmp_path, monkeypatch):
    from tests.conftest import ROOT

    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    lines = file_advice.advise(str(cells), None, [], progress=False)["commands"]
    for line in lines:
        line += " --config.steps=4 --config.train.batch_size=8" if " train " in line else ""
        line += " --baselines log" if " evaluate " in line else ""
        cli.main(shlex.split(line)[1:])
    assert "X_mine" in anndata.read_h5ad(tmp_path / "my_cells_embedded.h5ad").obsm
    assert (tmp_path / "my_cells_report" / "report.md").exists()

"""``jaxcell doctor``: what it says of a machine and of a file, and that what it advises works."""

import json
import shlex
import types
from importlib.metadata import version

import anndata
import jax
import numpy as np
import pytest

from jaxcell import cli, diagnosis, doctor, file_advice
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.files import MODEL
from jaxcell.training import checkpoint, machine, trial
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
    assert "No place here holds raw counts (looked in X): take the file from before that" in said
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


def model_of(vocabulary, monkeypatch):
    """Any checkpoint is of a model with these genes."""
    model = types.SimpleNamespace(vocabulary=vocabulary)
    monkeypatch.setattr(checkpoint, "load_model", lambda path: model)


def test_a_store_is_matched_with_a_model_too(store, monkeypatch):
    wanted = np.arange(len(store.vocabulary)) % 2 == 0
    other = Vocabulary([f"X{i}" for i in range(9)], [""] * 9)
    for genes, share in ((store.vocabulary, "100%"), (store.vocabulary.subset(wanted), "100%")):
        model_of(genes, monkeypatch)
        found = file_advice.advise(str(store.path), "run", problems := [], progress=False)
        assert problems == []
        said = f"run: {len(genes):,} of its {len(genes):,} genes are there ({share})"
        assert found["said"][-1] == said
    model_of(other, monkeypatch)
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor", str(store.path), "--checkpoint", "run", "--seconds", "0"])
    assert stop.value.code == 1


def test_commands_name_no_checkpoint_that_is_none(cells, tmp_path):
    problems = []
    found = file_advice.advise(str(cells), tmp_path / "none", problems, progress=False)
    assert found["commands"] == []
    assert problems[0].startswith(f"{tmp_path / 'none'}: no model there; expected")
    assert problems[0].endswith("is the path right?")
    problems = []
    file_advice.advise(str(cells), tmp_path, problems, progress=False)
    assert problems[0].endswith("`jaxcell train` makes one")


def test_of_cells_in_memory_it_says_calls(cells):
    adata, problems = anndata.read_h5ad(cells), []
    lines = file_advice.advise(adata, None, problems, progress=False)["commands"]
    assert problems == []
    assert lines[1] == (
        "jaxcell.prepare('stores/mine', adata, counts='layers/counts', labels=['kind', 'donor'], "
        "hold_out_fraction=0.1)"
    )
    assert lines[-2] == "jaxcell.embed(adata, 'runs/mine', key='X_mine', counts='layers/counts')"
    compile("\n".join(lines), "advice", "exec")


def test_memory_that_a_container_can_let_go_is_free(tmp_path, monkeypatch):
    """Files that were read count as used there, up to the limit in the end."""
    monkeypatch.setattr(diagnosis, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("4000000000\n")
    (tmp_path / "memory.current").write_text("3900000000\n")
    notes = []
    assert diagnosis._memory(notes)["free"] == 10**8
    assert notes == ["memory: 100 MB are free; other programs may have to end before a run"]
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 3000000000\nactive_file 7\n")
    found = diagnosis._memory(notes := [])
    assert found == {"free": 3100000000, "total": 4000000000}
    assert notes == []


@pytest.mark.parametrize("name", ["run", "run/checkpoints", "run/checkpoints/5", "run/model"])
def test_a_run_or_a_model_is_told_from_what_is_unknown(name, tmp_path, capsys):
    (tmp_path / "run" / "checkpoints" / "5").mkdir(parents=True)
    (tmp_path / "run" / "model").mkdir()
    (tmp_path / "run" / "run.json").touch()
    (tmp_path / "run" / "model" / MODEL).touch()
    problems = []
    assert file_advice.advise(str(tmp_path / name), None, problems) is None
    assert "--checkpoint " + str(tmp_path / "run") in problems[0]
    assert ("jaxcell resume" in problems[0]) == ("model" not in name)


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
    adata = anndata.read_h5ad(cells)
    lines = file_advice.advise(adata, None, [], progress=False)["commands"]
    changed = "; c.steps, c.train.batch_size = 4, 8"
    lines = [f"{line}{changed}" if ".store =" in line else line for line in lines]
    lines[-1] = lines[-1].replace("out=", "baselines=['log'], out=")
    exec("\n".join(lines), {"adata": adata})
    assert "X_mine" in adata.obsm
    assert (tmp_path / "mine_report" / "report.md").exists()
    assert (tmp_path / "my_cells_report" / "report.md").exists()

"""A model of ours goes to PyTorch and comes back bit for bit, or is refused and nothing is left."""

import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxcell import config, convert
from jaxcell.cli import main
from jaxcell.conversion import export as exporting
from jaxcell.conversion.export import export, tensors_of_model
from jaxcell.conversion.exported import BESIDE
from jaxcell.conversion.rules.jaxcell import rules_of
from jaxcell.conversion.torch import Rule, tensors_of
from jaxcell.data.ontology_reading import read_ontology
from jaxcell.models import layers
from jaxcell.models.cell import CellModel
from jaxcell.training.checkpoint import flatten, load_model
from jaxcell.training.rows import row_axes
from tests.conftest import OBO, config_of
from tests.conversion.exports import BACK, config_with_heads, exported, model_of, slow


@pytest.mark.parametrize("name", BACK)
def test_it_comes_back_bit_for_bit(tmp_path, name):
    model, folder = exported(config_with_heads(name), tmp_path)
    found = load_file(folder / "model.safetensors")
    said = str(convert(folder, tmp_path / "back"))
    assert f"{len(found)} tensors" in said
    assert "left out" not in said
    back = load_model(tmp_path / "back")
    ours, theirs = flatten(model.variables), flatten(back.variables)
    assert ours.keys() == theirs.keys()
    for path, x in ours.items():
        assert x.dtype == theirs[path].dtype == np.float32
        assert x.tobytes() == theirs[path].tobytes(), path
    assert config.to_json(back.config) == config.to_json(model.config)
    assert back.vocabulary.sha256 == model.vocabulary.sha256
    assert back.labels == model.labels
    jax.tree.map(np.testing.assert_array_equal, back.tables, model.tables)
    assert (back.info["step"], back.info["store"]) == ("7", "a hash")
    assert back.info["family"] == "jaxcell"


def test_layouts_and_names_are_torchs(tmp_path):
    """By hand: a matrix has outputs first, blocks are apart, and padded rows are gone."""
    model = model_of(config_with_heads("txfm_b:tiny"))
    found, params = tensors_of_model(model.variables, model.config.model), model.variables["params"]
    qkv = params["encoder"]["blocks"]["attention"]["qkv"]["kernel"]
    x = np.random.default_rng(0).normal(size=32).astype(np.float32)
    q, k, v = np.split(found["encoder.blocks.1.attention.qkv.weight"] @ x, 3)
    for i, one in enumerate((q, k, v)):
        want = np.einsum("d,dhc->hc", x, qkv[1, :, i]).ravel()
        np.testing.assert_allclose(one, want, rtol=0, atol=1e-5)
    table = found["fields.gene.embedding.weight"]
    assert table.shape == (300, 32)
    np.testing.assert_array_equal(table, params["fields"]["gene"]["embedding"][:300])
    assert found["heads.expression.rows.bias"].shape == (300,)
    assert found["heads.expression.blocks_0.hidden.weight"].shape == (32, 32)


TABLES = (
    *("txfm_s:tiny,zinb", "bmfm_rna_wced:tiny", "bioformers_decoder:tiny,by_value"),
    slow("bioformers_decoder:tiny"),  # whose tables the others have
)


def padded_rows(c, variables):
    """[(path, rows that pad it)] of all gene tables."""
    flat, m = flatten(variables), c.model
    real = {"genes": m.vocabulary, "tokens": m.vocabulary + len(m.specials)}
    axes = row_axes(m).items()
    return [(path, flat[path][real[what] :]) for path, (_, _, what) in axes if what in real]


@pytest.mark.parametrize("name", TABLES)
def test_padded_rows_start_as_zeros_and_the_others_as_drawn(name, monkeypatch):
    net = CellModel(config_of(name).model)
    found = jax.jit(lambda key: net.init(key))(jax.random.key(0))
    for path, rows in padded_rows(config_of(name), found):
        assert len(rows), path
        assert not rows.any(), path
    monkeypatch.setattr(layers, "real_rows", lambda x, number: x)
    drawn = flatten(jax.jit(lambda key: net.init(key))(jax.random.key(0)))
    kept = flatten(found)
    differ = {path for path, x in drawn.items() if not np.array_equal(x, kept[path])}
    assert "params/fields/gene/embedding" in differ
    for path, x in drawn.items():
        there = kept[path] != 0 if path in differ else slice(None)
        np.testing.assert_array_equal(kept[path][there], x[there])


def test_padded_rows_stay_zeros_in_training_and_a_run_comes_back(trained, tmp_path, capsys):
    """From the command line; the whole model has the hash that it had."""
    model = load_model(trained)
    for path, rows in padded_rows(model.config, model.variables):
        assert len(rows), path
        assert not rows.any(), path
    main(["convert", str(trained / "torch"), str(tmp_path / "back")])
    assert load_model(tmp_path / "back").sha256 == model.sha256
    step = max((trained / "checkpoints").glob("[0-9]*"), key=lambda p: int(p.name))
    main(["convert", str(step), str(tmp_path / "step"), "--to", "torch"])
    assert "step: jaxcell: 52 tensors" in capsys.readouterr().out
    found = load_file(tmp_path / "step" / "model.safetensors")
    assert found.keys() == load_file(trained / "torch" / "model.safetensors").keys()


def test_an_ontology_travels(tmp_path):
    (tmp_path / "small.obo").write_text(OBO)
    model = model_of(config_with_heads("txfm_s:tiny"))
    model.ontologies = {"cell_type": read_ontology(tmp_path / "small.obo")}
    export(model, tmp_path / "torch")
    convert(tmp_path / "torch", tmp_path / "back")
    assert load_model(tmp_path / "back").ontologies == model.ontologies


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return exported(config_with_heads("txfm_s:tiny"), tmp_path_factory.mktemp("exported"))[1]


TABLE = "fields.gene.embedding.weight"


def changed(folder, change):
    """Write an export's tensors, changed."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def truncated(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])


def described(folder, **fields):
    found = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(found | fields))


WRONG = {
    "truncated": (truncated, r"model\.safetensors: is damaged"),
    "missing": (
        lambda f: changed(f, lambda t: t.pop(TABLE)),
        r"model\.safetensors: .*tensor fields\.gene\.embedding\.weight is missing",
    ),
    "extra": (
        lambda f: changed(f, lambda t: t.update(more=np.ones(3, np.float32))),
        r"model\.safetensors: the tensor more is (unexpected|not part)",
    ),
    "renamed": (
        lambda f: changed(f, lambda t: t.update({"gene.weight": t.pop(TABLE)})),
        r"model\.safetensors: .*tensor (gene\.weight is unexpected|fields\.gene.* is missing)",
    ),
    "shape": (
        lambda f: changed(f, lambda t: t.update({TABLE: t[TABLE][:-1].copy()})),
        r"tensor fields\.gene\.embedding\.weight has shape \(299, 32\)",
    ),
    "nan": (
        lambda f: changed(f, lambda t: t[TABLE].__setitem__((3, 4), np.nan)),
        r"tensor fields\.gene\.embedding\.weight holds NaN",
    ),
    "whole numbers": (
        lambda f: changed(f, lambda t: t.update({TABLE: t[TABLE].astype(np.int32)})),
        r"tensor fields\.gene\.embedding\.weight is of type int32",
    ),
    "version": (
        lambda f: described(f, format_version=99),
        r"config\.json: has format '99', this jaxcell reads 1 to \d; update jaxcell",
    ),
    "format": (
        lambda f: described(f, format="another"),
        r"config\.json: format: found 'another', expected 'jaxcell-torch'",
    ),
    "no config": (lambda f: described(f, config=None), r"config\.json: config: found None"),
    "no json": (lambda f: (f / "config.json").write_text("{"), r"config\.json: is damaged"),
    "another vocabulary": (
        lambda f: (f / "vocabulary.json").write_text("{}"),
        r"vocabulary\.json: changed since the model was exported",
    ),
    "no labels": (lambda f: (f / "labels.json").unlink(), r"labels\.json: is missing"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors|file of weig"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_does_not_come_back(folder, tmp_path, what):
    change, message = WRONG[what]
    shutil.copytree(folder, tmp_path / "torch")
    change(tmp_path / "torch")
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "torch", tmp_path / "back")
    assert [p.name for p in tmp_path.iterdir()] == ["torch"]


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    model = model_of(config_with_heads("txfm_s:tiny"))
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="there: exists already"):
        export(model, tmp_path / "there")
    with pytest.raises(ValueError, match="its folder does not exist"):
        export(model, tmp_path / "no" / "out")

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(exporting, "save_beside", full)
    with pytest.raises(OSError, match="no space"):
        export(model, tmp_path / "out")
    model.variables["params"]["fields"]["specials"][0, 0] = np.inf
    with pytest.raises(ValueError, match=r"tensor fields\.specials\.weight holds NaN or infinite"):
        export(model, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["there"]


def test_a_model_of_ours_needs_no_telling(tmp_path):
    with pytest.raises(ValueError, match="clip: found 3, expected none: of no use to torch"):
        convert(tmp_path, tmp_path / "out", to="torch", clip=3)
    with pytest.raises(
        ValueError, match="to: 'onnx' is unknown; known are hub-folder, jaxcell, torch"
    ):
        convert(tmp_path, tmp_path / "out", to="onnx")
    with pytest.raises(ValueError, match="no model there"):
        convert(tmp_path, tmp_path / "out", to="torch")


def test_every_parameter_has_one_name():
    with pytest.raises(ValueError, match="params/heads/x/knob has no name in torch"):
        rules_of({"params/heads/x/knob": (3,)}, {})
    for rules, number in (((), 0), ((Rule("a", "p"), Rule("b", "p")), 2)):
        with pytest.raises(ValueError, match=f"parameter p: found {number} rules, expected one"):
            tensors_of({"p": np.ones(3)}, rules)
    assert set(BESIDE) == {"vocabulary.json", "labels.json", "ontologies.json", "tables.npz"}

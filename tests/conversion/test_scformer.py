"""Checkpoints of scFormer, written by an independent model of it: same numbers, or a refusal."""

import functools
import json
import sys

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxcell
from jaxcell.cli import main
from jaxcell.conversion.convert import FAMILIES, variables_of
from jaxcell.conversion.files import read_source
from jaxcell.models.cell import CellModel
from jaxcell.training.checkpoint import load_model

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from tests.reference import scformer as reference  # noqa: E402
from tests.reference.test_bmfm_reference import drawn  # noqa: E402

V, D, HEADS, FFN, LAYERS = 9, 8, 2, 12, 2
# Its specials stand in front and in the middle, its genes not in the order of ids.
VOCAB = {"<cls>": 0, "G0": 3, "G1": 1, "<pad>": 5, "G2": 2, "ENSG00000000003": 4}
VOCAB |= {f"G{i}": i + 3 for i in range(3, 8)} | {"<eoc>": 11}
ARGS = {"nheads": HEADS, "nlayers": LAYERS, "embsize": D, "d_hid": FFN, "dropout": 0.2}
BINS = ARGS | {"n_bins": 51, "pad_value": -2, "mask_value": -1, "mask_ratio": 0.4}
JUNE = ARGS | {"pad_value": 0, "mask_value": -1, "max_seq_len": 7}
VARIANTS = {
    "june": (JUNE, dict(decoder="linear", classes=4)),
    "integration": (
        BINS,
        dict(
            **dict(norm="domain", domains=3, conditions=3, zero=True, mvc="inner product"),
            **dict(batches=3, classes=1),
        ),
    ),
    "category": (ARGS, dict(norm="batch", values=9, mvc="concat query", class_layers=4, classes=2)),
    "affine": (
        BINS | {"n_bins": 5},
        dict(norm="domain", domains=2, affine=True, mvc="sum query", outputs=5),
    ),
}


def model_of(name):
    model = drawn(reference.Scformer(len(VOCAB), D, HEADS, LAYERS, FFN, **VARIANTS[name][1]))
    random = torch.Generator().manual_seed(1)
    for path, buffer in model.named_buffers():
        if "running" in path:
            buffer.copy_(torch.rand(buffer.shape, generator=random) + 0.5)
        if "tracked" in path:
            buffer.fill_(3 + len(path))
    return model


def write(folder, name, state=None, args=None, vocab=VOCAB):
    folder.mkdir(exist_ok=True)
    torch.save(model_of(name).state_dict() if state is None else state, folder / "best_model.pt")
    (folder / "args.json").write_text(json.dumps(args or VARIANTS[name][0]))
    (folder / "vocab.json").write_text(json.dumps(vocab))
    return folder


def batch_of(described):
    """Our batch of three cells, CLS and up to six genes, one of them hidden."""
    c, random = described.config.model, np.random.default_rng(2)
    s = len(c.specials)
    cls = c.vocabulary + c.specials.index("<cls>")
    ids = np.stack([np.r_[cls, random.permutation(V)[:6]] for _ in range(3)]).astype(np.int32)
    values = random.integers(0, 7, ids.shape).astype(float)
    values[:, 0], values[:, 2] = -(1.0 + c.specials.index("<cls>")), -(s + 1.0)
    labels = {"batch": np.array([1, 0, 1], np.int32)}
    return {"ids": ids, "values": values, "length": np.array([7, 7, 4]), "labels": labels}


@pytest.mark.parametrize("name", VARIANTS)
def test_outputs_are_the_references(tmp_path, name):
    folder = write(tmp_path / "theirs", name)
    source, made_by = read_source(folder), FAMILIES["scformer"]
    assert made_by.recognises(source)
    described = made_by.describe(source)
    variables, used, left_out = variables_of(source.tensors, described, made_by, np.float64)
    assert set(used) == set(source.tensors)
    assert not left_out
    batch, c = batch_of(described), described.config.model
    with jax.enable_x64(True):
        run = jax.jit(functools.partial(CellModel(c).apply, train=False, tokens=True))
        ours, _ = run(jax.tree.map(jnp.asarray, variables), batch, {})
        ours = jax.tree.map(np.asarray, ours)
    category = name == "category"
    shown = reference.shown(batch["values"], len(c.specials), 0, 8 if category else -1)
    theirs_of = np.argsort(described.rows)  # their row of each token of ours
    batches = batch["labels"]["batch"]
    theirs = model_of(name)(theirs_of[batch["ids"]], shown, batch["length"], batches, batches)
    heads = {}
    for head, x in ours["heads"].items():
        parts = {"value": x} if not isinstance(x, dict) else x
        heads[head] = parts["value"]
        if "nonzero" in parts:
            heads[f"{head}_zero"] = parts["nonzero"]
    assert heads.keys() == theirs.keys() - {"gene", "value", "embedded", "tokens", "cell"}
    inside = np.arange(7) < batch["length"][:, None]
    for key, x in {**heads, "tokens": ours["tokens"], "cell": ours["cell"]}.items():
        want = theirs[key].detach().numpy()
        rows = inside if x.shape[:2] == inside.shape else slice(None)
        np.testing.assert_allclose(x[rows], want[rows], rtol=0, atol=1e-9, err_msg=key)


def test_what_a_checkpoint_is_said_to_be(tmp_path):
    """Config, vocabulary, labels, and rows without a source."""
    folder = write(tmp_path / "theirs", "integration")
    made = jaxcell.convert(folder, tmp_path / "out", batches=["a", "b", "c"])
    assert "cls_decoder is one that was never trained" in str(made)
    model = load_model(tmp_path / "out")
    c = model.config
    genes = ("G1", "G2", "G0", "ENSG00000000003", "G3", "G4", "G5", "G6", "G7")
    assert model.vocabulary.names == genes
    assert model.vocabulary.symbols[3] == ""
    assert c.model.specials == ("<cls>", "<pad>", "<eoc>")
    assert c.model.fields.value.codes == (0.0, -2.0, 0.0, -1.0)
    assert (c.data.bin.method, c.data.bin.number, c.data.sequence.zeros) == ("cell_high", 51, "all")
    assert (c.losses.cls.weight, c.losses.dar.weight) == (0.0, 1.0)
    assert c.embed.unit
    assert model.labels == {"batch": ["a", "b", "c"], "cell_type": ["class 0"]}
    params, stats = model.variables["params"], model.variables["batch_stats"]
    rows = params["condition_batch"]["rows"]
    np.testing.assert_allclose(rows[3], rows[:3].mean(0), rtol=1e-6)
    assert (params["fields"]["gene"]["embedding"][len(VOCAB) :] == 0).all()
    assert (stats["fields"]["norm"]["seen"] == 3 + len("dsbn.bns.0.num_batches_tracked")).all()


def test_from_the_command_line_to_embeddings(tmp_path, capsys):
    """Of raw counts, cut off: each cell's vector is the reference's for its expressed genes."""
    folder = write(tmp_path / "theirs", "june")
    names = tmp_path / "names.txt"
    names.write_text("T\nB\n\nNK\nmonocyte\n")
    asked = ["convert", str(folder), str(tmp_path / "out"), "--classes", str(names), "--clip", "3"]
    main(asked)
    assert "9 genes" in capsys.readouterr().out
    random = np.random.default_rng(3)
    genes = [name for name in VOCAB if name[0] != "<"]
    counts = random.poisson(1.5, (5, V)).astype(np.float32)
    adata = anndata.AnnData(counts, var=pd.DataFrame(index=genes))
    jaxcell.embed(adata, tmp_path / "out", progress=False)
    model = model_of("june")
    for cell, row in enumerate(counts):
        there = np.flatnonzero(row)
        ids = np.array([[VOCAB["<cls>"], *(VOCAB[genes[i]] for i in there)]])
        values = np.r_[0, np.minimum(row[there], 3)][None]
        found = model(ids, values, [ids.shape[1]])
        want = found["cell"][0].detach()
        np.testing.assert_allclose(adata.obsm["X_scformer"][cell], want, rtol=0, atol=1e-5)
        best = ("T", "B", "NK", "monocyte")[int(found["cls"][0].argmax())]
        assert adata.obs["cls_pred"].iloc[cell] == best
    assert jaxcell.genes(tmp_path / "out").obsm["codebook"].shape == (V, D)


def test_safetensors_in_half_precision(tmp_path):
    """Preferred where both kinds are there; what they hold is widened, not rounded."""
    folder = write(tmp_path / "theirs", "june")
    half = {k: v.bfloat16() for k, v in model_of("june").state_dict().items()}
    save_file(half, folder / "model.safetensors")
    jaxcell.convert(folder, tmp_path / "out")
    found = load_model(tmp_path / "out").variables["params"]["heads"]["mgm"]["out"]["kernel"]
    np.testing.assert_array_equal(found, half["decoder.weight"].float().numpy().T)


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def half_a_file(folder):
    path = folder / "best_model.pt"
    path.write_bytes(path.read_bytes()[:5000])


def flipped(folder):
    """One bit of a number is another: nothing but a checksum tells."""
    path, bias = folder / "best_model.pt", model_of("june").state_dict()[BIAS].numpy().tobytes()
    content = bytearray(path.read_bytes())
    content[content.index(bias) + 1] ^= 1
    path.write_bytes(content)


BIAS = "transformer_encoder.layers.1.linear1.bias"


def change(what):
    """A change of the tensors, written back."""

    def apply(folder):
        state = model_of("june").state_dict()
        what(state)
        write(folder, "june", state)

    return apply


def text(name, content):
    return lambda folder: (folder / name).write_text(json.dumps(content))


REFUSED = {
    "evil": (
        lambda f: torch.save({"a": Evil(str(f / "ran"))}, f / "best_model.pt"),
        "run any code",
    ),
    "module": (change(lambda s: s.update(x=torch.nn.Linear(1, 1))), r"pickled torch\.nn.*Linear"),
    "half": (half_a_file, "best_model.pt: is damaged"),
    "flipped": (flipped, "best_model.pt: is damaged.*checksum of best_model/data"),
    "empty": (lambda f: (f / "best_model.pt").write_bytes(b""), "best_model.pt: is damaged"),
    "epoch": (change(lambda s: s.update(epoch=3)), "epoch is a int"),
    "list": (lambda f: torch.save([1], f / "best_model.pt"), "found a list without tensors"),
    "none": (lambda f: (f / "best_model.pt").unlink(), "has no file of weights"),
    "two": (lambda f: torch.save({}, f / "last.pt"), "several files of weights"),
    "missing": (change(lambda s: s.pop(BIAS)), rf"{BIAS} is missing"),
    "renamed": (change(lambda s: s.update(other=s.pop(BIAS))), "other is unexpected"),
    "unexpected": (change(lambda s: s.update({"bn2.weight": s[BIAS]})), "bn2.weight is unexpected"),
    "shape": (change(lambda s: s.update({BIAS: s[BIAS][:5]})), rf"{BIAS} has shape \(5,\)"),
    "type": (change(lambda s: s.update({BIAS: s[BIAS].int()})), rf"{BIAS} is of type int32"),
    "nan": (change(lambda s: s[BIAS].fill_(np.nan)), rf"{BIAS} holds NaN"),
    "sparse": (change(lambda s: s.update({BIAS: s[BIAS].to_sparse()})), rf"{BIAS} is sparse"),
    "layers": (text("args.json", JUNE | {"nlayers": 3}), "nlayers: found 3, the tensors have 2"),
    "heads": (text("args.json", {}), "args.json: nheads: found None"),
    "pool": (text("args.json", JUNE | {"cell_emb_style": "avg-pool"}), "cell_emb_style"),
    "no args": (lambda f: (f / "args.json").unlink(), "args.json: does not exist"),
    "bad args": (lambda f: (f / "args.json").write_text("{"), "args.json: is damaged"),
    "twice": (lambda f: (f / "vocab.json").write_text('{"A": 0, "A": 1}'), "names 'A' twice"),
    "vocab": (text("vocab.json", VOCAB | {"G0": 1}), "has 12 tokens, of which the ids"),
    "no cls": (text("vocab.json", {f"G{i}": i for i in range(12)}), "has no <cls>"),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_names_what_is_wrong_and_writes_nothing(tmp_path, what):
    spoil, message = REFUSED[what]
    folder = write(tmp_path / "theirs", "june")
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        jaxcell.convert(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (folder / "ran").exists()


def test_names_and_outputs_that_do_not_fit(tmp_path):
    folder, out = write(tmp_path / "theirs", "june"), tmp_path / "out"
    for given, message in (
        (dict(classes=["a"]), "found 1 names, 1 of them different, expected 4"),
        (dict(classes=["a", "b", "c", "a"]), "3 of them different"),
        (dict(batches=["a"]), "names of each batch: found some, expected none"),
        (dict(clip=0), "clip: found 0"),
        (dict(family="other"), "'other' is unknown; known are .*scformer"),
    ):
        with pytest.raises(ValueError, match=message):
            jaxcell.convert(folder, out, **given)
    out.mkdir()
    with pytest.raises(ValueError, match="exists already"):
        jaxcell.convert(folder, out)
    write(folder, "integration")
    with pytest.raises(ValueError, match="clip: found 5, expected none"):
        jaxcell.convert(folder, tmp_path / "other", clip=5)


def test_without_torch_the_extra_is_named(tmp_path, monkeypatch):
    folder = write(tmp_path / "theirs", "june")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"jaxcell\[torch\]"):
        jaxcell.convert(folder, tmp_path / "out")

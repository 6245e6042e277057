"""Checkpoints of scGPT, written by an independent model of it: same numbers, or a refusal."""

import functools
import json

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxcell
from jaxcell.conversion.convert import FAMILIES, variables_of
from jaxcell.conversion.files import read_source
from jaxcell.models.cell import CellModel
from jaxcell.training.checkpoint import load_model

torch = pytest.importorskip("torch")

from tests.reference import scgpt_published as reference  # noqa: E402
from tests.reference.test_bmfm_reference import drawn  # noqa: E402

D, HEADS, FFN, LAYERS = 8, 2, 12, 2
GENES = [f"G{i}" for i in range(9)]
VOCAB = {name: i for i, name in enumerate([*GENES, "<pad>", "<cls>", "<eoc>"])}
WHOLE_HUMAN = {  # what its args.json has, of other size
    **{"nheads": HEADS, "nlayers": LAYERS, "embsize": D, "d_hid": FFN, "dropout": 0.2},
    **{"n_layers_cls": 3, "pad_token": "<pad>", "input_style": "binned", "n_bins": 51},
    **{"input_emb_style": "continuous", "mask_ratio": [0.25, 0.5, 0.75], "max_seq_len": 1200},
    **{"mask_value": -1, "pad_value": -2, "training_tasks": "both", "fast_transformer": True},
    **{"no_cls": True, "no_cce": True, "USE_GENERATIVE_TRAINING": True},
}
TUNED = {"nheads": HEADS, "n_bins": 51, "include_zero_gene": True}
VARIANTS = {  # family, args.json, model
    "whole human": (None, WHOLE_HUMAN, dict(classes=1)),
    "flash 2": (None, WHOLE_HUMAN, dict(names="flash 2", norm="batch", zero=True)),
    "tuned": (
        "scgpt",
        TUNED,
        dict(
            **dict(names="torch", flags=False, norm="domain", batches=3, labelled=True),
            **dict(zero=True, classes=4),
        ),
    ),
    "category": (
        "scgpt",
        {"nheads": HEADS},
        dict(names="torch", flags=False, values=9, mvc=None),
    ),
    "pretraining without flash": (None, WHOLE_HUMAN, dict(names="torch", flags=False)),
}


def model_of(name):
    model = drawn(reference.Scgpt(len(VOCAB), D, HEADS, LAYERS, FFN, **VARIANTS[name][2]))
    random = torch.Generator().manual_seed(1)
    for path, buffer in model.named_buffers():
        if "running" in path:
            buffer.copy_(torch.rand(buffer.shape, generator=random) + 0.5)
    return model.double()


def write(folder, name, state=None, args=None, vocab=VOCAB, wrapped=False):
    folder.mkdir(exist_ok=True)
    state = dict(model_of(name).state_dict() if state is None else state)
    state = {f"module.{k}" if wrapped else k: x for k, x in state.items()}
    torch.save(state, folder / "best_model.pt")
    if args != {}:
        (folder / "args.json").write_text(json.dumps(args or VARIANTS[name][1]))
    (folder / "vocab.json").write_text(json.dumps(vocab))
    return folder


def batch_of(c):
    """Our batch of three cells, CLS and up to six genes, one of them hidden."""
    random, v, s = np.random.default_rng(2), c.vocabulary, len(c.specials)
    cls = c.specials.index("<cls>")
    ids = np.stack([np.r_[v + cls, random.permutation(v)[:6]] for _ in range(3)]).astype(np.int32)
    values = random.integers(0, 7, ids.shape).astype(float)
    values[:, 0], values[:, 2] = -(1.0 + cls), -(s + 1.0)
    labels = {"batch": np.array([1, 0, 2], np.int32)}
    return {"ids": ids, "values": values, "length": np.array([7, 7, 4]), "labels": labels}


def published(values, c):
    """Values as the published code shows them: <cls> has its padding's, a hidden one the mask's."""
    pad, mask = (7, 8) if c.fields.value.kind == "bins" else (-2, -1)
    hidden = -(len(c.specials) + 1.0)
    return np.where(values == hidden, mask, np.where(values < 0, pad, values))


@pytest.mark.parametrize("name", VARIANTS)
def test_outputs_are_the_references(tmp_path, name):
    family, model = VARIANTS[name][0], model_of(name)
    source = read_source(write(tmp_path / "theirs", name, wrapped=name == "flash 2"))
    first = next(key for key, one in FAMILIES.items() if one.recognises(source))
    assert first == ("scformer" if family else "scgpt")
    made_by = FAMILIES["scgpt"]
    described = made_by.describe(source)
    variables, used, left_out = variables_of(source.tensors, described, made_by, np.float64)
    flags = {"flag_encoder.weight"} & set(source.tensors)
    assert set(left_out) == flags
    assert set(used) == set(source.tensors) - flags
    batch, c = batch_of(described.config.model), described.config.model
    with jax.enable_x64(True):
        variables = jax.tree.map(jnp.asarray, variables)
        run = jax.jit(functools.partial(CellModel(c).apply, train=False, tokens=True))
        ours, _ = run(variables, batch, {})
        ours = jax.tree.map(np.asarray, ours)
    ids = np.argsort(described.rows)[batch["ids"]]  # their rows
    labels = batch["labels"]["batch"]
    theirs = model(ids, published(batch["values"], c), batch["length"], labels)
    heads = {}
    for head, x in ours["heads"].items():
        parts = x if isinstance(x, dict) else {"value": x}
        heads |= {head: parts["value"]} | {f"{head}_zero": parts[k] for k in parts if k != "value"}
    assert heads.keys() == theirs.keys() - {"tokens", "cell"}
    inside = np.arange(7) < batch["length"][:, None]
    for key, x in {**heads, "tokens": ours["tokens"], "cell": ours["cell"]}.items():
        want = theirs[key].detach().numpy()
        rows = inside if x.shape[:2] == inside.shape else slice(None)
        np.testing.assert_allclose(x[rows], want[rows], rtol=0, atol=1e-9, err_msg=key)


def test_what_a_checkpoint_is_said_to_be(tmp_path):
    made = jaxcell.convert(write(tmp_path / "a", "whole human"), tmp_path / "out")
    assert "left out: flag_encoder.weight: marks the genes that generative" in str(made)
    assert "cls_decoder is one that was never trained" in str(made)
    assert "of the mask ratios [0.25, 0.5, 0.75] it is 0.5" in str(made)
    assert "does not say" not in str(made)
    model = load_model(tmp_path / "out")
    c = model.config
    assert c.model.fields.value.codes == (-2.0, -2.0, 0.0, -1.0)
    assert (c.name, c.model.norm, c.model.norm_eps) == ("scgpt", "", 6.1e-5)
    assert (c.data.bin.method, c.data.bin.number) == ("cell_random", 51)
    assert (c.embed.zeros, c.embed.genes, c.embed.unit) == ("exclude", 9, True)
    assert json.loads(model.info["args.json"]) == WHOLE_HUMAN
    made = jaxcell.convert(
        write(tmp_path / "b", "tuned"), tmp_path / "tuned", family="scgpt", batches=list("abc")
    )
    c = load_model(tmp_path / "tuned").config
    assert (c.embed.zeros, c.embed.genes) == ("all", 0)
    assert "as in the whole-human model: dropout = 0.2, pad_token = <pad>" in str(made)


def test_without_args_as_published(tmp_path):
    """Of a width that the eight heads divide; another number can be told."""
    folder = write(tmp_path / "theirs", "whole human", args={})
    made = jaxcell.convert(folder, tmp_path / "out")
    assert "nheads = 8" in str(made)
    jaxcell.convert(folder, tmp_path / "two", heads=2)
    assert load_model(tmp_path / "two").config.model.encoder.heads == 2
    write(folder, "whole human")
    with pytest.raises(ValueError, match="heads: found 4, args.json: nheads has 2"):
        jaxcell.convert(folder, tmp_path / "four", heads=4)


def test_embeddings_of_expressed_genes(tmp_path):
    """Bins of distinct counts, <cls> with the padding's value, vectors of length 1."""
    folder = write(tmp_path / "theirs", "whole human")
    jaxcell.convert(folder, tmp_path / "out")
    random = np.random.default_rng(3)
    counts = np.stack([random.permutation(9) * 3 for _ in range(5)]) * (random.random((5, 9)) < 0.7)
    adata = anndata.AnnData(counts.astype(np.float32), var=pd.DataFrame(index=GENES))
    jaxcell.embed(adata, tmp_path / "out", progress=False)
    model = model_of("whole human")
    for cell, row in enumerate(counts):
        there = np.flatnonzero(row)
        edges = np.quantile(row[there], np.linspace(0, 1, 50))
        bins = (edges <= row[there][:, None]).sum(1)
        ids = np.array([[VOCAB["<cls>"], *there]])
        want = model(ids, np.r_[-2, bins][None], [ids.shape[1]])["cell"][0].detach()
        found = adata.obsm["X_scgpt"][cell]
        np.testing.assert_allclose(found, want / want.norm(), rtol=0, atol=1e-5)


QKV = "transformer_encoder.layers.1.self_attn.Wqkv.weight"


def changed(what):
    """A change of the tensors, written back."""

    def apply(folder):
        state = dict(model_of("whole human").state_dict())
        what(state)
        write(folder, "whole human", state)

    return apply


def told(**args):
    return lambda folder: write(folder, "whole human", args=WHOLE_HUMAN | args)


REFUSED = {
    "missing": (changed(lambda s: s.pop(QKV)), r"self_attn\.in_proj_weight or .* is missing"),
    "renamed": (changed(lambda s: s.update(other=s.pop(QKV))), "other is unexpected"),
    "shape": (changed(lambda s: s.update({QKV: s[QKV][:8]})), r"1\.self_attn\.Wqkv\.weight has sh"),
    "twice": (
        changed(lambda s: s.update({QKV.replace("Wqkv.", "in_proj_"): s[QKV]})),
        "Wqkv.weight and .*in_proj_weight are the same|in_proj_weight and .*Wqkv.weight are the",
    ),
    "pre": (told(pre_norm=True), "pre_norm: found True, expected False: .*the normed input"),
    "scheme": (told(norm_scheme="pre"), "norm_scheme: found 'pre', expected 'post'"),
    "scaling": (told(input_emb_style="scaling"), "input_emb_style: found 'scaling', expected 'con"),
    "counts": (told(input_style="log1p"), "input_style: found 'log1p', expected 'binned'"),
    "layers": (told(nlayers=3), "nlayers: found 3, the tensors have 2"),
    "pad": (told(pad_token="<none>"), "args.json: pad_token: found '<none>'"),
    "no vocab": (lambda f: (f / "vocab.json").unlink(), "vocab.json: does not exist"),
    "damaged": (lambda f: (f / "args.json").write_text("{"), "args.json: is damaged"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_names_what_is_wrong_and_writes_nothing(tmp_path, what):
    spoil, message = REFUSED[what]
    folder = write(tmp_path / "theirs", "whole human")
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        jaxcell.convert(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()

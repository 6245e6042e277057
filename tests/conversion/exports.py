"""Models of every config with drawn parameters, their export, and batches of tokens for them."""

import json

import numpy as np
import pytest

from jaxcell import config
from jaxcell.conversion.export import export
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.models.cell import CellModel, flags_of, labels_of
from jaxcell.training.checkpoint import Model
from jaxcell.training.formats import unflatten
from jaxcell.training.masking import hidden_code
from jaxcell.training.rows import row_axes, shapes
from tests.conftest import ROOT, config_of


def _systems():
    """Every shipped config's ':tiny'; those that are the model of another one are slow."""
    found, seen = [], set()
    for path in sorted((ROOT / "configs").glob("*.py")):
        name = f"{path.stem}:tiny"
        model = json.dumps(config_of(name).model.to_dict(), sort_keys=True)
        found.append(slow(name) if model in seen else name)
        seen.add(model)
    return found


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow)


SYSTEMS = _systems()
WCED, MLM, SCFORMER = "bmfm_rna_wced:tiny", "bmfm_rna_mlm:tiny", "scformer:tiny"
VARIANTS = [  # that compute something else
    *("txfm_b:tiny,zinb", "txfm_b:tiny,softmax", "txfm_s:tiny,performer", f"{WCED},paper,flat"),
    *(f"{WCED},bert", f"{WCED},modern_bert", f"{MLM},nystrom", f"{SCFORMER},paper"),
    *(f"{SCFORMER},category", "bioformers_encoder:tiny,external"),
    "bioformers_decoder:tiny,by_value",
    "scformer:perturb,affine,tiny",
]
MORE = [
    *("txfm_b:tiny,clamped_relu", "txfm_b:tiny,linear_decoder", "txfm_s:tiny,nb,relu"),
    *("txfm_s:tiny,llama", f"{WCED},rda,sigmoids", f"{MLM},performer", f"{MLM},paper"),
    *(f"{SCFORMER},simcse", "bioformer:tiny,code", "bioformers_encoder:tiny,normalised"),
]
NAMES = [*SYSTEMS, *VARIANTS, *map(slow, MORE)]
BACK = [*SYSTEMS, VARIANTS[0], *map(slow, [*VARIANTS[1:], *MORE])]


def config_with_heads(name):
    """The settled config of that name, with all its label heads."""
    c = config_of(name)
    if "scformer" in name and "perturb" not in name:
        c.labels = ("cls",)
    return config.settled(c)


def drawn(c, seed=0):
    """Variables of a config's model of which none is 0 or 1, but for padded rows, as float32."""
    random = np.random.default_rng(seed)
    rows, found = row_axes(c.model), {}
    real = {"genes": c.model.vocabulary, "tokens": c.model.vocabulary + len(c.model.specials)}
    for path, leaf in shapes(c.model).items():
        x = random.normal(size=leaf.shape) * (0.1 if "/rows" in path else 0.2)
        if path.endswith(("scale", "var", "slope")):
            x = 1 + 0.5 * np.tanh(x)
        if path.endswith("seen"):
            x = random.integers(1, 9, leaf.shape)
        if path in rows:
            x[real.get(rows[path][2], len(x)) :] = 0
        found[path] = np.asarray(x, np.float32)
    return {"batch_stats": {}, **unflatten(found)}


def model_of(c):
    """A model of a config, with what a run leaves beside its variables."""
    v = c.model.vocabulary
    vocabulary = Vocabulary([f"G{i}" for i in range(v)], [""] * v, c.model.specials)
    labels = {label: [f"{label} {k}" for k in range(2)] for label in labels_of(c.model)}
    tables = {"mean": np.arange(3.0), "trained": {"x": np.array([True, False])}}
    info = {"step": "7", "store": "a hash", "config.json": "of the model folder"}
    return Model(c, vocabulary, labels, drawn(c), tables, info)


def exported(c, folder):
    """(model, its export's folder)."""
    model = model_of(c)
    export(model, folder / "torch")
    return model, folder / "torch"


def batch_of(c, genes=7, seed=1):
    """Three cells: all tokens, two fewer, and one gene; the second has a hidden value."""
    random, m = np.random.default_rng(seed), c.model
    front = tuple(m.front) or tuple(m.specials)
    number = np.array([m.specials.index(name) for name in front], int)
    s, t = len(front), len(front) + genes
    ids = np.stack([np.r_[m.vocabulary + number, random.permutation(m.vocabulary)[:genes]]] * 3)
    ids[1:, s:] = [random.permutation(m.vocabulary)[:genes] for _ in range(2)]
    values = random.integers(0, 5, ids.shape).astype(float)
    if "bin" not in c.data.transforms:
        values *= random.uniform(0.5, 1, ids.shape)
    values[:, :s] = -(number + 1.0) if "sequence" in c.data.transforms else 0
    if "draw_masks" in c.data.transforms:
        values[1, s + 1] = hidden_code(m.specials)
    places = np.stack([random.permutation(t)[:2] for _ in range(3)])
    return {
        "ids": ids.astype(np.int32),
        "values": values,
        "length": np.array([t, t - 2, s + 1], np.int32),
        "measured": random.random((3, CellModel(m).rows)) < 0.8,
        "expressed": values > 0,
        "gene_places": places.astype(np.int32),
        "labels": {name: np.array([1, -1, 0], np.int32) for name in labels_of(m)},
        "flags": {name: random.integers(0, 2, ids.shape) for name in flags_of(m)},
    }

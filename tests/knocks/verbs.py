"""The verbs that write, each small: how it is called, and what it must leave behind."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from jaxcell import embedding
from jaxcell.conversion.convert import convert
from jaxcell.conversion.torch_model import load as load_torch
from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store
from jaxcell.data.verification import verify
from jaxcell.training import checkpoint, loop
from jaxcell.training.checkpoint import flatten, load_model
from jaxcell.training.saved_steps import host_arrays
from tests.conftest import config_of, draw_cells, fresh
from tests.training.test_formats import GOLDEN

OPTIONS = {"labels": ["kind"], "hold_out_fraction": 0.2, "progress": False}


@dataclass(frozen=True)
class Verb:
    """How a verb is called, and how to look at what it left.

    run : (inputs, place) → None; place is a folder for its output alone
    out : name of the output in it
    content : path of the output → {name: text or bytes}, equal after equal work; raises where
        anything is damaged
    """

    run: callable
    out: str
    content: callable

    def left(self, place):
        """Content of the output, None where there is none."""
        path = place / self.out
        return self.content(path) if path.exists() else None


def make_inputs(folder, verbs=("train", "embed", "convert")):
    """What some verbs read: files in an existing folder."""
    csr, csc = draw_cells(1, 60, 80), draw_cells(2, 40, 80)[:, 10:70].copy()
    csc.X = sp.csc_matrix(csc.X)
    csr.write_h5ad(folder / "csr.h5ad")
    csc.write_h5ad(folder / "csc.h5ad")
    if {"train", "embed"} & set(verbs):
        store = prepare(folder / "store", folder / "csr.h5ad", **OPTIONS)
    if "embed" in verbs:
        (folder / "fresh").mkdir()
        fresh(store, tiny(folder), folder / "fresh")
    if "convert" in verbs:
        convert(GOLDEN / "2", folder / "torch", to="torch")
    return folder


def tiny(folder):
    """A config of three steps, each saved, validated each second."""
    c = config_of("txfm_b:tiny")
    c.data.store, c.steps, c.dtype = str(folder / "store"), 3, "float32"
    c.train.log_every = c.train.save_every = 1
    c.train.validate_every = 2
    c.train.batch_size, c.data.sample_genes.number = 8, 32
    return c


def _prepare(inputs, place):
    files = [inputs / "csr.h5ad", inputs / "csc.h5ad"]
    prepare(place / "store", files, shards=3, **OPTIONS)


def _store(path):
    problems = verify(path, progress=False)
    assert not problems, problems
    store = Store.open(path)
    cells = {f"{s} cells": digest(store.read(s, range(n)).counts) for s, n in store.sizes.items()}
    return {**files(path), **cells}


def _train(inputs, place):
    if not loop.train(tiny(inputs), place / "run"):
        raise KeyboardInterrupt  # it was: the run has saved, and said so


def _run(path):
    """What a run holds; of a run that was stopped, what is there of it."""
    found = {}
    if any((path / name).exists() for name in ("model", "model.old")):
        found["model"] = load_model(path).sha256
    for step in sorted(p for p in (path / "checkpoints").glob("*") if p.name.isdigit()):
        state = flatten(host_arrays(step / "state"))
        found |= {f"step {step.name}: {name}": digest(x) for name, x in state.items()}
    if (path / "metrics.jsonl").exists():
        lines = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
        lines = [json.loads(line) for line in lines if line.endswith("\n")]
        plain = [{k: v for k, v in one.items() if k != "cells_per_s"} for one in lines]
        found["journal"] = json.dumps(plain)
    for name in ("run.json", "gene_errors.tsv", "curves.png"):
        if (path / name).exists():
            found[name] = name if name == "curves.png" else (path / name).read_text()
    if "run.json" in found:
        found["run.json"] = json.dumps(json.loads(found["run.json"])["data"])
    return found


def _embed(inputs, place):
    options = {"out": place / "out.h5ad", "progress": False, "batch_size": 32}
    embedding.embed(inputs / "csc.h5ad", inputs / "fresh", **options)


def _h5ad(path):
    adata = anndata.read_h5ad(path)
    ((key, said),) = adata.uns["jaxcell"].items()
    said = {k: str(v) for k, v in said.items() if k != "cells_per_s"}
    arrays = {"X": digest(adata.X.toarray()), "vectors": digest(adata.obsm[key])}
    return {**said, **arrays, "obs": adata.obs.to_csv()}


def digest(array):
    array = np.ascontiguousarray(array)
    return f"{array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"


def files(path):
    """{name: bytes} of the files below a folder."""
    return {
        str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()
    }


def _model(path):
    load_model(path / "model" if (path / "model").exists() else path)
    return {k: v for k, v in files(path).items() if not k.endswith(".safetensors")}


def _torch(path):
    state = load_torch(path).state_dict()
    return {**files(path), "state": str({k: digest(v.numpy()) for k, v in state.items()})}


def _convert(source, **options):
    return lambda inputs, place: convert(
        GOLDEN / "2" if source is None else inputs / source, place / "out", **options
    )


def compute_once():
    """Let repeated calls in this process share what they trace and compile.

    That takes most of their time, and writes nothing.
    """

    def once(make):
        made = []
        return lambda *given, **more: (made or made.append(make(*given, **more)) or made)[0]

    steps, check = once(loop.compile_steps), once(loop.check)

    def fresh_state(*given):
        state, *more = steps(*given)
        return jax.tree.map(jnp.copy, state), *more  # a step donates its state

    loop.compile_steps, loop.check = fresh_state, check
    loop.gene_errors.Measure = once(loop.gene_errors.Measure)
    embedding.Forward = once(embedding.Forward)
    checkpoint._check_tensors = once(checkpoint._check_tensors)


VERBS = {
    "prepare": Verb(_prepare, "store", _store),
    "train": Verb(_train, "run", _run),
    "embed": Verb(_embed, "out.h5ad", _h5ad),
    "convert": Verb(_convert("torch"), "out", _model),
    "convert --to torch": Verb(_convert(None, to="torch"), "out", _torch),
    "convert --to hub-folder": Verb(_convert(None, to="hub-folder"), "out", _model),
}


def names(place):
    """Every path below a folder."""
    return sorted(str(p.relative_to(place)) for p in Path(place).rglob("*"))

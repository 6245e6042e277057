"""What wrong uses are made of: a folder of good and of bad files, made once."""

import json
import shutil
from pathlib import Path

import anndata
import h5py
import jax
import numpy as np
import pandas as pd
import scipy.sparse as sp

from jaxcell import config
from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store
from jaxcell.training import setup
from jaxcell.training.checkpoint import Model, save_model
from jaxcell.training.machine import model_of
from jaxcell.training.means import tables_of
from tests.conftest import config_of, draw_cells


def make(folder):
    """Files, stores, models and configs in a folder; the names that commands call them by."""
    folder = Path(folder)
    _files(folder)
    _texts(folder)
    _stores(folder)
    _models(folder)
    _embeddings(folder)
    _stopped(folder)


def _files(folder):
    good = draw_cells(1, 60, 120)
    good.obs["donor"] = [f"donor {i % 3}" for i in range(60)]
    good.obs["one"] = "same"
    good.obs["age"] = np.linspace(20, 80, 60)
    good.obs["gone"] = np.nan
    good.layers["log"] = good.X.log1p()
    write(good, folder / "good.h5ad")
    other = draw_cells(2, 40, 120)[:, :100].copy()
    write(other, folder / "second.h5ad")

    def changed(name, change, base=good):
        one = base.copy()
        made = change(one)  # an AnnData without cells is false
        write(one if made is None else made, folder / f"{name}.h5ad")

    def values(x):
        def change(adata):
            adata.X = sp.csr_matrix(x(adata.X.toarray()).astype(np.float32))
            del adata.layers["log"]

        return change

    changed("normalised", values(lambda x: np.log1p(x / x.sum(1, keepdims=True) * 1e4)))
    changed("scaled", values(lambda x: (x - x.mean(0)) / (x.std(0) + 1)))
    changed("estimated", values(lambda x: x * 1.37))
    changed("nan", values(lambda x: np.where(x == 3, np.nan, x)))
    changed("zeros", values(lambda x: 0 * x))
    changed("huge", values(lambda x: x * 1e10))
    changed("no_cells", lambda a: a[:0].copy())
    changed("no_genes", lambda a: a[:, :0].copy())
    changed("one_cell", lambda a: a[:1].copy())

    def rename(names):
        def change(adata):
            adata.var_names = names(list(adata.var_names))

        return change

    changed("mouse", rename(lambda names: [f"Gm{i}" for i in range(len(names))]))
    changed("twice", rename(lambda names: ["G7", *names[1:]]))
    changed("numbered", rename(lambda names: [str(i) for i in range(len(names))]))
    changed("nameless", rename(lambda names: ["" for _ in names]))
    mixed = [f"ENSG{i:011d}" for i in range(120)]
    changed("ensembl", rename(lambda names: mixed))
    (folder / "empty.h5ad").touch()
    (folder / "text.h5ad").write_text("gene,cell\nA,1\n")
    whole = (folder / "good.h5ad").read_bytes()
    (folder / "truncated.h5ad").write_bytes(whole[: len(whole) // 2])
    (folder / "folder.h5ad").mkdir()
    with h5py.File(folder / "other_hdf5.h5ad", "w") as file:
        file["x"] = np.arange(3)
    shutil.copy(folder / "good.h5ad", folder / "damaged.h5ad")
    with h5py.File(folder / "damaged.h5ad", "r+") as file:
        file["X/indices"][:] = 10**6
    shutil.copy(folder / "good.h5ad", folder / "cells.pdf")
    (folder / "nothing").mkdir()
    (folder / "only_text").mkdir()
    (folder / "only_text" / "notes.md").write_text("nothing")
    (folder / "dir with blanks").mkdir()
    shutil.copy(folder / "good.h5ad", folder / "dir with blanks" / "ç.h5ad")


def write(adata, path):
    adata.write_h5ad(path)


def _texts(folder):
    (folder / "genes.txt").write_text("G1\nG2\nG3\n")
    (folder / "no_genes.txt").write_text("")
    (folder / "other_genes.txt").write_text("X1\nX2\n")
    (folder / "map.tsv").write_text("ensembl\tsymbol\taliases\nENSG00000000001\tG1\t\n")
    (folder / "bad_map.tsv").write_text("a,b\n1,2\n")
    (folder / "pairs.tsv").write_text("G1\tG2\nG3\tG4\n")
    (folder / "one_column.tsv").write_text("G1\nG2\n")
    (folder / "broken.json").write_text("{")
    (folder / "broken.yaml").write_text("name: [\n")
    (folder / "odd.yaml").write_text("name: mine\nsauces: []\n")
    (folder / "broken.py").write_text("def get_config(name=''):\n    return nothing\n")
    (folder / "raises.py").write_text("def get_config(name=''):\n    raise ValueError('mine')\n")
    (folder / "syntax.py").write_text("def get_config(name=''\n")
    (folder / "no_config.py").write_text("x = 1\n")
    (folder / "number.py").write_text("def get_config(name=''):\n    return 3\n")
    (folder / "binary.py").write_bytes(bytes(range(256)))
    (folder / "cl.obo").write_text("no ontology at all\n")


def _stores(folder):
    files = [folder / "good.h5ad"]
    prepare(
        folder / "store", files, labels=("kind", "donor"), hold_out_fraction=0.2, progress=False
    )
    prepare(folder / "all_train", files, progress=False)
    prepare(folder / "other_store", [folder / "mouse.h5ad"], progress=False)
    for name in ("no_records", "cut", "future", "no_json", "bad_json", "no_vocabulary"):
        shutil.copytree(folder / "store", folder / name)
    for file in (folder / "no_records").glob("*.array_record"):
        file.unlink()
    for file in (folder / "cut").glob("train*.array_record"):
        file.write_bytes(file.read_bytes()[:1000])
    facts = json.loads((folder / "future" / "store.json").read_text())
    version = next(key for key in facts if "version" in key)
    (folder / "future" / "store.json").write_text(json.dumps(facts | {version: 99}))
    (folder / "no_json" / "store.json").unlink()
    (folder / "bad_json" / "store.json").write_text("{")
    (folder / "no_vocabulary" / "vocabulary.json").unlink()


def _models(folder):
    for name, which, store in (
        ("model", "txfm_b:tiny", "store"),
        ("mouse_model", "txfm_b:tiny", "other_store"),
        ("bins_model", "bioformers_encoder:tiny", "store"),
    ):
        c = config_of(which)
        c.data.store, c.data.sequence.number = str(folder / store), 32
        _random_model(Store.open(folder / store), config.settled(c), folder / name)
    for name in ("cut_model", "no_weights", "no_tables", "odd_config", "future_model"):
        shutil.copytree(folder / "model", folder / name)
    weights = folder / "cut_model" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    (folder / "no_weights" / "model" / "model.safetensors").unlink()
    (folder / "no_tables" / "model" / "tables.npz").unlink()
    (folder / "odd_config" / "model" / "config.json").write_text("{")
    (folder / "future_model" / "model" / "format_version").write_text("99\n")
    (folder / "weights.pt").write_bytes(b"\x80\x04 no checkpoint")
    (folder / "torch_folder").mkdir()
    (folder / "torch_folder" / "pytorch_model.bin").write_bytes(b"not a checkpoint")
    (folder / "torch_folder" / "config.json").write_text("{}")


def _random_model(store, c, workdir):
    """A model of the right shapes; to initialise it properly would be compiled for seconds."""
    setup.adopt(c, store, lambda line: None)
    model, random = model_of(c, train=False), np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    variables = jax.tree.map(
        lambda one: random.normal(0, 0.02, one.shape).astype(one.dtype), shapes
    )
    vocabulary = store.vocabulary.with_specials(tuple(c.model.specials))
    tables = tables_of(store, c, model.rows)
    save_model(workdir, Model(c, vocabulary, store.classes, variables, tables, {"step": 0}))


def _embeddings(folder):
    adata = anndata.read_h5ad(folder / "good.h5ad")
    random = np.random.default_rng(0)
    adata.obsm["X_a"] = random.normal(size=(60, 8)).astype(np.float32)
    adata.obsm["X_nan"] = np.full((60, 8), np.nan, np.float32)
    write(adata, folder / "embedded.h5ad")
    frame = pd.DataFrame(adata.obsm["X_a"], index=adata.obs_names)
    frame.to_csv(folder / "vectors.csv")
    frame[:10].to_csv(folder / "few_vectors.csv")
    genes = anndata.AnnData(obs=pd.DataFrame(index=[f"G{i}" for i in range(120)]))
    genes.obsm["decoder"] = random.normal(size=(120, 8)).astype(np.float32)
    write(genes, folder / "genes.h5ad")
    screen = anndata.read_h5ad(folder / "good.h5ad")
    screen.obs["condition"] = [("ctrl", "G1", "G2+G3")[i % 3] for i in range(60)]
    screen.obs["plate"] = [f"plate {i % 2}" for i in range(60)]
    write(screen, folder / "screen.h5ad")


def _stopped(folder):
    """Folders of work that was stopped, each with a file that is damaged."""

    def put(name, file, content):
        (folder / name).mkdir(exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name / file).write_text(text)

    def call(name, verb, /, **arguments):
        put(name, "command.json", {"verb": verb, "cwd": "/", "arguments": arguments})

    put("call_cut", "command.json", '{"verb": "train", "cw')
    put("call_list", "command.json", [])
    put("call_bare", "command.json", {"verb": "train", "cwd": "/"})
    put("call_odd_cwd", "command.json", {"verb": "train", "cwd": 3})
    call("call_odd_verb", "frob")
    call("call_moved", "prepare", files=["a.h5ad"])
    call("call_no_name", "benchmark", options={})
    call("call_no_config", "train", workdir="run")
    call("call_odd_config", "train", config={"train": {}, "stages": ["train"], "model": 3})
    call("call_odd_fields", "ablate", suite_name="scformer", experiment={"train": [], "shape": 1})
    call("call_no_suite", "ablate", suite_name="mine", experiment={})
    call(".no_files.unfinished", "prepare", labels=[])
    call(".odd_prepare.unfinished", "prepare", files=[], sauce="hot")
    call(".other_verb.unfinished", "benchmark", name="cells", options={})
    put("suite_cut", "suite.json", "{")
    c = json.loads(config.to_json(config_of("txfm_b:tiny")))
    data = {"store": "st", "content_hash": "0", "cells": {"train": 9, "valid": 0}}
    whole = {"config": c, "steps": 6, "data": data, "sessions": [{"cwd": "/"}]}
    put("run_whole", "run.json", whole)
    for name, content in {
        "run_empty": "",
        "run_bare": {},
        "run_null": "null",
        "run_no_session": {**whole, "sessions": []},
        "run_no_steps": {**whole, "steps": None},
        "run_odd_config": {**whole, "config": {**c, "model": 3}},
        "run_odd_stages": whole,
        "run_odd_journal": whole,
    }.items():
        put(name, "run.json", content)
    put("run_odd_stages", "stages.json", "{")
    (folder / "run_odd_stages" / "checkpoints" / "6").mkdir(parents=True)
    put("run_odd_journal", "metrics.jsonl", '{"step": 1}\n{"st\n')

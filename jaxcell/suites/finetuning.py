"""A checkpoint put to a label by training it on some batches, and its predictions for others.

n cells; the cells to test are in no store: neither training nor the choice of a step sees them.
"""

import shutil
import sys
from dataclasses import dataclass

import anndata
import numpy as np
import pandas as pd

from jaxcell import config
from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store
from jaxcell.embedding import embed
from jaxcell.models.cell import labels_of
from jaxcell.systems.adapting import annotate, lora
from jaxcell.training import loop
from jaxcell.training.checkpoint import load_model

HEAD, PART = "cell_type", "part"  # columns of the store's cells
KINDS = {"finetuned": ("fine-tuned", (annotate,)), "lora": ("LoRA", (annotate, lora))}


@dataclass(frozen=True)
class Adapting:
    """How a checkpoint is trained; JSON, part of what a result depends on.

    ``learning_rate`` 0: a tenth of what the checkpoint was trained at, as ``:annotate`` has it.
    """

    epochs: int = 4
    batch_size: int = 64
    learning_rate: float = 0.0


def adapted(model, path, kind, how, seed):
    """The config of a run that starts from a checkpoint and learns a label of its own.

    What names the pretraining's own data, devices and length is as in a new run.

    model : Model of ``path``; kind : of KINDS; how : Adapting

    Raises
    ------
    ValueError
        About a config that cannot be trained so.
    """
    c, new = model.config.copy_and_resolve_references(), config.defaults()
    c.mesh, c.data.mixture, c.data.sampling = new.mesh, (), ()
    c.data.workers, c.data.threads = new.data.workers, new.data.threads
    c.train.update(new.train.to_dict())
    c.optimizer.frozen = new.optimizer.frozen
    for change in KINDS[kind][1]:
        c = change(c)
    c.name, c.seed, c.stages = f"{c.name}_{kind}", seed, ("train",)
    c.train.batch_size, c.train.init_from = how.batch_size, str(path)
    c.epochs, c.steps = how.epochs, 0
    c.optimizer.learning_rate = how.learning_rate or c.optimizer.learning_rate
    config.check(config.settled(c))
    return c


def check(name, path, kinds, how, batch, obs):
    """Refuse a checkpoint that cannot be put to a label of these cells, before anything is written.

    obs : DataFrame of the cells; batch : str [n] or None
    """
    model = load_model(path)
    try:
        for kind in kinds:
            c = adapted(model, path, kind, how, 0)
        for label in _read(c):
            if label not in obs and (batch is None or label != c.batch):
                raise ValueError(f"obs has no column {label!r}, which the model reads")
    except ValueError as error:
        raise ValueError(f"checkpoint {name}: {error}; without it: --no-finetune") from None


def _read(c):
    """Labels that the model reads beside its head's."""
    return [label for label in labels_of(config.settled(c).model) if label != HEAD]


def predictions(path, kind, cells, labels, batch, split, how, *, seed, workdir, options):
    """Train on a split's training cells, choose the step by its validation cells, predict the rest.

    Goes on where an earlier call of the same was stopped; store and optimizer states are removed
    at the end, ``workdir/run/model`` stays.

    Parameters
    ----------
    path : checkpoint
    kind : of KINDS
    cells : AnnData [n], raw counts in X
    labels, batch : str [n]; batch may be None
    split : evaluation.trained_probes.Split
    how : Adapting
    seed : int
    workdir : path, of this run alone
    options : of ``jaxcell.embed``

    Returns
    -------
    str [test cells], '' for a cell without any count in the model's genes

    Raises
    ------
    SystemExit
        When the run was stopped by SIGTERM or Ctrl-C; the same call goes on.
    """
    model = load_model(path)
    c = adapted(model, path, kind, how, seed)
    obs = _obs(cells.obs, batch, c)
    c.data.store = str(_store(workdir / "store", cells, obs, labels, split, model, c, options).path)
    if not loop.train(c, workdir / "run"):
        sys.exit(f"{workdir}: stopped before the end; the same call goes on from there")
    test = anndata.AnnData(cells.X[split.test], obs=obs.iloc[split.test], var=cells.var)
    embed(test, workdir / "run", key="X", progress=False, **options)
    for folder in (workdir / "store", workdir / "run" / "checkpoints"):
        shutil.rmtree(folder, ignore_errors=True)
    said = test.obs[f"{HEAD}_pred"]
    return np.where(said.isna(), "", said.astype(str)).astype(str)


def _obs(obs, batch, c):
    """The columns that a model reads; its label of batches is the cells' batch, by any name."""
    found = {label: obs[label].astype(str) for label in _read(c) if label in obs}
    if batch is not None and c.batch in _read(c):
        found[c.batch] = batch
    return pd.DataFrame(found, index=obs.index.astype(str))


def _store(path, cells, obs, labels, split, model, c, options):
    """The split's training and validation cells, with the checkpoint's genes and these labels."""
    if (path / "store.json").exists():
        return Store.open(path)
    known, both = set(labels[split.train].tolist()), np.concatenate([split.train, split.valid])
    # A class that no cell trains is none: its validation cells would choose by noise.
    named = np.array([one if one in known else "" for one in labels[both].tolist()])
    part = np.repeat(["train", "valid"], [len(split.train), len(split.valid)])
    columns = obs.iloc[both].assign(**{HEAD: named, PART: part})
    return prepare(
        path,
        [anndata.AnnData(cells.X[both], obs=columns, var=cells.var)],
        labels=[HEAD, *_read(c)],
        hold_out=[f"{PART}=valid"],
        vocabulary=model.vocabulary,
        allow_non_integer=options.get("allow_non_integer", False),
        seed=c.seed,
        progress=False,
    )

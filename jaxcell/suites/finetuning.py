"""A checkpoint put to a label by training it on some batches, and its predictions for others.

n cells; the cells to test are in no store: neither training nor the choice of a step sees them.
"""

import json
import shutil
from dataclasses import dataclass

import anndata
import numpy as np
import pandas as pd

from jaxcell import config
from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store
from jaxcell.embedding import embed
from jaxcell.models.cell import labels_of
from jaxcell.suites.runs import train
from jaxcell.systems.adapting import annotate, lora
from jaxcell.training.checkpoint import load_model

HEAD, PART = "cell_type", "part"  # columns of the store's cells
KINDS = {"finetuned": ("fine-tuned", (annotate,)), "lora": ("LoRA", (annotate, lora))}


@dataclass(frozen=True)
class Adapting:
    """How a checkpoint is trained; JSON, part of what a result depends on.

    ``rates``: multiples of the learning rate that it was trained at; the one with the least
    validation loss is taken, as of a probe.
    """

    epochs: int = 4
    batch_size: int = 64
    rates: tuple = (0.1, 1.0)


def new_run(model, seed):
    """A checkpoint's config with what names its own data, devices and length as in a new run."""
    c, new = model.config.copy_and_resolve_references(), config.defaults()
    c.mesh, c.data.mixture, c.data.sampling = new.mesh, (), ()
    c.data.workers, c.data.threads = new.data.workers, new.data.threads
    kept = ("batch_size", "bias_at_means", "gene_errors", "gene_zero", "gene_among")
    own = {name: c.train[name] for name in kept}
    c.train.update(new.train.to_dict() | own)
    c.optimizer.frozen = new.optimizer.frozen
    c.seed, c.stages, c.steps = seed, ("train",), 0
    return c


def adapted(model, path, kind, how, seed, rate):
    """The config of a run that starts from a checkpoint and learns a label of its own.

    model : Model of ``path``; kind : of KINDS; how : Adapting; rate : of how.rates

    Raises
    ------
    ValueError
        About a config that cannot be trained so.
    """
    c = new_run(model, seed)
    for change in KINDS[kind][1]:
        c = change(c)
    c.name = f"{c.name}_{kind}"
    c.train.batch_size, c.train.init_from, c.epochs = how.batch_size, str(path), how.epochs
    c.optimizer.learning_rate = rate * model.config.optimizer.learning_rate
    config.check(config.settled(c))
    return c


def check(name, path, kinds, how, batch, obs):
    """Refuse a checkpoint that cannot be put to a label of these cells, before anything is written.

    obs : DataFrame of the cells; batch : str [n] or None
    """
    model = load_model(path)
    try:
        for kind in kinds:
            c = adapted(model, path, kind, how, 0, how.rates[0])
        for label in labels_read(c):
            if label not in obs and (batch is None or label != c.batch):
                raise ValueError(f"obs has no column {label!r}, which the model reads")
    except ValueError as error:
        raise ValueError(f"checkpoint {name}: {error}; without it: --no-finetune") from None


def labels_read(c):
    """Labels that the model reads beside its head's."""
    return [label for label in labels_of(config.settled(c).model) if label != HEAD]


def predictions(path, kind, cells, labels, batch, split, how, *, seed, workdir, options):
    """Train on a split's training cells, choose the step by its validation cells, predict the rest.

    Goes on where an earlier call of the same was stopped; store and optimizer states are removed
    at the end, ``workdir/rate-…/model`` stay.

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
    str [test cells], and the rate that was chosen
        '' for a cell without any count in the model's genes.

    Raises
    ------
    KeyboardInterrupt
        When the run was stopped by SIGTERM or Ctrl-C; the same call goes on.
    FloatingPointError
        Each rate was too high.
    """
    model, losses = load_model(path), {}
    for rate in how.rates:
        c = adapted(model, path, kind, how, seed, rate)
        obs, run = obs_of(cells.obs, batch, c), workdir / f"rate-{rate:g}"
        store = _store(workdir / "store", cells, obs, labels, split, model, c, options)
        c.data.store = str(store.path)
        try:
            train(c, run)
            losses[rate] = _least(run)
        except FloatingPointError:  # too high a rate
            losses[rate] = np.inf
    best = min(losses, key=losses.get)
    if not np.isfinite(losses[best]):
        raise FloatingPointError(f"{workdir}: diverged at each of the rates {how.rates}")
    test = anndata.AnnData(cells.X[split.test], obs=obs.iloc[split.test], var=cells.var)
    embed(test, workdir / f"rate-{best:g}", key="X", progress=False, **options)
    shutil.rmtree(workdir / "store")
    for folder in workdir.glob("rate-*/checkpoints"):
        shutil.rmtree(folder)
    said = test.obs[f"{HEAD}_pred"]
    return np.where(said.isna(), "", said.astype(str)).astype(str), best


def _least(run):
    """The least validation loss of a run, by which its ``model/`` was chosen."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return min(line["val/loss"] for line in lines if "val/loss" in line)


def obs_of(obs, batch, c):
    """The columns that a model reads; its label of batches is the cells' batch, by any name."""
    found = {label: obs[label].astype(str) for label in labels_read(c) if label in obs}
    if batch is not None and c.batch in labels_read(c):
        found[c.batch] = batch
    return pd.DataFrame(found, index=obs.index.astype(str))


def _store(path, cells, obs, labels, split, model, c, options):
    """The split's training and validation cells, with the checkpoint's genes and these labels."""
    known, both = set(labels[split.train].tolist()), np.concatenate([split.train, split.valid])
    # A class that no cell trains is none: its validation cells would choose by noise.
    named = np.array([one if one in known else "" for one in labels[both].tolist()])
    held = np.repeat([False, True], [len(split.train), len(split.valid)])
    own = anndata.AnnData(cells.X[both], obs=obs.iloc[both].assign(**{HEAD: named}), var=cells.var)
    return store_of(path, own, held, [HEAD, *labels_read(c)], model, c.seed, **options)


def store_of(path, cells, held, labels, model, seed, allow_non_integer=False):
    """A store of cells with a checkpoint's genes; made once.

    cells : AnnData [n], obs of what the model reads alone; held : bool [n], those that validate;
    labels : columns of obs; model : Model
    """
    if (path / "store.json").exists():
        return Store.open(path)
    cells.obs[PART] = np.where(held, "valid", "train")
    return prepare(
        path,
        [cells],
        labels=labels,
        hold_out=[f"{PART}=valid"],
        vocabulary=model.vocabulary,
        allow_non_integer=allow_non_integer,
        seed=seed,
        progress=False,
    )

"""Models of the perturbation suite: configs at a small budget, trained, asked for what is held out.

A case's training cells are those of ``jaxcell perturb split --train-cells``: no tested condition
is among them.
"""

import hashlib
import json
import time
import warnings
from dataclasses import dataclass, replace

import jax
import numpy as np

from jaxcell import config
from jaxcell.ablations.cells import store_of
from jaxcell.ablations.runner import compiled_once
from jaxcell.config import BIOFORMERS, SCFORMER, bioformers, defaults, scformer, settled, variant
from jaxcell.data.prepare import prepare
from jaxcell.data.vocabulary import read_vocabulary
from jaxcell.evaluation.perturbation.training_cells import PART, VAL, check_unseen, vocabulary
from jaxcell.models.cell import count_parameters
from jaxcell.perturbation import perturb
from jaxcell.perturbed import prediction_of
from jaxcell.suites.runs import train
from jaxcell.systems.perturbation import PERTURB
from jaxcell.training import setup
from jaxcell.training.checkpoint import load_model

FAMILIES = {  # what --models names: rows of the tables, each by its variants
    "scformer": {
        "scFormer, squared error": "perturb",
        "scFormer, affine decoder": "perturb,affine",
        "scFormer, cross-entropy": "perturb,ce",
    },
    "bioformers": {
        "BioFormers, squared error": "perturb",
        "BioFormers, cross-entropy": "perturb,ce",
    },
}
SYSTEMS = {"scformer": (scformer, SCFORMER), "bioformers": (bioformers, BIOFORMERS)}
SHOWN = 128  # genes that a cell shows at a time: tokens
SIZES = ("small", "paper")
LOOKS = 4  # validations of a run
FRACTION = 0.1  # of the cells held out, where a split has no validation conditions
# Fields without a part in models of pairs: no bins, no masks, no norm of batches; no embedding.
IDLE = ("name", "data.bin.", "data.draw_masks.", "model.domain.", "embed.")
RATE = 2e-3  # learning rate of these small models


@dataclass(frozen=True)
class Trained:
    """A row of the tables that is trained here.

    name, stem : as the table says it, and as part of a file's name
    config : case -> the config, without its store
    how : in words; mark : JSON, what the config hangs on beside the case
    small : of the budget of two cores, see `ready`
    """

    name: str
    stem: str
    config: object
    how: str
    mark: object = None
    small: bool = True


def trained(families, size="small"):
    """The rows of families of models, list of Trained; size: 'small' or 'paper'."""
    found, small = [], size == "small"
    for family in families:
        system, variants = SYSTEMS[family]
        for name, own in FAMILIES[family].items():

            def make(case, system=system, variants=variants, own=own):
                given = ",log1p" if case.values == "log" else ""
                names = f"{own}{given}{',cpu' if small else ''}"
                return variant(system(defaults()), names, **variants)

            stem = f"{family}-{own.replace(',', '-')}{'' if small else '-paper'}"
            found.append(Trained(name, stem, make, "from scratch", small=small))
    return found


def distinct(rows, case, steps):
    """The rows without those whose config is another's; the name of one tells of all.

    What scFormer and BioFormers say of perturbations differs in size alone: where both are made
    small, their models are one.
    """
    found = {}
    for row in rows:
        fields = fields_of(ready(case, row, steps, 0)).items()
        acting = {k: v for k, v in fields if not k.startswith(IDLE)}
        text = json.dumps([acting, row.mark], sort_keys=True)
        if text in found:
            first, (system, _, what) = found[text], row.name.partition(", ")
            own, _, _ = first.name.partition(", ")
            row = replace(first, name=f"{own} = {system}, {what}")
        found[text] = row
    return list(found.values())


def fine_tuned(name, path, model):
    """The row of a checkpoint that was not trained on pairs: squared error, from its parameters.

    Raises
    ------
    ValueError
        Its genes and values do not enter as scFormer's and BioFormers' do.
    """
    fields = model.config.model.fields
    kinds = tuple(fields[part].kind if part in fields else "none" for part in ("gene", "value"))
    if kinds != ("lookup", "continuous"):
        raise ValueError(
            f"checkpoint {name}: {path}: its fields gene and value are {kinds[0]} and {kinds[1]},"
            " expected lookup and continuous: a model of scFormer's or BioFormers' kind, or one"
            " that was trained on pairs"
        )

    def make(case):
        c = config.from_json(config.to_json(model.config))
        optimizer = c.optimizer.learning_rate
        c = variant(c, "perturb" + (",log1p" if case.values == "log" else ""), **PERTURB)
        c.train.init_from, c.optimizer.learning_rate = str(path), min(optimizer, RATE)
        return c

    return Trained(f"{name}, fine-tuned", f"{name}-tuned", make, f"from {name}", model.sha256)


def ready(case, row, steps, seed):
    """The config of a row on a case's cells, all but its store.

    A small one is set for two cores: 128 genes of 16 cells at a time, no dropout, and a rate that
    falls to 0. Its seeds still end far apart (docs/results.md), so that one of them says little.
    """
    c = row.config(case)
    c.data.pair.label, c.data.pair.control = case.layout["condition"], case.layout["control"]
    c.data.flag_genes.separator = case.layout["separator"]
    c.data.flag_genes.unmeasured = "show"  # most perturbed genes of small panels have no column
    genes = len(vocabulary(case.data))
    c.data.sequence.number = min(SHOWN if row.small else c.data.sequence.number, genes)
    c.epochs, c.steps, c.seed = 0, steps, seed
    c.train.validate_every = c.train.log_every = max(1, steps // LOOKS)
    if row.small:
        c.train.batch_size, c.model.encoder.dropout = 16, 0.0
        c.optimizer.schedule = "cosine"
        if not c.train.init_from:
            c.optimizer.learning_rate = RATE
    return c


def fields_of(c):
    """What a run's result hangs on of its config, as JSON; where files lie is not of it."""
    return {k: v for k, v in config.flat(c).items() if k not in ("data.store", "train.init_from")}


def short_hash(mark):
    """Of a run's folder: another config has another one."""
    return hashlib.sha256(json.dumps(mark, sort_keys=True).encode()).hexdigest()[:8]


def run(case, row, c, workdir):
    """Train, or go on with, a row on a case; what it predicts of the tested conditions.

    Returns
    -------
    {condition: float32 [G]}, facts of the model
    """
    store = case_store(case, workdir.parent.parent / "stores")
    c.data.store = str(store.path)
    c.model.vocabulary = len(store.vocabulary)
    setup.check(settled(c))
    began = time.perf_counter()
    with compiled_once(workdir.parent.parent / "compiled"):
        train(c, workdir)
        seconds = time.perf_counter() - began
        means = predicted(case, workdir, c.seed)
    jax.clear_caches()  # the next seed's programs come from the folder
    facts = {"how": row.how, "parameters": count_parameters(load_model(workdir).config.model)}
    return means, {**facts, "steps": c.steps, "seconds": seconds}


def case_store(case, folder):
    """The store of a case's training cells, made once."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"store-{case.path.stem}-{case.hash[:8]}"
    genes = folder / f"{stem}-genes.txt"
    genes.write_text("".join(f"{gene}\n" for gene in vocabulary(case.data)), encoding="utf-8")
    held = {"hold_out": [f"{PART}={VAL}"]} if case.split.val else {"hold_out_fraction": FRACTION}
    values = {"log": "log1p", "counts": "counts"}[case.values]

    def make(path):
        return prepare(
            path, [case.cells], labels=(case.layout["condition"],), values=values,
            vocabulary=read_vocabulary(genes), progress=False, **held,
        )  # fmt: skip

    asked = {"split": case.hash, "layout": case.layout}
    return store_of(folder / stem, [case.path], asked, make)


def predicted(case, checkpoint, seed):
    """What a model of pairs predicts of the tested conditions: {condition: float32 [G]}."""
    c = load_model(checkpoint).config
    separator = c.data.flag_genes.separator
    asked = {separator.join(case.data.conditions[name]): name for name in case.task.asked}
    control = (case.layout["condition"], case.layout["control"])
    with warnings.catch_warnings():  # genes it does not predict keep the control's mean
        warnings.filterwarnings("ignore", message=".*the model does not predict")
        found = perturb(
            case.cells, checkpoint, genes=list(asked), control=control, seed=seed, progress=False
        )
    place = case.cells.var_names.get_indexer(case.data.genes)
    x = np.asarray(found.X, np.float32)[:, place]
    return {asked[text]: row for text, row in zip(found.obs["condition"], x, strict=True)}


def check_pairs(name, path, model, case):
    """Refuse a model of pairs that reads other values, or that saw tested conditions.

    Returns
    -------
    str : what cannot be told of it, or ''
    """
    c = model.config.data
    try:
        prediction_of(model.config)
    except ValueError as error:
        raise ValueError(f"checkpoint {name}: {path}: {error}") from None
    given = {"log": "log1p", "counts": "counts"}[case.values]
    if c.normalise.given != given:
        raise ValueError(
            f"checkpoint {name}: {path}: reads {c.normalise.given}, and {case.path} holds {given}"
        )
    own = {"control": c.flag_genes.control, "separator": c.flag_genes.separator}
    check_unseen(model.labels[c.pair.label], case.split, f"checkpoint {name}: {path}", **own)
    if case.split.kind == "cells":
        return (
            f"**{name} may have been trained with cells that are tested here**: of a split of cells"
            " its checkpoint cannot tell. Train it on what jaxcell perturb split --train-cells"
            " writes."
        )
    return ""

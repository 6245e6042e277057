"""The data and the training runs of the network suite."""

import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import anndata
import jax
import numpy as np

from jaxcell import config
from jaxcell.ablations.cells import store_of
from jaxcell.ablations.runner import compiled_once
from jaxcell.config import BIOFORMERS, SCFORMER, bioformers, defaults, scformer, settled, variant
from jaxcell.data.genes import identify
from jaxcell.data.prepare import prepare
from jaxcell.data.sources import open_source
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.evaluation.networks.known import read_known
from jaxcell.evaluation.networks.planted import planted_cells, planted_names
from jaxcell.files import near
from jaxcell.models.cell import count_parameters
from jaxcell.network_cells import Names, choose_genes, conditions_of, normalised_counts
from jaxcell.progress import bar
from jaxcell.suites import runs
from jaxcell.suites.vectors import fingerprint
from jaxcell.training import setup
from jaxcell.training.checkpoint import load_model

SYSTEMS = {
    "bioformers": ("BioFormers, encoder", bioformers, BIOFORMERS),
    "scformer": ("scFormer", scformer, SCFORMER),
}
FACTORS = 30  # of those with known targets, by how many cells express them
TARGETS = 3  # known ones among the variable genes, of such a factor
EXPRESSED = 0.05  # share of the cells that express a gene, at least
KANG = "perturbation/kang_ifnb_2000x9015_donors.h5ad"
SETS = "annotation/gene_sets/c2.cp.reactome.v6.2.symbols.gmt.gz"
KNOWN = "annotation/gene_sets/dorothea_hs.tsv.gz"


@dataclass(frozen=True)
class Cells:
    """A file of counts, its conditions, and what is known of its genes.

    path : h5ad
    condition, reference, label : obs columns, and the value others are compared with; or None
    tf : factors to look at
    known, levels, sets : files as `jaxcell.network` takes them, or None
    number : of most variable genes
    """

    path: Path
    condition: str
    reference: str | None = None
    label: str | None = None
    tf: tuple = ()
    known: Path | None = None
    levels: str | None = None
    sets: Path | None = None
    number: int = 300

    @cached_property
    def hash(self):
        """Of the contents of all files, and of what is asked."""
        files = [fingerprint(p) for p in (self.path, self.known, self.sets) if p is not None]
        rest = [self.condition, self.reference, self.label, self.tf, self.levels, self.number]
        return hashlib.sha256(json.dumps([files, rest]).encode()).hexdigest()

    @cached_property
    def _source(self):
        return open_source(self.path)

    def check(self):
        """Refuse files and columns before anything is written."""
        for name in ("path", "known", "sets"):
            file = getattr(self, name)
            if file is not None and not Path(file).is_file():
                raise FileNotFoundError(f"{name}: {file}: no such file{near(file)}")
        conditions, _ = conditions_of(self._source, self.condition)
        if self.reference is not None and self.reference not in conditions:
            raise ValueError(
                f"reference: found {self.reference!r}, expected one of {', '.join(conditions)}"
            )
        _ = self.genes  # refuses names that are none

    @cached_property
    def genes(self):
        """The genes of models trained here, of those that 5 % of the cells express.

        The most variable ones, ``tf``, and at most 30 known factors, those that most cells express
        of the ones with 3 known targets or more among the variable genes.
        """
        source = self._source
        own = identify(source.var, "auto", source.name)
        names = Names(own, source.var, source.name)
        every = np.ones(source.n_cells, bool)
        x, _ = normalised_counts(source, every, False, bar(0, "", shown=False))
        share = np.asarray((x > 0).mean(axis=0)).ravel()
        forced = names.factors(self.tf, np.ones(len(share), bool))
        usable = share >= EXPRESSED
        chosen = choose_genes(names, usable, x, number=self.number, forced=forced)
        found = {names.shown[i] for i in chosen}
        if self.known is not None:
            known = read_known(self.known, self.levels)
            able = {
                f: share[names.column(f, "known")]
                for f, targets in known.items()
                if f in names and len((targets & found) - {f}) >= TARGETS
            }
            able = {f: s for f, s in able.items() if s >= EXPRESSED}
            found |= set(sorted(able, key=lambda f: (-able[f], f))[:FACTORS])
        return sorted(found)


def cells_of(asked):
    """The Cells that are asked for: one's own file, or Kang's in a folder laid out as JAXCELL_DATA.

    Raises
    ------
    ValueError, FileNotFoundError
    """
    o, given = asked.options, [Path(path) for path in asked.data]
    own = {name: Path(o[name]) if o[name] else None for name in ("known", "sets")}
    rest = {"tf": tuple(o["tf"]), "levels": o["levels"] or None, "number": o["number"]}
    rest |= {"reference": o["reference"] or None, "label": o["label"] or None}
    if given and not given[0].is_dir():
        if len(given) > 1 or not o["condition"]:
            raise ValueError("--data: one's own file is one, and needs --condition OBS")
        return Cells(given[0], o["condition"], **own, **rest)
    folder = given[0] if given else Path(os.environ.get("JAXCELL_DATA") or "nowhere")
    if len(given) > 1 or not folder.is_dir():
        raise ValueError(
            "--data: found no file and no folder, expected an h5ad or a folder laid out as"
            " JAXCELL_DATA (or that variable)"
        )
    if changed := [n for n in ("condition", "reference", "label") if o[n]]:
        raise ValueError(f"--{changed[0]}: of one's own file only (--data FILE)")
    rest |= {"reference": "ctrl", "label": "cell_type", "levels": o["levels"] or "ABC"}
    rest["tf"] = rest["tf"] or ("STAT1", "IRF7", "IRF1")
    own = {"known": own["known"] or folder / KNOWN, "sets": own["sets"] or folder / SETS}
    return Cells(folder / KANG, "stim", **own, **rest)


def planted(folder):
    """The planted network as files of a folder, made where they are not there: Cells."""
    cells, known = folder / "cells.h5ad", folder / "known.tsv"
    if not known.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        planted_cells(0).write_h5ad(cells)
        _, _, pairs = planted_names()
        known.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    return Cells(cells, "state", known=known)


@dataclass(frozen=True)
class Budget:
    """steps; cells that a step sees; fields that differ from the system's ':cpu'."""

    steps: int
    batch: int = 16
    fields: dict = field(default_factory=dict)


PLANTED = Budget(
    600,
    32,
    {
        **{"model.width": 32, "model.encoder.heads": 2, "model.encoder.hidden": 32},
        "optimizer.learning_rate": 3e-3,
    },
)


def ready(system, genes, budget, seed):
    """The config of a training run on so many genes, all but its store."""
    _, make, variants = SYSTEMS[system]
    c = variant(make(defaults()), "cpu", **variants)
    if system == "scformer":
        c.batch, c.labels = "", ()
    c.data.sequence.number = genes
    c.epochs, c.steps, c.seed, c.train.batch_size = 0, budget.steps, seed, budget.batch
    c.model.encoder.dropout, c.data.draw_masks.ratio = 0.0, 0.3
    c.optimizer.warmup_steps = min(20, budget.steps // 4)
    c.train.validate_every = c.train.log_every = max(1, budget.steps // 4)
    c.update_from_flattened_dict(budget.fields)
    return c


def fields_of(c):
    """What a run hangs on of its config, as JSON; where files lie is not of it."""
    return {k: v for k, v in config.flat(c).items() if k != "data.store"}


def train(cells, genes, c, workdir, out):
    """Train, or go on with, a model of some genes: facts of it."""

    def make(path):
        names = Vocabulary(genes, [""] * len(genes))
        return prepare(
            path, [anndata.read_h5ad(cells.path)], vocabulary=names, hold_out_fraction=0.1,
            progress=False,
        )  # fmt: skip

    store = store_of(out / f"store-{cells.hash[:8]}", [cells.path], {"genes": genes}, make)
    c.data.store = str(store.path)
    c.model.vocabulary = len(store.vocabulary)
    setup.check(settled(c))
    began = time.perf_counter()
    with compiled_once(out / "compiled"):
        runs.train(c, workdir)
    seconds = time.perf_counter() - began
    jax.clear_caches()
    model = load_model(workdir)
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    losses = [line["val/loss"] for line in lines if "val/loss" in line]
    return {
        "parameters": count_parameters(model.config.model),
        "steps": c.steps,
        "seconds": seconds,
        "val_loss": min(losses) if losses else None,
    }

"""What all arms of an ablation share: the training cells, the measures, and how an arm is run."""

import hashlib
import json
import sys
import time
from pathlib import Path

import anndata
import jax
import numpy as np

from jaxcell import config
from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store
from jaxcell.embedding import embed
from jaxcell.evaluation import baselines, gene_baselines, inputs, relations
from jaxcell.evaluation.consistency import perturbation_consistency
from jaxcell.gene_vectors import genes
from jaxcell.suites import base
from jaxcell.training import loop, setup
from jaxcell.training.metrics import replace
from jaxcell.variants import variant

MIN_CELLS = 20  # a gene in fewer training cells of a file is left out of it
VALIDATION = 0.05  # share of the training cells
CUT = 0.05  # p below which a perturbation is consistent
PCS = 50  # of the perturbed cells' counts, measured beside the arms


def config_of(arm, budget, store, steps=0, seed=0):
    """The checked config of an arm on a store."""
    c = variant(base(budget), arm.variants)
    c.update_from_flattened_dict(arm.fields)
    c.name, c.seed = arm.name, seed
    c.steps = steps or c.steps
    c.data.store = str(store.path)
    c.model.vocabulary = len(store.vocabulary)
    # Four looks: an arm that diverges has a model from before.
    c.train.validate_every = -(-c.steps // 4)
    setup.check(c)
    return c


class Bench:
    """The data and measures that all arms share."""

    def __init__(self, experiment, out):
        self.experiment, self.out = experiment, Path(out)
        named = relations.by_name(experiment.pairs)
        self.cells, self.batch = _perturbed(experiment)
        self.store = self._store()
        v = self.store.vocabulary
        # What is not counts, or has other genes, is refused before hours of training.
        self.counts, _ = gene_baselines.read_counts(self.cells, v)
        self.known = {
            name: relations.locate(relations.read_pairs(path), v.symbols, v.ensembl, str(path))
            for name, path in named.items()
        }
        self.perturbed_hash = _sha256(experiment.perturbed)

    def _store(self):
        """The training cells as a store under ``out``; made once."""
        e, path, note = self.experiment, self.out / "store", self.out / "data.json"
        files = [[str(f), _sha256(f)] for f in e.train]
        asked = {"train": files, "drop": list(e.drop), "min_cells": MIN_CELLS}
        if (path / "store.json").exists() and note.exists():
            there = json.loads(note.read_text())
            if there != asked:
                raise ValueError(
                    f"{path}: was made from {there}, asked for are {asked}; name another folder"
                )
            return Store.open(path)
        parts = _kept(e)
        self.out.mkdir(parents=True, exist_ok=True)
        store = prepare(
            path, parts, hold_out_fraction=VALIDATION, min_cells=MIN_CELLS, progress=False
        )
        replace(note, json.dumps(asked, indent=1) + "\n")
        return store

    def run(self, name, seed, c):
        """Train and measure an arm, or read what was measured: (run, whether it ran)."""
        workdir = self.out / "arms" / (name if not seed else f"{name}-seed{seed}")
        file, mark = workdir / "result.json", self._mark(c)
        if file.exists():
            run = json.loads(file.read_text())
            if run["mark"] == mark:
                return run, False
        began, run = time.perf_counter(), {"mark": mark}
        try:
            if not loop.train(c, workdir):
                sys.exit(f"{workdir}: stopped before the end; the same call goes on from there")
        except FloatingPointError as error:
            run["diverged"] = str(error).split(":")[0]
        if (workdir / "model").exists():
            run |= self.measure(workdir, c)
        else:
            run["failed"] = f"diverged at {run['diverged']}, before the first validation"
        jax.clear_caches()  # no later arm has these shapes
        run["seconds"] = time.perf_counter() - began
        workdir.mkdir(parents=True, exist_ok=True)  # a run may fail before it has written
        replace(file, json.dumps(run, indent=1) + "\n")
        return run, True

    def _mark(self, c):
        """Hash of what a run's result depends on: contents, not where they lie."""
        e = self.experiment
        measures = [self.perturbed_hash, e.perturbation, e.control, e.batch, e.per_batch, CUT]
        measures += [[n, pairs.tolist()] for n, pairs in self.known.items()]
        fields = {k: v for k, v in config.flat(c).items() if k != "data.store"}
        text = json.dumps([fields, self.store.content_hash, measures])
        return hashlib.sha256(text.encode()).hexdigest()

    def measure(self, workdir, c):
        """perts, enc and dec of a trained model."""
        cells = self.cells.copy()
        embed(cells, workdir, key="X_arm", progress=False)
        run = {"perts": self.consistency(cells.obsm["X_arm"])}
        vectors = genes(workdir).obsm
        for metric, key in (("enc", "codebook"), ("dec", "decoder")):
            found = relations.relationship_recall(vectors[key], self.known, name=key)
            best = found["best"]
            run[metric] = {
                "recall": best["recall"]["mean"],
                "sd": best["sd"]["mean"],
                "n": best["n"],
                "raw": found["raw"]["recall"]["mean"],
                "databases": best["recall"],
                "draws": best["draws"].tolist(),
            }
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        validations = [line for line in map(json.loads, lines) if "val/loss" in line]
        best = min((line["val/loss"] for line in validations), default=None)
        return run if best is None else run | {"val_loss": best}

    def consistency(self, x):
        """Perturbation consistency of vectors of the perturbed cells."""
        e = self.experiment
        return perturbation_consistency(
            x,
            self.cells.obs[e.perturbation],
            self.batch,
            control=e.control,
            per_batch=e.per_batch,
            cut=CUT,
        )

    def references(self, width):
        """What the arms have to beat, by the same measures."""
        chance = gene_baselines.random_vectors(len(self.store.vocabulary), width)
        recall = relations.relationship_recall(chance, self.known)["best"]["recall"]["mean"]
        x = baselines.normalise(self.counts)
        pca = baselines.principal_components(x, PCS).scores(x)
        return {
            f"PCA-{pca.shape[1]} of the perturbed cells' own counts": {
                "perts": self.consistency(pca)["score"]
            },
            "random gene vectors": {"enc, dec": recall},
        }

    def meta(self):
        """What the report says of the data."""
        e = self.experiment
        return {
            "train": [Path(f).name for f in e.train],
            "cells": int(self.store.sizes["train"]),
            "genes": len(self.store.vocabulary),
            "perturbed": Path(e.perturbed).name,
            "perturbation": e.perturbation,
            "control": e.control,
            "batch": list(e.batch),
            "per_batch": e.per_batch,
            "pairs": {name: len(pairs) for name, pairs in self.known.items()},
        }


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kept(e):
    """The training files without the cells of ``drop``: 'column=value', where a file has it."""
    asked = [text.partition("=") for text in e.drop]
    for text, (_, equals, _) in zip(e.drop, asked, strict=True):
        if not equals:
            raise ValueError(f"drop: found {text!r}, expected COLUMN=VALUE")
    parts, matched, values = [], set(), {}
    for file in e.train:
        adata = anndata.read_h5ad(file)
        keep = np.ones(adata.n_obs, bool)
        for column, _, value in asked:
            if column in adata.obs:
                there = adata.obs[column].astype(str).to_numpy()
                values.setdefault(column, set()).update(there)
                keep &= there != value
                if value in there:
                    matched.add((column, value))
        if not keep.any():
            raise ValueError(f"{file}: no cell is left after dropping {', '.join(e.drop)}")
        parts.append(adata[keep].copy())
    # A misspelled entry would train on the cells that were to be left out.
    wrong = [
        f"{column}={value} ({_shown(values[column]) if column in values else 'no such column'})"
        for column, _, value in asked
        if (column, value) not in matched
    ]
    if wrong:
        files = ", ".join(map(str, e.train))
        raise ValueError(f"drop: no cell of {files} has {'; '.join(wrong)}")
    return parts


def _shown(values, most=10):
    values = sorted(values)
    return "found " + ", ".join(values[:most]) + (", …" if len(values) > most else "")


def _perturbed(e):
    """The perturbed cells whose perturbation and batch are known, and their batches str [n]."""
    adata = anndata.read_h5ad(e.perturbed)
    absent = [column for column in (e.perturbation, *e.batch) if column not in adata.obs]
    if absent:
        raise ValueError(
            f"{e.perturbed}: obs has no column {', '.join(absent)}; it has {list(adata.obs)}"
        )
    columns = [inputs.obs_column(adata, column, "batch") for column in e.batch]
    treated = inputs.obs_column(adata, e.perturbation, "perturbation")
    unknown = inputs.is_missing(treated) & (treated != e.control)  # which may be called "none"
    keep = ~np.any([unknown, *map(inputs.is_missing, columns)], axis=0)
    batch = np.array([" ".join(parts) for parts in zip(*columns, strict=True)])
    treated = treated[keep]
    if e.control not in treated or (treated == e.control).all():
        raise ValueError(
            f"{e.perturbed}: obs[{e.perturbation!r}] of the {keep.sum()} cells whose perturbation "
            f"and batch are known: {_shown(set(treated))}; expected --control {e.control!r} and "
            "other values"
        )
    adata = adata[keep].copy()
    adata.obs[e.perturbation] = treated
    return adata, batch[keep]

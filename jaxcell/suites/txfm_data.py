"""The perturbed cells of the suite txfm: read, checked, and with what they are judged by."""

import hashlib
import importlib.util
import json
import os
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from jaxcell.evaluation import baselines, inputs, relations
from jaxcell.evaluation.methods import LOG
from jaxcell.evaluation.perturbed_cells import cells, postprocessing, recall
from jaxcell.evaluation.perturbed_cells.tasks import Labels
from jaxcell.suites import vectors
from jaxcell.suites.vectors import Method

DATABASES = ("CORUM", "HuMAP", "Reactome", "SIGNOR", "StringDB")
GENES, DETECTED = 1000, 0.01  # whose expression is decoded: drawn of those in so many cells
SHUFFLED_HVG = 1024  # of the reference whose labels are shuffled, as in the paper
BASELINES = ("raw", "log", "hvg5000", "hvg1024", "pca", "ridge", "ae")
INDUCTIVE = ("pca_inductive", "ridge_inductive", "ae_inductive")
PCS = 50
OF_LOG = r"log|hvg\d+|pca\d*"  # baselines that log-normalised values are enough for


@dataclass(frozen=True)
class Experiment:
    """Perturbed cells in a file.

    batch : obs columns, together a cell's batch; by : obs columns within whose groups consistency
        is scored for each perturbation, where there are few of them; (): over all batches
    log_values : X holds log-normalised values, no counts: baselines of these values alone
    pairs : files of known relations; train : h5ad that inductive baselines are fitted on
    """

    file: Path
    perturbation: str
    control: str
    batch: tuple
    by: tuple = ()
    log_values: bool = False
    pairs: tuple = ()
    train: Path | None = None

    @property
    def name(self):
        """Of the data, in tables and parts."""
        return Path(self.file).stem


def experiments(asked):
    """What to measure on: the files of --data, or those of a folder laid out as JAXCELL_DATA."""
    o = asked.options
    given = [Path(path) for path in asked.data]
    own = {k: o[k] for k in ("perturbation", "control", "batch") if o[k]}
    if not given and "JAXCELL_DATA" not in os.environ:
        raise ValueError("data: found none and no JAXCELL_DATA; name h5ad files or its folder")
    given = given or [Path(os.environ["JAXCELL_DATA"])]
    if len(given) == 1 and given[0].is_dir():
        if own or o["consistency_by"] or o["log_values"]:
            raise ValueError(
                f"{given[0]}: a folder, whose files the suite knows; --perturbation, --control, "
                "--batch, --consistency-by and --log-values describe files (--data FILE)"
            )
        found = _of_folder(given[0])
    else:
        lost = [f"--{k}" for k in ("perturbation", "control", "batch") if not o[k]]
        if lost:
            raise ValueError(f"data: files need {', '.join(lost)}, columns of obs and a value")
        more = dict(by=tuple(o["consistency_by"]), log_values=o["log_values"])
        found = [
            Experiment(path, o["perturbation"], o["control"], tuple(o["batch"]), **more)
            for path in given
        ]
        if twice := {e.name for e in found if [f.name for f in found].count(e.name) > 1}:
            raise ValueError(f"data: two files are called {', '.join(sorted(twice))}")
    pairs, train = tuple(map(Path, o["pairs"])), o["train"]
    return [replace(e, pairs=pairs or e.pairs, train=train and Path(train)) for e in found]


def _of_folder(folder):
    """IFN-β on blood cells: one perturbation, so consistent or not in each donor's cells of a type.

    And Norman 2019 beside McFaline 2023: log values of 500 genes, which no model of counts embeds.
    """
    data, efaar = folder / "perturbation", folder / "annotation" / "efaar"
    pairs = tuple(efaar / f"{name}.txt" for name in DATABASES)
    kang = data / "kang_ifnb_2000x9015_donors.h5ad"
    norman = data / "norman19_mcfaline23_perturbench_devel.h5ad"
    return [
        Experiment(kang, "stim", "ctrl", ("donor",), ("donor", "cell_type"), pairs=pairs),
        Experiment(norman, "perturbation", "control", ("cell_type",), log_values=True, pairs=pairs),
    ]


class Perturbed:
    """The cells of an experiment: AnnData, `Labels`, methods, and facts for the report."""

    def __init__(self, experiment):
        self.experiment = e = experiment
        adata = cells.read(e.file)
        self.all = adata.n_obs
        found = cells.find(adata, e.perturbation, e.control, (*e.batch, *e.by), e.file)
        self.adata = adata[found.keep].copy()
        named = relations.by_name(e.pairs)
        self.labels = Labels(
            found.perturbation,
            found.joined(e.batch),
            e.control,
            expression=self._expression(),
            groups=found.joined(e.by) if e.by else None,
            pairs={name: relations.read_pairs(path) for name, path in named.items()},
        )

    @cached_property
    def log(self):
        """Log-normalised values, float32 CSR [n, genes]."""
        if not self.experiment.log_values:
            try:
                x, _ = inputs.raw_counts(self.adata, name=self.experiment.file)
            except ValueError as error:
                raise ValueError(f"{error}; --log-values takes such values") from None
            return baselines.normalise(x)
        x = sp.csr_matrix(self.adata.X, dtype=np.float32)
        x.eliminate_zeros()
        if not np.isfinite(x.data).all() or (x.data < 0).any() or x.max() > 30:
            raise ValueError(
                f"{self.experiment.file}: X holds no log-normalised values: found "
                f"{x.data.min():g} to {x.data.max():g}, expected finite ones of 0 to 30"
            )
        return x

    def _expression(self):
        """What embeddings are decoded into: genes at random, so that no choice of genes is them."""
        share = np.diff(self.log.tocsc().indptr) / self.log.shape[0]
        genes = np.flatnonzero(share >= DETECTED)
        return self.log[:, np.sort(np.random.default_rng(0).permutation(genes)[:GENES])]

    def _variable(self, number):
        if number >= self.log.shape[1]:
            return self.log
        return self.log[:, baselines.highly_variable(self.log, number)]

    def mark(self):
        """Hash of what a part's result depends on beside the method."""
        e, labels = self.experiment, self.labels
        groups = "" if labels.groups is None else labels.groups.tolist()
        found = [
            vectors.fingerprint(self.adata),
            [labels.perturbation.tolist(), labels.batch.tolist(), groups, labels.control],
            [[path.stem, vectors.fingerprint(path)] for path in e.pairs],
            e.log_values,
        ]
        return hashlib.sha256(json.dumps(found).encode()).hexdigest()

    def methods(self, asked, embed=None, names=None):
        """Methods of the cells; without counts, baselines of the log values alone."""
        e = self.experiment
        if not e.log_values:
            return vectors.methods(
                asked, self.adata, batch=self.labels.batch, train=e.train, baselines=names,
                embed=embed,
            )  # fmt: skip
        # hvgN of no more than N genes is 'log' by another name.
        few = [f"hvg{k}" for k in _hvgs(names) if k >= self.adata.n_vars]
        return [self._of_log(n) for n in names if re.fullmatch(OF_LOG, n) and n not in few]

    def baselines(self, asked):
        """Short names of the baselines: those asked for, or the suite's own."""
        names, genes = asked.baselines, self.adata.n_vars
        if self.experiment.log_values and (asked.data and names):
            lost = [name for name in names if not re.fullmatch(OF_LOG, name)]
            if lost and not Path(asked.data[0]).is_dir():
                raise ValueError(f"baselines: {lost[0]} needs counts; of log values: {OF_LOG}")
        if not names:
            names = [n for n in BASELINES if not n.startswith("hvg") or int(n[3:]) < genes]
            names += ["scvi"] if importlib.util.find_spec("scvi") else []
            names += INDUCTIVE if self.experiment.train else ()
        return list(names)

    def _of_log(self, name):
        mark, number = {"baseline": name, "values": "log"}, int(re.sub(r"\D", "", name) or PCS)
        if name == "log":
            return Method(LOG, "baseline", "–", mark, lambda seed: self.log.toarray())
        if name.startswith("hvg"):
            title = f"{LOG} + {number} HVG"
            return Method(
                title, "baseline", "–", mark, lambda seed: self._variable(number).toarray()
            )
        title = f"PCA {number} (transductive)" if name != "pca" else "PCA (transductive)"

        def scores(seed):
            return baselines.principal_components(self.log, number).scores(self.log)

        return Method(title, "baseline", "the evaluated cells", mark, scores)

    def reference(self):
        """The most variable genes, to be judged by shuffled labels."""
        return Method(
            "Random label shuffle", "reference", "–", {"baseline": f"hvg{SHUFFLED_HVG}"},
            lambda seed: self._variable(SHUFFLED_HVG).toarray(),
        )  # fmt: skip

    def facts(self):
        """What the report says of the cells."""
        e, labels = self.experiment, self.labels
        control, batch = labels.is_control, labels.batch
        known, few = recall.known_relations(labels.pairs, labels.perturbation, labels.control)
        return {
            "name": e.name,
            "cells": len(batch),
            "left_out": self.all - len(batch),
            "genes": self.adata.n_vars,
            "controls": int(control.sum()),
            "perturbations": len(recall.treatments(labels.perturbation, labels.control)),
            "batches": len(np.unique(batch)),
            "few_controls": postprocessing.without_controls(control, batch),
            "pairs": {name: len(rows) for name, rows in known.items()},
            "few_pairs": few,
            "log_values": e.log_values,
            "by": list(e.by),
            "batch": list(e.batch),
        }


def _hvgs(names):
    """N of each hvgN: list of int."""
    return [int(name[3:]) for name in names if re.fullmatch(r"hvg\d+", name)]

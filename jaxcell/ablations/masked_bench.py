"""What BioFormers' arms share: cells, one set of masks for all arms, and a linear regression."""

import json
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np

from jaxcell.ablations.bioformers import OTHER
from jaxcell.ablations.cells import check_files, sha256, store_of, thinned
from jaxcell.data.genes import identify
from jaxcell.data.matching import match
from jaxcell.data.prepare import prepare
from jaxcell.data.sources import open_source
from jaxcell.data.union import union
from jaxcell.evaluation import masked
from jaxcell.masked_prediction import predict, regress
from jaxcell.training.checkpoint import load_model

VALIDATION = 0.1  # share of the cells
# Of the measures, whatever an arm was trained with; several draws, since the cells are few.
MASK = {"ratio": 0.1, "nonzero": 0.5, "draws": 5}
TIMES = 2  # cells of the other data at most, as a multiple of the budget's


@dataclass(frozen=True)
class MaskedCells:
    """Cells whose genes are masked.

    train : h5ad files of raw counts; other : of another data set, better a larger one. Of several
    files the genes that all of them have.
    """

    train: tuple
    other: tuple

    def check(self):
        """Raise FileNotFoundError for a file that is not there."""
        check_files((*self.train, *self.other))

    @classmethod
    def of(cls, folder):
        """The suite's data in a folder laid out as JAXCELL_DATA: PBMC of one donor, and of five
        experiments.
        """
        cells = Path(folder) / "single_cell"
        return cls(
            train=(cells / "pbmc_donorA_unlabelled_2896x13939_mudan.h5ad",),
            other=(cells / "pbmc_5batch_fullgenes.h5ad",),
        )


class MaskedBench:
    """The data and measures that all arms share."""

    def __init__(self, experiment, out, budget):
        self.experiment, self.out, self._budget = experiment, Path(out), budget
        self.stores, self._guesses = {}, {}
        for name, files, times in (("", experiment.train, 1), (OTHER, experiment.other, TIMES)):
            asked = {"cells": times * budget.cells, "genes": budget.genes}
            path = self.out / ("store" + (f"_{name}" if name else ""))
            self.stores[name] = store_of(path, files, asked, self._maker(files, **asked))
        self._hashes = {
            "": [sha256(f) for f in experiment.train],
            OTHER: [sha256(f) for f in experiment.other],
        }

    def _maker(self, files, cells, genes):
        def make(path):
            parts = [anndata.read_h5ad(file) for file in files]
            origin = [str(i) for i, part in enumerate(parts) for _ in range(part.n_obs)]
            kept, start = thinned(origin, cells), 0
            for i, part in enumerate(parts):
                mine = kept[(kept >= start) & (kept < start + part.n_obs)] - start
                parts[i], start = part[mine].copy(), start + part.n_obs
            shared = shared_genes(parts)
            return prepare(
                path,
                parts,
                vocabulary=shared,
                hold_out_fraction=VALIDATION,
                hvg=min(genes, len(shared)) if genes else None,
                progress=False,
            )

        return make

    def store_of(self, arm):
        """The cells of the arm's data."""
        return self.stores[arm.data]

    def measures(self, arm):
        """What the measures depend on."""
        return [MASK, self._hashes[arm.data]]

    def measure(self, arm, workdir):
        """The paper's metrics of a trained model's predictions, and the regression's beside it.

        Which entries are masked is the same in every arm and seed; their bins are the arm's own.
        """
        model, store = load_model(workdir), self.store_of(arm)
        cut = int(model.config.data.bin.c)
        entries = predict(model, store, **MASK)
        bins = json.dumps([model.config.data.bin.to_dict(), arm.data], sort_keys=True)
        if bins not in self._guesses:  # as the entries, the same for arms that bin alike
            guess = regress(model, store, entries)
            self._guesses[bins] = masked.scores(entries.truth, guess, cut)
        found = masked.scores(entries.truth, entries.predicted, cut)
        return {"scores": found, "regression": self._guesses[bins]}

    def shown(self, run):
        """A run's three metrics."""
        names = {"sensitivity": "sensitivity", "hel_sensitivity": "HEL", "npv_50": "NPV-50"}
        texts = {k: run["scores"][k] for k in names}
        return ", ".join(
            f"{names[k]} {'–' if v is None else format(v, '.3f')}" for k, v in texts.items()
        )

    def references(self, c, seeds):
        """None beside the arms: each run has the regression of its own bins."""
        return {}

    def meta(self):
        """What the report says of the data."""
        stores = self.stores
        return {
            "files": {
                "": [Path(f).name for f in self.experiment.train],
                OTHER: [Path(f).name for f in self.experiment.other],
            },
            "cells": {name: dict(store.sizes) for name, store in stores.items()},
            "genes": {name: len(store.vocabulary) for name, store in stores.items()},
            "mask": MASK,
            "neighbours": min(masked.NEIGHBOURS, len(stores[""].vocabulary) - 1),
        }


def shared_genes(parts):
    """The genes that all of some AnnData have, a Vocabulary.

    Raises
    ------
    ValueError
        When they share none.
    """
    sources = [open_source(part) for part in parts]
    names = {str(i): identify(s.var, where=s.name) for i, s in enumerate(sources)}
    genes = union(names)
    everywhere = np.ones(len(genes), bool)
    for one in names.values():
        everywhere &= np.isin(np.arange(len(genes)), match(one, genes).columns)
    if not everywhere.any():
        raise ValueError(f"{len(parts)} files: share none of their {len(genes)} genes")
    return genes.subset(everywhere)

"""What scFormer's arms share: cells of several batches, and how well their vectors integrate them.

n cells, g genes.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import scipy.sparse as sp

from jaxcell.ablations.cells import check_files, sha256, store_of, thinned
from jaxcell.data.genes import identify
from jaxcell.data.matching import match
from jaxcell.data.prepare import prepare
from jaxcell.data.sources import open_source
from jaxcell.embedding import embed
from jaxcell.evaluation import baselines, integration
from jaxcell.evaluation.inputs import labelled
from jaxcell.evaluation.protocols import scformer_scores
from jaxcell.files import read_json
from jaxcell.writing import write_text

VALIDATION = 0.1  # share of the cells, as the paper's 9:1
# Beside the arms, of the same cells and genes: (counts, batch, seed) -> f32 [n, d].
BASELINES = {
    "hvg": ("HVG counts", lambda counts, batch, seed: baselines.normalise(counts).toarray()),
    "pca": ("PCA", lambda counts, batch, seed: integration.pca(counts)),
    "harmony": (
        "Harmony",
        lambda counts, batch, seed: integration.harmony(counts, batch, 50, seed),
    ),
    "scvi": ("scVI", integration.scvi),
}


@dataclass(frozen=True)
class IntegrationCells:
    """Cells to integrate.

    train : h5ad files of raw counts, with the genes that all of them have
    label : obs column of the cells' types; batch : obs column of what is to be mixed
    """

    train: tuple
    label: str
    batch: str

    def __post_init__(self):
        if not isinstance(self.batch, str):  # as the command line has it
            if len(self.batch) != 1:
                raise ValueError(f"batch: found {list(self.batch)}, expected one obs column")
            object.__setattr__(self, "batch", self.batch[0])

    def check(self):
        """Raise FileNotFoundError for a file that is not there."""
        check_files(self.train)

    @classmethod
    def of(cls, folder):
        """The suite's data in a folder laid out as JAXCELL_DATA: PBMC of five experiments."""
        file = Path(folder) / "single_cell" / "pbmc_5batch_fullgenes.h5ad"
        return cls(train=(file,), label="cell_type_coarse", batch="batch")

    def read(self, cells):
        """At most so many cells (0: all) with a type and a batch, thinned evenly over both."""
        files = [anndata.read_h5ad(file) for file in self.train]
        names = [Path(file).stem for file in self.train]
        one = files[0]
        if len(files) > 1:
            one = anndata.concat(files, join="inner", merge="same", keys=names, index_unique="-")
        found = labelled(one, self.label, self.batch)
        adata = one[found.keep].copy()
        adata.obs[self.label], adata.obs[self.batch] = found.labels, found.batch
        strata = [f"{b}\n{t}" for b, t in zip(found.batch, found.labels, strict=True)]
        return adata[thinned(strata, cells)].copy()


class IntegrationBench:
    """The data and measures that all arms share."""

    def __init__(self, experiment, out, budget):
        self.experiment, self.out = experiment, Path(out)
        e, self._genes = experiment, budget.genes
        self.batch_label = e.batch
        self.cells = e.read(budget.cells)
        self.labels, self.batch = (self.cells.obs[k].to_numpy(str) for k in (e.label, e.batch))
        if len(np.unique(self.batch)) < 2:
            raise ValueError(f"obs[{e.batch!r}]: found one batch, expected two at least")
        asked = {"label": e.label, "batch": e.batch, "cells": budget.cells, "genes": budget.genes}
        self.store = store_of(self.out / "store", e.train, asked, self._prepare)
        self.counts = self._counts()
        self._asked = [asked, [sha256(file) for file in e.train]]

    def _prepare(self, path):
        e, genes = self.experiment, self._genes
        return prepare(
            path,
            [self.cells],
            labels=[e.label, e.batch],
            hold_out_fraction=VALIDATION,
            hvg=min(genes, self.cells.n_vars) if genes else None,
            hvg_batch=e.batch if genes else None,
            progress=False,
        )

    def _counts(self):
        """Raw counts of the store's genes, CSR f32 [n, g]."""
        source = open_source(self.cells)
        found = match(identify(source.var, where=source.name), self.store.vocabulary)
        parts = [found.apply(chunk) for chunk in source.chunks()]
        return sp.vstack(parts, format="csr").astype(np.float32)

    def store_of(self, arm):
        """The training cells, the same for all arms."""
        return self.store

    def measures(self, arm):
        """What the measures depend on."""
        return self._asked

    def measure(self, arm, workdir):
        """The paper's metrics of a trained model's vectors of all cells."""
        cells = self.cells.copy()
        embed(cells, workdir, key="X_arm", progress=False)
        return {"scores": self._scores(cells.obsm["X_arm"], 0)}

    def _scores(self, x, seed):
        return scformer_scores(x, self.labels, self.batch, seed)

    def shown(self, run):
        """A run's three averages."""
        names = {"avg_bio": "AvgBIO", "avg_batch": "AvgBATCH", "overall": "Overall"}
        return ", ".join(f"{name} {run['scores'][k]:.3f}" for k, name in names.items())

    def references(self, c, seeds):
        """The baselines by the same measures, kept: {'rows': {name: [scores]}, 'absent': [text]}.

        One row of scores for each seed, which starts the baseline and the clustering.
        """
        file, rows, absent = self.out / "references.json", {}, []
        todo = "remove it, and the baselines are measured again"
        known = read_json(file, {}, todo) if file.exists() else {}
        for short, (name, make) in BASELINES.items():
            try:
                integration.check([short], self.batch)
            except ImportError as error:
                absent.append(str(error))
                continue
            for seed in range(seeds):
                key = f"{short}-seed{seed}"
                if known.get("asked") != [self.store.content_hash, self._asked]:
                    known = {"asked": [self.store.content_hash, self._asked]}
                if key not in known:
                    known[key] = self._scores(make(self.counts, self.batch, seed), seed)
                    write_text(file, json.dumps(known, indent=1) + "\n")
                rows.setdefault(name, []).append(known[key])
        return {"rows": rows, "absent": absent}

    def meta(self):
        """What the report says of the data."""
        e, store = self.experiment, self.store
        return {
            "train": [Path(f).name for f in e.train],
            "cells": len(self.labels),
            "training_cells": int(store.sizes["train"]),
            "genes": len(store.vocabulary),
            "label": e.label,
            "batch": e.batch,
            "types": len(np.unique(self.labels)),
            "batches": len(np.unique(self.batch)),
        }

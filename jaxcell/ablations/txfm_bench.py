"""What TxFM's arms share: training cells, perturbed cells, relations, and measures by these."""

from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np

from jaxcell.ablations.cells import check_files, sha256, store_of
from jaxcell.data.prepare import prepare
from jaxcell.embedding import embed
from jaxcell.evaluation import baselines, gene_baselines, relations
from jaxcell.evaluation.consistency import perturbation_consistency
from jaxcell.evaluation.perturbed_cells import cells as perturbed_cells
from jaxcell.gene_vectors import genes

MIN_CELLS = 20  # a gene in fewer training cells of a file is left out of it
VALIDATION = 0.05  # share of the training cells
CUT = 0.05  # p below which a perturbation is consistent
PCS = 50  # of the perturbed cells' counts, measured beside the arms
DATABASES = ("CORUM", "HuMAP", "Reactome", "SIGNOR", "StringDB")


@dataclass(frozen=True)
class Experiment:
    """What the arms are trained on and measured by.

    train : h5ad files of raw counts; drop : 'column=value' of obs that are left out of them
    perturbed : h5ad of raw counts; its obs[perturbation], of which ``control`` is unperturbed
    batch : obs columns, together a cell's batch; per_batch : score each batch on its own
    pairs : files of known relations
    """

    train: tuple
    perturbed: Path
    perturbation: str
    control: str
    batch: tuple
    pairs: tuple
    drop: tuple = ()
    per_batch: bool = False

    def check(self):
        """Raise FileNotFoundError for a file that is not there."""
        check_files((*self.train, self.perturbed, *self.pairs))

    @classmethod
    def of(cls, folder):
        """The suite's data in a folder laid out as JAXCELL_DATA: blood cells, and IFN-β.

        Trained on unstimulated PBMCs; the perturbation, its donors and their controls are unseen.
        One perturbation is too few for a proportion, so it is scored in each donor's cells of each
        type.
        """
        cells, efaar = Path(folder) / "single_cell", Path(folder) / "annotation" / "efaar"
        return cls(
            train=(
                cells / "pbmc_5batch_fullgenes.h5ad",
                cells / "pbmc_donorA_unlabelled_2896x13939_mudan.h5ad",
            ),
            drop=("batch=kang_ctrl", "batch=kang_stim"),
            perturbed=Path(folder) / "perturbation" / "kang_ifnb_2000x9015_donors.h5ad",
            perturbation="stim",
            control="ctrl",
            batch=("donor", "cell_type"),
            per_batch=True,
            pairs=tuple(efaar / f"{name}.txt" for name in DATABASES),
        )


class TxfmBench:
    """The data and measures that all arms share."""

    def __init__(self, experiment, out, budget):
        self.experiment, self.out = experiment, Path(out)
        e = experiment
        named = relations.by_name(e.pairs)
        self.cells, self.batch = _perturbed(e)
        how = {"drop": list(e.drop), "min_cells": MIN_CELLS}
        self.store = store_of(self.out / "store", e.train, how, self._prepare)
        v = self.store.vocabulary
        # What is not counts, or has other genes, is refused before hours of training.
        self.counts, _ = gene_baselines.read_counts(self.cells, v)
        self.known = {
            name: relations.locate(relations.read_pairs(path), v.symbols, v.ensembl, str(path))
            for name, path in named.items()
        }
        self.perturbed_hash = sha256(e.perturbed)

    def _prepare(self, path):
        parts = _kept(self.experiment)
        self.out.mkdir(parents=True, exist_ok=True)
        return prepare(
            path, parts, hold_out_fraction=VALIDATION, min_cells=MIN_CELLS, progress=False
        )

    def store_of(self, arm):
        """The training cells, the same for all arms."""
        return self.store

    def measures(self, arm):
        """What the measures depend on."""
        e = self.experiment
        found = [self.perturbed_hash, e.perturbation, e.control, e.batch, e.per_batch, CUT]
        return found + [[n, pairs.tolist()] for n, pairs in self.known.items()]

    def measure(self, arm, workdir):
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
        return run

    def shown(self, run):
        """A run's numbers, in percent."""
        recalls = (f"{m} {100 * run[m]['recall']:.1f}" for m in ("enc", "dec"))
        return f"perts {100 * run['perts']['score']:.1f} {' '.join(recalls)}"

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

    def references(self, c, seeds):
        """What the arms have to beat, by the same measures."""
        chance = gene_baselines.random_vectors(len(self.store.vocabulary), c.model.width)
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
            "cut": CUT,
        }


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
    there = {column: perturbed_cells.shown(found) for column, found in values.items()}
    wrong = [
        f"{column}={value} ({there.get(column, 'no such column')})"
        for column, _, value in asked
        if (column, value) not in matched
    ]
    if wrong:
        files = ", ".join(map(str, e.train))
        raise ValueError(f"drop: no cell of {files} has {'; '.join(wrong)}")
    return parts


def _perturbed(e):
    """The perturbed cells whose perturbation and batch are known, and their batches str [n]."""
    adata = anndata.read_h5ad(e.perturbed)
    found = perturbed_cells.find(adata, e.perturbation, e.control, e.batch, e.perturbed)
    adata = adata[found.keep].copy()
    adata.obs[e.perturbation] = found.perturbation
    return adata, found.joined(e.batch)

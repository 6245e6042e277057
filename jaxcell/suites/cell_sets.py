"""The data sets of the suite `cells`: files that are given, or those of JAXCELL_DATA.

n cells with a label (and a batch, where there are batches).
"""

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import anndata
import numpy as np

from jaxcell.evaluation import baselines, inputs, scib_protocol
from jaxcell.files import near
from jaxcell.suites.vectors import fingerprint

FEWEST = 50  # cells of a tissue that gets a column of its own
LABEL, BATCH, TISSUE = "cell_type", "batch", "tissue"


@dataclass(frozen=True)
class Source:
    """Where a data set lies and what its columns are called."""

    path: str | Path  # of a folder laid out as JAXCELL_DATA the name
    label: str = LABEL
    batch: str | None = None
    name: str = ""
    only: tuple = ()  # (column, value): of these cells
    allow_non_integer: bool = False
    trap: str = ""  # what its README warns of


# Of a folder laid out as JAXCELL_DATA, where they are there; no cell is in two of them, as those of
# its FACS-sorted and 3k files are in the first: a verdict counts data sets as independent.
FOLDER = (
    Source("pbmc_5batch_fullgenes", "cell_type_coarse", BATCH, "PBMC, 5 batches"),
    Source("pancreas_3studies_counts", batch=BATCH, name="Pancreas", allow_non_integer=True),
    Source(
        "scmixology_5batch", "cell_line", BATCH, "scMixology", ("demuxlet_cls", "SNG"),
        trap="every representation tells its cell lines apart: it ranks mixing only.",
    ),
    Source(
        "crohn_gut_depth500_scp1884", batch="donor", name="Crohn, gut",
        trap="15 cells a type over 69 donors: small numbers. Counts are thinned to 500 a cell,"
        " because the depth of the original leaks the type.",
    ),
)  # fmt: skip


@dataclass
class CellSet:
    """The labelled cells of one source."""

    name: str
    adata: anndata.AnnData  # [n, g]
    labels: np.ndarray  # str [n]
    batch: np.ndarray | None  # str [n]; None: fewer than two
    tissue: np.ndarray | None  # str [n]
    source: Source
    left_out: dict  # reason -> cells
    _before: dict = field(default_factory=dict)

    @property
    def mark(self):
        """JSON that changes with the cells, their labels, batches or tissues."""
        digest = hashlib.sha256(f"{fingerprint(self.adata)} {self.left_out}".encode())
        for names in (self.labels, self.batch, self.tissue):
            digest.update(("none" if names is None else "\n".join(names)).encode() + b"\0")
        return digest.hexdigest()

    def before(self, counts, cells, seed):
        """PCR of the log-normalised counts [n, g] of a seed's subsample; None without batches."""
        if self.batch is None:
            return None
        own = scib_protocol.subsample(len(self.labels), cells, seed)
        if own.tobytes() not in self._before:  # the same for every method
            log = baselines.normalise(counts[own])
            self._before[own.tobytes()] = scib_protocol.pcr(log, self.batch[own])
        return self._before[own.tobytes()]

    def facts(self):
        """What a reader wants to know of it: {what: number or text}."""
        return {
            "dataset": self.name,
            "cells": len(self.labels),
            "genes": self.adata.n_vars,
            "classes": len(np.unique(self.labels)),
            "batches": 0 if self.batch is None else len(np.unique(self.batch)),
            "alone": self._alone(),
            "label": self.source.label,
            "trap": self.source.trap,
            "left_out": self.left_out,
        }

    def _alone(self):
        """Cells of classes that no other batch has: no probe on held-out batches can know them."""
        if self.batch is None:
            return 0
        pairs, size = np.unique(np.stack([self.labels, self.batch]), axis=1, return_counts=True)
        names, batches = np.unique(pairs[0], return_counts=True)
        return int(size[np.isin(pairs[0], names[batches == 1])].sum())

    def tissues(self):
        """The tissues of 50 cells and two labels or more: {name: bool [n]}; else all cells."""
        names = [] if self.tissue is None else np.unique(self.tissue)
        found = {str(name): self.tissue == name for name in names}
        found = {
            name: own
            for name, own in found.items()
            if own.sum() >= FEWEST and len(np.unique(self.labels[own])) > 1
        }
        return found or {"": np.ones(len(self.labels), bool)}


def read_sets(data, tissue, allow_non_integer):
    """The data sets asked for.

    Parameters
    ----------
    data : sequence
        'FILE[:LABEL[:BATCH]]' each, or one folder laid out as JAXCELL_DATA; (): that variable's.
    tissue : str or None
        Column of obs; None: 'tissue' where a file has it.
    allow_non_integer : bool
        Of the files; the folder's own list says so itself.

    Returns
    -------
    list of CellSet

    Raises
    ------
    ValueError, FileNotFoundError
        What is not there, or has no two labels.
    """
    given = [str(one) for one in data]
    if len(given) <= 1 and (not given or Path(given[0]).is_dir()):
        sources = _of_folder(given[0] if given else os.environ.get("JAXCELL_DATA", ""))
    else:
        sources = [_of_file(text, allow_non_integer) for text in given]
    found = []
    for source in sources:
        one = _read(source, tissue)
        if any(one.name == other.name for other in found):
            raise ValueError(f"--data: two data sets are called {one.name!r}; rename a file")
        found.append(one)
    return found


def _of_folder(folder):
    paths = {s: Path(folder) / "single_cell" / f"{s.path}.h5ad" for s in FOLDER}
    found = [replace(s, path=path) for s, path in paths.items() if folder and path.is_file()]
    if not found:
        raise FileNotFoundError(
            f"--data: found no file of the list in {folder or 'JAXCELL_DATA, which is not set'!r};"
            f" expected FILE[:LABEL[:BATCH]] or a folder with {next(iter(paths.values())).name}"
            " or others in single_cell/"
        )
    return found


def _of_file(text, allow_non_integer):
    path, label, batch = (text, "", None) if Path(text).is_file() else _split(text)
    if not path.endswith(".h5ad") or not Path(path).is_file():
        raise FileNotFoundError(
            f"--data {text}: no such h5ad file, expected FILE[:LABEL[:BATCH]]{near(path)}"
        )
    stem = Path(path).stem
    return Source(Path(path), label or LABEL, batch, stem, allow_non_integer=allow_non_integer)


def _split(text):
    path, _, columns = text.partition(".h5ad:")
    label, colon, batch = columns.partition(":")
    return f"{path}.h5ad" if columns else path, label, batch if colon else None


def _read(source, tissue):
    """The labelled cells; a batch that is not named is obs['batch'], where there is one."""
    adata = inputs.read(source.path)
    if source.only:
        column, value = source.only
        adata = adata[inputs.obs_column(adata, column, "filter") == value]
    batch = source.batch
    if batch is None and BATCH in adata.obs:
        batch = BATCH
    if tissue is not None and tissue not in adata.obs:
        raise ValueError(f"{source.path}: obs has no {tissue!r} (--tissue); it has {[*adata.obs]}")
    try:
        cells = inputs.labelled(adata, source.label, batch or None)
    except ValueError as error:
        raise ValueError(f"{source.path}: {error}") from error
    adata = adata[cells.keep].copy()
    several = cells.batch is not None and len(np.unique(cells.batch)) > 1
    column = tissue or (TISSUE if TISSUE in adata.obs else None)
    return CellSet(
        name=source.name,
        adata=adata,
        labels=cells.labels,
        batch=cells.batch if several else None,
        tissue=None if column is None else inputs.obs_column(adata, column, "tissue"),
        source=source,
        left_out=cells.left_out,
    )

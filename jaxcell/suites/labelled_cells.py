"""The cells of a suite that reads labels: one file, or the data folder's own.

n cells.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np

from jaxcell.evaluation import inputs
from jaxcell.files import about, near
from jaxcell.suites import vectors

FOLDER = {"file": "single_cell/pbmc_5batch_fullgenes.h5ad"}  # of JAXCELL_DATA
FOLDER |= {"label": "cell_type_coarse", "batch": "batch"}


def cell_arguments(p):
    """The options that `read_cells` takes."""
    p.add_argument("--label", default="", help="obs column of the classes (of one's own file)")
    p.add_argument("--batch", default="", help="obs column whose values are held out whole")
    p.add_argument("--counts", default="X", help="X, raw or layers/NAME")
    p.add_argument("--allow-non-integer", action="store_true")


@dataclass
class Cells:
    """The labelled cells: AnnData [n] of raw counts, and str [n] each; batch may be None."""

    adata: anndata.AnnData
    labels: np.ndarray
    batch: np.ndarray | None
    mark: list  # hashes of counts and labels
    path: Path  # of their file


def read_cells(data, o):
    """The cells of a file, or of the data folder with its own label and batch."""
    given = data or tuple(filter(None, [os.environ.get("JAXCELL_DATA")]))
    if len(given) != 1:
        raise ValueError(
            f"data: found {len(given)}, expected one h5ad, or one folder laid out as JAXCELL_DATA"
        )
    path, label, batch = Path(given[0]), o["label"], o["batch"]
    if path.is_dir():
        path = path / FOLDER["file"]
        label, batch = label or FOLDER["label"], batch or FOLDER["batch"]
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file (--data, JAXCELL_DATA){near(path)}")
    if not label:
        raise ValueError(f"label: found none, expected the obs column of {path} with the classes")
    adata = inputs.read(path)
    with about(path):
        found = inputs.labelled(adata, label, batch or None)
    x, source = inputs.raw_counts(adata, o["counts"], o["allow_non_integer"], path)
    kept = anndata.AnnData(x[found.keep], obs=adata.obs[found.keep], var=source.var)
    text = "\n".join([*found.labels, *(() if found.batch is None else found.batch)])
    mark = [vectors.fingerprint(kept), hashlib.sha256(text.encode()).hexdigest()]
    return Cells(kept, found.labels, found.batch, mark, path)


def methods_of(asked, cells, baselines):
    """The models and baselines on labelled cells; ``baselines`` where none is named."""
    return vectors.methods(
        asked,
        cells.adata,
        batch=cells.batch,
        baselines=asked.baselines or baselines,
        allow_non_integer=asked.options["allow_non_integer"],
        where=cells.path,
    )

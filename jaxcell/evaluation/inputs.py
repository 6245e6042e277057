"""What evaluate looks at: the labelled cells of an AnnData, checked before anything is computed."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from jaxcell.data.checks import check_chunk
from jaxcell.data.sources import open_source

# Values of a label or batch column that say "not known"; compared without case and blanks.
MISSING = ("", "nan", "na", "n/a", "none", "unknown")
FEWEST_CELLS = 30  # below this a graph of 15 neighbours says nothing
EXTRA = ("sklearn", "scanpy", "igraph", "scib_metrics", "matplotlib")


@dataclass
class Cells:
    """The cells that are evaluated.

    n = cells with a label (and a batch, where a batch column is named).
    """

    labels: np.ndarray  # str [n]
    batch: np.ndarray | None  # str [n]; None: no batch column
    embeddings: dict  # key -> float32 [n, d]
    counts: sp.csr_matrix | None  # float32 [n, genes]; None: the baselines are not wanted
    total: int  # cells in the file
    left_out: dict = field(default_factory=dict)  # reason -> cells


def check_extra():
    """Raise ImportError naming the extra if a package that evaluate needs is not installed."""
    absent = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if absent:
        names = ", ".join(absent)
        raise ImportError(f'evaluate needs {names}, not installed: pip install "jaxcell[eval]"')


def load(data, keys, *, label, batch, counts, allow_non_integer):
    """Read and check what evaluate needs.

    Parameters
    ----------
    data : path or AnnData
    keys : sequence of str
        Entries of ``obsm``.
    label, batch : str
        Columns of ``obs``; ``batch`` may be None.
    counts : str
        'X', 'raw', 'layers/NAME', or None for no baselines.
    allow_non_integer : bool
        Accept counts that are not whole numbers (RSEM, some read counts).

    Returns
    -------
    Cells

    Raises
    ------
    FileNotFoundError, ValueError
        Naming what was found and what would be right.
    """
    import anndata

    if not isinstance(data, anndata.AnnData):
        if not Path(data).is_file():
            raise FileNotFoundError(f"{data}: no such file; evaluate reads an h5ad file")
        data = anndata.read_h5ad(data)

    keys = [keys] if isinstance(keys, str) else list(dict.fromkeys(keys))
    if not keys and counts is None:
        raise ValueError(
            "nothing to evaluate: no embedding key, and counts=None leaves out the baselines"
        )
    for key in keys:
        if key not in data.obsm:
            raise ValueError(f"obsm has no {key!r}; it has {sorted(data.obsm) or 'no entry'}")
    labels = _column(data, label, "label")
    batches = None if batch is None else _column(data, batch, "batch")

    no_label = _is_missing(labels)
    no_batch = np.zeros(len(labels), bool) if batches is None else _is_missing(batches)
    keep = ~(no_label | no_batch)
    left_out = {
        f"no label in obs[{label!r}]": int(no_label.sum()),
        f"no batch in obs[{batch!r}]": int((no_batch & ~no_label).sum()),
    }
    if keep.sum() < FEWEST_CELLS:
        raise ValueError(
            f"obs[{label!r}]: {keep.sum()} of {len(keep)} cells have a label"
            f"{'' if batch is None else ' and a batch'}; evaluate needs at least {FEWEST_CELLS}"
        )
    classes = np.unique(labels[keep])
    if len(classes) < 2:
        raise ValueError(
            f"obs[{label!r}] has one class only ({str(classes[0])!r}); a label needs at least two"
        )
    if len(classes) == keep.sum():
        raise ValueError(f"obs[{label!r}]: every class has one cell only; nothing can be held out")
    return Cells(
        labels=labels[keep],
        batch=None if batches is None else batches[keep],
        embeddings={key: _embedding(data.obsm[key], key)[keep] for key in keys},
        counts=None if counts is None else _counts(data, counts, allow_non_integer)[keep],
        total=data.n_obs,
        left_out={reason: n for reason, n in left_out.items() if n},
    )


def _column(data, name, what):
    if name not in data.obs:
        raise ValueError(f"obs has no {what} column {name!r}; it has {list(data.obs)}")
    values = data.obs[name]
    return np.where(values.isna(), "", values.astype(str).str.strip()).astype(str)


def _is_missing(values):
    return np.isin(np.char.lower(values), MISSING)


def _embedding(value, key):
    x = value.toarray() if sp.issparse(value) else np.asarray(value)
    if x.ndim != 2 or x.dtype.kind not in "fiu":
        raise ValueError(
            f"obsm[{key!r}] is {x.dtype}{list(x.shape)}; an embedding is numbers [cells, d]"
        )
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise ValueError(
            f"obsm[{key!r}] has NaN or infinite values in {bad.sum()} of {len(x)} cells"
        )
    if (x == x[:1]).all():
        raise ValueError(f"obsm[{key!r}] is the same vector for every cell; nothing to evaluate")
    return np.ascontiguousarray(x, dtype=np.float32)


def _counts(data, where, allow_non_integer):
    """Counts of all cells, float32 CSR; what is not counts is refused as in ``prepare``."""
    try:
        source, chunks = open_source(data, counts=where), []
        for chunk in source.chunks():
            check_chunk(chunk, source, allow_non_integer)
            chunks.append(chunk)
    except ValueError as error:
        raise ValueError(
            f"{error}. In Python counts=None evaluates the embeddings without the baselines"
        ) from error
    return sp.vstack(chunks, format="csr").astype(np.float32)

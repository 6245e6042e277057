"""What evaluate looks at: the labelled cells of an AnnData, checked before anything is computed."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from jaxcell.data.checks import WHERE_COUNTS, check_chunk
from jaxcell.data.genes import identify
from jaxcell.data.sources import open_source, read_h5ad
from jaxcell.data.splits import is_missing
from jaxcell.data.vocabulary import read_vocabulary
from jaxcell.files import near
from jaxcell.registry import did_you_mean

from .embedding_files import read_embedding

FEWEST_CELLS = 30  # below this a graph of 15 neighbours says nothing
IN_X = "Expected raw counts in X: no other place is read"
EXTRA = ("sklearn", "scanpy", "igraph", "scib_metrics", "matplotlib")


@dataclass
class Cells:
    """The cells that are evaluated.

    n = cells with a label (and a batch, where a batch column is named).
    """

    labels: np.ndarray  # str [n]
    batch: np.ndarray | None  # str [n]; None: no batch column
    keep: np.ndarray  # bool [cells in the file]
    left_out: dict  # reason -> cells
    embeddings: dict = field(default_factory=dict)  # key -> float32 [n, d], or one per fold: [...]
    counts: sp.csr_matrix | None = None  # float32 [n, genes]; None: the baselines are not wanted
    chosen: np.ndarray | None = None  # bool [genes], of the given list; None: no list is given
    train: sp.csr_matrix | None = None  # float32 [., genes]; cells to fit the baselines on
    shared: int = 0  # evaluated cells whose name is also in train


def check_extra():
    """Raise ImportError naming the extra if a package that evaluate needs is not installed."""
    absent = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if absent:
        names = ", ".join(absent)
        raise ImportError(f'evaluate needs {names}, not installed: pip install "jaxcell[eval]"')


def read(data):
    """The AnnData that was given, or the one in its file.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, or one that is empty, damaged or no h5ad: they name it.
    """
    import anndata

    if isinstance(data, anndata.AnnData):
        return data
    if not Path(data).is_file():
        raise FileNotFoundError(f"{data}: no such file; expected an h5ad file{near(data)}")
    return read_h5ad(data)


def labelled(adata, label, batch):
    """The cells that have a label and a batch.

    Parameters
    ----------
    adata : AnnData
    label, batch : str
        Columns of ``obs``; ``batch`` may be None.

    Returns
    -------
    Cells
        Without embeddings and counts.

    Raises
    ------
    ValueError
        Naming what was found and what would be right.
    """
    labels = obs_column(adata, label, "label")
    batches = None if batch is None else obs_column(adata, batch, "batch")
    no_label = is_missing(labels)
    no_batch = np.zeros(len(labels), bool) if batches is None else is_missing(batches)
    keep = ~(no_label | no_batch)
    left_out = {
        f"no label in obs[{label!r}]": int(no_label.sum()),
        f"no batch in obs[{batch!r}]": int((no_batch & ~no_label).sum()),
    }
    if keep.sum() < FEWEST_CELLS:
        raise ValueError(
            f"obs[{label!r}]: {keep.sum()} of {len(keep)} cells have a label"
            f"{'' if batch is None else ' and a batch'}; evaluate needs at least "
            f"{FEWEST_CELLS}: name another column (--label), or more cells"
        )
    classes = np.unique(labels[keep])
    if len(classes) < 2:
        raise ValueError(
            f"obs[{label!r}] has one class only ({str(classes[0])!r}); a label needs at least two: "
            "name another column (--label)"
        )
    if len(classes) == keep.sum():
        raise ValueError(
            f"obs[{label!r}]: every class has one cell only; nothing can be held out: name "
            "another column (--label)"
        )
    return Cells(
        labels=labels[keep],
        batch=None if batches is None else batches[keep],
        keep=keep,
        left_out={reason: n for reason, n in left_out.items() if n},
    )


def embeddings(adata, keys, keep, held_out):
    """Embeddings of the evaluated cells.

    Parameters
    ----------
    adata : AnnData
    keys : sequence of str
        Entries of ``obsm``; '{}' in a key stands for what each fold holds out.
    keep : bool [cells in the file]
    held_out : list of str, or None
        What each fold holds out, in order; None where no batch is held out.

    Returns
    -------
    dict
        {key: float32 [n, d], or for a key with '{}' a list of them, one per fold}

    Raises
    ------
    ValueError
        A key that is not there, or is no embedding; '{}' where no batch is held out.
    """
    found = {}
    for key in keys:
        if "{}" in key and held_out is None:
            raise ValueError(
                f"key {key!r}: {{}} stands for a held-out batch, and no batch is held out: name "
                "a batch column with at least two batches with batch="
            )
        names = [key.replace("{}", name) for name in held_out] if "{}" in key else [key]
        absent = [name for name in names if name not in adata.obsm]
        if absent:
            asked = f" (key {key!r}: one embedding per held-out batch)" if "{}" in key else ""
            raise ValueError(
                f"obsm has no {', '.join(map(repr, absent))}{asked}; "
                f"it has {sorted(adata.obsm) or 'no entry'}"
            )
        views = [_embedding(adata.obsm[name], name)[keep] for name in names]
        found[key] = views if "{}" in key else views[0]
    return found


def files_of_embeddings(files, adata, keep, taken):
    """Embeddings from files: {name: path} -> {name: float32 [n, d]}; taken: names in use."""
    found, cells = {}, adata.obs_names[keep]
    for name, path in files.items():
        if name in taken:
            raise ValueError(f"embeddings: {name!r} is a key as well; give the file another name")
        found[name] = _embedding(read_embedding(path, name, cells), name, str(path))
    return found


def counts(adata, where, allow_non_integer, keep):
    """Counts of the cells that ``evaluate`` looks at, float32 CSR, and the table of the genes."""
    try:
        x, source = raw_counts(adata, where, allow_non_integer)
    except ValueError as error:
        raise ValueError(
            f"{error}. In Python counts=None evaluates the embeddings without the baselines"
        ) from error
    return x[keep], source.var


def gene_columns(given, var):
    """Which genes of a file are on a list.

    Parameters
    ----------
    given : path or sequence of str
        A vocabulary.json, a store or model folder, a text file with a gene a line; or names.
    var : pandas.DataFrame [g]

    Returns
    -------
    bool [g], int
        By symbol, Ensembl id or index; and how many genes the list has.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; fewer than two of its genes are here.
    """
    if isinstance(given, str | Path):
        vocabulary = read_vocabulary(given)
        wanted, n = {*vocabulary.symbols, *vocabulary.ensembl} - {""}, len(vocabulary)
    else:
        wanted = set(map(str, given)) - {""}
        n = len(wanted)
    names = identify(var)
    columns = zip(var.index.astype(str), names.symbols, names.ensembl, strict=True)
    chosen = np.array([not wanted.isdisjoint(column) for column in columns])
    if chosen.sum() < 2:
        raise ValueError(
            f"genes=: found {chosen.sum()} of the {n} genes among the {len(chosen)} of the file"
            f" (it begins {list(map(str, var.index[:3]))}), expected two at least"
        )
    return chosen, n


def training_counts(train, where, genes, allow_non_integer):
    """Counts of the cells that the inductive baselines are fitted on.

    Parameters
    ----------
    train : path or AnnData
        Its counts are at the same place as the evaluated cells'; extra genes are left out.
    genes : str [g]
        The evaluated cells' genes, all of which `train` must have.

    Returns
    -------
    float32 CSR [., g], set of str
        Counts in the order of `genes`, and the names of the cells.
    """
    import pandas as pd

    x, source = raw_counts(train, where, allow_non_integer)
    names = pd.Index(source.var.index.astype(str))
    if not names.is_unique:
        raise ValueError(f"train: {source.name} names a gene twice: {names[names.duplicated()][0]}")
    column = names.get_indexer(genes)
    if (column < 0).any():
        absent = [str(name) for name in genes[column < 0][:3]]
        raise ValueError(
            f"train: {source.name} lacks {(column < 0).sum()} of the {len(genes)} genes of the"
            f" evaluated cells (for example {', '.join(absent)}); it needs them all, by the names"
            " in var"
        )
    return x[:, column], set(source.obs.index.astype(str))


def obs_column(data, name, what):
    """A column of obs as str [cells], without blanks at its ends; '' where it has no value."""
    if name not in data.obs:
        raise ValueError(
            f"obs has no {what} column {name!r}; it has {list(data.obs)}"
            f"{did_you_mean(name, data.obs)}"
        )
    values = data.obs[name]
    return np.where(values.isna(), "", values.astype(str).str.strip()).astype(str)


def _embedding(value, key, where=None):
    where = where or f"obsm[{key!r}]"
    x = value.toarray() if sp.issparse(value) else np.asarray(value)
    if x.ndim != 2 or x.dtype.kind not in "fiu":
        raise ValueError(f"{where} is {x.dtype}{list(x.shape)}; an embedding is numbers [cells, d]")
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{where} has NaN or infinite values in {bad.sum()} of {len(x)} cells; "
            "embed them again, or leave these cells out"
        )
    if (x == x[:1]).all():
        raise ValueError(
            f"{where} is the same vector for every cell; nothing to evaluate; "
            "embed the cells again, or name another --key"
        )
    return np.ascontiguousarray(x, dtype=np.float32)


def raw_counts(data, where="", allow_non_integer=False, name="AnnData"):
    """All cells' counts, checked as ``prepare`` checks them.

    Parameters
    ----------
    data : AnnData or path
    where : str
        'X', 'raw' or 'layers/NAME'; '': X, where the caller offers no other place.
    allow_non_integer : bool
    name : str
        What errors call an AnnData.

    Returns
    -------
    float32 CSR [n, genes], Source

    Raises
    ------
    ValueError
        Values that are no counts.
    """
    source, chunks = open_source(data, counts=where or "X", name=str(name)), []
    for chunk in source.chunks():
        check_chunk(chunk, source, allow_non_integer, hint=WHERE_COUNTS if where else IN_X)
        chunks.append(chunk)
    return sp.vstack(chunks, format="csr").astype(np.float32), source

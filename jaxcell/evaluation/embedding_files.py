"""Embeddings made elsewhere (Seurat, for example), read from a file and matched by cell name."""

from pathlib import Path

import numpy as np

from jaxcell.files import near

SUFFIXES = (".csv", ".tsv", ".txt", ".npz", ".h5ad")


def read_embedding(path, name, cells):
    """An embedding of some cells from a file.

    Parameters
    ----------
    path : path
        csv, tsv or txt (tabs), also .gz: a header, the cell's name in the first column, numbers in
        the others, as R's write.csv and write.table make it. npz: arrays ``obs_names`` [m] and
        ``embedding`` [m, d]. h5ad: ``obsm[name]``, or its only entry.
    name : str
        What it is called here, and in errors.
    cells : str [n]
        The cells wanted; the file may have others, in any order.

    Returns
    -------
    array [n, d]
        In the order of `cells`.

    Raises
    ------
    FileNotFoundError, ValueError
        Naming the file, what was found and what is expected.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"embeddings {name}={path}: no such file{near(path)}")
    suffixes = [s for s in path.suffixes if s != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    if kind not in SUFFIXES:
        raise ValueError(f"{path}: found {kind!r}, expected one of {', '.join(SUFFIXES)}")
    read = {".npz": _npz, ".h5ad": _h5ad}.get(kind, _text)
    own, x = read(path, name)
    if x.ndim != 2 or len(own) != len(x):
        raise ValueError(
            f"{path}: found {len(own)} cell names and an embedding {list(x.shape)},"
            " expected one row of numbers per cell"
        )
    return x[_rows(own, np.asarray(cells).astype(str), path)]


def _text(path, name):
    import pandas as pd

    separator = "," if ".csv" in path.suffixes else "\t"
    table = pd.read_csv(path, sep=separator, index_col=0, dtype=str, keep_default_na=False)
    try:
        x = table.to_numpy().astype(np.float64)
    except ValueError as error:
        raise ValueError(
            f"{path}: found {error}, expected a header, cell names in the first column and numbers"
            " in the others"
        ) from error
    return table.index.to_numpy().astype(str), x


def _npz(path, name):
    with np.load(path) as arrays:
        if not {"obs_names", "embedding"} <= set(arrays.files):
            raise ValueError(
                f"{path}: found the arrays {arrays.files}, expected 'obs_names' and 'embedding'"
            )
        try:
            return arrays["obs_names"].astype(str), arrays["embedding"]
        except ValueError as error:  # objects: numpy would have to run what the file says
            raise ValueError(
                f"{path}: found objects, expected obs_names as text: np.asarray(obs_names, str)"
            ) from error


def _h5ad(path, name):
    import anndata

    data = anndata.read_h5ad(path, backed="r")
    try:
        keys = list(data.obsm)
        key = keys[0] if len(keys) == 1 else name
        if key not in keys:
            raise ValueError(f"{path}: found {keys} in obsm, expected {name!r} or one entry only")
        return data.obs_names.to_numpy().astype(str), np.asarray(data.obsm[key])
    finally:
        data.file.close()


def _rows(own, cells, path):
    """The row of each wanted cell."""
    import pandas as pd

    index, wanted = pd.Index(own), pd.Index(cells)
    for what, names in (("the file", index), ("the evaluated cells", wanted)):
        if names.has_duplicates:
            twice = names[names.duplicated()].unique()
            raise ValueError(
                f"{path}: found {len(twice)} names more than once in {what} (for example"
                f" {twice[0]!r}), expected each once: cells are matched by name"
            )
    rows = index.get_indexer(wanted)
    absent = wanted[rows < 0]
    if len(absent):
        raise ValueError(
            f"{path}: found {len(wanted) - len(absent)} of the {len(wanted)} evaluated cells,"
            f" expected all by their names in obs; without {', '.join(absent[:3])}, for example"
            f" (the file begins {', '.join(index[:3])})"
        )
    return rows

"""Cells of any source in memory, as scanpy takes them: ``jaxcell.read``."""

from collections.abc import Sequence

import anndata
import scipy.sparse as sp

from jaxcell.data.sources import open_source
from jaxcell.data.types import StrPath


def read(
    source: StrPath,
    *,
    counts: str = "X",
    features: Sequence[str] = (),
) -> anndata.AnnData:
    """Read all cells of a source as an AnnData of their counts.

    Parameters
    ----------
    source : path or str
        What `jaxcell.prepare` takes: an h5ad, zarr, loom or 10x file or folder, a bulk table,
        ``scanpy:pbmc68k_reduced`` (700 real cells inside scanpy), …
    counts : str
        Where the raw counts are: 'X', 'raw' or 'layers/NAME'.
    features : list of str
        Types of features to keep beside genes, where the source says which type each has.

    Returns
    -------
    AnnData [cells, genes]
        X is CSR; ``obs`` and ``var`` are the source's. Its other layers and embeddings are left
        where they are. Whether these are counts at all is checked by what takes them.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError
        See `jaxcell.data.sources.open_source`.
    """
    opened = open_source(source, counts=counts, features=features)
    x = sp.vstack(list(opened.chunks()), format="csr")
    return anndata.AnnData(x, obs=opened.obs.copy(), var=opened.var.copy())

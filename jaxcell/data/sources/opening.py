"""A path, a name or an AnnData → the source that reads it."""

from pathlib import Path

import anndata

from jaxcell.data.sources.h5ad import H5adSource
from jaxcell.data.sources.in_memory import PBMC68K, AnnDataSource, pbmc68k_reduced

KNOWN = f"FILE.h5ad, {PBMC68K}, or an AnnData"


def open_source(spec, *, counts="X", chunk_cells=None, name="AnnData"):
    """Open an input of `prepare`.

    Parameters
    ----------
    spec : path, str or anndata.AnnData
        An h5ad file, ``scanpy:pbmc68k_reduced`` (700 real cells inside scanpy), or an AnnData.
    counts : str
        Where the counts are: 'X', 'raw' or 'layers/NAME'.
    chunk_cells : int, optional
        Cells of a chunk; by default 2048, fewer where there are more than 4096 genes.
    name : str
        What errors call an AnnData.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Not a known kind of input; empty, truncated or damaged; no such layer.
    ImportError
        scanpy is needed and absent.
    """
    if isinstance(spec, anndata.AnnData):
        return AnnDataSource(spec, name, counts, chunk_cells)
    if str(spec) == PBMC68K:
        return AnnDataSource(pbmc68k_reduced(), PBMC68K, counts, chunk_cells)
    path = Path(spec)
    if path.suffix != ".h5ad":
        raise ValueError(f"{spec}: unknown kind of input {path.suffix!r}; known: {KNOWN}")
    return H5adSource(path, counts, chunk_cells)

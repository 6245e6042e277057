"""Inputs of `prepare`, each an iterator over its cells with bounded memory."""

from jaxcell.data.sources.h5ad import H5adSource, read_h5ad
from jaxcell.data.sources.in_memory import PBMC68K, AnnDataSource
from jaxcell.data.sources.opening import expand, open_source

__all__ = ["PBMC68K", "AnnDataSource", "H5adSource", "expand", "open_source", "read_h5ad"]

"""An AnnData as a source, and real cells that come with scanpy."""

import hashlib

import anndata
import numpy as np
import scipy.sparse as sp
from pandas.util import hash_pandas_object

from jaxcell.data.sources.source import Source

PBMC68K = "scanpy:pbmc68k_reduced"


class AnnDataSource(Source):
    """An AnnData in memory (or backed: read chunk by chunk)."""

    def __init__(self, adata, name, counts="X", chunk_cells=None):
        self.name, self._adata, self.obs, self.n_cells = name, adata, adata.obs, adata.n_obs
        self.places = ["X"] if adata.X is not None else []
        # anndata 0.13 lists X among the layers, under the name None.
        self.places += [f"layers/{layer}" for layer in adata.layers if layer is not None]
        self.places += ["raw"] if adata.raw is not None else []
        self.var = adata.raw.var if counts == "raw" and adata.raw is not None else adata.var
        self._choose(counts, chunk_cells)

    def at(self, counts):
        """The same cells with the counts of another place."""
        return AnnDataSource(self._adata, self.name, counts, self._chunk_cells)

    def _read(self, slices):
        place, _, layer = self.counts.partition("/")
        matrix = self._adata.raw.X if place == "raw" else self._adata.X
        matrix = self._adata.layers[layer] if layer else matrix
        if sp.issparse(matrix) and matrix.format != "csr":
            matrix = matrix.tocsr()
        for rows in slices:
            yield matrix[rows].copy()  # a slice may be a view of the caller's data

    def checksum(self):
        """sha256 of the gene names and of the counts."""
        digest = hashlib.sha256("\n".join(map(str, self.var.index)).encode())
        for chunk in self.chunks():
            for part in (chunk.indptr, chunk.indices, chunk.data):
                digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def stamp(self):
        """Checksums of the counts and of obs."""
        obs = hash_pandas_object(self.obs).to_numpy().tobytes()
        return f"{self.content}, obs {hashlib.sha256(obs).hexdigest()[:12]}"


def pbmc68k_reduced():
    """Real cells with no network: counts recovered from scanpy's log-normalised copy."""
    try:
        import scanpy
    except ImportError as error:
        raise ImportError(f"{PBMC68K} lies inside scanpy: pip install 'jaxcell[eval]'") from error
    adata = scanpy.datasets.pbmc68k_reduced()
    normalised = adata.raw.X.tocsr().astype(np.float64)
    scaled = sp.diags(adata.obs["n_counts"].to_numpy() / 1e4) @ normalised.expm1()
    counts = scaled.tocsr()
    counts.data = np.rint(scaled.data)
    deviation = np.abs(counts.data - scaled.data).max()
    if deviation >= 0.1:
        raise ValueError(
            f"{PBMC68K}: the recovered counts are up to {deviation:.2g} away from integers "
            "(expected < 0.1): has scanpy changed this dataset?"
        )
    return anndata.AnnData(counts.astype(np.float32), adata.obs, adata.raw.var)

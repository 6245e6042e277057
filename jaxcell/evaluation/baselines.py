"""What an embedding has to beat: views of the counts of the very same cells.

n cells, g genes, k components. Nothing here looks at labels.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

LIBRARY_SIZE = 1e4


def normalise(counts):
    """Library-size normalisation and log1p: ln(1 + 1e4 · count / total of the cell).

    counts [n, g] (CSR) -> CSR float32 [n, g]; a cell without counts stays zero.
    """
    total = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    scale = LIBRARY_SIZE / np.where(total > 0, total, 1.0)
    x = sp.csr_matrix(sp.diags_array(scale) @ counts, dtype=np.float32)
    x.data = np.log1p(x.data)
    return x


def highly_variable(x, n_genes):
    """The most variable genes by binned normalised dispersion.

    Source: Satija et al. 2015, as scanpy.pp.highly_variable_genes(flavor='seurat').

    x [n, g] (normalised, CSR), n_genes < g -> bool [g], true for n_genes and ties with the last.
    """
    import anndata
    import scanpy

    table = scanpy.pp.highly_variable_genes(
        anndata.AnnData(x), n_top_genes=n_genes, flavor="seurat", inplace=False
    )
    return table["highly_variable"].to_numpy()


@dataclass(frozen=True)
class Components:
    """Principal components of some cells, to project these or others on."""

    mean: np.ndarray  # [g]
    axes: np.ndarray  # [k, g], orthonormal rows
    singular: np.ndarray  # [k], of the centred matrix, largest first

    def scores(self, x, ridge=0.0):
        """Codes of cells by PCA, or by Ridge PCA where `ridge` is above 0.

        Ridge PCA is the linear encoder E [g, k] and decoder D [k, g] that minimise
        ‖Y − Y E D‖² + λ ‖E D‖² over the fitted, centred cells Y = U S Vᵀ: reduced-rank ridge
        regression of Y on itself (Mukherjee and Zhu 2011). The solution of rank k is
        E = V_k diag(s² / (s² + λ)), D = V_kᵀ, so the code is PCA's with each component shrunk by
        s² / (s² + λ), weak ones most: distances change, the subspace does not, and a probe that
        standardises its features cannot tell the two apart. λ = ridge · s_k², so that `ridge`
        has no unit: at 1 the last component is halved, whatever the number of cells.

        x CSR [., g] -> float32 [., k]
        """
        axes = self.axes
        if ridge:
            energy = np.maximum(self.singular**2, np.finfo(np.float64).tiny)
            axes = axes * (energy / (energy + ridge * energy[-1]))[:, None]
        return np.asarray(x @ axes.T - axes @ self.mean, np.float32)


def principal_components(x, k):
    """The leading principal components, exact (ARPACK, to machine precision).

    x CSR [n, g] -> Components, min(k, n - 1, g - 1) of them
    """
    from sklearn.decomposition import PCA

    pca = PCA(min(k, min(x.shape) - 1), svd_solver="arpack", random_state=0)
    pca.fit(x.astype(np.float64))
    return Components(pca.mean_, pca.components_, pca.singular_values_)

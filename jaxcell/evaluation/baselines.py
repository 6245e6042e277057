"""What an embedding has to beat: views of the counts of the very same cells.

n cells, g genes. All are fitted on the evaluated cells (transductive), without labels.
"""

import numpy as np
import scipy.sparse as sp

LOG = "(Lib+Log)Norm"
HVG = "(Lib+Log)Norm + HVG"
PCA = "PCA"
SHUFFLED = "Shuffled labels"
BASELINES = (LOG, HVG, PCA, SHUFFLED)

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

    x [n, g] (normalised, CSR) -> bool [g] with min(n_genes, g) genes.
    """
    if n_genes >= x.shape[1]:
        return np.ones(x.shape[1], bool)
    import anndata
    import scanpy

    table = scanpy.pp.highly_variable_genes(
        anndata.AnnData(x), n_top_genes=n_genes, flavor="seurat", inplace=False
    )
    return table["highly_variable"].to_numpy()


def principal_components(x, n_components, seed):
    """Scores of the leading principal components of the centred matrix.

    x [n, g] (CSR) -> float32 [n, min(n_components, n - 1, g - 1)]
    """
    from sklearn.decomposition import PCA as Pca

    pca = Pca(min(n_components, min(x.shape) - 1), svd_solver="arpack", random_state=seed)
    return pca.fit_transform(x.astype(np.float64)).astype(np.float32)


def views(counts, *, n_hvg, n_pcs, seed):
    """The matrices of the baselines, dense.

    counts [n, g] (CSR) -> {name: float32 [n, .]}; where all genes are among the `n_hvg`, the
    HVG view *is* the full view (the same object), so that it is computed once. The shuffled
    labels look at PCA's view.
    """
    x = normalise(counts)
    chosen = highly_variable(x, n_hvg)
    full = x.toarray()
    hvg = full if chosen.all() else full[:, chosen]
    pca = principal_components(x, n_pcs, seed)
    return {LOG: full, HVG: hvg, PCA: pca, SHUFFLED: pca}

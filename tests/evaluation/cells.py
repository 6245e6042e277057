"""Small made-up cells for the tests of evaluation."""

import anndata
import numpy as np


def blobs(n=120, classes=3, d=6, batches=3, gap=8.0, seed=0):
    """Well separated classes over batches: x [n, d], labels [n], batch [n]."""
    rng = np.random.default_rng(seed)
    code = np.arange(n) % classes
    centres = gap * np.eye(classes, d)
    x = (centres[code] + rng.normal(size=(n, d))).astype(np.float32)
    batch = np.array([f"b{i}" for i in rng.permutation(np.arange(n) // classes % batches)])
    return x, np.array([f"type {c}" for c in code]), batch


def adata(n=120, genes=40, **kwargs):
    """AnnData with counts that carry the class, an embedding, a label and a batch."""
    x, labels, batch = blobs(n, **kwargs)
    rng = np.random.default_rng(1)
    rate = np.exp(rng.normal(size=(len(np.unique(labels)), genes)))
    counts = rng.poisson(rate[np.unique(labels, return_inverse=True)[1]]).astype(np.float32)
    data = anndata.AnnData(counts)
    data.obs_names = [f"cell{i}" for i in range(n)]
    data.obs["cell_type"] = labels
    data.obs["batch"] = batch
    data.obsm["X_good"] = x
    return data

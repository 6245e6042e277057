"""Gene vectors that a model's have to beat. V genes, n cells."""

import warnings

import numpy as np
import scipy.sparse as sp

from jaxcell.data.checks import check_chunk
from jaxcell.data.genes import identify
from jaxcell.data.matching import match
from jaxcell.data.sources import open_source

from .baselines import normalise

MOST_CELLS = 10_000  # the transposed matrix is dense: 4 bytes × genes × cells


def random_vectors(n_genes, width, seed=0):
    """Vectors that know nothing: standard normal, float32 [V, D]."""
    return np.random.default_rng(seed).standard_normal((n_genes, width), np.float32)


def drawn_cells(n_cells, seed=0):
    """Which cells of a file are taken: bool [n_cells], at most 10 000, in the file's order."""
    keep = np.zeros(n_cells, bool)
    keep[np.random.default_rng(seed).permutation(n_cells)[:MOST_CELLS]] = True
    return keep


def read_counts(data, vocabulary, *, counts="X", allow_non_integer=False, seed=0):
    """Raw counts of the vocabulary's genes, of at most 10 000 cells drawn by seed.

    Parameters
    ----------
    data : path of an h5ad file, or AnnData
    vocabulary : Vocabulary, V genes
    counts : 'X', 'raw' or 'layers/NAME'

    Returns
    -------
    CSR float32 [n, V], bool [V]
        The counts, and which genes the file has.

    Raises
    ------
    ValueError, FileNotFoundError
        Not counts, or none of the genes.
    """
    source = open_source(data, counts=counts)
    names = identify(source.var, where=source.name)
    found = match(names, vocabulary, duplicates="sum", where=source.name)
    keep = drawn_cells(source.n_cells, seed)
    parts, start = [], 0
    for chunk in source.chunks():
        looks = check_chunk(chunk, source, allow_non_integer)
        if looks and not parts:
            warnings.warn(f"{source.name}: non-integer values taken: {looks}", stacklevel=3)
        rows = keep[start : start + chunk.shape[0]]
        parts.append(found.apply(chunk[rows]).astype(np.float32))
        start += chunk.shape[0]
    there = np.zeros(len(vocabulary), bool)
    there[found.columns[found.columns >= 0]] = True
    return sp.vstack(parts, format="csr"), there


def transposed_pca(counts, n_components, seed=0):
    """PCA with genes as the samples and cells as the features, of (Lib+Log)Norm counts.

    counts [n, V] (CSR) -> float32 [V, min(n_components, n - 1, V - 1)], leading component first;
    randomised above 1000 cells, exact below.
    """
    from sklearn.decomposition import PCA as Pca

    x = normalise(counts).T.toarray()
    pca = Pca(min(n_components, min(x.shape) - 1), random_state=seed)
    return pca.fit_transform(x).astype(np.float32)


def genept(x, vectors):
    """Cells as sums of gene vectors weighted by expression, of length 1 (GenePT-w).

    Source: Chen and Zou 2024, where ``vectors`` are text embeddings of the genes' descriptions. A
    mean over genes differs from the sum by a factor, which the length takes away.

    Parameters
    ----------
    x : CSR [n, g]
        (Lib+Log)Norm.
    vectors : [g, d]
        Zeros for a gene that has none.

    Returns
    -------
    float32 [n, d]
        Zero for a cell without any of the genes.

    Raises
    ------
    ValueError
        Another number of genes, or a vector that is not finite.
    """
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim != 2 or len(vectors) != x.shape[1]:
        raise ValueError(
            f"genept: found gene vectors {list(vectors.shape)} for {x.shape[1]} genes, expected a"
            " row for each"
        )
    if not np.isfinite(vectors).all():
        raise ValueError("genept: the gene vectors hold NaN or infinite values")
    found = x @ vectors
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return (found / np.where(length > 0, length, 1.0)).astype(np.float32)

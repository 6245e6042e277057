"""Gene programs from gene vectors: clusters of genes, edges within them, scores of cells.

M genes, D dimensions, P programs, n cells.
"""

import warnings

import numpy as np

from jaxcell.evaluation.clustering import Space

RESOLUTION = 40.0  # of Leiden; scGPT's
FEWEST = 5  # genes of a program
TWINS, STRONG, GENERIC = 0.99, 0.4, 0.5  # cosines, see `program_edges` and `generic_edges`
MOST_EDGES = 100_000


def cosines(vectors):
    """Cosines of all pairs of gene vectors: [M, D] -> float32 [M, M]; of a zero vector 0."""
    x = np.asarray(vectors, np.float64)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    x = x / np.where(norm > 0, norm, 1)
    return (x @ x.T).astype(np.float32)


def find_programs(vectors, genes, resolution=RESOLUTION, fewest=FEWEST, seed=0):
    """Clusters of genes whose vectors lie close: {'P1': [gene, …], …}, the largest first.

    Leiden at a high resolution on the graph of the 15 nearest neighbours (Euclidean, as scanpy's;
    exact here); clusters of fewer genes than ``fewest`` are no programs. Source: scGPT's tutorial
    on gene vectors; BioFormers 3.4.

    Parameters
    ----------
    vectors : [M, D]
    genes : names [M]
    resolution, seed : of Leiden

    Raises
    ------
    ValueError
        No cluster has enough genes: a lower resolution makes larger ones.
    """
    members = Space(np.asarray(vectors, np.float32)).clusterings("leiden", seed, (resolution,))
    clusters = members[resolution]
    sizes = np.bincount(clusters)
    if not (sizes >= fewest).any():
        raise ValueError(
            f"resolution: at {resolution:g} {len(genes)} genes fall into {len(sizes)} clusters, "
            f"the largest of {sizes.max()}, expected some with {fewest} or more: lower "
            "--resolution"
        )
    order = [i for i in np.argsort(-sizes, kind="stable") if sizes[i] >= fewest]
    found = [[genes[g] for g in np.flatnonzero(clusters == i)] for i in order]
    return {f"P{i}": own for i, own in enumerate(found, 1)}


def program_edges(cosine, genes, programs, twins=TWINS, strong=STRONG):
    """Pairs of genes of a program whose cosine is in (strong, twins): [(a, b, cosine, program)].

    Above ``twins`` vectors are the same gene's, or were never trained.
    """
    place, rows = {gene: i for i, gene in enumerate(genes)}, []
    for name, own in programs.items():
        at = np.array([place[gene] for gene in own])
        for i, j in zip(*np.triu_indices(len(at), k=1), strict=True):
            value = float(cosine[at[i], at[j]])
            if strong < value < twins:
                rows.append((own[i], own[j], value, name))
    return sorted(rows, key=lambda row: -row[2])


def generic_edges(cosine, genes, cut=GENERIC, twins=TWINS, most=MOST_EDGES):
    """The pairs of all genes whose cosine is in (cut, twins), strongest first, at most so many.

    -> [(a, b, cosine)], how many pairs there are
    """
    first, second = np.nonzero(np.triu((cosine > cut) & (cosine < twins), k=1))
    values = cosine[first, second]
    order = np.argsort(-values, kind="stable")[:most]
    rows = [(genes[first[i]], genes[second[i]], float(values[i])) for i in order]
    return rows, len(values)


def program_scores(counts, genes, programs, seed=0):
    """How much each cell expresses each program, from 0 (the least of these cells) to 1.

    scanpy's score_genes: a program's mean less that of genes drawn at the same levels of
    expression; then scaled by the least and the greatest of all cells.

    Parameters
    ----------
    counts : CSR [n, G], normalised and logged
    genes : names of its columns [G], those of the programs among them, each once
    programs : {name: [gene, …]}

    Returns
    -------
    float32 [n, P]
    """
    import anndata
    import pandas as pd
    import scanpy

    adata = anndata.AnnData(counts, var=pd.DataFrame(index=list(genes)))
    found = np.zeros((adata.n_obs, len(programs)), np.float32)
    for i, own in enumerate(programs.values()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of pandas, inside scanpy
            scanpy.tl.score_genes(adata, own, score_name="score", random_state=seed)
        score = adata.obs["score"].to_numpy(np.float64)
        span = np.ptp(score)
        found[:, i] = (score - score.min()) / (span if span > 0 else 1)
    return found


def markers(counts, genes, groups, k=9, most=8):
    """The genes that tell each major group of cells from the others.

    scanpy's rank_genes_groups, by t-test.

    Parameters
    ----------
    counts : CSR [n, M], normalised and logged
    genes : names [M]
    groups : str [n], '' for none
    k : genes of a group; most : groups, the largest; those of fewer than 10 cells do not count

    Returns
    -------
    {group: [gene, …]}
    """
    import anndata
    import pandas as pd
    import scanpy

    names, sizes = np.unique(groups[groups != ""], return_counts=True)
    major = [names[i] for i in np.argsort(-sizes, kind="stable")[:most] if sizes[i] >= 10]
    if len(major) < 2:
        return {}
    adata = anndata.AnnData(
        counts,
        obs=pd.DataFrame(
            {"group": pd.Categorical(groups)}, index=np.arange(len(groups)).astype(str)
        ),
        var=pd.DataFrame(index=list(genes)),
    )
    adata = adata[adata.obs["group"] != ""].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas and of genes without spread, inside scanpy
        scanpy.tl.rank_genes_groups(adata, "group", groups=major, method="t-test", n_genes=k)
    return {g: [str(x) for x in adata.uns["rank_genes_groups"]["names"][g]] for g in major}

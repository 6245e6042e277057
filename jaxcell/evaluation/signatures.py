"""Does a cluster of cells carry a signature, and are diseased cells more frequent there?

n cells, g genes, k clusters, R random signatures. Default signature: disease-associated astrocytes
(BMFM-RNA 2026, section 11).
"""

import numpy as np
import scipy.sparse as sp

from .clustering import Space
from .gene_sets import read_table

DAA = {
    "up": ("GFAP", "CD44", "HSPB1", "TNC"),
    "down": ("SLC1A2", "SLC1A3", "GLUL", "NRXN1", "CADM2", "PTN", "GPC5"),
}
RESOLUTION = 1.0  # of Leiden, as scanpy's
RANDOM = 1_000  # signatures of other genes; the least p is 1 / 1001, of many clusters still enough
NEAR = 50  # genes of the nearest mean expression, of which a random signature takes one
RATE = 0.05  # of false discoveries
LARGE = 0.7  # effect, as of two normal distributions .75 sd apart
AT_ONCE = 100  # random signatures: their ranks are [n, 100]


def read_signature(path):
    """A signature from a table of gene and direction: {'up': (gene, …), 'down': (gene, …)}.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; no tab-separated columns gene and direction; another direction than up or
        down; a gene twice.
    """
    found = {"up": [], "down": []}
    for i, row in enumerate(read_table(path, ("gene", "direction")), 2):
        gene, direction = row["gene"].strip(), row["direction"].strip().lower()
        if direction not in found:
            raise ValueError(f"{path}, line {i}: direction {direction!r}, expected up or down")
        if gene in (*found["up"], *found["down"]):
            raise ValueError(f"{path}, line {i}: the gene {gene} is there twice; leave one out")
        found[direction].append(gene)
    if not any(found.values()):
        raise ValueError(f"{path}: holds no gene; expected one a line")
    return {direction: tuple(genes) for direction, genes in found.items()}


def weights(signature, genes):
    """What each gene adds to the score: 1 / up genes, −1 / down genes, of those there are.

    signature as `DAA`, genes names [g] -> f64 [g], list of the genes that are not there

    Raises
    ------
    ValueError
        No gene of the signature is there.
    """
    place, found, absent = {gene: i for i, gene in enumerate(genes)}, np.zeros(len(genes)), []
    for direction, sign in (("up", 1), ("down", -1)):
        there = [place[gene] for gene in signature[direction] if gene in place]
        absent += [gene for gene in signature[direction] if gene not in place]
        found[there] = sign / max(len(there), 1)
    if not found.any():
        raise ValueError(
            f"signature: none of its genes ({', '.join(absent[:4])}, …) is among the "
            f"{len(genes)} of the file ({', '.join(map(str, genes[:3]))}, …)"
        )
    return found, absent


def scores(x, w):
    """Mean z of the up genes less mean z of the down genes, z over these very cells.

    A gene without spread counts as 0. scanpy's score_genes has raw means instead, where the most
    expressed gene decides; what it subtracts, the mean of genes drawn at the same levels, is here
    a test: `random_weights`.

    x CSR [n, g] normalised and logged; w f64 [g], or [g, R] -> f64 [n], or [n, R]
    """
    x = x.astype(np.float64)  # a variance as a difference of squares: not in float32
    mean = np.asarray(x.mean(axis=0)).ravel()
    square = np.asarray(x.multiply(x).mean(axis=0)).ravel()
    sd = np.sqrt(np.maximum(square - mean**2, 0))
    scale = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 1e-6)
    by_gene = w.reshape(len(sd), -1) * scale[:, None]
    found = x @ by_gene - mean @ by_gene
    return found.reshape(-1, *w.shape[1:])


def random_weights(x, w, number=RANDOM, seed=0):
    """Signatures of other genes at the same levels of expression.

    Each gene's place goes to one of the 50 genes of nearest mean that are not in the signature,
    no gene twice.

    x CSR [n, g], w f64 [g] -> f64 [g, number]
    """
    random, taken = np.random.default_rng(seed), np.flatnonzero(w)
    free = np.setdiff1d(np.arange(len(w)), taken)
    if len(free) < len(taken):
        raise ValueError(
            f"signature: has {len(taken)} of {len(w)} genes; too few others to compare it with"
        )
    mean = np.asarray(x.mean(axis=0, dtype=np.float64)).ravel()
    near = np.argsort(np.abs(mean[free] - mean[taken][:, None]), axis=1, kind="stable")
    found = np.zeros((len(w), number))
    for r in range(number):
        used = set()
        for gene, order in zip(taken, near, strict=True):
            left = [i for i in order[: NEAR + len(used)] if i not in used][:NEAR]
            used.add(pick := left[random.integers(len(left))])
            found[free[pick], r] = w[gene]
    return found


def clusters(x, seed=0, resolution=RESOLUTION):
    """Leiden clusters of an embedding, the largest is 0: float32 [n, d] -> int [n], Space."""
    space = Space(np.asarray(x, np.float32))
    found = space.clusterings("leiden", seed, (resolution,))[resolution]
    rank = np.argsort(np.argsort(-np.bincount(found), kind="stable"))
    return rank[found], space


def aucs(values, members):
    """Probability that a cell of a cluster scores higher than one outside (ties: a half).

    values f64 [n, R], members int [n] of 0 … k − 1 -> f64 [k, R]
    """
    from scipy.stats import rankdata

    n, size = len(members), np.bincount(members)[:, None]
    inside = sp.csr_array((np.ones(n), (members, np.arange(n))))
    parts = [values[:, i : i + AT_ONCE] for i in range(0, values.shape[1], AT_ONCE)]
    ranks = np.hstack([inside @ rankdata(part, axis=0) for part in parts])
    return (ranks - size * (size + 1) / 2) / np.maximum(size * (n - size), 1)


def by_cluster(score, random, members, diseased):
    """Each cluster against the rest: its score, and how many of its cells are diseased.

    Score: two-sided Mann–Whitney test; and, since a cluster differs from the rest in many genes,
    the share of random signatures whose effect there is as large. Disease: Fisher's exact test,
    two-sided (of cells: those of one donor are not independent). Each kind of p is corrected over
    the clusters (Benjamini and Hochberg 1995).

    Parameters
    ----------
    score : f64 [n]
    random : f64 [n, R]
        Scores of random signatures.
    members : int [n], 0 … k − 1
    diseased : bool [n]

    Returns
    -------
    list of dict, one per cluster
        cluster, cells, score (mean), effect (`aucs`), p, q, random_p, random_q; diseased (share),
        odds_ratio (None: infinite), disease_p, disease_q; of a lone cluster the tests are None
    """
    from scipy import stats

    names = range(members.max() + 1)
    rows = [_described(k, members == k, score, diseased) for k in names]
    if len(rows) == 1:
        return rows
    effect = aucs(score[:, None], members)[:, 0]
    beyond = (aucs(random, members) >= effect[:, None]).sum(axis=1)
    for k, row in zip(names, rows, strict=True):
        own = members == k
        row["effect"] = float(effect[k])
        row["p"] = float(stats.mannwhitneyu(score[own], score[~own]).pvalue)
        row["random_p"] = float((1 + beyond[k]) / (1 + random.shape[1]))
        counts = [[(side & what).sum() for what in (diseased, ~diseased)] for side in (own, ~own)]
        odds, p = stats.fisher_exact(counts)
        row["odds_ratio"], row["disease_p"] = float(odds) if np.isfinite(odds) else None, float(p)
    for name in ("p", "random_p", "disease_p"):
        corrected = stats.false_discovery_control([row[name] for row in rows], method="bh")
        for row, q in zip(rows, corrected, strict=True):
            row[name.removesuffix("p") + "q"] = float(q)
    return rows


def _described(k, own, score, diseased):
    """A cluster before anything is tested; all None where there is no other one."""
    tested = ("effect", "p", "q", "random_p", "random_q", "odds_ratio", "disease_p", "disease_q")
    mean, share = float(score[own].mean()), float(diseased[own].mean())
    about = {"cluster": k, "cells": int(own.sum()), "score": mean, "diseased": share}
    return about | dict.fromkeys(tested)


def carrier(rows, rate=RATE, large=LARGE):
    """The cluster that carries the signature: of those well above the rest by both tests, the most.

    A cluster far below the rest puts all others a little above it: hence a large effect is asked.

    list of `by_cluster` -> its row, or None
    """
    tested = [row for row in rows if row["effect"] is not None and row["effect"] >= large]
    own = [row for row in tested if max(row["q"], row["random_q"]) <= rate]
    return max(own, key=lambda row: row["effect"], default=None)

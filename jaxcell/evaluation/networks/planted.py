"""Counts of a planted regulatory network: factors that drive their targets."""

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

FACTORS, TARGETS, OTHERS = 6, 8, 6


def planted_names():
    """Names of the factors, of all genes, and the known (factor, target) pairs."""
    factors = [f"TF{i}" for i in range(FACTORS)]
    pairs = [(f, f"T{i}_{j}") for i, f in enumerate(factors) for j in range(TARGETS)]
    genes = [*factors, *(target for _, target in pairs), *(f"O{i}" for i in range(OTHERS))]
    return factors, genes, pairs


def planted_cells(seed, cells=1200, severed="TF0"):
    """AnnData of counts in two conditions, in the second of which one factor drives nothing.

    A factor's activity is log-normal, its own count is Poisson of that, and its targets' rates
    rise with it, each by its own weight; cells differ in depth.
    """
    random = np.random.default_rng(seed)
    factors, genes, pairs = planted_names()
    activity = random.normal(size=(cells, FACTORS))
    treated = np.arange(cells) % 2 == 1
    log_rate = np.full((cells, len(genes)), np.log(4.0))
    log_rate[:, :FACTORS] += 0.9 * activity
    place = {gene: i for i, gene in enumerate(genes)}
    for factor, target in pairs:
        drive = activity[:, factors.index(factor)] * random.uniform(0.6, 1.0)
        log_rate[:, place[target]] += np.where(treated & (factor == severed), 0, drive)
    log_rate += random.normal(scale=0.3, size=(cells, 1))
    log_rate[:, -OTHERS:] += random.normal(scale=0.5, size=(cells, OTHERS))
    # The drift of one factor must not move a cell's depth alone.
    counts = random.poisson(np.exp(log_rate)).astype(np.float32)
    obs = pd.DataFrame(
        {"state": np.where(treated, "severed", "control")},
        index=[f"c{i}" for i in range(cells)],
    )
    return anndata.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=genes))

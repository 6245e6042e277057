"""Cells whose perturbations are known: effects that add up in log space.

n cells, V genes, P of them perturbed.
"""

import itertools

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

CONTROL = "ctrl"


class Additive:
    """Poisson counts with log rates m + Σ of the effects of the perturbed genes.

    effects : f64 [P, V]; a perturbed gene loses most of its own expression
    """

    def __init__(self, genes=70, perturbed=8, seed=0):
        random = np.random.default_rng(seed)
        self.names = [f"G{i}" for i in range(genes)]
        self.base = random.normal(1.0, 0.7, genes)
        self.perturbed = self.names[:perturbed]
        there = random.random((perturbed, genes)) < 0.3
        self.effects = random.normal(0, 1.0, (perturbed, genes)) * there
        self.effects[np.arange(perturbed), np.arange(perturbed)] = -2.0

    @property
    def singles(self):
        return [f"{name}+{CONTROL}" for name in self.perturbed]

    @property
    def doubles(self):
        return ["+".join(pair) for pair in itertools.combinations(self.perturbed, 2)]

    def effect(self, condition):
        rows = [self.perturbed.index(n) for n in condition.split("+") if n != CONTROL]
        return self.effects[rows].sum(axis=0)

    def cells(self, conditions, each, seed):
        """AnnData of so many cells {condition: number, or each of a list}, with two batches."""
        random, names = np.random.default_rng(seed), np.repeat(conditions, each)
        rates = np.stack([self.base + self.effect(name) for name in names])
        depth = random.uniform(0.7, 1.4, (len(names), 1))
        counts = random.poisson(np.exp(rates + random.normal(0, 0.15, rates.shape)) * depth)
        batch = np.array(["a", "b"])[np.arange(len(names)) % 2]
        obs = pd.DataFrame(
            {"condition": pd.Categorical(names), "batch": pd.Categorical(batch)},
            index=[f"cell {i}" for i in range(len(names))],
        )
        x = sp.csr_matrix(counts.astype(np.float32))
        return anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=self.names))


def normalised(adata, size):
    """Ln(1 + size · count / total), f64 [n, V]."""
    x = np.asarray(adata.X.todense(), np.float64)
    return np.log1p(x * size / x.sum(axis=1, keepdims=True))


def means(adata, size):
    """{condition: mean normalised expression f64 [V]}."""
    x, names = normalised(adata, size), adata.obs["condition"].astype(str).to_numpy()
    return {name: x[names == name].mean(axis=0) for name in np.unique(names)}


def pearson(a, b):
    return float(np.corrcoef(a, b)[0, 1])

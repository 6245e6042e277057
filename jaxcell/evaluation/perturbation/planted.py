"""Cells whose perturbations are known: effects that add up in log space.

n cells, V genes, P of them perturbed.
"""

import itertools

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from .names import CONTROL


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
        """Conditions of one gene, 'A+ctrl'."""
        return [f"{name}+{CONTROL}" for name in self.perturbed]

    @property
    def doubles(self):
        """Conditions of two genes, 'A+B'."""
        return ["+".join(pair) for pair in itertools.combinations(self.perturbed, 2)]

    def effect(self, condition):
        """Log change of each gene by a condition, f64 [V]."""
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


def planted_perturbations(seed=0, *, genes=70, perturbed=8, controls=300, each=50):
    """AnnData of counts: control cells, all single and all double perturbations of some genes.

    Parameters
    ----------
    seed : int
    genes, perturbed : how many there are, and how many of them are perturbed
    controls, each : cells without a perturbation, and of each of the others

    Returns
    -------
    AnnData [n, genes]
        ``obs['condition']`` as GEARS writes it: ctrl, A+ctrl, A+B.
    """
    planted = Additive(genes, perturbed, seed)
    conditions = [CONTROL, *planted.singles, *planted.doubles]
    return planted.cells(conditions, [controls, *[each] * (len(conditions) - 1)], seed + 1)

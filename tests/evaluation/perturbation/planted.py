"""Perturbed cells with planted effects: AnnData in GEARS' layout."""

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

NOISE = 0.3  # sd of a cell's log expression


def cells_of(means, control, *, cells=30, controls=120, seed=0, genes=None):
    """Cells of each condition around its mean: {condition as written: [G]}, [G] -> AnnData."""
    random = np.random.default_rng(seed)
    rows, condition = [], []
    for name, mean in {"ctrl": control, **means}.items():
        number = controls if name == "ctrl" else cells
        rows.append(np.maximum(mean + NOISE * random.standard_normal((number, len(mean))), 0))
        condition += [name] * number
    x = np.concatenate(rows).astype(np.float32)
    order = random.permutation(len(x))
    obs = pd.DataFrame({"condition": np.array(condition)[order]})
    obs.index = [f"cell {i}" for i in range(len(x))]
    genes = genes or [f"G{i}" for i in range(x.shape[1])]
    return anndata.AnnData(sp.csr_matrix(x[order]), obs=obs, var=pd.DataFrame(index=genes))


def written(genes, random):
    """A condition as GEARS writes it, in either order."""
    parts = [*genes, "ctrl"] if len(genes) == 1 else list(genes)
    return "+".join(parts if random.random() < 0.5 else parts[::-1])


def additive(perturbed=10, doubles=25, genes=80, seed=0, **more):
    """Singles of G0 … and doubles of them; a double's effect is the sum of its singles'."""
    random = np.random.default_rng(seed)
    effects = random.standard_normal((perturbed, genes)) * (random.random((perturbed, genes)) < 0.3)
    pairs = [(i, j) for i in range(perturbed) for j in range(i)]
    pairs = [pairs[i] for i in random.permutation(len(pairs))[:doubles]]
    control = random.uniform(3, 5, genes)
    sets = [(i,) for i in range(perturbed)] + pairs
    means = {
        written([f"G{i}" for i in some], random): control + effects[list(some)].sum(axis=0)
        for some in sets
    }
    return cells_of(means, control, seed=seed, **more)


def coexpressed(perturbed=30, genes=80, factors=4, seed=0, **more):
    """Singles whose effect is a linear function of the perturbed gene's co-expression factors."""
    random = np.random.default_rng(seed)
    loadings = random.standard_normal((genes, factors))
    turn = random.standard_normal((factors, factors)) * 0.3
    control = random.uniform(4, 6, genes)
    means = {f"G{i}+ctrl": control + loadings @ turn @ loadings[i] for i in range(perturbed)}
    return cells_of(means, control, seed=seed, **more)

"""Made-up perturbed cells with known answers."""

import numpy as np

from jaxcell.evaluation.perturbed_cells.tasks import Labels


def cells(perturbations=7, each=24, controls=40, batches=4, seed=0):
    """Perturbations, batches and one-hot codes: names [n], batch [n], one-hot [n, P + 1]."""
    rng = np.random.default_rng(seed)
    names = ["ctrl", *(f"G{i}" for i in range(perturbations))]
    code = np.repeat(np.arange(len(names)), [controls * batches, *[each] * perturbations])
    batch = rng.permutation(np.arange(len(code)) % batches)
    batch[: controls * batches] = np.arange(controls * batches) % batches
    return np.array(names)[code], np.array([f"b{b}" for b in batch]), np.eye(len(names))[code]


def labels(names, batch, expression, pairs=None, groups=None):
    return Labels(names, batch, "ctrl", expression, groups, pairs or {})

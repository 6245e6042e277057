"""The six tasks on one embedding of perturbed cells. n cells, d dimensions, g genes.

Source: TxFM, B.1.1, after Bendidi et al. 2024.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp

from ..consistency import align, aligned_consistency
from .interpretability import interpretability
from .mixing import ilisi
from .postprocessing import KINDS, defined, postprocess
from .recall import known_relations, relationship_recall
from .retrieval import retrieve
from .separability import separate

TASKS = {  # task -> its metrics
    "ilisi": ("ilisi",),
    "lin": ("lin_top1", "lin_top5"),
    "knn": ("knn_top1", "knn_top5"),
    "p.cst": ("consistency",),
    "bmdb": ("recall",),
    "inv": ("spearman", "integrity"),
}
CELLS = 10_000  # of the tasks that look at single cells: ilisi, lin, knn, inv


@dataclass(frozen=True)
class Labels:
    """What is known of the cells.

    perturbation, batch : str [n]; control : the value of perturbation of unperturbed cells
    groups : str [n] or None. With groups, consistency is scored for a perturbation in each of
        them, aligned within them, where there are few perturbations
    pairs : {database: list of (str, str)}, known relations between genes
    expression : float32 [n, g], log-normalised, dense or CSR
    """

    perturbation: np.ndarray
    batch: np.ndarray
    control: str
    expression: np.ndarray
    groups: np.ndarray | None = None
    pairs: dict = field(default_factory=dict)

    @property
    def is_control(self):
        """Bool [n]."""
        return self.perturbation == self.control


def shuffled(labels, seed):
    """The same cells with their perturbations at random: what chance gives."""
    order = np.random.default_rng([seed, 1]).permutation(len(labels.perturbation))
    return replace(labels, perturbation=labels.perturbation[order])


def drawn(perturbation, cells, seed):
    """Cells of a subsample, of each perturbation the same share: [n] -> int [min(n, cells)]."""
    n = len(perturbation)
    if not cells or n <= cells:
        return np.arange(n)
    order = np.random.default_rng([seed, 2]).permutation(n)
    _, code, size = np.unique(perturbation[order], return_inverse=True, return_counts=True)
    by = np.argsort(code, kind="stable")
    rank = np.empty(n)
    rank[by] = np.arange(n) - np.repeat(np.cumsum(size) - size, size)
    return np.sort(order[np.argsort((rank + 0.5) / size[code], kind="stable")[:cells]])


def measure(x, labels, *, seed=0, kinds=tuple(KINDS), cells=CELLS):
    """All metrics of one embedding after each post-processing.

    Post-processing, consistency and recall see all cells; the other tasks a subsample.

    Parameters
    ----------
    x : [n, d]
    labels : Labels
    seed : of the subsample, the folds and the null distribution
    kinds : of post-processing
    cells : of the subsample; 0: all

    Returns
    -------
    {kind: {metric: float, or None where the data do not define it}}, without the kinds for which
    there are too few controls; beside the metrics of `TASKS` ``lin_scored`` and ``knn_scored``, the
    share of the subsample's cells that are scored, and ``lin_converged``

    Raises
    ------
    ValueError
        Lengths differ, values that are not finite, or fewer than 3 controls.
    """
    x = np.asarray(x)
    if x.ndim != 2 or len(x) != len(labels.perturbation):
        raise ValueError(
            f"embedding: found shape {x.shape}, expected [{len(labels.perturbation)}, dimensions]"
        )
    if not np.isfinite(x).all():
        raise ValueError("embedding: holds NaN or infinite values")
    some = drawn(labels.perturbation, cells, seed)
    known, _ = known_relations(labels.pairs, labels.perturbation, labels.control)
    found = {}
    for kind in kinds:
        if not defined(kind, x.shape[1], labels.is_control.sum()):
            continue
        y = postprocess(kind, x, labels.is_control, labels.batch)
        found[kind] = {
            **_of_cells(y[some], labels, some, seed),
            "consistency": _consistency(y, labels, seed),
            "recall": relationship_recall(y, labels.perturbation, labels.control, known)["mean"],
        }
    return found


def _of_cells(x, labels, some, seed):
    perturbation, batch = labels.perturbation[some], labels.batch[some]
    expression = labels.expression[some]
    expression = expression.toarray() if sp.issparse(expression) else expression
    line, near = separate(x, perturbation, batch, seed), retrieve(x, perturbation, batch)
    return {
        "ilisi": ilisi(x, batch),
        **{f"lin_{k}": line[k] for k in ("top1", "top5")},
        **{f"knn_{k}": near[k] for k in ("top1", "top5")},
        "lin_scored": line["scored"] / len(x),
        "knn_scored": near["scored"] / len(x),
        "lin_converged": line["converged"],
        **interpretability(x, expression, labels.is_control[some], batch, seed),
    }


def _consistency(x, labels, seed):
    groups = labels.batch if labels.groups is None else labels.groups
    aligned = align(x, labels.is_control, groups)
    asked = dict(control=labels.control, per_batch=labels.groups is not None, seed=seed)
    return aligned_consistency(aligned, labels.perturbation, groups, **asked)["score"]

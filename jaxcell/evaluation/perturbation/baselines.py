"""What a model of perturbations has to beat: predictions from the training conditions' means.

m training conditions, G genes, k components. Everything here sees a `Training` alone, which holds
no cell of a held-out condition. Source: PROTOCOLS.md; the linear model: Ahlmann-Eltze, Huber and
Anders 2025, where it and the additive one were not beaten by five deep models.
"""

from dataclasses import dataclass, field

import numpy as np

from . import regressions

BASELINES = {
    "no_change": "the mean control",
    "mean": "the mean of the training conditions' means",
    "additive": "Δ of each gene alone, added up",
    "linear": "ridge regression between principal components of the genes",
    "indicator": "ridge regression on which genes are perturbed",
    "mlp": "a perceptron on both inputs",
    "seen": "the mean of the same condition's training cells",
    "shuffled": "a training condition drawn at random",
}
OF_CONDITIONS = ("no_change", "mean", "additive", "linear", "indicator", "mlp", "shuffled")
OF_CELLS = ("no_change", "mean", "seen", "shuffled")  # the conditions themselves are seen
REFERENCE = "shuffled"  # what chance gets: it never wins


@dataclass(frozen=True)
class Training:
    """All that a baseline may see (`training_of`).

    conditions {name: genes} of m; means float64 [m, G]; control float64 [G]; columns {gene: its
    column}, of any perturbed gene, held out or not.
    """

    conditions: dict
    means: np.ndarray
    control: np.ndarray
    columns: dict

    @property
    def singles(self):
        """{gene: row of ``means`` in which it alone is perturbed}."""
        return {genes[0]: i for i, genes in enumerate(self.conditions.values()) if len(genes) == 1}


@dataclass
class Predictions:
    """What a method predicts.

    means {condition: float32 [G]}; instead {condition: what was done where the method had no
    answer of its own}; notes: sentences about the method; cells: float32 CSR [tested cells, G],
    where a file has a prediction for each of them.
    """

    means: dict
    instead: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    cells: object = None


def training_of(data, split):
    """The training part of some data, by a split."""
    rows, _ = split.rows(data)
    means, control, cells = data.means(rows)
    if np.isnan(control).any():
        raise ValueError("split: it leaves no control cell to train on")
    places = [data.place(name) for name in split.train]
    kept = [p for p in places if cells[p]]
    names = list(data.conditions)
    return Training(
        conditions={names[p]: data.conditions[names[p]] for p in kept},
        means=means[kept],
        control=control,
        columns=dict(data.columns),
    )


def chosen(asked, split):
    """Names of the baselines, checked; by default those that fit the split's kind.

    Raises
    ------
    ValueError
        A name that is none.
    """
    wrong = [name for name in asked if name not in BASELINES]
    if wrong:
        raise ValueError(f"baselines: found {wrong[0]!r}, expected some of {', '.join(BASELINES)}")
    if asked:
        return tuple(dict.fromkeys(asked))
    return OF_CELLS if split.kind == "cells" else OF_CONDITIONS


def predict(name, training, asked, seed=0):
    """Predictions of a baseline.

    - no_change: the mean of the control cells.
    - mean: the mean over training conditions of their means.
    - additive: control + Δ of each perturbed gene, as seen alone. Of a condition with some genes
      that were not, the sum of the others; with none, ``mean``.
    - linear, indicator, mlp: `regressions`.
    - seen: the condition's own training cells (of a split of cells).
    - shuffled: the mean of a training condition drawn for each (with replacement): chance.

    Parameters
    ----------
    name : str
        Of `BASELINES`.
    training : Training
    asked : {condition: genes}
    seed : int
        Of mlp and shuffled.

    Returns
    -------
    Predictions
    """
    mean = training.means.mean(axis=0)
    if name == "no_change":
        found = Predictions(dict.fromkeys(asked, training.control))
    elif name == "mean":
        found = Predictions(dict.fromkeys(asked, mean))
    elif name == "additive":
        found = _additive(training, asked, mean)
    elif name == "seen":
        found = _seen(training, asked)
    elif name == "shuffled":
        drawn = np.random.default_rng(seed).integers(0, len(training.means), len(asked))
        found = Predictions(dict(zip(asked, training.means[drawn], strict=True)))
    else:
        means, instead = regressions.FIT[name](training, asked, seed)
        found = Predictions(means, instead)
    found.means = {c: np.asarray(v, np.float32) for c, v in found.means.items()}
    return found


def _additive(training, asked, mean):
    singles, found = training.singles, Predictions({})
    for condition, genes in asked.items():
        rows = [singles[gene] for gene in genes if gene in singles]
        delta = (training.means[rows] - training.control).sum(axis=0)
        found.means[condition] = training.control + delta if rows else mean
        if not rows:
            found.instead[condition] = "no gene of it seen alone: mean"
        elif len(rows) < len(genes):
            found.instead[condition] = "not all genes seen alone: Δ of those that were"
    return found


def _seen(training, asked):
    names = list(training.conditions)
    absent = [condition for condition in asked if condition not in names]
    if absent:
        raise ValueError(
            f"baselines: 'seen' needs training cells of each condition, and {absent[0]!r} has none;"
            " it is for a split of cells"
        )
    return Predictions({c: training.means[names.index(c)] for c in asked})

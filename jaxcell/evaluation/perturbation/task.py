"""What is to be predicted, what each method predicts of it, and how near that is."""

from collections import Counter

import numpy as np

from . import baselines as simple
from . import metrics
from .differential import FEWEST, differential
from .files import read_predictions
from .names import listed

ALL = "all"  # the group of all tested conditions


class Task:
    """What is to be predicted, and the truth.

    asked {condition: genes} that are scored; truth float64 [conditions, G]; rows bool [n], the
    tested cells; training, all that a baseline sees; control float32 [G]; groups {group: those of
    ``asked``}; notes: sentences for the report.
    """

    def __init__(self, data, split):
        self.data, self.split, self.notes = data, split, []
        _, self.rows = split.rows(data)
        means, _, cells = data.means(self.rows)
        number = np.bincount(data.code[~data.control], minlength=len(data.conditions))
        few = [c for c in split.test if number[data.place(c)] < FEWEST or not cells[data.place(c)]]
        names = [c for c in split.test if c not in few]
        if few:
            self.notes.append(
                f"Not scored, for want of {FEWEST} cells to rank genes with: {listed(few)}."
            )
        if not names:
            raise ValueError(f"split: none of its {len(few)} tested conditions has {FEWEST} cells")
        self.asked = {c: data.conditions[c] for c in names}
        self.truth = means[[data.place(c) for c in names]]
        self.training = simple.training_of(data, split)
        groups = {g: tuple(c for c in some if c in self.asked) for g, some in split.groups.items()}
        groups = {g: some for g, some in groups.items() if some}
        self.groups = {ALL: tuple(names)} | (groups if len(groups) > 1 else {})
        # Predictions are float32: rounded alike, 'no change' differs from the control by nothing.
        self.control = self.training.control.astype(np.float32)
        self.ranked = None

    @property
    def untrained(self):
        """Conditions with fewer genes in training than the name of their group says.

        GEARS draws genes; one whose only condition is held out, or goes to validation, is seen by
        the draw alone.
        """
        trained = {gene for genes in self.training.conditions.values() for gene in genes}
        return [
            name
            for group, names in self.groups.items()
            for name in names
            if group.startswith("combo_seen")
            and len(trained.intersection(self.asked[name])) < int(group.removeprefix("combo_seen"))
        ]

    def rank(self):
        """Rank the genes of all tested conditions, once."""
        self.ranked = differential(self.data, list(self.asked))

    def scores(self, means):
        """{condition: {metric: value}} of predicted means {condition: [G]}."""
        control, ranked, found = self.control, self.ranked, {}
        for condition, truth in zip(self.asked, self.truth, strict=True):
            found[condition] = metrics.condition_scores(
                means[condition], truth, control, ranked.top(condition),
                ranked.top_non_dropout(condition),
            )  # fmt: skip
        columns = self.data.columns
        own = [[columns[g] for g in genes if g in columns] for genes in self.asked.values()]
        told = metrics.discrimination(np.stack([means[c] for c in self.asked]), self.truth, own)
        for condition, value in zip(found, told, strict=True):
            found[condition]["discrimination"] = None if np.isnan(value) else float(value)
        return found

    def cell_scores(self, said):
        """BioFormer's measure: each tested cell against its prediction.

        Returns
        -------
        dict : mean, median, sd and n over cells; by_cell: whether each cell had a prediction of its
            own; conditions {condition: mean}
        """
        found, tested = {}, np.flatnonzero(self.rows)
        for condition in self.asked:
            own = self.data.code[tested] == self.data.place(condition)
            truth = self.data.x[tested[own]]
            if said.cells is None:
                found[condition] = metrics.cell_pearson(said.means[condition], truth)
            else:
                found[condition] = metrics.cell_pearson(said.cells[own].toarray(), truth)
        values = np.concatenate(list(found.values()))
        return {
            "mean": float(values.mean()),
            "median": float(np.median(values)),
            "sd": float(values.std()),
            "n": len(values),
            "by_cell": said.cells is not None,
            "conditions": {c: float(some.mean()) for c, some in found.items()},
        }

    def deltas(self, said):
        """{condition: (true Δ, predicted Δ, columns) of its top DE genes}."""
        found = {}
        for condition, truth in zip(self.asked, self.truth, strict=True):
            top = self.ranked.top(condition)
            predicted = said.means[condition][top] - self.control[top]
            found[condition] = (truth[top] - self.control[top], predicted, top)
        return found


def predicted(task, given, names, by_name, seed, shown):
    """What each method predicts: those given, then the baselines.

    Parameters
    ----------
    task : Task
        Gets notes.
    given : {name: path or {condition: vector}}
    names : of baselines
    by_name : bool
        They were asked for by name: none is left out because it has no answer of its own.
    seed : int
    shown : of `jaxcell.progress`

    Returns
    -------
    {method: (kind, Predictions)}; kind: prediction, baseline or reference
    """
    data, control, found = task.data, task.control, {}
    for name, one in given.items():
        if name in simple.BASELINES:
            raise ValueError(f"predictions: {name!r} is a baseline's name; expected another")
        tested = task.rows if task.split.kind == "cells" else None
        said = read_predictions(one, data, list(task.asked), control, name=name, tested=tested)
        found[name] = ("prediction", said)
    for name in names:
        shown.note(name)
        said = simple.predict(name, task.training, task.asked, seed)
        shown.update()
        if len(said.instead) == len(task.asked) and not by_name:
            why = next(iter(said.instead.values()))
            task.notes.append(f"Baseline {name} is left out; of every condition: {why}.")
            continue
        found[name] = ("reference" if name == simple.REFERENCE else "baseline", said)
        if said.instead:
            counts = Counter(said.instead.values())
            what = "; ".join(f"{n} of {len(task.asked)}: {why}" for why, n in counts.items())
            task.notes.append(f"Baseline {name}: {what}.")
    task.notes += [note for _, said in found.values() for note in said.notes]
    return found

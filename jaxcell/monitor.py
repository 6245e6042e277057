"""What of evaluation a training run looks at while it goes: AvgBIO of its held-out cells."""

import numpy as np

from jaxcell.config import settled, shown_labels
from jaxcell.data.shown import Shown, content_keys
from jaxcell.data.statistics import codes_of, statistics, trained_classes
from jaxcell.data.unprepared import open_store
from jaxcell.forward import Forward
from jaxcell.training.external import external_tables
from jaxcell.training.labels import adopt_labels

MOST_CELLS = 2000  # neighbours are exact: more would cost more than the validation they join


def monitor_of(c):
    """The callback that ``config.best`` asks for; None where a loss decides.

    Raises
    ------
    ValueError
        When ``best`` is AvgBIO and the store has no such label, or one class alone is held out.
    """
    return AvgBio(c) if c.best[0] == "val/avg_bio" else None


class AvgBio:
    """AvgBIO of held-out cells against ``config.evaluate.label``, as ``evaluate`` computes it.

    The mean of NMI and ARI (Leiden, best of its sweep) and of the label's silhouette, over all
    held-out cells whose label is known, or 2 000 of them drawn by ``config.seed``. Each shows as
    many genes as ``config.embed`` says, drawn by its counts: the same at every validation.
    """

    def __init__(self, c):
        from jaxcell.data.splits import is_missing
        from jaxcell.evaluation.inputs import check_extra

        check_extra()
        store, label = open_store(settled(c), lambda _: None), c.evaluate.label
        if label not in store.labels:
            raise ValueError(
                f"config.evaluate.label: found {label!r}, expected a label of {store.path} for "
                f"config.best = 'val/avg_bio'; it has {', '.join(store.labels) or 'none'}"
            )
        codes = store.index("valid", "labels")[:, list(store.labels).index(label)]
        known = np.append(~is_missing(np.array(store.labels[label])), False)  # the last: code -1
        cells = np.flatnonzero(known[codes])
        if len(np.unique(codes[cells])) < 2:
            raise ValueError(
                f"config.best: 'val/avg_bio' needs two classes of {label!r} among the held-out "
                f"cells of {store.path}"
            )
        if len(cells) > MOST_CELLS:
            drawn = np.random.default_rng(c.seed).choice(len(cells), MOST_CELLS, replace=False)
            cells = np.sort(cells[drawn])
        self._labels = np.array(store.labels[label])[codes[cells]]
        own = settled(c)
        own.model.vocabulary = len(store.vocabulary)
        adopt_labels(own, store, lambda _: None)
        rows = store.read("valid", cells)
        trained = trained_classes(store, shown_labels(own.model))
        self._batch = {**_tokens(own, store, rows), "labels": codes_of(store, rows, trained)}
        self._forward = Forward(own, tables=external_tables(own.model, store.vocabulary))

    def __call__(self, variables):
        """{'params': …, 'batch_stats': …} -> {'avg_bio': float}."""
        from jaxcell.evaluation import clustering

        space = clustering.Space(self._forward(variables, self._batch)["cell"])
        best, _ = clustering.best_clustering(space.clusterings("leiden", 0), self._labels)
        asw = clustering.asw_label(space.x, self._labels)
        return {"avg_bio": (best["nmi"] + best["ari"] + asw) / 3}


def _tokens(c, store, rows):
    gene_sets = [np.flatnonzero(m).astype(np.int32) for m in store.measured]
    used = store.gene_set[rows.dataset]
    most = max(len(gene_sets[s]) for s in np.unique(used))
    shown = Shown(c, most, statistics(store, c), store.labels, store.vocabulary)
    return shown.tokens(rows, gene_sets, used, content_keys(rows, c.seed))

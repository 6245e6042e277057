"""One method, measured over folds and seeds; what a seed does not change is measured once."""

from dataclasses import dataclass, field

import numpy as np

from . import clustering, probes
from .protocols import PROTOCOLS

STEPS = ("probes", "graph", "clusters", "scores")  # of a method and seed, on the progress bar
ALGORITHMS = {"leiden": "", "louvain": "louvain_"}  # prefix of its metrics
# What is averaged over the matrices of a method and then over seeds.
BEST = ("nmi", "ari", "resolution", "clusters")
CLUSTER_METRICS = tuple(f"{prefix}{m}" for prefix in ALGORITHMS.values() for m in BEST)
SPACE_METRICS = ("asw_label", "asw_batch", "graph_connectivity", "ilisi")


@dataclass
class Measured:
    """A method's entries of the results.

    A metric is a number, or None where there are no two batches.
    """

    rows: list = field(default_factory=list)  # one per seed: {'seed', metric: value}
    folds: list = field(default_factory=list)  # one per seed and fold: probes.probe's scores
    views: list = field(default_factory=list)  # one per seed and matrix
    sweeps: dict = field(default_factory=lambda: {name: [] for name in ALGORITHMS})
    dimensions: int = 0
    layout: np.ndarray | None = None  # UMAP of the first matrix by the first seed
    protocols: dict = field(default_factory=dict)  # name -> list of {'seed', 'held_out', metric: …}
    maps: dict = field(default_factory=dict)  # protocol -> its map [n, 2], as layout

    def mean(self):
        """{metric: mean over seeds}."""
        return mean_row(self.rows)

    def sweep(self, algorithm):
        """{resolution: {'nmi', 'ari'}}: means over matrices and seeds."""
        means = np.mean([list(one.values()) for one in self.sweeps[algorithm]], axis=0)
        resolutions = self.sweeps[algorithm][0]
        return {
            str(r): {"nmi": float(n), "ari": float(a)}
            for r, (n, a) in zip(resolutions, means, strict=True)
        }

    def protocol_rows(self, name):
        """A protocol's metrics, one row per seed: {'seed', metric: mean over matrices}."""
        views, rows = self.protocols[name], []
        for seed in dict.fromkeys(view["seed"] for view in views):
            own = [view for view in views if view["seed"] == seed]
            metrics = [m for m in own[0] if m not in ("seed", "held_out")]
            rows.append({"seed": seed} | {m: average([v[m] for v in own]) for m in metrics})
        return rows


def mean_row(rows):
    """{metric: mean over seeds} of rows with a 'seed'."""
    return {m: average([row[m] for row in rows]) for m in rows[0] if m != "seed"}


def average(values):
    """Mean of numbers, or None where they are not defined."""
    return None if any(v is None for v in values) else float(np.mean(values))


def measure(method, cells, splits, *, step, protocols=()):
    """Measure a method.

    Parameters
    ----------
    method : Method
    cells : Cells
    splits : dict
        {seed: list of Fold}; the same list for all seeds where folds draw nothing.
    step : function
        Called with the name of each of STEPS (and 'UMAP', and each protocol's) as it begins.
    protocols : sequence of str
        Of `protocols.PROTOCOLS`.

    Returns
    -------
    Measured
    """
    found, spaces, last, before = Measured(), None, None, None
    for seed, folds in splits.items():
        drawn = seed if method.seeded else None, id(folds) if method.per_fold else None
        labels = cells.labels
        if method.shuffled:
            labels = np.random.default_rng(seed).permutation(labels)
        step("probes")
        if drawn != last:
            spaces, last, before = method.spaces(seed, folds), drawn, None
        # What the seed before this one left, where neither matrices, folds nor labels differ.
        fixed = None if method.shuffled else before
        same = fixed is not None and fixed["split"] is folds
        scores, pools = fixed["probes"] if same else probes.probe_all(spaces, labels, folds)
        step("graph")
        static = fixed["static"] if fixed else [_static(s, labels, cells.batch) for s in spaces]
        step("clusters")
        views = [
            _clusters(s, labels, seed, found.sweeps) | old
            for s, old in zip(spaces, static, strict=True)
        ]
        given = fixed["given"] if fixed else {}
        before = {"split": folds, "probes": (scores, pools), "static": static, "given": given}
        step("scores")
        _note(found, method, seed, folds, scores, pools, views)
        for name in protocols:
            step(name)
            _follow(found, name, spaces, labels, cells.batch, seed, given)
        if method.picture and found.layout is None:
            step("UMAP")
            found.layout = spaces[0].layout(seed)
    found.dimensions = spaces[0].x.shape[1]
    return found


def _static(space, labels, batch):
    """The metrics of one matrix that no seed changes; its distances are let go."""
    x, metric = space.far()
    mixed = batch is not None and len(np.unique(batch)) > 1
    near, _ = space.neighbours, space.graph
    found = {
        "asw_label": clustering.asw_label(x, labels, metric),
        "asw_batch": clustering.asw_batch(x, labels, batch, metric) if mixed else None,
        "graph_connectivity": clustering.graph_connectivity(near, labels) if mixed else None,
        "ilisi": clustering.ilisi(near, batch) if mixed else None,
    }
    space.forget()
    return found


def _follow(found, name, spaces, labels, batch, seed, given):
    """Add a protocol's metrics of one seed; `given` keeps those that no seed changes."""
    protocol = PROTOCOLS[name]
    if name not in given:
        given[name] = [protocol.fixed(space, labels, batch) for space in spaces]
    views = found.views[-len(spaces) :]
    for space, view, fixed in zip(spaces, views, given[name], strict=True):
        layout = protocol.layout(space, seed) if protocol.layout else None
        if layout is not None and name not in found.maps:
            found.maps[name] = layout
        scores = protocol.drawn(space, labels, batch, seed, view | fixed, layout)
        which = {"seed": seed, "held_out": view["held_out"]}
        found.protocols.setdefault(name, []).append(which | scores)
        space.forget()


def _clusters(space, labels, seed, sweeps):
    """Best clustering of one matrix by each algorithm; the sweep over resolutions is noted."""
    found = {}
    for algorithm, prefix in ALGORITHMS.items():
        best, sweep = clustering.best_clustering(space.clusterings(algorithm, seed), labels)
        found |= {prefix + m: value for m, value in best.items()}
        sweeps[algorithm].append(sweep)
    return found


def _note(found, method, seed, folds, scores, pools, views):
    """Add one seed's results."""
    for i, view in enumerate(views):
        held_out = folds[i].name if method.per_fold else None
        found.views.append({"seed": seed, "held_out": held_out, **view})
    found.folds += [{"seed": seed, **fold} for fold in scores]
    row = {m: average([v[m] for v in views]) for m in (*CLUSTER_METRICS, *SPACE_METRICS)}
    row = {"seed": seed, **probes.averages(scores), **pools, **row}
    found.rows.append(row | clustering.aggregates(row))

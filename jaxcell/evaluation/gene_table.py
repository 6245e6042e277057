"""What gene vectors recall as rows of tables: training seeds together, in percent.

A run is what `relations.relationship_recall` found, as it is read from JSON: PCA sizes are text.
"""

import numpy as np

from .gene_report import MEAN
from .html import Column, Table


def together(runs):
    """Runs of one kind of vectors over seeds as one.

    The PCA size is that of the highest mean over databases and seeds: one size for all seeds, on
    the pairs it is reported on, as in the paper.

    Parameters
    ----------
    runs : list of dict

    Returns
    -------
    dict
        ``seeds``, ``dimensions``, ``n`` (the PCA size), ``raw`` and ``best`` {database or 'mean':
        (value, sd)} and ``pca`` {size: {database or 'mean': value}}, all as shares. sd: over seeds
        where there are several, else of the bootstrap over genes.
    """
    sizes = [size for size in runs[0]["pca"] if all(size in run["pca"] for run in runs)]
    pca = {
        int(size): {d: float(np.mean([run["pca"][size][d] for run in runs])) for d in known}
        for size, known in ((size, runs[0]["pca"][size]) for size in sizes)
    }
    n = max(pca, key=lambda size: pca[size][MEAN])

    def over(values, sd):
        several = len(values) > 1
        return float(np.mean(values)), float(np.std(values, ddof=1)) if several else sd

    raw, best = {}, {}
    for d in pca[n]:
        raw[d] = over([run["raw"]["recall"][d] for run in runs], runs[0]["raw"]["sd"][d])
        best[d] = over([run["pca"][str(n)][d] for run in runs], runs[0]["best"]["sd"][d])
    dimensions = runs[0]["dimensions"]
    return dict(seeds=len(runs), dimensions=dimensions, n=n, raw=raw, best=best, pca=pca)


def recall_tables(rows, references):
    """The paper's Table 4 with databases at the best PCA size, and the databases without PCA.

    Parameters
    ----------
    rows : {name: what `together` returns}
    references : names of rows that are chance

    Returns
    -------
    list of Table
    """
    databases = [d for d in next(iter(rows.values()))["raw"] if d != MEAN]
    counted = [Column("dimensions", "D", None), Column("seeds", "seeds", None)]
    means = [Column("raw", "recall (raw)", digits=1), Column("best", "recall (PCA)", digits=1)]
    each = [Column(d, d, digits=1) for d in databases]
    first, second = [], []
    for name, row in rows.items():
        own = {"name": name, "reference": name in references, **row}
        own |= {"raw": _percent(row["raw"][MEAN]), "best": _percent(row["best"][MEAN])}
        first.append(own | {d: _percent(row["best"][d]) for d in databases})
        second.append(own | {d: _percent(row["raw"][d]) for d in databases})
    n = Column("n", "n", None)
    columns = [*counted, *means, n, *each], [*counted, means[0], *each]
    note = "Databases at the PCA size n."
    return [
        Table("Recall, %", columns[0], first, note, name="vectors"),
        Table("Recall, %, without PCA", columns[1], second, name="vectors"),
    ]


def _percent(pair):
    return tuple(None if value is None else 100 * value for value in pair)


def curves(runs):
    """Recall at each step that all seeds have.

    Parameters
    ----------
    runs : list of {'seed', 'step', …} of one kind of vectors

    Returns
    -------
    {'raw' | 'best': {database or 'mean': (steps [s], percent [s, seeds])}}
        best: at the best PCA size of each step and seed.
    """
    seeds = sorted({run["seed"] for run in runs}, key=str)
    at = {(run["seed"], run["step"]): run for run in runs}
    steps = sorted({run["step"] for run in runs})
    steps = [step for step in steps if all((seed, step) in at for seed in seeds)]
    return {
        how: {
            d: (
                steps,
                [[100 * at[seed, step][how]["recall"][d] for seed in seeds] for step in steps],
            )
            for d in runs[0]["raw"]["recall"]
        }
        for how in ("raw", "best")
    }


def statistics_tables(found):
    """R² of count moments in percent, a table for each reading of the paper.

    Parameters
    ----------
    found : {name of the vectors: {scale: [what `count_statistics.explained` returns of each seed]}}

    Returns
    -------
    list of Table
    """
    from .count_statistics import READINGS
    from .gene_figures import READING

    tables = []
    for reading, parts in READINGS.items():
        rows = []
        for name, scales in found.items():
            for scale, runs in scales.items():
                own, null = {}, {}
                for part in parts:
                    own[part] = _spread([run[reading][part]["r2"] for run in runs])
                    draws = [x for run in runs for x in run[reading][part]["null"]]
                    null[part] = _spread(draws)
                p = max(run[reading][part]["p"] for run in runs for part in parts)
                rows.append({"name": f"{name}, {scale}", "p": p, **own})
                rows.append({"name": f"{name}, {scale}, shuffled", "reference": True, **null})
        columns = [Column(part, part, None, 2) for part in parts] + [Column("p", "highest p", None)]
        title = f"R² in percent: {READING[reading]}"
        tables.append(Table(title, columns, rows, name="vectors, scale of the counts"))
    return tables


def _spread(values):
    sd = 100 * float(np.std(values, ddof=1)) if len(values) > 1 else None
    return 100 * float(np.mean(values)), sd

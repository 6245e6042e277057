"""Every way to score edges against the known targets, beside co-expression, random and shuffled.

M genes.
"""

import functools

import numpy as np

from .edges import targets
from .enrichment import overlap_test
from .figures import auroc_bars
from .known import by_chance, co_expression, measure, pairs_among, random_scores
from .study import TOPS, Found

COLUMNS = ("method", "model", "condition", "auroc", "auprc", "auroc_by_source", "auroc_shuffled",
           "auroc_shuffled_sd")  # fmt: skip
OVERLAP = ("method", "model", "source", "condition", "top", "overlap", "members", "fold", "p",
           "p_bonferroni")  # fmt: skip
CO_EXPRESSION, RANDOM = "co-expression", "random"


def against_known(study, scores):
    """AUROC and AUPRC of all scores, and the overlap of top targets with known ones.

    Co-expression (Pearson's correlation over the cells of a condition, and over all) and random
    scores stand beside them, and each with known targets drawn anew for every factor.

    Parameters
    ----------
    study : Study with ``known``
    scores : {(route, model, condition): [M, M]}

    Returns
    -------
    Found ; its results None where no known target is among the genes
    """
    first, second, truth = pairs_among(study.known, study.genes)
    if not len(truth) or truth.all():
        return Found({"pairs": 0, "factors": 0})
    every = {**scores, **_baselines(study)}
    rows = []
    for (method, model, condition), one in every.items():
        found = measure(one, first, second, truth)
        drawn = by_chance(one, first, second, truth, study.seed)
        values = found["auroc"], found["auprc"], found["auroc_by_source"]
        rows.append((method, model, condition, *values, *drawn))
    results = {
        "pairs": int(truth.sum()),
        "candidates": len(truth),
        "base_rate": float(truth.mean()),
        "factors": len(np.unique(first)),
        "results": [dict(zip(COLUMNS, row, strict=True)) for row in rows],
    }
    found = Found(results, {"known_targets.tsv": (COLUMNS, rows)})
    found.tables["known_overlap.tsv"] = OVERLAP, _overlaps(study, every, np.unique(first))
    bars = [
        (_name(r), r[3], "baseline" if r[0] in (CO_EXPRESSION, RANDOM) else "ours") for r in rows
    ]
    draw = functools.partial(auroc_bars, rows=bars)
    found.pictures = [("known_targets.png", "Known targets found", draw)]
    return found


def _name(row):
    return ", ".join(part for part in row[:3] if part)


def _baselines(study):
    found = {(CO_EXPRESSION, "", ""): co_expression(study.counts)}
    for i, name in enumerate(study.conditions if len(study.conditions) > 1 else ()):
        found[(CO_EXPRESSION, "", name)] = co_expression(study.counts[study.codes == i])
    found[(RANDOM, "", "")] = random_scores(len(study.genes), study.seed)
    return found


def _overlaps(study, scores, sources):
    """Known among the top targets of each factor that has known ones, by p."""
    rows, background = [], set(study.genes)
    for (method, model, condition), one in scores.items():
        for source in sources:
            name = study.genes[source]
            for k in (k for k in TOPS if 2 * k < len(study.genes)):
                top = {study.genes[i] for i in targets(one, source, k)}
                row = overlap_test(top, study.known[name], background - {name})
                shown = (row[c] for c in ("overlap", "members", "fold", "p"))
                rows.append([method, model, name, condition, k, *shown])
    rows.sort(key=lambda row: row[-1])
    # Corrected within a method: its models, conditions and tops times the factors.
    number = {m: sum(row[0] == m for row in rows) for m in {row[0] for row in rows}}
    return [(*row, min(1.0, row[-1] * number[row[0]])) for row in rows]

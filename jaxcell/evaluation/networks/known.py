"""Edges against what is known: targets of factors, gene sets; and against chance.

M genes; scores [M, M]: an edge goes from its column to its row.
"""

import csv

import numpy as np

from jaxcell.evaluation.gene_sets import lines_of

SOURCES = ("tf", "source", "regulator", "entity1")
TARGETS = ("target", "gene", "entity2")
FEWEST = 5  # known targets among the genes: of fewer a factor's own AUROC says nothing
DRAWS = 20


def read_known(path, levels=None):
    """Known targets of factors: {factor: set of targets}.

    A tab-separated file, packed or not: with a header that names a column tf (or source, regulator)
    and one target (or gene), as DoRothEA's; or of two columns without a header.

    Parameters
    ----------
    path : the file
    levels : of the column ``confidence``, such as 'ABC': only lines of these

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, other columns, no pair, or levels that it has not.
    """
    rows = [r for r in csv.reader(lines_of(path), delimiter="\t") if r and any(r)]
    header = [name.strip().lower() for name in rows[0]] if rows else []
    tf, target = (next((n for n in names if n in header), None) for names in (SOURCES, TARGETS))
    if tf and target:
        places, body = (header.index(tf), header.index(target)), rows[1:]
    elif rows and all(len(r) == 2 for r in rows[:100]):
        places, body, header = (0, 1), rows, []
    else:
        raise ValueError(
            f"{path}: found the columns {', '.join(header[:5]) or '(none)'}, expected a "
            "tab-separated header with tf and target, or two columns"
        )
    if levels:
        if "confidence" not in header:
            raise ValueError(
                f"{path}: has no column confidence, of which {levels} were asked for; leave "
                "--levels out"
            )
        at = header.index("confidence")
        body = [r for r in body if len(r) > at and r[at].strip() in levels]
    found = {}
    for i, row in enumerate(body, 2 if header else 1):
        if len(row) <= max(places):
            raise ValueError(f"{path}, line {i}: found {len(row)} columns, expected {len(header)}")
        a, b = (row[p].strip() for p in places)
        if a and b and a != b:
            found.setdefault(a, set()).add(b)
    if not found:
        raise ValueError(f"{path}: holds no pair{f' of confidence {levels}' if levels else ''}")
    return found


def pairs_among(known, genes, sources=None):
    """All edges that could be, and which of them are known.

    Parameters
    ----------
    known : {factor: set of targets}
    genes : names [M]
    sources : names of the factors that are looked at; None: all that are known. Of these, those
        with a known target among the genes

    Returns
    -------
    places of sources and targets, int [m] both, each factor with every other gene; bool [m]
    """
    place = {gene: i for i, gene in enumerate(genes)}
    wanted = known if sources is None else [s for s in sources if s in known]
    wanted = sorted(place[s] for s in wanted if s in place and known[s] & (place.keys() - {s}))
    if not wanted:
        empty = np.empty(0, np.int64)
        return empty, empty, np.empty(0, bool)
    first = np.repeat(wanted, len(genes) - 1)
    second = np.concatenate([np.delete(np.arange(len(genes)), s) for s in wanted])
    truth = [genes[b] in known[genes[a]] for a, b in zip(first, second, strict=True)]
    return first, second, np.array(truth)


def auroc(ranks, truth):
    """Area under the ROC curve, from ranks of scores (ties share their mean) and truths, both [m].

    The share of pairs of a true and an untrue edge of which the true one ranks higher.
    """
    true = int(truth.sum())
    return float((ranks[truth].sum() - true * (true + 1) / 2) / (true * (len(truth) - true)))


def measure(scores, first, second, truth):
    """How well edges' scores find the known ones.

    Parameters
    ----------
    scores : [M, M]
    first, second, truth : as `pairs_among` returns them

    Returns
    -------
    dict : ``auroc``, ``auprc`` (average precision) of all pairs, and ``auroc_by_source``, the mean
        over factors with at least 5 known targets (None where there is none)
    """
    from scipy.stats import rankdata
    from sklearn.metrics import average_precision_score

    values = np.asarray(scores, np.float64)[second, first]
    own = [
        auroc(rankdata(values[mine]), truth[mine])
        for mine in (first == s for s in np.unique(first))
        if FEWEST <= truth[mine].sum() < mine.sum()
    ]
    return {
        "auroc": auroc(rankdata(values), truth),
        "auprc": float(average_precision_score(truth, values)),
        "auroc_by_source": float(np.mean(own)) if own else None,
    }


def by_chance(scores, first, second, truth, seed=0, draws=DRAWS):
    """AUROC where each factor's known targets are drawn anew: mean and deviation over the draws.

    As many of each factor as it has, so only which genes they are is left to chance.
    """
    from scipy.stats import rankdata

    rng = np.random.default_rng(seed)
    ranks = rankdata(np.asarray(scores, np.float64)[second, first])
    each = [np.flatnonzero(first == source) for source in np.unique(first)]
    found = []
    for _ in range(draws):
        drawn = truth.copy()
        for mine in each:
            drawn[mine] = rng.permutation(truth[mine])
        found.append(auroc(ranks, drawn))
    return float(np.mean(found)), float(np.std(found))


def co_expression(counts):
    """Pearson correlation of genes over cells: CSR [n, M], normalised and logged -> f32 [M, M].

    A gene without spread correlates with none. Symmetric: it knows no direction.
    """
    n = counts.shape[0]
    mean = np.asarray(counts.mean(axis=0), np.float64).ravel()
    x = counts.astype(np.float64)
    covariance = np.asarray((x.T @ x).todense()) / n - np.outer(mean, mean)
    spread = np.sqrt(np.maximum(np.diagonal(covariance), 0))
    spread = np.where(spread > 1e-9, spread, np.inf)
    return (covariance / np.outer(spread, spread)).astype(np.float32)


def random_scores(genes, seed=0):
    """Scores without any knowledge, [M, M]."""
    return np.random.default_rng(seed).random((genes, genes), np.float32)

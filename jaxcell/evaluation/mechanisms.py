"""Can a drug's mechanism be read off the vectors of its cells, if the drug was never seen?

n cells, d dimensions, M mechanisms. Source: BMFM-RNA (2026), sections 2.7 and 4.5.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from . import clustering
from .probes import MAX_ITERATIONS, MOST_AT_ONCE, C, Fold
from .treated import one_each

REPEATS = 5
METRICS = ("auc", "recall", "f1")
BIOLOGY = ("nmi", "ari", "asw_label", "avg_bio")


def drug_folds(mechanism, drug, seed, repeats=REPEATS):
    """Halves of the cells by whole drugs, each with drugs of every mechanism.

    Of each mechanism the drugs, in random order, go one by one to the half that has fewer of its
    cells: the halves then differ by its largest drug at most. The partition of least difference
    would be the same in every repeat. Each half is the test set once; no partition comes twice as
    long as there are others.

    Parameters
    ----------
    mechanism, drug : str [n]
    seed, repeats : int

    Returns
    -------
    list of probes.Fold, two for each repeat

    Raises
    ------
    ValueError
        A mechanism of one drug only, or a drug of two mechanisms.
    """
    mechanism, drug = np.asarray(mechanism, str), np.asarray(drug, str)
    one_each(drug, mechanism, "drug")
    sizes = {}
    for kind in np.unique(mechanism):
        own = dict(zip(*np.unique(drug[mechanism == kind], return_counts=True), strict=True))
        if len(own) < 2:
            raise ValueError(
                f"mechanism {str(kind)!r}: found one drug, {str(next(iter(own)))!r}, expected two "
                "or more: one is held out whole"
            )
        sizes[kind] = own
    random, seen, found = np.random.default_rng(seed), set(), []
    for repeat in range(1, repeats + 1):
        for _ in range(100):
            half = frozenset().union(*(_half(own, random) for own in sizes.values()))
            if half not in seen:
                break
        seen |= {half, frozenset(np.unique(drug)) - half}
        inside = np.isin(drug, list(half))
        for i, test in enumerate((inside, ~inside), 1):
            name = f"repeat {repeat}, half {i}"
            found.append(Fold(name, np.flatnonzero(~test), np.flatnonzero(test)))
    return found


def _half(sizes, random):
    """One of the two halves of a mechanism's drugs: {drug: cells} -> set of drugs."""
    halves, cells = (set(), set()), [0, 0]
    for name in random.permutation(list(sizes)):
        side = int(np.argmin(cells)) if cells[0] != cells[1] else int(random.integers(2))
        halves[side].add(str(name))
        cells[side] += sizes[name]
    return halves[random.integers(2)]


def classify(x, mechanism, folds, c=C):
    """A logistic regression on one half of the drugs, judged on the other.

    StandardScaler fitted on the training cells; multinomial, L2 penalty; each mechanism against
    the rest for the AUC; all three scores are means over mechanisms, whatever their cells.

    Parameters
    ----------
    x : float32 [n, d]
    mechanism : str [n]
    folds : list of probes.Fold, each side with every mechanism
    c : inverse strength of the penalty

    Returns
    -------
    list of dict, one per fold
        auc, recall, f1; by_mechanism {mechanism: AUC}; held_out, n_train, n_test, converged
    """
    from joblib import cpu_count
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    mechanism = np.asarray(mechanism, str)
    with (
        threadpool_limits(1),  # as `probes.probe_all`: the same figures on any number of cores
        warnings.catch_warnings(),
        ThreadPoolExecutor(min(cpu_count(), len(folds), MOST_AT_ONCE)) as pool,
    ):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the result says so
        return list(pool.map(lambda fold: _judged(x, mechanism, fold, c), folds))


def _judged(x, mechanism, fold, c):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score, recall_score, roc_auc_score
    from sklearn.preprocessing import StandardScaler

    truth, scaler = mechanism[fold.test], StandardScaler()
    model = LogisticRegression(C=c, max_iter=MAX_ITERATIONS)
    model.fit(scaler.fit_transform(x[fold.train]), mechanism[fold.train])
    p = model.predict_proba(scaler.transform(x[fold.test]))
    predicted = model.classes_[p.argmax(axis=1)]
    by = {
        str(kind): float(roc_auc_score(truth == kind, p[:, i]))
        for i, kind in enumerate(model.classes_)
    }
    return {
        "held_out": fold.name,
        "auc": float(np.mean(list(by.values()))),
        "recall": float(recall_score(truth, predicted, average="macro", zero_division=0)),
        "f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
        "by_mechanism": by,
        "n_train": len(fold.train),
        "n_test": len(fold.test),
        "converged": bool(np.max(model.n_iter_) < MAX_ITERATIONS),
    }


def biology(x, mechanism, seed=0):
    """How well the cells of a mechanism lie together: NMI, ARI, ASW and their mean, avgBIO.

    Leiden clusters at the resolution of highest NMI (`clustering.best_clustering`). Source: as
    scib's; BMFM-RNA 4.5.

    x float32 [n, d], mechanism str [n] -> {nmi, ari, asw_label, avg_bio, resolution, clusters}
    """
    space = clustering.Space(np.asarray(x, np.float32))
    best, _ = clustering.best_clustering(space.clusterings("leiden", seed), mechanism)
    far, metric = space.far()
    asw = clustering.asw_label(far, mechanism, metric)
    return {**best, "asw_label": asw, "avg_bio": (best["nmi"] + best["ari"] + asw) / 3}


def shuffled(mechanism, drug, seed):
    """Mechanisms that mean nothing: those of whole drugs, permuted among the drugs.

    Each keeps its number of drugs, and a drug its cells together: chance as the folds see it. (It
    may lie a little below .5: of drugs that are truly alike, one is seldom the other's namesake.)

    mechanism, drug str [n] -> str [n]
    """
    drug, mechanism = np.asarray(drug, str), np.asarray(mechanism, str)
    _, first, code = np.unique(drug, return_index=True, return_inverse=True)
    return np.random.default_rng(seed).permutation(mechanism[first])[code]

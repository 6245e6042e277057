"""Probes: can the label be read off the representation in batches that were never seen?

n cells, d features, m training cells.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

# Weak for the classes that one batch alone would give; measured over five held-out PBMC batches:
# C = 1 → mean accuracy .685 (50 PCs), .760 (6 713 genes); C = 0.1 → .728, .766; 0.01 → .715, .765.
C = 0.1
MAX_ITERATIONS = 1000
NEIGHBOURS = 15
FOLDS = 5  # stratified, where there is no batch
MOST_AT_ONCE = 4  # folds: each holds a copy of its cells
GROUPS = 10  # of batches, where there are more batches than that


@dataclass(frozen=True)
class Fold:
    """One split: the positions of its training and its test cells, and what is held out."""

    name: str
    train: np.ndarray  # int [m]
    test: np.ndarray  # int [n - m], or fewer


@dataclass(frozen=True)
class Vectors:
    """A representation [n, d] without distances [n, n]: neighbours are searched for in chunks."""

    x: np.ndarray
    distances: None = None


def folds(labels, batch, test_batches=(), seed=0):
    """Split the cells by whole batches, or stratified where there is no batch.

    Parameters
    ----------
    labels : str [n]
    batch : str [n] or None
    test_batches : sequence of str
        If given, these together are the only test set, and all other batches train.
    seed : int
        Of the stratified folds; splits by batch draw nothing.

    Returns
    -------
    list of Fold, str
        The folds and the protocol in words.
    """
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    names = [] if batch is None else np.unique(batch).tolist()
    if len(test_batches):
        return [_given(batch, names, [str(b) for b in test_batches])], (
            "the given batches are held out, all others train"
        )
    if len(names) > GROUPS:
        splits = GroupKFold(GROUPS).split(labels, groups=batch)
        return [
            Fold(", ".join(np.unique(batch[test])), train, test) for train, test in splits
        ], f"{GROUPS} folds of whole batches ({len(names)} batches)"
    if len(names) >= 2:
        return [
            Fold(name, np.flatnonzero(batch != name), np.flatnonzero(batch == name))
            for name in names
        ], f"leave one batch out ({len(names)} batches)"

    n_splits = min(FOLDS, np.unique(labels, return_counts=True)[1].max())
    splitter = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer cells than folds is in fewer test sets; the report says which.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        splits = list(splitter.split(labels, labels))
    why = "no batch column" if batch is None else f"one batch only, {names[0]!r}"
    return [
        Fold(f"fold {i}", train, test) for i, (train, test) in enumerate(splits, 1)
    ], f"stratified {n_splits}-fold over cells ({why}): no batch is held out"


def whole_batches(batch, test_batches=()):
    """Whether `folds` holds out whole batches, and so draws nothing."""
    return len(test_batches) > 0 or (batch is not None and len(np.unique(batch)) > 1)


def _given(batch, names, wanted):
    if batch is None:
        raise ValueError(f"test_batches={wanted} needs a batch column: name it with batch=")
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise ValueError(f"test_batches: no cell is of batch {unknown}; the batches are {names}")
    if set(wanted) == set(names):
        raise ValueError(
            f"test_batches={wanted} holds out every batch: nothing is left to train on"
        )
    held = np.isin(batch, wanted)
    return Fold(", ".join(sorted(set(wanted))), np.flatnonzero(~held), np.flatnonzero(held))


def linear(x, labels, test):
    """Standardise the features, fit a multinomial logistic regression, predict.

    StandardScaler fitted on the training cells; L2 penalty with C = 0.1, the same for every
    representation; L-BFGS in float32 to sklearn's tolerance on the primal problem, which at
    5 000 × 7 000 takes seconds (the dual has as many unknowns as training cells, so no gain).
    Source: TxFM, B.2.3 (there AdamW, early stopping and a grid of learning rates).

    Parameters
    ----------
    x : float32 [m, d]
        Training cells.
    labels : str [m]
    test : float32 [., d]

    Returns
    -------
    str [.], bool
        Predictions, and whether the solver converged.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) == 1:
        return np.full(len(test), labels[0]), True
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=C, max_iter=MAX_ITERATIONS)
    model.fit(scaler.transform(x), labels)
    return model.predict(scaler.transform(test)), bool(np.max(model.n_iter_) < MAX_ITERATIONS)


def nearest(x, labels, test, distances=None):
    """Majority label of the 15 nearest training cells (Euclidean, features as they are).

    x [m, d], labels [m], test [t, d] -> str [t]; distances [t, m] where they are known already.
    Of labels with equally many votes, the first of the alphabet.
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(NEIGHBOURS, len(labels))
    if distances is None:
        search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x)
        near = search.kneighbors(test, return_distance=False)
    else:
        near = np.argpartition(distances, k - 1, axis=1)[:, :k]
    names, code = np.unique(labels, return_inverse=True)
    votes = (code[near][:, :, None] == np.arange(len(names))).sum(axis=1)
    return names[votes.argmax(axis=1)]


def score(truth, predicted):
    """Accuracy, and F1 averaged over the classes present in the truth.

    F1 of a class that was never predicted (absent from training, say) is 0 and counts.

    truth, predicted str [.] -> float, float
    """
    from sklearn.metrics import accuracy_score, f1_score

    macro = f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
    return float(accuracy_score(truth, predicted)), float(macro)


def probe(x, labels, fold, distances=None):
    """Both probes on one fold.

    Parameters
    ----------
    x : float32 [n, d]
    labels : str [n]
    fold : Fold
    distances : float32 [n, n], optional
        Of all cells in x, where they are known already.

    Returns
    -------
    dict, dict
        Scores, sizes, and the classes of the test cells that no training cell has (`absent`;
        scored as the errors they are). The predictions: {'linear', 'knn': str [test cells]}.
    """
    truth, known = labels[fold.test], labels[fold.train]
    train, test = x[fold.train], x[fold.test]
    far = None if distances is None else distances[np.ix_(fold.test, fold.train)]
    by_line, converged = linear(train, known, test)
    predicted = {"linear": by_line, "knn": nearest(train, known, test, far)}
    found = {
        "held_out": fold.name,
        "n_train": len(known),
        "n_test": len(truth),
        "absent": sorted(set(truth) - set(known)),
        "converged": converged,
    }
    for kind, values in predicted.items():
        found[f"{kind}_accuracy"], found[f"{kind}_macro_f1"] = score(truth, values)
    return found, predicted


def predict_all(spaces, labels, folds):
    """Both probes on all folds, side by side on the cores.

    One BLAS thread each: the products are thin, and the figures are the same on any number of
    cores.

    Parameters
    ----------
    spaces : list of Space or Vectors
        One, or one per fold.
    labels : str [n]
    folds : list of Fold

    Returns
    -------
    list of dict, list of dict
        What `probe` says of each fold, and its predictions there.
    """
    from joblib import cpu_count
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    spaces = spaces * len(folds) if len(spaces) == 1 else spaces
    for space in spaces:
        _ = space.distances  # with all threads
    with (
        threadpool_limits(1),
        warnings.catch_warnings(),
        ThreadPoolExecutor(min(cpu_count(), len(folds), MOST_AT_ONCE)) as pool,
    ):
        warnings.simplefilter("ignore", ConvergenceWarning)  # probe says so
        done = pool.map(lambda s, fold: probe(s.x, labels, fold, s.distances), spaces, folds)
        scores, predictions = zip(*done, strict=True)
    return list(scores), list(predictions)


def probe_all(spaces, labels, folds):
    """As `predict_all`; in the place of the predictions their pooled scores."""
    scores, predictions = predict_all(spaces, labels, folds)
    return scores, pooled(labels, folds, predictions)


KINDS = ("linear", "knn")
SCORES = ("accuracy", "macro_f1")
PROBE_METRICS = tuple(f"{kind}_{score}" for kind in KINDS for score in SCORES)
POOLED_METRICS = tuple(f"{kind}_pooled_{score}" for kind in KINDS for score in SCORES)


def averages(results):
    """The mean of each probe metric over folds: list of probe()'s scores -> {metric: float}."""
    return {name: float(np.mean([fold[name] for fold in results])) for name in PROBE_METRICS}


def pooled(labels, folds, predictions):
    """The same scores over the held-out cells of all folds together: a cell counts once.

    The mean over folds gives a batch of 100 cells the weight of one of 10 000.

    labels str [n], list of Fold, list of probe()'s predictions -> {metric: float}
    """
    truth = np.concatenate([labels[fold.test] for fold in folds])
    values = [
        value
        for kind in KINDS
        for value in score(truth, np.concatenate([one[kind] for one in predictions]))
    ]
    return dict(zip(POOLED_METRICS, values, strict=True))

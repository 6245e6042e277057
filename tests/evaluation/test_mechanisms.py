"""Mechanisms of drugs: folds by whole drugs, scores against scikit-learn, chance, and the leak."""

import numpy as np
import pytest

from jaxcell.evaluation import mechanisms, probes

DRUGS = {"A": (30, 20, 41, 17), "B": (25, 44), "C": (18, 22, 31, 12, 27)}  # cells of each


def cells(drugs=DRUGS):
    """Drug and mechanism of each cell, in random order."""
    drug = [f"{k}{i}" for k, own in drugs.items() for i, n in enumerate(own) for _ in range(n)]
    drug = np.random.default_rng(9).permutation(drug)
    return drug, np.array([name[0] for name in drug])


def vectors(labels, d=8, spread=1.0, seed=0):
    """A centre for each label, and noise."""
    random = np.random.default_rng(seed)
    names, code = np.unique(labels, return_inverse=True)
    return (
        random.normal(size=(len(names), d))[code] * spread + random.normal(size=(len(labels), d))
    ).astype(np.float32)


def mean(folds, metric):
    return np.mean([fold[metric] for fold in folds])


def test_whole_drugs_and_every_mechanism_on_both_sides():
    drug, kind = cells()
    for seed in range(5):
        folds = mechanisms.drug_folds(kind, drug, seed)
        assert len(folds) == 10
        for fold in folds:
            assert not set(drug[fold.train]) & set(drug[fold.test])
            assert set(kind[fold.train]) == set(kind[fold.test]) == set("ABC")
            assert sorted([*fold.train, *fold.test]) == list(range(len(drug)))
        for one, other in zip(folds[::2], folds[1::2], strict=True):
            assert (one.train == other.test).all()
            assert (one.test == other.train).all()


def test_halves_are_even_but_for_one_drug():
    drug, kind = cells()
    for fold in mechanisms.drug_folds(kind, drug, 0, repeats=20):
        for name, sizes in DRUGS.items():
            halves = [(kind[side] == name).sum() for side in (fold.train, fold.test)]
            assert abs(halves[0] - halves[1]) <= max(sizes)


def test_repeats_differ_and_seeds_give_the_same_again():
    drug, kind = cells()
    parts = [
        frozenset([frozenset(drug[f.test]), frozenset(drug[f.train])])
        for f in mechanisms.drug_folds(kind, drug, 3)[::2]
    ]
    assert len(set(parts)) == 5
    again = mechanisms.drug_folds(kind, drug, 3)[0].test
    assert (again == mechanisms.drug_folds(kind, drug, 3)[0].test).all()
    two, kinds = cells({"A": (9, 9), "B": (9, 9)})  # has two partitions only
    assert len(mechanisms.drug_folds(kinds, two, 0)) == 10


def test_drugs_that_cannot_be_held_out():
    with pytest.raises(ValueError, match="mechanism 'B': found one drug, 'B0'"):
        mechanisms.drug_folds(*cells({"A": (9, 9), "B": (9,)})[::-1], 0)
    drug, kind = cells()
    kind = kind.copy()
    kind[0] = "B" if kind[0] == "A" else "A"
    with pytest.raises(ValueError, match="has several mechanisms"):
        mechanisms.drug_folds(kind, drug, 0)


def test_scores_are_scikit_learns():
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score, recall_score, roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    drug, kind = cells()
    x = vectors(kind, spread=0.5) + 2
    for fold, found in zip(
        folds := mechanisms.drug_folds(kind, drug, 1, repeats=2),
        mechanisms.classify(x, kind, folds),
        strict=True,
    ):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=probes.C, max_iter=1000))
        model.fit(x[fold.train], kind[fold.train])
        truth, p = kind[fold.test], model.predict_proba(x[fold.test])
        auc = roc_auc_score(truth, p, multi_class="ovr", average="macro")
        guess = model.predict(x[fold.test])
        assert found["auc"] == pytest.approx(auc, abs=1e-4)
        assert found["recall"] == pytest.approx(recall_score(truth, guess, average="macro"))
        assert found["f1"] == pytest.approx(f1_score(truth, guess, average="macro"))
        one = roc_auc_score(truth == "B", p[:, 1])
        assert found["by_mechanism"]["B"] == pytest.approx(one, abs=1e-4)
        assert found["converged"]
        assert found["n_test"] == len(fold.test)


def test_perfect_random_and_shuffled():
    drug, kind = cells()
    folds = mechanisms.drug_folds(kind, drug, 0)
    perfect = mechanisms.classify(vectors(kind, spread=9), kind, folds)
    for metric in mechanisms.METRICS:
        assert mean(perfect, metric) == 1
    noise = mechanisms.classify(vectors(kind, spread=0), kind, folds)
    assert abs(mean(noise, "auc") - 0.5) < 0.06
    assert abs(mean(noise, "recall") - 1 / 3) < 0.06


def test_shuffled_mechanisms_stay_whole_and_score_at_chance():
    drugs = dict.fromkeys("ABCD", (20,) * 6)
    drug, kind = cells(drugs)
    x, found = vectors(kind, spread=2), []
    for seed in range(8):
        other = mechanisms.shuffled(kind, drug, seed)
        pairs = set(zip(drug, other, strict=True))
        assert len(pairs) == 24  # one mechanism of each drug
        assert sorted(name for _, name in pairs) == sorted("ABCD" * 6)
        folds = mechanisms.drug_folds(other, drug, seed, repeats=2)
        found.append(mean(mechanisms.classify(x, other, folds), "auc"))
    assert abs(np.mean(found) - 0.5) < 0.08


def test_knowing_the_drug_is_not_knowing_the_mechanism():
    """The leak that the folds prevent: each drug has its own place, mechanisms have none."""
    from sklearn.model_selection import StratifiedKFold

    drugs = dict.fromkeys("ABC", (10,) * 10)
    drug, kind = cells(drugs)
    by_drug, by_cell = [], []
    for seed in range(10):
        x = vectors(drug, d=40, spread=2, seed=seed)
        whole = mechanisms.drug_folds(kind, drug, seed, repeats=1)
        by_drug.append(mean(mechanisms.classify(x, kind, whole), "auc"))
        split = StratifiedKFold(2, shuffle=True, random_state=seed).split(x, kind)
        leaky = [probes.Fold(f"{i}", *sides) for i, sides in enumerate(split)]
        by_cell.append(mean(mechanisms.classify(x, kind, leaky), "auc"))
    assert abs(np.mean(by_drug) - 0.5) < 0.06
    assert np.mean(by_cell) > 0.97


def test_biology_is_scibs():
    from sklearn.metrics import normalized_mutual_info_score, silhouette_score

    from jaxcell.evaluation.clustering import Space

    _, kind = cells()
    x = vectors(kind, spread=1.5)
    found = mechanisms.biology(x, kind)
    assert found["asw_label"] == pytest.approx((silhouette_score(x, kind) + 1) / 2, abs=1e-5)
    r = found["resolution"]
    clusters = Space(x).clusterings("leiden", 0, (r,))[r]
    assert found["nmi"] == pytest.approx(normalized_mutual_info_score(kind, clusters))
    assert found["avg_bio"] == pytest.approx((found["nmi"] + found["ari"] + found["asw_label"]) / 3)
    random = mechanisms.biology(x, np.random.default_rng(0).permutation(kind))
    assert random["ari"] < 0.02
    assert abs(random["asw_label"] - 0.5) < 0.02

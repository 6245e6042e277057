import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from jaxcell.evaluation import clustering
from jaxcell.evaluation.cz_protocol import METRICS, cz_scores

from .cells import blobs


@pytest.mark.parametrize("classes", [2, 4])
def test_prediction_equals_scikit_learns_cross_validation(classes):
    x, labels, _ = blobs(160, classes=classes, d=5, gap=2.0)
    labels[:4] = "rare"  # four cells: left out
    found = cz_scores(x, labels, seed=3)
    own = labels != "rare"
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    f1 = "f1" if classes == 2 else "f1_macro"
    codes = np.unique(labels[own], return_inverse=True)[1]
    for kind, model in (("lr", LogisticRegression()), ("knn", KNeighborsClassifier())):
        line = Pipeline([("scaler", StandardScaler()), ("model", model)])
        theirs = cross_validate(line, x[own], codes, cv=folds, scoring=["accuracy", f1])
        assert found[f"{kind}_accuracy"] == pytest.approx(theirs["test_accuracy"].mean())
        assert found[f"{kind}_macro_f1"] == pytest.approx(theirs[f"test_{f1}"].mean())
    space = clustering.Space(x)
    best, _ = clustering.best_clustering(space.clusterings("leiden", 3, (1.0,)), labels)
    assert (found["ari"], found["nmi"]) == pytest.approx((best["ari"], best["nmi"]))
    assert found["silhouette"] == pytest.approx(clustering.asw_label(x, labels), abs=1e-6)
    assert (found["cells"], found["classes"]) == (160, classes + 1)
    assert set(METRICS) < set(found)


def test_shuffled_labels_are_at_chance():
    x, labels, _ = blobs(300, classes=3)
    found = cz_scores(x, np.random.default_rng(1).permutation(labels))
    assert found["lr_accuracy"] == pytest.approx(1 / 3, abs=0.09)
    assert abs(found["ari"]) < 0.03


def test_classes_too_small_to_predict():
    x, _, _ = blobs(45, classes=3)
    found = cz_scores(x, np.array([f"type {i % 9}" for i in range(45)]))
    assert found["lr_accuracy"] is None
    assert found["nmi"] > 0

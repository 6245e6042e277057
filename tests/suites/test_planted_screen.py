"""Generated cells: what is planted is there, and where nothing is planted nothing is found."""

import numpy as np
import pytest

from jaxcell.evaluation import baselines, mechanisms, signatures
from jaxcell.evaluation.treated import treated
from jaxcell.suites.planted_screen import MECHANISMS, planted_astrocytes, planted_screen

COLUMNS = dict(
    drug="product_name", mechanism="pathway_level_1", dose="dose", viability="viability",
    vehicle="vehicle", cells="cell_type=A549",
)  # fmt: skip


def auc(**options):
    adata = planted_screen(**options)
    kept = treated(adata.obs, **COLUMNS, fewest_cells=10)
    x = baselines.normalise(adata.X)[kept.keep]
    x = baselines.principal_components(x, 30).scores(x)
    folds = mechanisms.drug_folds(kept.mechanism, kept.drug, 0, repeats=1)
    return np.mean([fold["auc"] for fold in mechanisms.classify(x, kept.mechanism, folds)]), kept


def test_a_screen_is_laid_out_as_sci_plex():
    adata = planted_screen(1, cells=20, genes=200)
    kept = treated(adata.obs, **COLUMNS, fewest_cells=10)
    assert len(set(kept.drug)) == 39
    assert set(kept.mechanism) == set(MECHANISMS)
    assert set(adata.obs["dose"]) == {0.0, 10.0, 100.0, 1_000.0, 10_000.0}
    assert set(kept.dropped) == {
        "vehicle controls", "at another dose than 10,000 nM", "viability not below 0.85",
        "of mechanisms with fewer than 2 drugs or 10 cells",
    }  # fmt: skip
    assert (adata.X.data % 1 == 0).all()
    again = planted_screen(1, cells=20, genes=200)
    assert (again.X != adata.X).nnz == 0
    assert again.obs.equals(adata.obs)
    assert (planted_screen(2, cells=20, genes=200).X.shape) != adata.X.shape


def test_mechanisms_are_told_by_their_strength():
    few = {"A": 6, "B": 6, "C": 6}
    size = {"cells": 25, "genes": 200, "mechanisms": few}
    strong, _ = auc(**size, strength=1.2)
    weak, _ = auc(**size, strength=0.5)
    nothing = np.mean([auc(**size, strength=0.0, seed=seed)[0] for seed in range(4)])
    assert strong > 0.9
    assert strong > weak + 0.05
    assert abs(nothing - 0.5) < 0.08


@pytest.fixture(scope="module")
def astrocytes():
    adata = planted_astrocytes(0)
    adata = adata[adata.obs["cell_type"] == "astrocyte"].copy()
    x = baselines.normalise(adata.X)
    space = baselines.principal_components(x, 50).scores(x)
    members, _ = signatures.clusters(space)
    return adata, x, members


def scored(x, w):
    random = signatures.random_weights(x, w, 120)
    return signatures.scores(x, w), signatures.scores(x, random)


def test_the_planted_cluster_is_found(astrocytes):
    from sklearn.metrics import adjusted_rand_score

    adata, x, members = astrocytes
    w, absent = signatures.weights(signatures.DAA, list(adata.var_names))
    assert not absent
    diseased = (adata.obs["disease"] == "AD").to_numpy()
    row = signatures.carrier(signatures.by_cluster(*scored(x, w), members, diseased))
    own, planted = members == row["cluster"], (adata.obs["planted"] == "DAA").to_numpy()
    assert (own & planted).sum() / (own | planted).sum() > 0.8
    assert adjusted_rand_score(planted, own) > 0.8
    assert row["disease_q"] < 1e-3
    assert row["odds_ratio"] > 2


def test_of_other_genes_hardly_any_signature_is_found(astrocytes):
    """At a rate of .05 a few in twenty may be; the plain test alone finds most of them."""
    adata, x, members = astrocytes
    diseased = (adata.obs["disease"] == "AD").to_numpy()
    by_both, by_plain = 0, 0
    for seed in range(20):
        names = np.random.default_rng(seed).permutation(adata.var_names)
        w, _ = signatures.weights(signatures.DAA, list(names))
        rows = signatures.by_cluster(*scored(x, w), members, diseased)
        by_both += signatures.carrier(rows) is not None
        by_plain += any(row["q"] < 0.05 and row["effect"] > 0.5 for row in rows)
    assert by_both <= 3
    assert by_plain >= 8


def test_of_shuffled_cells_no_cluster_is_significant(astrocytes):
    """But for the rate of false discoveries: one in twenty."""
    adata, x, members = astrocytes
    w, _ = signatures.weights(signatures.DAA, list(adata.var_names))
    diseased, (score, random) = (adata.obs["disease"] == "AD").to_numpy(), scored(x, w)
    tested, enriched = 0, 0
    for seed in range(30):
        shuffled = np.random.default_rng(seed).permutation(members)
        rows = signatures.by_cluster(score, random, shuffled, diseased)
        assert signatures.carrier(rows) is None
        tested += any(max(row["q"], row["random_q"]) < 0.05 for row in rows)
        enriched += any(row["disease_q"] < 0.05 for row in rows)
    assert tested <= 5
    assert enriched <= 5

"""The suite of gene vectors on real cells and real pairs: JAXCELL_DATA."""

import pytest

from jaxcell import benchmark
from tests.real.test_real_data import DATA, pytestmark  # noqa: F401

CELLS = DATA / "single_cell" / "pbmc_5batch_fullgenes.h5ad"
RANDOM, PCA = "random_vectors-seed0", "PCA_transpose_fit_"


def run(out, **more):
    options = dict(cells=CELLS, data=DATA, seeds=1, progress=False)
    return benchmark("genes", out, **options, **more)["parts"]


def recall(found, key):
    return found[f"recall-{key}"]["vectors"][""]["raw"]["recall"]


def test_random_vectors_are_at_chance_and_those_of_cells_above(tmp_path):
    found = run(tmp_path, sizes=(256,))
    random, cells = recall(found, RANDOM), recall(found, PCA)
    assert sorted(random) == ["CORUM", "HuMAP", "Reactome", "SIGNOR", "StringDB", "mean"]
    assert all(100 * value == pytest.approx(5, abs=0.8) for value in random.values())
    assert cells["mean"] > random["mean"] + 0.02
    p = {
        key: found[f"statistics-{key}"]["vectors"][""]["log"]["vectors"]["joint"]["p"]
        for key in (RANDOM, PCA)
    }
    assert p[PCA] < 0.02 < p[RANDOM]


def test_random_vectors_at_both_ends_recall_twice_the_share(tmp_path):
    found = recall(run(tmp_path, sizes=(256,), sides="both", baselines=("random",)), RANDOM)
    assert all(100 * value == pytest.approx(10, abs=0.8) for value in found.values())

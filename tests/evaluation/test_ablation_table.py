"""The ablation's table: which arms get a star, and the paper's shape."""

import numpy as np
import pytest

from jaxcell.evaluation import ablation_table
from jaxcell.evaluation.significance import paired_draws, t_test, two_proportions


def run(consistent, enc, dec, scored=40, draws=None, **more):
    noise = np.random.default_rng(0).normal(0, 0.001, 50) if draws is None else draws
    return {
        "perts": {"consistent": consistent, "scored": scored, "score": consistent / scored},
        "enc": {"recall": enc, "draws": list(enc + noise)},
        "dec": {"recall": dec, "draws": list(dec + noise)},
        "seconds": 3.0,
        "val_loss": -1.5,
        **more,
    }


FAILED = {"failed": "diverged at step 7, before the first validation", "seconds": 2.0}


@pytest.fixture
def results():
    wide = np.random.default_rng(1).normal(0, 0.05, 50)
    arms = {
        "default": [run(20, 0.30, 0.40)],
        "mse": [run(2, 0.20, 0.40)],
        "relu": [FAILED],
        "k64": [run(22, 0.29, 0.41, draws=wide)],
    }
    arms = {name: {"runs": runs, "parameters": 1_230_000} for name, runs in arms.items()}
    meta = dict(
        suite="txfm", budget="small", seeds=1, cut=0.05, steps=10, batch_size=32, scored=40,
        genes=500, cells=100, train=["a.h5ad"], perturbed="p.h5ad", perturbation="stim",
        control="ctrl", batch=["donor"], per_batch=True, pairs={"CORUM": 30},
    )  # fmt: skip
    blocks = [
        {"title": "loss", "arms": [["MSE", "mse"], ["Poisson", "default"]]},
        {"title": "# unmasked", "arms": [["64", "k64"], ["128", "default"], ["256", "k256"]]},
        {"title": "decoder", "arms": [["linear", "linear"], ["4-layer MLP", "default"]]},
        {"title": "activation", "arms": [["ReLU", "relu"], ["rect. tanh", "default"]]},
    ]
    return {
        "meta": meta,
        "arms": arms,
        "blocks": blocks,
        "references": {"random gene vectors": {"enc, dec": 0.05}},
        "verdicts": ablation_table.verdicts(arms, 500),
    }


def test_stars_follow_the_papers_tests(results):
    found, arms = results["verdicts"], results["arms"]
    assert found["perts"]["mse"] == {"p": two_proportions(20, 40, 2, 40), "differs": True}
    assert found["perts"]["k64"]["differs"] is False
    assert found["enc"]["mse"]["differs"] is True  # the same draws: the difference has no spread
    assert found["dec"]["mse"] == {"p": 1.0, "differs": False}
    draws = [arms[name]["runs"][0]["enc"]["draws"] for name in ("default", "k64")]
    assert found["enc"]["k64"]["p"] == paired_draws(0.30, 0.29, *draws, 500)
    assert all("relu" not in verdict and "default" not in verdict for verdict in found.values())


def test_with_seeds_recall_is_tested_over_them_and_counts_are_pooled():
    arms = {
        "default": {"runs": [run(20, 0.30, 0.40), run(18, 0.31, 0.42), FAILED]},
        "mse": {"runs": [run(10, 0.20, 0.41), run(9, 0.22, 0.42)]},
    }
    found = ablation_table.verdicts(arms, 500)
    assert found["enc"]["mse"]["p"] == t_test([0.30, 0.31], [0.20, 0.22])
    assert found["perts"]["mse"]["p"] == two_proportions(38, 80, 19, 80)
    assert ablation_table.values(arms["default"], "perts") == [0.5, 0.45]


def test_the_table_has_the_papers_shape(results):
    assert ablation_table.blocks(results) == [
        ("loss", [["MSE", "5.0*", "20.0*", "40.0"], ["Poisson", "50.0", "30.0", "40.0"]]),
        ("# unmasked", [["64", "55.0", "29.0", "41.0"], ["128", "50.0", "30.0", "40.0"]]),
        ("activation", [["ReLU", "–", "–", "–"], ["rect. tanh", "50.0", "30.0", "40.0"]]),
    ]
    lines = ablation_table.text(results).splitlines()
    assert lines[:4] == [
        "loss           perts     enc     dec",
        "─" * 35,
        "MSE             5.0*   20.0*    40.0",
        "Poisson         50.0    30.0    40.0",
    ] or lines[2].split() == ["MSE", "5.0*", "20.0*", "40.0"]
    assert "10 steps of 32 cells in every arm, 1 seed, 500 genes" in lines[-1]


def test_the_page_says_what_failed_and_what_it_was_measured_on(results):
    page = ablation_table.page(results)
    assert "- relu, seed 0: diverged at step 7, before the first validation" in page
    assert "| MSE | 5.0⋆ | 20.0⋆ | 40.0 |" in page
    assert "| relu | 1.23M | – | – | – | – | 2 |" in page
    assert "trained on 100 cells of a.h5ad" in page
    assert "CORUM (30)" in page

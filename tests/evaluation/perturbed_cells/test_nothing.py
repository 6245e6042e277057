"""Vectors that carry nothing, and designs that leave nothing to score."""

import numpy as np
import pytest

from jaxcell.evaluation.consistency import align, aligned_consistency
from jaxcell.evaluation.perturbed_cells import (
    aggregate,
    postprocessing,
    ranking,
    recall,
    retrieval,
    separability,
    tasks,
)
from tests.evaluation.perturbed_cells.simulated import cells, labels

GENES = 60


def relations(share, seed=0):
    """Perturbations of ten cells, and pairs of them drawn at random: names [n], {…: [m, 2]}."""
    pairs = np.stack(np.triu_indices(GENES, 1), axis=1)
    drawn = np.random.default_rng(seed).random(len(pairs)) < share
    return np.repeat([f"G{i:02d}" for i in range(GENES)], 10), {"db": pairs[drawn]}


def recalled(x, names, known):
    return recall.relationship_recall(np.asarray(x, np.float32), names, "ctrl", known)["mean"]


@pytest.mark.parametrize(
    "vectors",
    [
        lambda rng, shape: np.ones(shape),
        lambda rng, shape: np.zeros(shape),
        lambda rng, shape: np.full(shape, 0.1),
        lambda rng, shape: (rng.random((shape[0], 1)) > 0.5).astype(float),
        lambda rng, shape: 1 + 0.01 * rng.standard_normal(shape),
        lambda rng, shape: 1 + 1e-5 * rng.standard_normal(shape),
        lambda rng, shape: 100 + 0.01 * rng.standard_normal(shape),
        lambda rng, shape: rng.standard_normal(shape),
    ],
    ids=["ones", "zeros", "tenths", "binary", "offset", "collapsed", "far", "random"],
)
def test_vectors_that_carry_nothing_recall_a_tenth(vectors):
    names, known = relations(0.3)
    rng = np.random.default_rng(1)
    found = [recalled(vectors(rng, (len(names), 64)), names, known) for _ in range(5)]
    assert np.mean(found) == pytest.approx(0.1, abs=0.02)
    assert max(found) < 0.14


@pytest.mark.parametrize("offset", [0, 100])
def test_planted_relations_are_recalled(offset):
    names, _ = relations(0)
    code = np.repeat(np.arange(GENES), 10)
    # Families of four genes of one direction: 90 of 1 770 pairs, 5.1 %.
    direction = np.random.default_rng(2).standard_normal((GENES // 4, 30))
    x = offset + direction[code // 4] + 0.1 * np.random.default_rng(3).standard_normal((600, 30))
    pairs = np.stack(np.triu_indices(GENES, 1), axis=1)
    known = {"db": pairs[pairs[:, 0] // 4 == pairs[:, 1] // 4]}
    if offset:  # the angles to a common offset are not those of the directions
        x = postprocessing.postprocess("centre", x, np.arange(600) % 2 == 0, np.zeros(600))
    assert recalled(x, names, known) > 0.9


def test_predicted_pairs_are_those_of_a_full_ranking():
    rng = np.random.default_rng(4)
    for n in (41, 40):  # 820 pairs, 41 at each end; 780, 39
        means = rng.standard_normal((n, 5))
        pairs = np.stack(np.triu_indices(n, 1), axis=1)
        unit = means / np.linalg.norm(means, axis=1, keepdims=True)
        order = np.argsort([unit[i] @ unit[j] for i, j in pairs])
        ends = len(pairs) // 20
        expected = np.zeros(len(pairs))
        expected[[*order[:ends], *order[-ends:]]] = 1
        found = recall.predicted(means, {"all": pairs, "turned": pairs[:, ::-1]})
        np.testing.assert_allclose(found["all"], expected, atol=1e-9)
        np.testing.assert_array_equal(found["all"], found["turned"])
    # 15 pairs, of which 0.75 are predicted at each end; and of tied pairs each in part.
    pairs = np.stack(np.triu_indices(6, 1), axis=1)
    found = recall.predicted(rng.standard_normal((6, 3)), {"all": pairs})["all"]
    assert sorted(found)[-3:] == pytest.approx([0, 0.75, 0.75])
    means = np.array([[1.0], [2], [3], [-1], [-2], [-3]])  # 6 pairs of cosine 1, 9 of -1
    found = recall.predicted(means, {"all": pairs, "up": np.array([[0, 1]])}, share=0.2)
    assert found["up"] == pytest.approx([3 / 6])
    assert found["all"].sum() == pytest.approx(6)
    assert recall.predicted(means, {"all": pairs}, share=0.5)["all"] == pytest.approx([1] * 15)


PAIRS = {"all": [(f"G{i}", f"G{j}") for i in range(7) for j in range(i)]}


@pytest.mark.parametrize("value", ["ones", "zeros", "tenths", "batch"])
def test_every_task_runs_on_vectors_without_cells(value):
    names, batch, _ = cells()
    code = np.unique(batch, return_inverse=True)[1]
    expression = np.random.default_rng(0).poisson(1, (len(names), 20)).astype(np.float32)
    x = {
        "ones": np.ones((len(names), 8)),
        "zeros": np.zeros((len(names), 8)),
        "tenths": np.full((len(names), 8), 0.1),
        "batch": 3.7 * np.eye(4)[code] + 0.1,
    }[value]
    found = tasks.measure(x, labels(names, batch, expression, PAIRS))
    assert list(found) == list(postprocessing.KINDS)
    most = np.mean(names == "ctrl")  # what is said of every cell where nothing is known
    for one in found.values():
        assert one["consistency"] == 0
        assert one["recall"] == pytest.approx(0.1)  # all pairs are known
        assert one["knn_top1"] == pytest.approx(1 / 8, abs=1e-6)
        assert one["knn_top5"] == pytest.approx(5 / 8, abs=1e-6)
        assert one["lin_top1"] == pytest.approx(most, abs=0.01)
        assert one["spearman"] < 0.02
        assert one["integrity"] < 0.02
        assert one["lin_scored"] == one["knn_scored"] == 1
    mixed = found["none"]["ilisi"]
    assert mixed == pytest.approx(0, abs=1e-3) if value == "batch" else mixed > 0.9
    assert aggregate.row([found])["p.cst"]["mean"] == 0


def test_what_is_left_of_batches_by_rounding_is_nothing():
    names, batch, _ = cells()
    code = np.unique(batch, return_inverse=True)[1]
    x = np.random.default_rng(0).standard_normal((4, 50))[code]
    aligned = align(x, names == "ctrl", batch)
    assert aligned.shape == (len(names), 3)
    assert not aligned.any()
    assert align(np.ones((len(names), 5)), names == "ctrl", batch).shape == (len(names), 0)
    found = aligned_consistency(aligned, names, batch, control="ctrl")
    assert found["score"] == 0
    assert {one["p"] for one in found["perturbations"].values()} == {1.0}


def test_a_plate_of_controls_and_one_of_treatments_leave_nothing_to_score():
    rng = np.random.default_rng(0)
    names = np.array([*["ctrl"] * 200, *rng.choice([*"abcdef", "ctrl"], 200)])
    batch = np.repeat(["x", "y"], 200)
    x = rng.standard_normal((400, 10)).astype(np.float32)
    near = retrieval.retrieve(x, names, batch)
    line = separability.separate(x, names, batch)
    # Controls of x are judged among seven, but are all that is scored; those of y among controls.
    nothing = {"top1": None, "top5": None, "scored": 0}
    assert (near, line) == (nothing, {**nothing, "converged": True})
    batch[200:300] = "z"  # two plates of treatments: their cells are scored, and x's controls
    near = retrieval.retrieve(x, names, batch)
    line = separability.separate(x, names, batch)
    assert near["scored"] == line["scored"] == 400
    assert near["top5"] == pytest.approx(5 / 7, abs=0.15)
    batch[200:] = "y"
    names[200:] = rng.choice([*"abcdef"], 200)  # now no perturbation is on both plates
    assert retrieval.retrieve(x, names, batch) == nothing
    assert separability.separate(x, names, batch) == {**nothing, "converged": True}
    names[200:] = "ctrl"
    assert retrieval.retrieve(x, names, batch) == nothing  # one perturbation in all
    assert separability.separate(x, names, batch) == {**nothing, "converged": True}
    assert separability.separate(x, names, np.full(400, "x"))["top1"] is None


def test_random_vectors_of_a_common_design_are_at_chance():
    rng = np.random.default_rng(0)
    names = rng.choice([*"abcdefg", "ctrl"], 1200)
    batch = rng.choice(["x", "y", "z"], 1200)
    x = rng.standard_normal((1200, 10)).astype(np.float32)
    for found in (retrieval.retrieve(x, names, batch), separability.separate(x, names, batch)):
        assert found["scored"] == 1200
        assert found["top1"] == pytest.approx(1 / 8, abs=0.04)
        assert found["top5"] == pytest.approx(5 / 8, abs=0.05)


def test_top_five_of_five_candidates_is_not_scored():
    rng = np.random.default_rng(0)
    # Seven perturbations in all; the batch x holds five of them, y all.
    batch = np.repeat(["x", "y"], 210)
    names = np.array([*np.resize([*"abcde"], 210), *np.resize([*"abcdefg"], 210)])
    x = rng.standard_normal((420, 6)).astype(np.float32)
    for found in (retrieval.retrieve(x, names, batch), separability.separate(x, names, batch)):
        assert found["scored"] == 210 + 150  # the cells f and g of y are of no other batch
        assert found["top5"] == pytest.approx(5 / 7, abs=0.1)  # of x's cells alone
    some = ranking.averages([ranking.judged(np.zeros((3, 5)), np.arange(3))], [np.arange(3)])
    assert some == {"top1": pytest.approx(0.2), "top5": None, "scored": 3}


def test_a_classifier_that_stops_early_is_said_to_have(monkeypatch):
    monkeypatch.setattr(separability, "MAX_ITERATIONS", 2)
    names, batch, hot = cells()
    found = tasks.measure(hot, labels(names, batch, hot.astype(np.float32)), kinds=("none",))
    assert found["none"]["lin_converged"] is False


def test_seeds_that_change_nothing_have_no_sd():
    base = {name: 0.1 for names in tasks.TASKS.values() for name in names}
    seeds = [{"none": base | {"ilisi": v, "recall": 0.2 + 1e-12 * v}} for v in (0.1, 0.2, 0.3)]
    row = aggregate.row(seeds)
    assert row["ilisi"]["sd"] == pytest.approx(0.1)
    assert [task for task in tasks.TASKS if row[task]["sd"] is not None] == ["ilisi"]
    assert row["avg"]["sd"] == pytest.approx(0.1 / 6)
    assert aggregate.row(seeds[:1])["ilisi"]["sd"] is None

"""Perturbation consistency: by the definition, on consistent cells and on noise."""

import numpy as np
import pytest

from jaxcell.evaluation.consistency import align, leave_one_out, perturbation_consistency


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def simulate(effects, cells=30, controls=200, d=12, batches=3, seed=0):
    """Cells with batch effects; each perturbation moves its cells by a vector of that length."""
    rng = np.random.default_rng(seed)
    names = np.repeat(["ctrl", *effects], [controls, *[cells] * len(effects)])
    batch = rng.integers(0, batches, len(names))
    x = rng.standard_normal((len(names), d)) + 5 * rng.standard_normal((batches, d))[batch]
    for name, size in effects.items():
        direction = rng.standard_normal(d)
        x[names == name] += size * direction / np.linalg.norm(direction)
    return x, names, np.array([f"b{b}" for b in batch])


def test_alignment_standardises_each_batch_and_keeps_the_controls_axes():
    x, names, batch = simulate({"a": 2.0})
    found = align(x, names == "ctrl", batch)
    for b in set(batch):
        np.testing.assert_allclose(found[batch == b].mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(found[batch == b].std(axis=0), 1)
    # Before the standardisation the axes are the controls' principal components.
    own = x - x[names == "ctrl"].mean(axis=0)
    _, _, axes = np.linalg.svd(own[names == "ctrl"], full_matrices=False)
    scores = own @ axes.T
    for b in set(batch):
        here = scores[batch == b]
        expected = (here - here.mean(axis=0)) / here.std(axis=0)
        np.testing.assert_allclose(np.abs(found[batch == b]), np.abs(expected), atol=1e-8)


def test_a_constant_component_is_zero_and_fewer_controls_give_fewer_components():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 4))
    batch = np.array(["a"] * 8 + ["b"])
    found = align(x, np.arange(9) < 4, batch)
    assert found.shape == (9, 3)
    assert (found[8] == 0).all()  # alone in its batch
    assert np.isfinite(found).all()


def test_leave_one_out_is_the_definition():
    rng = np.random.default_rng(0)
    x, code = rng.standard_normal((12, 5)), np.array([0, 1, 0, 2, 1, 0, -1, 1, 0, 1, 3, -1])
    found = leave_one_out(x, code, 4)
    for g in (0, 1):
        own = x[code == g]
        each = [cosine(v, np.delete(own, i, axis=0).mean(axis=0)) for i, v in enumerate(own)]
        assert found[g] == pytest.approx(np.mean(each), abs=1e-12)
    assert found[2] == found[3] == 0  # one cell has no others


def test_the_p_value_is_the_definition():
    x, names, batch = simulate({"a": 1.0, "b": 0.0}, cells=8, controls=30, d=4)
    found = perturbation_consistency(x, names, batch, control="ctrl", null_cells=20, seed=3)
    y = align(x, names == "ctrl", batch)
    means = {k: y[names == k].mean(axis=0) for k in ("a", "b")}
    drawn = np.random.default_rng(3).permutation(len(x))[:20]
    null = [cosine(y[i], m) for i in drawn for k, m in means.items() if names[i] != k]
    for name in ("a", "b"):
        own = y[names == name]
        each = [cosine(v, np.delete(own, i, axis=0).mean(axis=0)) for i, v in enumerate(own)]
        p = (1 + sum(n >= np.mean(each) for n in null)) / (1 + len(null))
        assert found["perturbations"][name]["similarity"] == pytest.approx(np.mean(each))
        assert found["perturbations"][name]["p"] == pytest.approx(p)
        assert found["perturbations"][name]["cells"] == 8


def test_strong_perturbations_are_consistent_and_noise_is_not():
    effects = {f"strong {i}": 6.0 for i in range(6)} | {f"noise {i}": 0.0 for i in range(10)}
    x, names, batch = simulate(effects)
    found = perturbation_consistency(x, names, batch, control="ctrl")
    p = {k: v["p"] for k, v in found["perturbations"].items()}
    assert all(p[k] < 0.05 for k in effects if k.startswith("strong"))
    assert all(p[k] > 0.05 for k in effects if k.startswith("noise"))
    assert (found["consistent"], found["scored"], found["score"]) == (6, 16, 6 / 16)
    assert found == perturbation_consistency(x, names, batch, control="ctrl")
    few = dict(control="ctrl", null_cells=100)
    first = perturbation_consistency(x, names, batch, seed=1, **few)
    assert first != perturbation_consistency(x, names, batch, seed=2, **few)


def test_per_batch_scores_each_batch_against_cells_without_the_perturbation():
    x, names, batch = simulate({"drug": 6.0}, cells=90, controls=90)
    found = perturbation_consistency(x, names, batch, control="ctrl", per_batch=True)
    assert list(found["perturbations"]) == ["drug | b0", "drug | b1", "drug | b2"]
    assert found["score"] == 1
    # Were treated cells of the other batches in the null, no batch could stand out.
    x, names, batch = simulate({"drug": 0.0}, cells=90, controls=90)
    assert perturbation_consistency(x, names, batch, control="ctrl", per_batch=True)["score"] == 0


def test_small_perturbations_are_counted_not_scored():
    x, names, batch = simulate({"a": 5.0}, cells=10)
    names[np.flatnonzero(names == "a")[:4]] = "few"
    found = perturbation_consistency(x, names, batch, control="ctrl")
    assert (list(found["perturbations"]), found["left_out"]) == (["a"], 1)
    with pytest.raises(ValueError, match=r"none has 7 cells or more; the largest of 3 has 6"):
        perturbation_consistency(x, names, batch, control="ctrl", fewest=7)


def test_what_is_refused():
    x, names, batch = simulate({"a": 5.0}, cells=10)
    with pytest.raises(ValueError, match=r"control 'none': 0 cells, .* perturbation has a, ctrl"):
        perturbation_consistency(x, names, batch, control="none")
    with pytest.raises(ValueError, match="perturbation 210 and batch 209"):
        perturbation_consistency(x, names, batch[1:], control="ctrl")
    x[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        perturbation_consistency(x, names, batch, control="ctrl")

"""Post-processing on controls: against brute force, and what it must leave and take away."""

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power

from jaxcell.evaluation.perturbed_cells.postprocessing import (
    KINDS,
    defined,
    postprocess,
    without_controls,
)


def drawn(d=4, cells=120, batches=3, seed=0):
    """Controls and others in batches with offsets and scales of their own."""
    rng = np.random.default_rng(seed)
    batch = np.repeat(np.arange(batches), cells)
    control = rng.random(len(batch)) < 0.6
    x = rng.standard_normal((len(batch), d)) @ rng.standard_normal((d, d))
    x[~control] += 3 * rng.standard_normal(d)
    offset, scale = 20 * rng.standard_normal((batches, d)), rng.uniform(0.5, 4, (batches, d))
    return x * scale[batch] + offset[batch], control, np.array([f"b{b}" for b in batch])


def by_hand(x, control, batch, align=True):
    """TVN in EFAAR's steps, with full matrices; without the last one, CORAL."""
    x = (x - x[control].mean(0)) / x[control].std(0)
    _, _, axes = np.linalg.svd(x[control] - x[control].mean(0), full_matrices=False)
    x = x @ axes.T
    for b in np.unique(batch):
        own = x[(batch == b) & control]
        x[batch == b] = (x[batch == b] - own.mean(0)) / own.std(0)
    eye = 0.5 * np.eye(x.shape[1])
    target = fractional_matrix_power(np.cov(x[control].T) + eye, 0.5)
    for b in np.unique(batch) if align else ():
        source = np.cov(x[(batch == b) & control].T) + eye
        x[batch == b] = x[batch == b] @ fractional_matrix_power(source, -0.5) @ target
    return x


def test_tvn_is_efaars_in_full_matrices():
    x, control, batch = drawn()
    found, expected = postprocess("tvn", x, control, batch), by_hand(x.copy(), control, batch)
    # Axes are unique but for their signs.
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found, expected * signs, atol=2e-4)


def test_tvn_whitens_controls_and_takes_batches_away():
    x, control, batch = drawn(cells=2000)
    found = postprocess("tvn", x, control, batch)
    whole = postprocess("tvn", x, control, np.full(len(x), "one"))
    assert np.abs(np.cov(x[control].T) - np.eye(4)).max() > 3
    np.testing.assert_allclose(np.cov(whole[control].T, ddof=0), np.eye(4), atol=1e-3)

    def apart(y):
        own = [y[(batch == b) & control] for b in np.unique(batch)]
        np.testing.assert_allclose([each.mean(0) for each in own], 0, atol=1e-4)
        return max(np.linalg.norm(np.cov(each.T) - np.cov(y[control].T)) for each in own)

    # CORAL is damped (0.5 on the diagonal), so that covariances come closer, not together.
    assert apart(found) < 0.7 * apart(by_hand(x, control, batch, align=False))


def test_centring_and_standardising_are_the_definition():
    x, control, batch = drawn()
    centred, scaled = (postprocess(k, x, control, batch) for k in ("centre", "centre-scale"))
    for b in np.unique(batch):
        here = batch == b
        own = x[here & control]
        np.testing.assert_allclose(centred[here], x[here] - own.mean(0), atol=1e-4)
        expected = (x[here] - own.mean(0)) / own.std(0)
        np.testing.assert_allclose(scaled[here], expected, atol=1e-4)
    np.testing.assert_array_equal(postprocess("none", x, control, batch), x.astype(np.float32))


def test_a_batch_with_too_few_controls_takes_those_of_all():
    x, control, batch = drawn()
    control[(batch == "b1") & (np.cumsum(control & (batch == "b1")) > 2)] = False
    assert without_controls(control, batch) == ["b1"]
    here = batch == "b1"
    found = postprocess("centre-scale", x, control, batch)
    expected = (x[here] - x[control].mean(0)) / x[control].std(0)
    np.testing.assert_allclose(found[here], expected, atol=1e-4)


def test_a_constant_feature_of_a_batchs_controls_is_not_blown_up():
    x, control, batch = drawn()
    x[(batch == "b0") & control, 1] = 5.0
    x[:, 2] = 7.0
    found = postprocess("centre-scale", x, control, batch)
    assert np.isfinite(found).all()
    here = batch == "b0"
    expected = (x[here, 1] - 5.0) / x[control, 1].std()
    np.testing.assert_allclose(found[here, 1], expected, atol=1e-4)
    np.testing.assert_allclose(found[:, 2], 0, atol=1e-4)


def test_tvn_of_too_few_controls_is_refused():
    rng = np.random.default_rng(0)
    x, control, batch = rng.standard_normal((200, 30)), np.arange(200) < 100, np.full(200, "a")
    assert not defined("tvn", 30, 100)
    assert defined("tvn", 20, 100)
    with pytest.raises(ValueError, match="found 100 controls in 30 dimensions, expected 5 or more"):
        postprocess("tvn", x, control, batch)
    with pytest.raises(ValueError, match="expected one of none, centre, centre-scale, tvn"):
        postprocess("pca", x, control, batch)
    with pytest.raises(ValueError, match="control: 2 cells, expected 3"):
        postprocess("centre", x, np.arange(200) < 2, batch)
    assert list(KINDS) == ["none", "centre", "centre-scale", "tvn"]

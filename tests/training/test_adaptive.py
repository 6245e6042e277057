"""Adaptive masking: rates by hand, and a run that goes on with the rates it had."""

import jax
import numpy as np
import pytest

from jaxcell.training import adaptive, loop
from jaxcell.training.checkpoint import load_model
from tests.conftest import config_of


def test_rates_by_hand():
    """Errors 0 … 1 fall into bins 0, 50 and 99; the gene without an error counts as the median."""
    found = adaptive.rates([0.0, 0.5, 1.0, np.nan], 0.1)
    weight = np.array([1, 51, 100, 51]) / 101
    np.testing.assert_allclose(found, 0.1 * weight / weight.mean(), rtol=1e-6)
    assert found.mean() == pytest.approx(0.1)
    assert adaptive.rates([0.0, 0.0, 1.0], 0.9).max() == 1
    np.testing.assert_allclose(adaptive.rates([np.nan, np.nan], 0.2), 0.2)
    np.testing.assert_allclose(adaptive.rates([3.0, 3.0], 0.2), 0.2)


def test_the_rates_of_a_step_are_those_of_the_validation_before_it(tmp_path):
    assert adaptive.load(tmp_path, 10) is None
    for step in (4, 8):
        adaptive.save(tmp_path, step, np.full(3, step, np.float32))
    assert adaptive.load(tmp_path, 3) is None
    assert adaptive.load(tmp_path, 7)[0] == 4
    assert adaptive.load(tmp_path, 8)[0] == 8


def run(store, workdir, steps, stop=None):
    c = config_of("bmfm_rna_mlm:tiny")
    c.labels = ()
    c.data.store = str(store.path)
    c.data.draw_masks.adaptive = True
    c.steps, c.train.validate_every, c.train.gene_errors = steps, 3, "heads.expression.expression"
    c.dtype = "float32"
    session = loop.Run(c, workdir)
    if stop:
        session.on_step = lambda step: step == stop and raise_()
    return session


def raise_():
    raise KeyboardInterrupt


def test_a_run_goes_on_with_the_rates_that_it_had(store, tmp_path):
    """Stopped between two validations, the second half masks as if it had not been."""
    assert run(store, tmp_path / "whole", 8).go()
    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path / "halves", 8, stop=5).go()
    assert run(store, tmp_path / "halves", 8).go()
    one, two = (load_model(tmp_path / d / "checkpoints" / "8") for d in ("whole", "halves"))
    jax.tree.map(np.testing.assert_array_equal, one.variables, two.variables)
    rates = np.load(tmp_path / "whole" / "mask_rates" / "6.npy")
    assert rates.std() > 0
    assert rates[: len(store.vocabulary)].mean() == pytest.approx(0.15, rel=1e-3)

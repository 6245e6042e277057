"""Adaptive masking: rates by hand, and a run that goes on with the rates it had."""

import shutil

import jax
import numpy as np
import pytest

from jaxcell.config import differences
from jaxcell.data.prepare import prepare
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


@pytest.mark.slow
def test_the_rates_of_a_step_are_those_of_the_validation_before_it(tmp_path):
    assert adaptive.load(tmp_path, 10) is None
    for step in (4, 8):
        adaptive.save(tmp_path, step, np.full(3, step, np.float32))
    assert adaptive.load(tmp_path, 3) is None
    assert adaptive.load(tmp_path, 7)[0] == 4
    assert adaptive.load(tmp_path, 8)[0] == 8


def config(store):
    c = config_of("bmfm_rna_mlm:tiny")
    c.labels = ()
    c.data.store = str(store.path)
    c.data.draw_masks.adaptive = True
    c.steps, c.train.validate_every, c.dtype = 8, 3, "float32"
    return c


def run(store, workdir, stop=None):
    session = loop.Run(config(store), workdir)
    if stop:
        session.on_step = lambda step: step == stop and raise_()
    return session


def raise_():
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """A run of 8 steps that adapts at 3, 6 and 8, as it is in memory at its end."""
    session = run(store, tmp_path_factory.mktemp("adaptive") / "whole")
    assert session.go()
    return session


@pytest.mark.slow
def test_a_run_goes_on_with_the_rates_that_it_had(store, whole, tmp_path):
    """Stopped between two validations, the second half masks as if it had not been."""
    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path, stop=5).go()
    assert run(store, tmp_path).go()
    one, two = (load_model(d / "checkpoints" / "8") for d in (whole.workdir, tmp_path))
    jax.tree.map(np.testing.assert_array_equal, one.variables, two.variables)
    rates = np.load(whole.workdir / "mask_rates" / "6.npy")
    assert rates.std() > 0
    assert rates[: len(store.vocabulary)].mean() == pytest.approx(0.15, rel=1e-3)


@pytest.mark.slow
def test_training_masks_by_its_rates_and_validation_by_the_ratio(whole):
    """Else the losses of two validations, of which model/ keeps the best, are of two tasks."""
    rates = np.load(whole.workdir / "mask_rates" / "8.npy")
    np.testing.assert_array_equal(whole.train_tables["mask_rate"], rates)
    found = whole.held_out.losses(whole.state)
    whole._mask_by(np.ones_like(rates))
    assert whole.held_out.losses(whole.state) == found == pytest.approx(whole.shown)
    whole._mask_by(rates)


@pytest.mark.slow
def test_a_finished_run_that_lacks_its_errors_measures_them_alike(store, whole, tmp_path):
    workdir = shutil.copytree(whole.workdir, tmp_path / "run")
    (workdir / "gene_errors.tsv").unlink()
    assert run(store, workdir).go()
    again, first = ((d / "gene_errors.tsv").read_text() for d in (workdir, whole.workdir))
    assert again == first


def test_what_makes_the_rates_belongs_to_the_training():
    c, other = config_of("bmfm_rna_mlm:tiny"), config_of("bmfm_rna_mlm:tiny")
    other.train.gene_zero = ""
    assert differences(c, other) == []
    c.data.draw_masks.adaptive = other.data.draw_masks.adaptive = True
    (line,) = differences(c, other)
    assert line == "train.gene_zero: 'heads.expression.is_zero' there, '' here"


def test_without_cells_to_adapt_by_nothing_is_begun(sources, tmp_path):
    whole = prepare(tmp_path / "store", sources, progress=False)
    text = f"draw_masks.adaptive: found True, expected False for {whole.path}: it holds no valid"
    with pytest.raises(ValueError, match=text):
        run(whole, tmp_path / "run")
    assert not (tmp_path / "run").exists()

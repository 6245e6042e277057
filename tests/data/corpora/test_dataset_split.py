"""Whole datasets for validation, every type still in training."""

import warnings

import numpy as np
import pytest

from jaxcell.data.corpora.dataset_split import held_out


def names(n):
    return [f"d{i}" for i in range(n)]


@pytest.mark.parametrize("seed", range(5))
def test_every_type_stays_in_training(seed):
    random = np.random.default_rng(seed)
    cells = (random.random((60, 40)) < 0.06) * random.integers(1, 50, (60, 40))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held = held_out(cells, 0.3, seed, names(60))
    there = cells.sum(axis=0) > 0
    assert ((cells[~held].sum(axis=0) > 0) == there).all()
    assert 0 < held.sum() <= 18


def test_the_share_is_reached_where_it_can_be_and_goes_by_seed():
    cells = np.ones((478, 5), int)
    held = held_out(cells, 84 / 478, 0, names(478))
    assert held.sum() == 84
    np.testing.assert_array_equal(held, held_out(cells, 84 / 478, 0, names(478)))
    assert (held != held_out(cells, 84 / 478, 1, names(478))).any()


def test_types_that_validation_lacks_come_first():
    # Ten datasets of type 0 alone, and one other dataset that shares type 1 with the last.
    cells = np.zeros((12, 2), int)
    cells[:10, 0] = 5
    cells[10:, 1] = 5
    for seed in range(8):
        held = held_out(cells, 2 / 12, seed, names(12))
        assert held.sum() == 2
        assert (cells[held].sum(axis=0) > 0).all()


def test_the_only_dataset_of_a_type_is_never_held_out():
    cells = np.array([[3, 0], [3, 0], [0, 1]])
    for seed in range(8):
        assert not held_out(cells, 0.34, seed, names(3))[2]
    with pytest.warns(UserWarning, match="1 of 3 datasets are held out, 2 were asked for"):
        held_out(cells, 0.67, 0, names(3))


def test_datasets_without_types():
    assert held_out(np.zeros((4, 0), int), 0.5, 0, names(4)).sum() == 2


def test_what_cannot_be_split():
    with pytest.raises(ValueError, match="two datasets or more; found d0"):
        held_out(np.ones((1, 1)), 0.5, 0, names(1))
    with pytest.raises(ValueError, match="each of the 3 holds the only cells of a type"):
        held_out(np.eye(3), 0.5, 0, names(3))

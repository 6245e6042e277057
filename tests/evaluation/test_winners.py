"""Who is ahead: said of models and baselines, never of references."""

import pytest

from jaxcell.evaluation.winners import winner


def rows(model, baseline):
    found = [("A", "model", model), ("B", "baseline", baseline), ("chance", "reference", 0.99)]
    return [{"name": n, "kind": k, "f": v} for n, k, v in found if v is not None]


@pytest.mark.parametrize(
    ("model", "baseline", "said"),
    [
        (0.5, 0.6, "F1: **a baseline wins**, B .600; the best model is A .500."),
        ((0.7, 0.1), 0.6, "F1: the best model is ahead, A .700; the best baseline is B .600."),
        (0.50001, 0.5, "F1: **a baseline is level** with the best model: B .500; A .500."),
        (0.5, None, "F1: the best model is A .500."),
        (None, None, ""),
    ],
)
def test_who_is_ahead(model, baseline, said):
    assert winner(rows(model, baseline), "f", "F1") == said

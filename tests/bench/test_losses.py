"""The figures of A.4 and C.1 show what the paper's equations say, and are drawn."""

import numpy as np
import pytest

from jaxcell.bench.losses import FIGURES, negative_binomial, of_mean, poisson


def test_curves_are_the_papers_gradients():
    """Equations 17 and 18: 1 − k/μ, and that times θ / (θ + μ)."""
    mean = np.array([0.5, 3, 40])
    _, gradient = of_mean(poisson, 10, mean)
    np.testing.assert_allclose(gradient, 1 - 10 / mean, rtol=1e-4)
    _, found = of_mean(negative_binomial(2.0), 10, mean)
    np.testing.assert_allclose(found, gradient * 2 / (2 + mean), rtol=1e-4)
    value, flat = of_mean(negative_binomial(100.0, pi=0.1), 0, mean)
    assert value[2] == pytest.approx(-np.log(0.1), rel=1e-3)
    assert abs(flat[2]) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_drawn(name, tmp_path):
    FIGURES[name](tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")

"""The losses' reference itself: hand numbers, torch's own functions, matrix forms, gradients."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from tests.reference import pair_losses as losses  # noqa: E402
from tests.reference.test_bmfm_reference import doubles  # noqa: E402
from tests.reference.test_scformer_reference import noise  # noqa: E402

REAL = torch.tensor([True, True, False, True, False, True])
KEPT = torch.where(REAL)[0]


def test_elastic_by_hand():
    """Cosines 0.6 (twice), −0.6 and 0 (each twice, cut to 0) and the diagonal's three zeros."""
    cell = doubles([1, 0], [3, 4], [-1, 0])
    want = (2 * (1 - 0.1**2) + 7 * (1 - 0.5**2)) / 9
    assert losses.elastic(cell, 0.5).item() == pytest.approx(want, abs=1e-14)
    many = noise(6, 5)
    unit = F.normalize(many, dim=-1)
    similarity = torch.relu((unit @ unit.T).fill_diagonal_(0))
    want = (1 - (similarity - 0.3) ** 2).mean()
    np.testing.assert_allclose(losses.elastic(many, 0.3), want, rtol=1e-12)
    np.testing.assert_allclose(losses.elastic(7 * many, 0.3), want, rtol=1e-12)


def test_margin_by_hand():
    """Distances 0.5 (one label), 0.5 and 1 (two labels), to an unknown cell, to itself."""
    cell = doubles([0, 0], [0, 0.5], [0, 1], [9, 9])
    labels = torch.tensor([4, 4, 2, -1])
    want = 2 * (0.5**2 + (1 - 0.5) ** 2 + 0) / 9
    assert losses.margin(cell, labels).item() == pytest.approx(want, abs=1e-14)
    want = 2 * (0.5**2 + 1.5**2 + 1**2) / 9
    assert losses.margin(cell, labels, tau=2.0).item() == pytest.approx(want, abs=1e-14)
    assert losses.margin(cell, labels * 0 - 1).item() == 0
    many, labels = noise(6, 5), torch.tensor([0, 1, 0, 2, 1, 0])
    distance, same = torch.cdist(many, many), labels[:, None] == labels
    want = torch.where(same, distance**2, torch.relu(3 - distance) ** 2).mean()
    np.testing.assert_allclose(losses.margin(many, labels, 3.0), want, rtol=1e-7)


def test_margin_of_equal_vectors_has_a_gradient():
    cell = doubles([1, 2], [1, 2], [1, 2]).requires_grad_()
    loss = losses.margin(cell, torch.tensor([0, 1, 0]))
    assert loss.item() == pytest.approx(4 / 9)
    assert torch.autograd.grad(loss, cell)[0].abs().sum() == 0


def test_contrastive_by_hand():
    first, second = doubles([1, 0], [0, 2]), doubles([3, 0], [1, 1])
    half = math.sqrt(0.5)
    rows = [math.exp(2) / (math.exp(2) + math.exp(2 * half)), math.exp(2 * half)]
    rows[1] /= rows[1] + 1
    want = -(math.log(rows[0]) + math.log(rows[1])) / 2
    assert losses.contrastive(first, second).item() == pytest.approx(want, abs=1e-14)
    a, b = noise(6, 5), noise(6, 5, seed=1)
    logits = F.cosine_similarity(a[:, None], b[None], dim=-1) / 0.2
    want = F.cross_entropy(logits, torch.arange(6))
    np.testing.assert_allclose(losses.contrastive(a, b, 0.2), want, rtol=1e-12)


@pytest.mark.parametrize(
    "loss",
    [
        lambda c, d, k, real: losses.elastic(c, 0.3, real),
        lambda c, d, k, real: losses.margin(c, k, 3.0, real),
        lambda c, d, k, real: losses.contrastive(c, d, 0.5, real),
    ],
    ids=["elastic", "margin", "contrastive"],
)
def test_pair_losses_leave_padded_cells_out(loss):
    """The loss of the real cells alone, whatever the others hold, and right gradients."""
    a, b, labels = noise(6, 5), noise(6, 5, seed=1), torch.tensor([0, 1, 5, -1, 0, 0])
    want = loss(a[KEPT], b[KEPT], labels[KEPT], None)
    a[~REAL], b[~REAL] = 0, 1e6
    np.testing.assert_allclose(loss(a, b, labels, REAL), want, rtol=1e-14)
    assert abs(loss(a, b, labels, None) - want) > 1e-3
    assert loss(a, b, labels, ~REAL & False) == 0
    a = a.requires_grad_()
    gradient = torch.autograd.grad(loss(a, b, labels, REAL), a)[0]
    assert gradient[~REAL].abs().sum() == 0
    inputs = noise(4, 3).requires_grad_()
    labels = torch.tensor([0, 1, -1, 0])
    other = noise(4, 3, seed=1)
    torch.autograd.gradcheck(lambda c: loss(c, other, labels, None), inputs)


def test_token_losses_are_torchs():
    mask = noise(6, 7) > 0
    logits, prediction = noise(6, 7, 5, seed=1), noise(6, 7, seed=2)
    bins = torch.arange(42).reshape(6, 7) % 5
    for real in (None, REAL):
        where = mask if real is None else mask & real[:, None]
        x, z, k = prediction[where], logits[where], bins[where]
        pairs = [
            (losses.masked_mse(prediction, bins, mask, real), F.mse_loss(x, k.double())),
            (losses.masked_cross_entropy(logits, bins.double(), mask, real), F.cross_entropy(z, k)),
            (
                losses.nonzero_nll(prediction, bins, mask, real),
                F.binary_cross_entropy_with_logits(x, (k > 0).double()),
            ),
            (
                losses.relative_error(prediction, bins, mask, real),
                ((x - k).abs() / (k + 1e-6)).mean(),
            ),
        ]
        for got, want in pairs:
            np.testing.assert_allclose(got, want, rtol=1e-12)
    assert losses.nonzero_nll(doubles([800, -800]), doubles([0, 1]), torch.ones(1, 2).bool()) == 800
    for name in ("masked_mse", "nonzero_nll", "relative_error"):
        assert getattr(losses, name)(prediction, bins, mask & False) == 0
    assert losses.masked_cross_entropy(logits, bins, mask & False) == 0


def test_label_cross_entropy_is_torchs():
    logits, labels = noise(6, 3), torch.tensor([0, -1, 2, 1, 1, 0])
    want = F.cross_entropy(logits, labels, ignore_index=-1)
    np.testing.assert_allclose(losses.label_cross_entropy(logits, labels), want, rtol=1e-12)
    want = F.cross_entropy(logits[KEPT], labels[KEPT], ignore_index=-1)
    np.testing.assert_allclose(losses.label_cross_entropy(logits, labels, REAL), want, rtol=1e-12)


def test_ramp():
    np.testing.assert_allclose(
        [losses.ramp(p) for p in (0, 0.1, 1)], [0, math.tanh(0.5), 0.9999092]
    )

"""Losses of labels against torch, plain loops and exact decimals; unknown labels; huge logits."""

import functools
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from jaxcell.data.ontology_reading import read_ontology
from jaxcell.losses.expression import is_nonzero, is_zero, mae, relative_error
from jaxcell.losses.labels import (
    binary_cross_entropy,
    cross_entropy,
    focal,
    hierarchical_cross_entropy,
    independent_sigmoids,
)
from jaxcell.losses.total import divide, total
from tests.data.test_ontology import REAL, real_ontology

# Six leaves; the labels: a leaf, another leaf, coarse, coarse and overlapping, all, none.
LEAVES = np.array(
    [
        [1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1],
        [0, 0, 0, 0, 0, 0],
    ],
    bool,
)
TARGET = np.array([0, 1, 2, 3, 4, 2, 3, 0], np.int32)


def draw(cells=8, leaves=6, scale=3.0):
    return np.random.default_rng(0).normal(0, scale, (cells, leaves))


def flat_ce(logits, target, smoothing=0.0):
    return F.cross_entropy(
        logits, target, reduction="none", ignore_index=-1, label_smoothing=smoothing
    )


def flat_focal(logits, target, gamma=2.0):
    log_p = torch.log_softmax(logits, 1)[torch.arange(len(target)), target]
    return -((1 - log_p.exp()) ** gamma) * log_p


def hierarchical(logits, target):
    """One cell at a time, by probabilities."""
    mask = torch.from_numpy(LEAVES)
    return torch.stack(
        [
            -torch.log(torch.softmax(z, 0)[mask[t]].sum())
            for z, t in zip(logits, target, strict=True)
        ]
    )


def sigmoids(logits, target):
    """One cell and one leaf at a time."""
    found = []
    for z, t in zip(logits, target, strict=True):
        inside = LEAVES[t]
        own = torch.logsumexp(z[torch.from_numpy(inside)], 0)
        terms = [F.binary_cross_entropy_with_logits(own, torch.ones_like(own))]
        for leaf in np.flatnonzero(~inside):
            terms.append(F.binary_cross_entropy_with_logits(z[leaf], torch.zeros_like(z[leaf])))
        found.append(sum(terms) / len(z))
    return torch.stack(found)


OF_LEAVES = [(hierarchical_cross_entropy, hierarchical), (independent_sigmoids, sigmoids)]
CASES = {
    "cross_entropy": (cross_entropy, flat_ce),
    "smoothed": (
        functools.partial(cross_entropy, smoothing=0.1),
        functools.partial(flat_ce, smoothing=0.1),
    ),
    "focal": (focal, flat_focal),
    "focal_half": (
        functools.partial(focal, gamma=0.5),
        functools.partial(flat_focal, gamma=0.5),
    ),
    **{
        ours.__name__: (functools.partial(ours, leaves=jnp.asarray(LEAVES)), theirs)
        for ours, theirs in OF_LEAVES
    },
}


def with_gradient(loss, logits, target):
    weights = np.random.default_rng(1).normal(size=len(target))
    value = jax.jit(loss)(logits, target)
    gradient = jax.jit(jax.grad(lambda z: (jnp.asarray(weights) * loss(z, target)).sum()))(logits)
    return value, gradient, weights


@pytest.mark.parametrize("case", CASES)
def test_parity_in_float64(case):
    ours, theirs = CASES[case]
    logits = draw()
    with jax.enable_x64(True):
        value, gradient, weights = with_gradient(ours, jnp.asarray(logits), jnp.asarray(TARGET))
    leaf = torch.from_numpy(logits).requires_grad_()
    expected = theirs(leaf, torch.from_numpy(TARGET).long())
    np.testing.assert_allclose(value, expected.detach(), rtol=1e-9, atol=1e-12)
    (torch.from_numpy(weights) * expected).sum().backward()
    np.testing.assert_allclose(gradient, leaf.grad, rtol=1e-9, atol=1e-12)
    assert np.abs(gradient).max() > 0.01


def test_by_hand():
    z, two = jnp.log(jnp.array([[1.0, 2.0, 5.0]])), jnp.array([2])
    np.testing.assert_allclose(cross_entropy(z, two), np.log(8 / 5), rtol=1e-6)
    np.testing.assert_allclose(focal(z, two), (3 / 8) ** 2 * np.log(8 / 5), rtol=1e-6)
    leaves = jnp.array([[True, False, True]])
    first = jnp.array([0])
    np.testing.assert_allclose(
        hierarchical_cross_entropy(z, first, leaves), np.log(8 / 6), rtol=1e-6
    )
    # sigmoid(ln 6) = 6 / 7 to be 1, sigmoid(ln 2) = 2 / 3 to be 0, over 3 leaves
    found = independent_sigmoids(z, first, leaves)
    np.testing.assert_allclose(found, -(np.log(6 / 7) + np.log(1 / 3)) / 3, rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("spoil", [np.nan, np.inf])
def test_unknown_is_zero_without_gradient_whatever_lies_there(case, spoil):
    ours, _ = CASES[case]
    logits, target = draw(), TARGET.copy()
    target[[1, 4]] = -1
    logits[[1, 4]] = spoil
    with jax.enable_x64(True):
        value, gradient, _ = with_gradient(ours, jnp.asarray(logits), jnp.asarray(target))
        whole, _, _ = with_gradient(ours, jnp.asarray(draw()), jnp.asarray(TARGET))
    np.testing.assert_array_equal(value[jnp.array([1, 4])], 0)
    np.testing.assert_array_equal(gradient[jnp.array([1, 4])], 0)
    rest = np.setdiff1d(np.arange(8), [1, 4])
    np.testing.assert_allclose(value[rest], whole[rest], rtol=1e-14)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("ours", "theirs"), OF_LEAVES)
def test_a_label_without_leaves_is_unknown(ours, theirs):
    target = jnp.full(8, 5)
    logits = jnp.asarray(draw(), jnp.float32)
    loss = functools.partial(ours, leaves=jnp.asarray(LEAVES))
    value, gradient, _ = with_gradient(loss, logits, target)
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(gradient, 0)


def exact(logits, inside):
    """-ln of the label's share and its gradient, in decimals of 60 digits."""
    with localcontext() as context:
        context.prec = 60
        powers = [Decimal(float(z)).exp() for z in logits]
        total = sum(powers)
        part = sum(p for p, i in zip(powers, inside, strict=True) if i)
        gradient = [
            float(p / total - (p / part if i else 0)) for p, i in zip(powers, inside, strict=True)
        ]
        return float(total.ln() - part.ln()), gradient


def against_exact(logits, target, leaves, rtol):
    of_cell = lambda z, t: hierarchical_cross_entropy(z[None], t[None], jnp.asarray(leaves))[0]
    both = jax.jit(jax.vmap(jax.value_and_grad(of_cell)))
    value, gradient = both(logits, jnp.asarray(target))
    for row, one, z, t in zip(value, gradient, np.asarray(logits), target, strict=True):
        expected, slope = exact(z, leaves[t])
        np.testing.assert_allclose(row, expected, rtol=rtol, atol=1e-30)
        np.testing.assert_allclose(one, slope, rtol=rtol, atol=rtol)


EXTREME = np.array([-1e4, -200.0, -1.0, 0.0, 1.0, 88.0, 1e4, 1e4 - 1])


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 1e-6)])
def test_hierarchical_is_exact_for_huge_logits(dtype, rtol):
    """Logits of ±1e4 on either side: the reference code's inner sum underflows there."""
    random = np.random.default_rng(2)
    target = random.integers(0, 5, 80)
    with jax.enable_x64(dtype == "float64"):
        logits = jnp.asarray(random.choice(EXTREME, (80, 6)), dtype)
        against_exact(logits, target, LEAVES, rtol)


@pytest.mark.parametrize("case", CASES)
def test_huge_logits_are_finite_with_their_gradients(case):
    ours, _ = CASES[case]
    random = np.random.default_rng(3)
    logits = jnp.asarray(random.choice(EXTREME, (500, 6)), jnp.float32)
    target = jnp.asarray(random.integers(0, 5, 500))
    value, gradient, _ = with_gradient(ours, logits, target)
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    assert (value >= 0).all()
    assert value.max() > 1e3  # a label that the logits speak against costs what they say


def test_focal_is_cross_entropy_at_gamma_0_and_keeps_its_gradient_for_the_worst_errors():
    logits = jnp.asarray(draw(), jnp.float32)
    target = jnp.asarray(TARGET)
    zero = functools.partial(focal, gamma=0.0)
    np.testing.assert_allclose(
        jax.jit(zero)(logits, target), jax.jit(cross_entropy)(logits, target), rtol=2e-6
    )
    far = jnp.array([[0.0, 50.0]])
    slope = jax.jit(jax.grad(lambda z: focal(z, jnp.array([0])).sum()))(far)
    np.testing.assert_allclose(slope, [[-1, 1]], rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_logits_are_widened(case):
    ours, _ = CASES[case]
    logits = jnp.asarray(draw(), jnp.bfloat16)
    value = jax.jit(ours)(logits, jnp.asarray(TARGET))
    wide = jax.jit(ours)(logits.astype(jnp.float32), jnp.asarray(TARGET))
    assert value.dtype == jnp.float32
    np.testing.assert_array_equal(value, wide)


def test_binary_cross_entropy_and_is_zero_in_float64():
    random = np.random.default_rng(4)
    logits, targets = random.normal(0, 8, (5, 7)), random.integers(0, 2, (5, 7)).astype(float)
    targets[0] = random.random(7)
    counts = random.poisson(0.7, (5, 7)).astype(float)
    for ours, given, truth in (
        (binary_cross_entropy, targets, targets),
        (is_zero, counts, (counts == 0).astype(float)),
    ):
        with jax.enable_x64(True):
            value = ours(jnp.asarray(logits), jnp.asarray(given))
            whole = jax.jit(jax.grad(lambda z, g, f=ours: f(z, g).sum()))
            slope = whole(jnp.asarray(logits), jnp.asarray(given))
        leaf = torch.from_numpy(logits).requires_grad_()
        t = torch.from_numpy(truth)  # torch's own with logits cancels: 3e-8 off
        theirs = -t * F.logsigmoid(leaf) - (1 - t) * F.logsigmoid(-leaf)
        np.testing.assert_allclose(value, theirs.detach(), rtol=1e-9)
        theirs.sum().backward()
        np.testing.assert_allclose(slope, leaf.grad, rtol=1e-9, atol=1e-15)


def test_binary_cross_entropy_of_unknown_entries_and_huge_logits():
    logits = jnp.array([jnp.nan, jnp.inf, 1e4, -1e4, 1e4])
    targets = jnp.array([-1, -1, 1, 1, 0])
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(binary_cross_entropy)))(logits, targets)
    np.testing.assert_array_equal(value, [0, 0, 0, 1e4, 1e4])
    np.testing.assert_array_equal(slope, [0, 0, 0, -1, 1])


def test_mae():
    z, t = jnp.array([1.0, 2.0, -3.0]), jnp.array([1.0, 0.5, 1.0], jnp.bfloat16)
    np.testing.assert_array_equal(mae(z, t), [0, 1.5, 4])
    np.testing.assert_array_equal(jax.grad(lambda z: mae(z, t).sum())(z), [0, 1, -1])
    assert mae(t, t).dtype == jnp.float32


@pytest.mark.data
@pytest.mark.skipif(not REAL.is_dir(), reason=f"no folder {REAL}; set JAXCELL_DATA")
@pytest.mark.parametrize("scale", [3.0, 1e4])
def test_hierarchical_over_the_real_ontology_is_exact(scale):
    """580 labels of mixed depth over 398 leaves, some of them unknown to the ontology."""
    exact_over(*real_ontology(), scale)


@pytest.mark.parametrize("scale", [3.0, 1e4])
def test_hierarchical_over_the_packages_ontology_is_exact(scale):
    """Every fourth term of cellxgene-ontology-guide's Cell Ontology is a label, one is unknown."""
    whole = read_ontology("cellxgene")
    labels = [*whole.ids[::4], "odd thing"]
    exact_over(whole.prune(labels), labels, scale)


def exact_over(ontology, labels, scale):
    """HCE, value and gradient, against exact decimals; for labels of all leaves or none it is 0."""
    leaves = ontology.mask(labels)
    some = leaves.any(axis=1) & ~leaves.all(axis=1)
    random = np.random.default_rng(5)
    target = random.choice(np.flatnonzero(some), 60)
    assert {1} < set(leaves[target].sum(axis=1))  # coarse ones among them
    with jax.enable_x64(True):
        logits = jnp.asarray(random.uniform(-scale, scale, (60, leaves.shape[1])))
        against_exact(logits, target, leaves, 1e-11)
        nothing = jnp.asarray(np.resize(np.flatnonzero(~some), 60))
        loss = functools.partial(hierarchical_cross_entropy, leaves=jnp.asarray(leaves))
        value, gradient, _ = with_gradient(loss, logits, nothing)
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(gradient, 0)


# Bins: classes as whole numbers of the batch's values


def bins(target, kind="cross_entropy", dtype=jnp.float32, where="batch.mask"):
    """Mean and gradient over [2 cells, 3 tokens, 4 bins], of which a mask lets four through."""
    logits = jnp.asarray(draw(6, 4).reshape(2, 3, 4), jnp.float32)
    mask = jnp.array([[True, True, False], [True, True, True]])
    batch = {"target": jnp.asarray(target, dtype), "mask": mask, "real": jnp.array([True, True])}
    spec = dict(kind=kind, pred="bins", target="batch.target", where=where, reduce="masked_mean")
    if kind == "hierarchical":
        spec["leaves"] = "tables.leaves"
    of = lambda z: divide(total({"bins": spec}, {"bins": z}, batch, {"leaves": LEAVES[:, :4]}))
    return jax.value_and_grad(lambda z: of(z)["bins"])(logits)


TOKENS = [[0, 3, -7], [2, 1, 1]]  # a value code where nothing is masked


@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
def test_bins_are_classes(kind):
    value, slope = bins(TOKENS, kind)
    log_p = np.asarray(jax.nn.log_softmax(draw(6, 4)))[[0, 1, 3, 4, 5], [0, 3, 2, 1, 1]]
    share = (1 - np.exp(log_p)) ** 2 if kind == "focal" else 1
    np.testing.assert_allclose(value, (-share * log_p).mean(), rtol=1e-5)
    same = bins(TOKENS, kind, jnp.int32)
    np.testing.assert_array_equal(value, same[0])
    np.testing.assert_array_equal(slope, same[1])
    assert not slope[0, 2].any()


@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
@pytest.mark.parametrize("wrong", [4, 1e9, 1.5, np.nan, np.inf])
def test_a_bin_that_there_is_not_is_never_silent(kind, wrong):
    """An index beyond the classes reads the last of them, and a log count is cut to its floor."""
    assert np.isnan(bins([[0, 3, -7], [2, 1, wrong]], kind)[0])
    assert np.isfinite(bins([[0, 3, wrong], [2, 1, 1]], kind)[0])  # where nothing is masked


def test_what_cannot_be_a_bin_is_refused():
    with pytest.raises(ValueError, match=r"target: found float32, expected class codes for 'hier"):
        bins(TOKENS, "hierarchical")
    with pytest.raises(ValueError, match=r"pred has the shape \(2, 3, 4\), target \(2, 2\)"):
        bins([[0, 1], [1, 1]], where=())


def test_is_nonzero_is_a_bernoulli_likelihood():
    random = np.random.default_rng(6)
    logits, values = random.normal(0, 3, (5, 7)), random.poisson(0.7, (5, 7)).astype(float)
    with jax.enable_x64(True):
        found = np.asarray(is_nonzero(jnp.asarray(logits), jnp.asarray(values)))
    given = torch.distributions.Bernoulli(logits=torch.from_numpy(logits))
    np.testing.assert_allclose(found, -given.log_prob(torch.from_numpy(values > 0).double()))
    assert is_nonzero(jnp.array(-1e4), jnp.array(0.0)) == 0
    assert is_nonzero(jnp.array(-1e4), jnp.array(2.0)) == 1e4


def test_relative_error():
    z, t = jnp.array([3.0, 1.0, 0.0]), jnp.array([2.0, 0.0, 0.0])
    np.testing.assert_allclose(relative_error(z, t), [0.5, 1e6, 0], rtol=1e-6)
    assert relative_error(*jnp.ones((2, 1), jnp.bfloat16)).dtype == jnp.float32

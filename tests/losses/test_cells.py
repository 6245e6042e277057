"""Losses over pairs of cells: hand numbers, plain loops, padding, degenerate cells, devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from ml_collections import ConfigDict

from jaxcell.config_checks import PAIRS
from jaxcell.losses.cells import contrastive, elastic, margin
from jaxcell.losses.total import OF_PAIRS, divide, total
from jaxcell.sharding import make_mesh, to_global

BETA, TAU, TEMPERATURE = 0.6, 1.0, 0.5
SPEC = {
    "ecs": dict(kind="elastic", pred="cell", beta=BETA, weight=10.0),
    "margin": dict(kind="margin", pred="cell", target="batch.labels.type", tau=TAU, weight=1.0),
    "cce": dict(
        kind="contrastive", pred="cell", target="again.cell", temperature=TEMPERATURE, weight=1.0
    ),
}


def draw(cells=16, width=5):
    """Vectors that lie around 1 apart, so that the hinge is met from both sides."""
    random = np.random.default_rng(0)
    outputs = {
        "cell": random.normal(0, 0.4, (cells, width)),
        "again": {"cell": random.normal(0, 0.4, (cells, width))},
    }
    labels = random.integers(-1, 3, cells).astype(np.int32)
    batch = {"labels": {"type": labels}, "real": random.random(cells) < 0.8}
    return outputs, batch


@jax.jit
def means(outputs, batch):
    """The mean of each loss, and its gradients; compiled once for all tests of a dtype."""
    of = lambda outputs: divide(total(SPEC, outputs, batch, {}))
    return of(outputs), jax.jacrev(of)(outputs)


def narrow(tree):
    return jax.tree.map(jnp.float32, tree)


def unit(v):
    return v / np.sqrt((v**2).sum())


def by_loops(outputs, batch, among=None):
    """(numerator, denominator) of each loss, one pair of cells after the other."""
    x, y, label = outputs["cell"], outputs["again"]["cell"], batch["labels"]["type"]
    cells = np.flatnonzero(batch["real"] if among is None else batch["real"] & among)
    ecs = pull = push = cce = 0.0
    for i in cells:
        own, others = 0.0, 0.0
        for j in cells:
            s = 0.0 if i == j else max(0.0, unit(x[i]) @ unit(x[j]))
            ecs += 1 - (s - BETA) ** 2
            if label[i] >= 0 and label[j] >= 0:
                d = np.sqrt(((x[i] - x[j]) ** 2).sum())
                if label[i] == label[j]:
                    pull += d**2
                else:
                    push += max(0.0, TAU - d) ** 2
            z = unit(x[i]) @ unit(y[j]) / TEMPERATURE
            others += np.exp(z)
            own = z if i == j else own
        cce += np.log(others) - own
    n, known = len(cells), (label[cells] >= 0).sum()
    assert pull > 0 or n < 2
    assert push > 0 or n < 2
    return {"ecs": (ecs, n**2), "margin": (pull + push, known**2), "cce": (cce, n)}


@pytest.mark.parametrize("where", [None, "batch.kept"])
def test_plain_loops_in_float64(where):
    outputs, batch = draw()
    batch["kept"] = np.arange(16) % 5 > 0
    spec = SPEC if where is None else {k: {**one, "where": where} for k, one in SPEC.items()}
    with jax.enable_x64(True):
        found = jax.device_get(total(spec, outputs, batch, {}))
    expected = by_loops(outputs, batch, None if where is None else batch["kept"])
    for name, (numerator, denominator) in expected.items():
        np.testing.assert_allclose(found[name][0], numerator, rtol=1e-12)
        assert found[name][1] == denominator


def torch_losses(x, y, label):
    """As the published codes have them, of cells that all count."""
    unit = torch.nn.functional.normalize
    s = unit(x) @ unit(x).T
    s = torch.relu(s.masked_fill(torch.eye(len(x), dtype=bool), 0))
    same = (label[:, None] == label[None]).double()
    d = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    hinge = torch.clamp(TAU - d, min=0) ** 2
    z = torch.cosine_similarity(x[:, None], y[None], dim=-1) / TEMPERATURE
    return {
        "ecs": (1 - (s - BETA) ** 2).mean(),
        "margin": (same * ((x[:, None] - x[None]) ** 2).sum(2) + (1 - same) * hinge).mean(),
        "cce": torch.nn.functional.cross_entropy(z, torch.arange(len(x))),
    }


def test_values_and_gradients_are_torchs_in_float64():
    outputs, _ = draw()
    label = np.arange(16, dtype=np.int32) % 3
    batch = {"labels": {"type": label}, "real": np.ones(16, bool)}
    with jax.enable_x64(True):
        value, slopes = jax.device_get(means(outputs, batch))
    leaves = [torch.from_numpy(a).requires_grad_() for a in jax.tree.leaves(outputs)]
    again, cell = leaves  # in the order of their names
    for name, one in torch_losses(cell, again, torch.from_numpy(label)).items():
        np.testing.assert_allclose(value[name], one.detach(), rtol=1e-9)
        found = torch.autograd.grad(one, leaves, allow_unused=True)
        for ours, theirs in zip(jax.tree.leaves(slopes[name]), found, strict=True):
            theirs = np.zeros(ours.shape) if theirs is None else theirs
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
        assert np.abs(slopes[name]["cell"]).max() > 1e-3


def test_by_hand():
    x = jnp.array([[3.0, 4.0], [0.6, 0.8], [-4.0, 3.0], [3.0, 0.0]])
    all_ = jnp.ones(4, bool)
    values, counts = elastic(x, all_, 0.5)
    # Cosines 1, 0 and 0.6 in the first row; 1 - (s - 0.5)²
    np.testing.assert_allclose(values[0], [0.75, 0.75, 0.75, 0.99], rtol=1e-6)
    np.testing.assert_allclose(values[2], [0.75, 0.75, 0.75, 0.75], rtol=1e-6)  # -0.8 is 0
    assert counts.all()
    label = jnp.array([0, 0, 1, -1])
    values, counts = margin(x, label, all_, 10.0)
    np.testing.assert_allclose(values[0, :3], [0, 16, (10 - 50**0.5) ** 2], rtol=1e-6)
    np.testing.assert_array_equal(counts, np.outer([1, 1, 1, 0], [1, 1, 1, 0]))
    assert margin(x, label, all_, 5.0)[0][0, 2] == 0  # farther apart than that
    values, _ = contrastive(x, x, all_, 1.0)
    lse = np.log(np.exp([1, 1, 0, 0.6]).sum())
    np.testing.assert_allclose(values[0], lse - 1, rtol=1e-6)


@pytest.mark.parametrize("spoil", [np.nan, np.inf])
def test_padding_reaches_nothing_whatever_it_holds(spoil):
    outputs, batch = draw()
    spoiled = jax.tree.map(lambda a: np.where(batch["real"][:, None], a, spoil), outputs)
    labels = np.where(batch["real"], batch["labels"]["type"], 2).astype(np.int32)
    with jax.enable_x64(True):
        before = means(outputs, batch)
        after = means(spoiled, {**batch, "labels": {"type": labels}})
    jax.tree.map(np.testing.assert_array_equal, after, before)
    for leaf in jax.tree.leaves(after[1]):
        assert not leaf[~batch["real"]].any()


def test_an_unknown_label_has_no_pairs_whatever_its_cell_holds():
    outputs, batch = draw()
    unknown = batch["labels"]["type"] < 0
    outputs["cell"][unknown] = np.nan
    with jax.enable_x64(True):
        value, slopes = jax.device_get(means(outputs, batch))
    slope = slopes["margin"]["cell"]
    assert np.isfinite(value["margin"])
    assert np.isfinite(slope).all()
    assert (np.abs(slope).max(axis=1) > 0)[~unknown & batch["real"]].all()
    assert not slope[unknown].any()


def test_nothing_that_counts_is_0_without_gradient():
    outputs, batch = draw()
    batch["real"][:] = False
    value, slopes = means(narrow(outputs), batch)
    assert not any(map(float, value.values()))
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(slopes))


def test_one_cell():
    outputs, batch = draw()
    batch["real"] = np.arange(16) == 3
    batch["labels"]["type"][:] = 1
    value, slopes = means(narrow(outputs), batch)
    np.testing.assert_allclose(value["ecs"], 1 - BETA**2, rtol=1e-6)
    np.testing.assert_allclose([value["margin"], value["cce"]], 0, atol=1e-7)
    for leaf in jax.tree.leaves(slopes):
        np.testing.assert_allclose(leaf, 0, atol=1e-6)


@pytest.mark.parametrize("fill", [0.0, 0.3])
def test_identical_cells_and_zero_vectors_have_finite_gradients(fill):
    """All cosines are 1 (of zero vectors 0), all distances 0."""
    x = jnp.full((16, 5), fill)
    batch = {"labels": {"type": np.arange(16, dtype=np.int32) // 8}, "real": np.ones(16, bool)}
    value, slopes = means({"cell": x, "again": {"cell": x}}, batch)
    s = 1.0 if fill else 0.0
    expected = (1 - BETA**2 + 15 * (1 - (s - BETA) ** 2)) / 16
    np.testing.assert_allclose(value["ecs"], expected, rtol=1e-5)
    np.testing.assert_allclose(value["margin"], TAU**2 / 2, rtol=1e-6)
    np.testing.assert_allclose(value["cce"], np.log(16), rtol=1e-6)
    for leaf in jax.tree.leaves(slopes):
        np.testing.assert_allclose(leaf, 0, atol=1e-6)


def test_float32_keeps_the_digits_of_near_cells():
    """A Gram matrix would give distances of 0 or of rounding here: |x| is 23, D 0.002."""
    random = np.random.default_rng(1)
    x = 1 + 1e-4 * random.integers(-9, 9, (6, 512)) / 9
    x, label, all_ = x.astype(np.float32), np.arange(6) // 3, np.ones(6, bool)
    with jax.enable_x64(True):
        wide = np.asarray(margin(jnp.float64(x), label, all_)[0])
    assert wide.dtype == np.float64
    assert 0 < wide[0, 1] < 1e-5
    np.testing.assert_allclose(margin(jnp.asarray(x), label, all_)[0], wide, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-11, 1e30])
def test_cosines_of_any_length(scale):
    outputs, _ = draw()
    x, all_ = jnp.asarray(outputs["cell"], jnp.float32), jnp.ones(16, bool)
    np.testing.assert_allclose(
        elastic(scale * x, all_, BETA)[0], elastic(x, all_, BETA)[0], rtol=1e-5
    )


def test_bfloat16_is_widened():
    x, label, all_ = jnp.ones((2, 3), jnp.bfloat16), jnp.zeros(2, int), jnp.ones(2, bool)
    for values in (elastic(x, all_, 0.5), margin(x, label, all_), contrastive(x, x, all_)):
        assert values[0].dtype == jnp.float32


def test_eight_devices_see_the_pairs_of_the_whole_batch():
    outputs, batch = draw()
    with jax.enable_x64(True):
        mesh = make_mesh(ConfigDict(dict(data=4, fsdp=2, tensor=1)))
        one = means(outputs, batch)
        cells = to_global(outputs, mesh)
        eight = means(cells, to_global(batch, mesh))
    assert {s.data.shape for s in cells["cell"].addressable_shards} == {(2, 5)}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), eight, one)
    assert all(np.abs(one[1][name]["cell"]).max() > 1e-3 for name in SPEC)


@pytest.mark.parametrize(
    ("name", "fields", "text"),
    [
        ("ecs", {"target": "again.cell"}, "config.losses.ecs: 'elastic' takes no target"),
        ("ecs", {"pred": "batch.real"}, "pred has the shape .16,., expected a vector of each"),
        ("ecs", {"reduce": "batch_mean"}, "ecs.reduce: found 'batch_mean', expected masked_mean"),
        ("ecs", {"tau": 1.0}, "'elastic' takes beta; not tau"),
        ("margin", {"target": "again.cell"}, "pred has the shape .16, 5., target .16, 5."),
        ("cce", {"target": "batch.real"}, "pred has the shape .16, 5., target .16,."),
    ],
)
def test_a_wrong_spec_is_refused(name, fields, text):
    outputs, batch = draw()
    with pytest.raises(ValueError, match=text):
        total({name: {**SPEC[name], **fields}}, outputs, batch, {})


def test_what_a_spec_lacks_is_named():
    outputs, batch = draw()
    for name, field, text in (
        ("ecs", "beta", "'elastic' takes beta; add beta"),
        ("margin", "target", "'margin' takes a target, its label"),
    ):
        spec = {k: v for k, v in SPEC[name].items() if k != field}
        with pytest.raises(ValueError, match=text):
            total({name: spec}, outputs, batch, {})


def test_configs_know_the_losses_over_pairs():
    assert tuple(OF_PAIRS) == PAIRS

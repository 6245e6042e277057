"""Optimizers and schedules against torch's, in float64, and by hand."""

import math

import jax
import numpy as np
import optax
import pytest
import torch

from jaxcell import config
from jaxcell.training import loop, optim
from tests.training.test_training import tiny

SHAPES = {"x": {"kernel": (4, 3)}, "y": {"bias": (5,)}}
STEPS = 5


def settings(**fields):
    c = config.defaults()
    c.optimizer.update(kind="adam", schedule="constant", warmup=0.0, learning_rate=0.01)
    c.optimizer.update(weight_decay=0.0, eps=1e-8, **fields)
    c.data.store = "a store"
    config.check(c)
    return c


def draw():
    """Parameters, and gradients of five steps; of norms beside which torch's 1e-6 vanishes."""
    random = np.random.default_rng(0)
    one = lambda s: jax.tree.map(lambda n: s * random.normal(size=n), SHAPES, is_leaf=_is_shape)
    return one(1.0), [one(scale) for scale in (1e7, 0.01, 3e6, 1e8, 0.02)]


def _is_shape(x):
    return isinstance(x, tuple)


def ours(c, params, gradients, epoch=0):
    with jax.enable_x64(True):
        optimizer = optim.build(c, STEPS, epoch)
        state, update = optimizer.init(params), jax.jit(optimizer.update)
        for one in gradients:
            updates, state = update(one, state, params)
            params = optax.apply_updates(params, updates)
        return jax.device_get(params)


def theirs(make, params, gradients, clip=0.0, schedule=None):
    leaves = [torch.from_numpy(a.copy()).requires_grad_() for a in jax.tree.leaves(params)]
    optimizer = make(leaves)
    stairs = schedule(optimizer) if schedule else None
    for one in gradients:
        for leaf, gradient in zip(leaves, jax.tree.leaves(one), strict=True):
            leaf.grad = torch.from_numpy(gradient.copy())
        if clip:
            torch.nn.utils.clip_grad_norm_(leaves, clip)
        optimizer.step()
        if stairs:
            stairs.step()
    return [leaf.detach().numpy() for leaf in leaves]


def equal(found, expected):
    for a, b in zip(jax.tree.leaves(found), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_adam_with_its_penalty_clipping_and_stairs_is_torchs(clip):
    """Clipped first, then the penalty: 0.3 θ is as large as the clipped gradients."""
    c = settings(schedule="step", decay_steps=2, decay=0.5, clip=clip, decayed="")
    c.optimizer.weight_decay = 0.3
    params, gradients = draw()
    equal(
        ours(c, params, gradients),
        theirs(
            lambda leaves: torch.optim.Adam(leaves, lr=0.01, weight_decay=0.3),
            params,
            gradients,
            clip,
            lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.5),
        ),
    )


def test_adam_penalises_what_decayed_matches_alone():
    c = settings(decayed="kernel$")
    c.optimizer.weight_decay = 0.3
    params, gradients = draw()

    def make(leaves):
        groups = [{"params": leaves[:1], "weight_decay": 0.3}, {"params": leaves[1:]}]
        return torch.optim.Adam(groups, lr=0.01)

    equal(ours(c, params, gradients[1:2] * 3), theirs(make, params, gradients[1:2] * 3))


def test_adamw_is_torchs():
    c = settings(decayed="")
    c.optimizer.kind, c.optimizer.weight_decay = "adamw", 0.3
    params, gradients = draw()
    make = lambda leaves: torch.optim.AdamW(leaves, lr=0.01, weight_decay=0.3)
    equal(ours(c, params, gradients), theirs(make, params, gradients))


def rates(c, steps, at, epoch=0):
    with jax.enable_x64(True):
        rate = jax.jit(optim.schedule(c, steps, epoch))
        return np.array([float(rate(np.int32(i))) for i in at])


def test_the_cosine_falls_to_0_behind_the_warm_up():
    c = settings(schedule="cosine", warmup_steps=20)
    at = np.array([0, 1, 10, 19, 20, 21, 60, 99, 100])
    expected = np.where(at < 20, at / 20, (1 + np.cos(np.pi * (at - 20) / 80)) / 2)
    # optax computes its schedules in float32.
    np.testing.assert_allclose(rates(c, 100, at), 0.01 * expected, rtol=1e-6, atol=1e-9)
    c.optimizer.warmup_steps, c.optimizer.warmup = 0, 0.5
    np.testing.assert_allclose(rates(c, 100, [25, 50, 75]), [0.005, 0.01, 0.005], rtol=1e-6)


def test_stairs_go_by_steps_epochs_or_their_share_and_count_from_the_start():
    c = settings(schedule="step")
    c.epochs = 10
    at = np.array([0, 6, 7, 13, 14, 29, 30, 99])
    np.testing.assert_allclose(rates(c, 100, at, epoch=7), 0.01 * 0.9 ** (at // 7), rtol=1e-12)
    np.testing.assert_allclose(rates(c, 100, at), 0.01 * 0.9 ** (at // 10), rtol=1e-12)
    c.optimizer.decay_steps = 30
    np.testing.assert_allclose(rates(c, 100, at, epoch=7), 0.01 * 0.9 ** (at // 30), rtol=1e-12)
    c.optimizer.warmup_steps = 14
    expected = 0.01 * np.where(at < 14, at / 14, 0.9 ** (at // 30))
    np.testing.assert_allclose(rates(c, 100, at), expected, rtol=1e-6)


def test_a_runs_stairs_are_the_epochs_of_its_store(store, tmp_path, monkeypatch):
    """In what it shows and in what its optimizer does: Adam's step on a constant gradient."""
    made = []
    monkeypatch.setattr(loop, "compile_steps", lambda *given: made.append(given[2]) or (None,) * 4)
    c = tiny(store, **{"optimizer.schedule": "step", "optimizer.warmup": 0.0, "optimizer.eps": 0.0})
    c.optimizer.kind, c.optimizer.weight_decay, c.optimizer.learning_rate = "adam", 0.0, 0.5
    run, epoch = loop.Run(c, tmp_path), math.ceil(store.sizes["train"] / c.train.batch_size)
    assert run.every == c.train.validate_every != epoch > 1
    state, one, update, seen = made[0].init(np.ones(1)), np.ones(1), jax.jit(made[0].update), []
    for _ in range(epoch + 1):
        moved, state = update(one, state, one)
        seen.append(-float(moved[0]))
    assert seen == pytest.approx([0.5] * epoch + [0.45], rel=1e-4)
    assert [run.rate(i) for i in range(epoch + 1)] == pytest.approx(seen, rel=1e-4)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "step"])
def test_without_a_warm_up_the_first_step_is_taken_at_the_top(schedule):
    c = settings(schedule=schedule)
    np.testing.assert_allclose(rates(c, 100, [0]), 0.01, rtol=1e-7)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("kind", "sgd", "config.optimizer.kind: found 'sgd', expected one of adamw, adam"),
        ("schedule", "plateau", "expected one of one_cycle, constant, linear, cosine, step"),
        ("schedule", "one_cycle", "config.optimizer.warmup: found 0.0, expected within (0, 1)"),
        ("warmup", 1.0, "config.optimizer.warmup: found 1.0, expected within [0, 1)"),
        ("decay", 0.0, "config.optimizer.decay: found 0.0, expected within (0, 1]"),
        ("decay_steps", -1, "config.optimizer.decay_steps: found -1, expected 0 or more"),
        ("weight_decay", None, "config.optimizer.weight_decay: found None, expected a number for"),
        ("weight_decay", -0.1, "config.optimizer.weight_decay: found -0.1, expected 0 or more"),
    ],
)
def test_a_wrong_optimizer_is_refused(field, value, text):
    c = settings()
    with c.ignore_type():
        c.optimizer[field] = value
    with pytest.raises(ValueError) as error:
        config.check(c)
    assert text in str(error.value)


def test_a_first_moment_in_bfloat16_trains_alike():
    """Gradients that fall by a thousand: a second moment in bfloat16 would stay at their top."""
    random = np.random.default_rng(0)
    params = {"kernel": np.zeros(64, np.float32)}
    fall = np.concatenate([np.ones(20), np.full(1500, 1e-3)])
    noise = random.normal(size=(len(fall), 64)) * 0.3 + 1
    gradients = jax.numpy.asarray(fall[:, None] * noise, np.float32)
    found = {}
    for kind in ("float32", "bfloat16"):
        optimizer = optim.build(settings(moments=kind), STEPS)

        def step(carry, gradient, optimizer=optimizer):
            params, state = carry
            updates, state = optimizer.update({"kernel": gradient}, state, params)
            return (optax.apply_updates(params, updates), state), None

        run = jax.jit(lambda carry, step=step: jax.lax.scan(step, carry, gradients)[0])
        after, state = run((params, optimizer.init(params)))
        first, second = (optax.tree_utils.tree_get(state, name)["kernel"] for name in ("mu", "nu"))
        assert (first.dtype, second.dtype) == (kind, "float32")
        found[kind] = np.asarray(after["kernel"]), np.asarray(second)
    for ours, theirs in zip(found["bfloat16"], found["float32"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=5e-3)
        np.testing.assert_allclose(ours.mean(), theirs.mean(), rtol=5e-4)
    assert (found["bfloat16"][1] < 0.01).all()  # of about 0.02 where the gradients began to fall


def test_moments_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="optimizer.moments: found 'float16', expected"):
        settings(moments="float16")

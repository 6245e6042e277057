"""Tokens that come one by one, or a few at a time, give what all of them at once give."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcell.models import attention
from jaxcell.models.cell import CellModel
from jaxcell.models.fields import next_ids
from tests.models.decoder import cells, decoder, variables_of

T = 12
PREFIX = np.array([5, 1, 8, 0], np.int32)  # of tokens that come together, different in each cell
LENGTH = np.array([12, 9, 10, 7], np.int32)


@functools.cache
def net():
    return CellModel(decoder().model)


def drawn(dtype):
    """Variables and a batch in a dtype, each token with the gene that comes next."""
    batch = {**cells(LENGTH, T), "next_ids": None}
    batch["next_ids"] = np.asarray(next_ids(batch["ids"], LENGTH))
    one = lambda a: a.astype(dtype) if a.dtype.kind == "f" else a
    return jax.tree.map(one, variables_of(net())), jax.tree.map(one, batch)


@jax.jit
def at_once(variables, batch):
    return net().apply(variables, batch, {}, train=False, tokens=True)[0]


@jax.jit
def one_by_one(variables, batch):
    """A prefix of each cell's own length, then one token after the other, by a scan."""
    cache = net().cache(variables, len(LENGTH), T)
    tokens = {k: v for k, v in batch.items() if k != "length"}
    first, cache = net().extend(variables, cache, {**tokens, "length": jnp.asarray(PREFIX)}, {})

    def step(cache, _):
        place = cache["length"][:, None]
        one = jax.tree.map(lambda a: jnp.take_along_axis(a, place, axis=1, mode="clip"), tokens)
        more = (cache["length"] < LENGTH).astype(jnp.int32)
        found, cache = net().extend(variables, cache, {**one, "length": more}, {})
        return cache, found

    cache, later = jax.lax.scan(step, cache, None, length=T)
    return first, later, cache


def joined(first, later):
    """What each token gave, [B, T, …]: first of the prefixes, later [steps, B, 1, …]."""
    found = np.array(first)
    for b in range(len(LENGTH)):
        steps = LENGTH[b] - PREFIX[b]
        found[b, PREFIX[b] : LENGTH[b]] = later[:steps, b, 0]
    return found


def assert_the_same(ours, theirs, atol):
    real = np.arange(T) < LENGTH[:, None]
    for name in ("a", "b"):
        mine, yours = ours["heads"]["bins"][name], theirs["heads"]["bins"][name]
        np.testing.assert_allclose(mine[real], yours[real], rtol=0, atol=atol)
    np.testing.assert_allclose(ours["tokens"][real], theirs["tokens"][real], rtol=0, atol=atol)


@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_cached_is_uncached(dtype, atol):
    with jax.enable_x64(dtype is np.float64):
        variables, batch = drawn(dtype)
        theirs = at_once(variables, batch)
        first, later, cache = one_by_one(variables, batch)
    last = later["cell"]
    ours = {k: jax.tree.map(joined, first[k], later[k]) for k in ("tokens", "heads")}
    assert ours["tokens"].dtype == cache["keys"].dtype == dtype
    assert cache["keys"].shape == (2, 4, T, 2, 8)
    assert_the_same(ours, theirs, atol)
    np.testing.assert_array_equal(cache["length"], LENGTH)
    steps = LENGTH - PREFIX  # behind them comes no token of the cell, and no vector
    for b, n in enumerate(steps):
        np.testing.assert_allclose(last[n - 1, b], theirs["cell"][b], rtol=0, atol=atol)
        assert not np.asarray(last[n:, b]).any()


def test_a_prefix_in_chunks_and_a_few_tokens_at_a_time(monkeypatch):
    monkeypatch.setattr(attention, "CHUNK", 3)
    with jax.enable_x64(True):
        variables, batch = drawn(np.float64)
        theirs = at_once(variables, batch)
        cache, parts = net().cache(variables, 4, T), []
        extend = jax.jit(lambda cache, batch: net().extend(variables, cache, batch, {}))
        for start in (0, 4, 8):
            some = {k: v[:, start : start + 4] for k, v in batch.items() if k != "length"}
            some["length"] = np.clip(LENGTH - start, 0, 4)
            found, cache = extend(cache, some)
            parts.append(found)
    pick = lambda found: {"tokens": found["tokens"], "heads": found["heads"]}
    ours = jax.tree.map(lambda *a: np.concatenate(a, axis=1), *map(pick, parts))
    assert_the_same(ours, theirs, 1e-12)


def test_without_next_ids_nothing_comes_behind_the_last_token():
    variables, batch = drawn(np.float32)
    shifted = {k: v for k, v in batch.items() if k != "next_ids"}
    cache = net().cache(variables, 4, T)
    extend = jax.jit(lambda batch: net().extend(variables, cache, batch, {})[0]["tokens"])
    np.testing.assert_array_equal(extend(shifted), extend(batch))


def metadata(c):
    c.model.metadata = {"organ": dict(label="organ", classes=2)}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c.model.encoder.update(causal=False), "encoder.causal: found False"),
        (lambda c: c.model.update(combine="concat"), "combine: found 'concat', expected 'sum'"),
        (metadata, "metadata.organ.place: found 'cls', which is of a cell's first tokens"),
        (lambda c: c.model.heads.bins.update(reads="mean"), "heads.bins.reads: found 'mean'"),
        (lambda c: c.model.update(pool="mean"), "heads.whole.reads: found 'cell'"),
    ],
)
def test_what_needs_all_tokens_is_refused(change, text):
    c = decoder()
    c.model.heads.whole = {"kind": "gene_linear"}
    change(c)
    with pytest.raises(ValueError, match=f"config.model.{text}"):
        CellModel(c.model).extend({}, {}, {}, {})

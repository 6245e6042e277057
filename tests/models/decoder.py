"""A small decoder-only model that tests share: gene + value + next gene, causal blocks."""

import jax
import numpy as np

from jaxcell.config import defaults

GENES = 20


def decoder(**encoder):
    """Its config: two post-norm blocks of width 16, 20 genes, CLS in front, pool 'last'."""
    c = defaults()
    m = c.model
    m.vocabulary, m.vocab_multiple, m.width = GENES, 8, 16
    m.fields = {
        "gene": {"kind": "lookup", "input": "ids", "of": "tokens"},
        "value": {"kind": "value_mlp", "input": "values", "hidden": 8},
        "next": {"kind": "next"},
    }
    m.tokens, m.combine, m.norm = ("gene", "value", "next"), "sum", ""
    m.encoder.update(
        dict(layers=2, heads=2, norm_first=False, activation="relu", hidden=32, norm_eps=1e-5)
    )
    m.encoder.update(dict(final_norm=False, layer_scale=0.0, drop_path=0.0, causal=True))
    m.encoder.update(encoder)
    m.pool = "last"
    m.heads = {"bins": {"kind": "token_parts", "parts": ("a", "b")}}
    return c


def variables_of(net, seed=0, scale=0.3):
    """Random parameters in numpy's float64."""
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(net.init, jax.random.key(0))["params"]
    params = jax.tree.map(lambda a: random.normal(0, scale, a.shape), shapes)
    return {"params": params, "batch_stats": {}}


def cells(length, tokens, seed=1):
    """Batch of cells with so many tokens each, CLS and then genes in random order with bins."""
    random, length = np.random.default_rng(seed), np.asarray(length, np.int32)
    ids = np.stack([random.permutation(GENES)[: tokens - 1] for _ in length])
    values = random.integers(0, 5, ids.shape).astype(float)
    ids = np.insert(ids, 0, GENES, axis=1).astype(np.int32)
    return {"ids": ids, "values": np.insert(values, 0, -1, axis=1), "length": length}

"""The one model of the house: fields → encoder → pool → heads, composed from a config."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import FrozenConfigDict

from jaxcell.models.fields import Fields
from jaxcell.models.heads import HEADS, VocabularyMlp
from jaxcell.models.layers import Encoder
from jaxcell.registry import build, lookup
from jaxcell.sharding import shard


def cls_pool(tokens, length):
    """The first token's vector: tokens [B, Q, D] -> [B, D]."""
    return tokens[:, 0]


# Name → the pool, and how many of the first tokens it reads (None: all).
POOLS = {"cls": (cls_pool, 1)}


class _Heads(nn.Module):
    """All heads of a model, in a scope of their own: cell [B, D], batch -> {name: array}."""

    spec: FrozenConfigDict
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, cell, batch, names=None, **options):
        spec, found = self.spec, {}
        sizes = dict(rows=spec.rows, vocabulary=spec.vocabulary, dtype=self.dtype)
        for name in sorted(spec.heads) if names is None else names:
            where = f"config.model.heads.{name}"
            head = build(HEADS, spec.heads[name], where, name=name, **sizes)
            found[name] = head(cell, batch, **options)
        return found


def layers_of(spec):
    """Blocks of the encoder, then of the decoder, behind each of which a cell's vector stands.

    The decoder is the one head of kind vocabulary_mlp; with none or several only the encoder's
    count.
    """
    decoders = [name for name, h in spec.heads.items() if h.kind == "vocabulary_mlp"]
    decoder = decoders[0] if len(decoders) == 1 else None
    blocks = spec.heads[decoder].get("blocks", VocabularyMlp.blocks) if decoder else 0
    return spec.encoder.layers, blocks, decoder


class _Cell(nn.Module):
    """batch -> {'cell' [B, D], 'heads' {name: array}, 'tokens' [B, T, D]}, what is asked for."""

    spec: FrozenConfigDict
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, batch, *, train, heads=True, tokens=False, depth=None):
        spec = self.spec
        x = Fields(spec, dtype=self.dtype, name="fields")(batch)
        x = shard(x, "batch", None, None)
        pool, reads = lookup(POOLS, spec.pool, "config.model.pool")
        encoder = Encoder(**spec.encoder, dtype=self.dtype, name="encoder")
        queries = None if tokens else reads
        layers, _, decoder = layers_of(spec)
        within = None if depth is None else min(depth, layers)
        x = encoder(x, batch["length"], train=train, queries=queries, depth=within)
        cell = pool(x, batch["length"])
        if depth is not None and depth > layers:
            behind = _Heads(spec, dtype=self.dtype, name="heads")
            cell = behind(cell, batch, [decoder], depth=depth - layers)[decoder]
        outputs = {"cell": cell, "tokens": x} if tokens else {"cell": cell}
        if heads:
            outputs["heads"] = _Heads(spec, dtype=self.dtype, name="heads")(cell, batch)
        return outputs


class CellModel:
    """A model as pure functions of plain nested dicts.

    Parameters
    ----------
    spec : the config's ``model`` (fields, encoder, pool, heads)
    dtype : the dtype of matrix products; None follows inputs and parameters (float64 parity)

    Attributes
    ----------
    rows : rows of a gene table: the vocabulary rounded up to ``spec.vocab_multiple``
    """

    def __init__(self, spec, dtype=None):
        multiple = spec.vocab_multiple
        self.rows = -(-spec.vocabulary // multiple) * multiple
        self.spec = FrozenConfigDict({**spec.to_dict(), "rows": self.rows})
        self._module = _Cell(self.spec, dtype=dtype)

    def init(self, key):
        """Parameters and statistics, {'params': …, 'batch_stats': …}, in float32."""
        tokens = len(self.spec.specials) + 1
        specials = self.spec.vocabulary + jnp.arange(tokens - 1, dtype=jnp.int32)
        batch = {
            "ids": jnp.append(specials, 0)[None],
            "values": jnp.zeros((1, tokens)),
            "length": jnp.full((1,), tokens, jnp.int32),
            "measured": jnp.ones((1, self.rows), bool),
        }
        variables = self._module.init({"params": key, "dropout": key}, batch, train=False)
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    def apply(
        self, variables, batch, tables, *, train, rngs=None, heads=True, tokens=False, depth=None
    ):
        """Run the model.

        Parameters
        ----------
        variables : {'params': …, 'batch_stats': …}
        batch : dict with ids [B, T], values [B, T], length [B], and what heads ask for
        tables : masks and statistics that fields or heads ask for (none of TxFM's do)
        train : whether stochastic depth is on
        rngs : {'dropout': key}, needed when ``train``
        heads : False computes the cell's vector alone
        tokens : whether every token's last vector is wanted; the pool may need only some
        depth : the cell's vector behind that block of the encoder (before the final norm, but for
            the last), or, counting on, of the decoder (see ``layers_of``); goes with heads=False

        Returns
        -------
        outputs : {'cell' [B, D], 'heads' {name: array}, 'tokens' [B, T, D] where asked for}
        batch_stats : the new running statistics
        """
        outputs = self._module.apply(
            {"params": variables["params"]},
            batch,
            train=train,
            heads=heads,
            tokens=tokens,
            depth=depth,
            rngs=rngs,
        )
        return outputs, variables["batch_stats"]


def count_parameters(spec):
    """Number of parameters of a config's ``model``, as published: without padded gene rows."""
    unpadded = spec.copy_and_resolve_references()
    unpadded.vocab_multiple = 1
    shapes = jax.eval_shape(CellModel(unpadded).init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))

"""The one model of the house: fields → encoder → pool → heads, composed from a config."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import FrozenConfigDict

from jaxcell.models.fields import Fields
from jaxcell.models.heads import HEADS
from jaxcell.models.layers import Encoder
from jaxcell.registry import build, lookup
from jaxcell.sharding import shard


def cls_pool(tokens, length):
    """The first token's vector: tokens [B, T, D] -> [B, D]."""
    return tokens[:, 0]


POOLS = {"cls": cls_pool}


class _Heads(nn.Module):
    """All heads of a model, in a scope of their own: cell [B, D] -> {name: array}."""

    spec: FrozenConfigDict
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, cell):
        spec = self.spec
        sizes = dict(rows=spec.rows, vocabulary=spec.vocabulary, dtype=self.dtype)
        return {
            name: build(HEADS, spec.heads[name], f"config.model.heads.{name}", name=name, **sizes)(
                cell
            )
            for name in sorted(spec.heads)
        }


class _Cell(nn.Module):
    """batch -> {'tokens' [B, T, D], 'cell' [B, D], 'heads' {name: array}}."""

    spec: FrozenConfigDict
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, batch, *, train, heads=True):
        spec = self.spec
        tokens = Fields(spec, dtype=self.dtype, name="fields")(batch)
        tokens = shard(tokens, "batch", None, None)
        encoder = Encoder(**spec.encoder, dtype=self.dtype, name="encoder")
        tokens = encoder(tokens, batch["length"], train=train)
        cell = lookup(POOLS, spec.pool, "config.model.pool")(tokens, batch["length"])
        outputs = {"tokens": tokens, "cell": cell}
        if heads:
            outputs["heads"] = _Heads(spec, dtype=self.dtype, name="heads")(cell)
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
        }
        variables = self._module.init({"params": key, "dropout": key}, batch, train=False)
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    def apply(self, variables, batch, tables, *, train, rngs=None, heads=True):
        """Run the model.

        Parameters
        ----------
        variables : {'params': …, 'batch_stats': …}
        batch : dict with ids [B, T], values [B, T], length [B]
        tables : masks and statistics that fields or heads ask for (none of TxFM's do)
        train : whether stochastic depth is on
        rngs : {'dropout': key}, needed when ``train``
        heads : False computes the cell's vector alone

        Returns
        -------
        outputs : {'tokens' [B, T, D], 'cell' [B, D], 'heads' {name: array}}
        batch_stats : the new running statistics
        """
        outputs = self._module.apply(
            {"params": variables["params"]}, batch, train=train, heads=heads, rngs=rngs
        )
        return outputs, variables["batch_stats"]


def count_parameters(spec):
    """Number of parameters of a config's ``model``, as published: without padded gene rows."""
    unpadded = spec.copy_and_resolve_references()
    unpadded.vocab_multiple = 1
    shapes = jax.eval_shape(CellModel(unpadded).init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))

"""A decoder-only model completes cells: it is asked for one gene after the other, and reads each.

B cells, T tokens of what is known, A genes asked for, n bins, m cells of one compiled shape.
"""

import functools

import jax
import jax.numpy as jnp

from jaxcell.forward import in_micro_batches, most_at_once
from jaxcell.losses.total import resolve
from jaxcell.models import pools
from jaxcell.models.attention import CHUNK
from jaxcell.models.cell import CellModel
from jaxcell.models.fields import next_ids

TARGET = "batch.next_values"


def next_bins(c):
    """The path of the logits [B, T, n] of the next token's bin among a model's outputs.

    Raises
    ------
    ValueError
        For a config whose tokens do not predict the bin of the next one: an encoder-only model.
    """
    fields = [c.model.fields[name].kind for name in c.model.tokens]
    found = [
        one.pred
        for one in c.losses.values()
        if one.get("target") == TARGET and one.kind == "cross_entropy" and one.weight
    ]
    for name, value, ok, expected in (
        ("model.encoder.causal", c.model.encoder.causal, c.model.encoder.causal, "True"),
        ("model.tokens", tuple(c.model.tokens), "next" in fields, "a field of kind 'next'"),
        ("losses", tuple(c.losses), found, f"a cross_entropy with {TARGET}"),
        ("data.transforms", c.data.transforms, "bin" in c.data.transforms, "'bin' among them"),
        ("data.transforms", c.data.transforms, "sequence" in c.data.transforms, "'sequence'"),
    ):
        if not ok:
            raise ValueError(
                "this model does not complete cells, which takes a decoder-only one: config."
                f"{name}: found {value!r}, expected {expected}"
            )
    return found[0]


def choose(logits, keys, genes, temperature):
    """A bin of each cell: logits [B, n], keys u32 [B, 2], genes i32 [B] -> i32 [B].

    The likeliest one at temperature 0, else drawn ∝ exp(logits / temperature); what is drawn hangs
    on the cell's key and the gene alone.
    """
    if temperature == 0:
        return logits.argmax(axis=-1).astype(jnp.int32)

    def one(key, gene, z):
        key = jax.random.fold_in(jax.random.wrap_key_data(key, impl="threefry2x32"), gene)
        return jax.random.categorical(key, z / temperature).astype(jnp.int32)

    return jax.vmap(one)(keys, genes, logits)


def complete_cells(net, pred, temperature, variables, tables, batch):
    """The bins of genes that are not among the tokens of some cells.

    Parameters
    ----------
    net : CellModel
    pred : path of the logits, see `next_bins`
    batch : tokens of what is known, ids, values [B, T], length [B] (at least 1) …; asked i32
        [B, A], the genes in the order in which they are asked for; keys u32 [B, 2]

    Returns
    -------
    bins i32 [B, A], nonzero f32 [B, A] (the probability of any bin but 0, at temperature 1)
    """
    asked, length = batch["asked"], batch["length"][:, None]
    cells, tokens = batch["ids"].shape
    heads = (pred.split(".")[1],)
    known = {k: v for k, v in batch.items() if k not in ("asked", "keys")}
    ends = jnp.arange(tokens)[None] == length - 1
    known["next_ids"] = jnp.where(ends, asked[:, :1], next_ids(batch["ids"], batch["length"]))

    def logits_of(cache, some):
        outputs, cache = net.extend(variables, cache, some, tables, heads=heads)
        return resolve(outputs, pred, "config.losses"), cache

    logits, cache = logits_of(net.cache(variables, cells, tokens + asked.shape[1]), known)

    def step(carry, genes):
        logits, cache = carry
        gene, following = genes
        bins = choose(logits, batch["keys"], gene, temperature)
        some = {
            **known,
            "ids": gene[:, None],
            "values": bins[:, None].astype(known["values"].dtype),
            "next_ids": following[:, None],
            "flags": {k: jnp.zeros_like(gene[:, None]) for k in known.get("flags", {})},
            "length": jnp.ones_like(gene),
        }
        after, cache = logits_of(cache, some)
        return (after[:, 0], cache), (bins, jax.nn.softmax(logits)[:, 1:].sum(axis=1))

    following = jnp.pad(asked[:, 1:], ((0, 0), (0, 1)), constant_values=-1)
    first = pools.last(logits, batch["length"])
    _, (bins, nonzero) = jax.lax.scan(step, (first, cache), (asked.T, following.T))
    return bins.T, nonzero.T


class Completer:
    """Variables, a batch as of `complete_cells` → its bins and probabilities, as numpy arrays.

    Cells go through in micro-batches of one compiled shape, as in `Forward`: no cell's bins hang on
    its neighbours.

    c : the checkpoint's config; temperature : see `choose`; tables : the model's
    """

    def __init__(self, c, temperature, tables):
        pred, net, spec = next_bins(c), CellModel(c.model), c.model
        self._tables = jax.device_put({k: tables.get(k, {}) for k in ("vectors", "known")})
        self._micro = c.embed.micro_batch

        def run(variables, tables, batch):
            m, tokens = batch["ids"].shape
            places = tokens + batch["asked"].shape[1]
            scores = spec.encoder.heads * min(tokens, CHUNK) * places
            few = most_at_once(m, max(scores, 2 * spec.encoder.layers * places * spec.width))
            split = jax.tree.map(lambda a: a.reshape(m // few, few, *a.shape[1:]), batch)
            some = functools.partial(complete_cells, net, pred, temperature, variables, tables)
            found = jax.lax.map(some, split)
            return jax.tree.map(lambda a: a.reshape(m, *a.shape[2:]), found)

        self._run = jax.jit(run)

    def __call__(self, variables, batch, advance=None):
        def one(some):
            with jax.default_matmul_precision("highest"):
                return self._run(variables, self._tables, some)

        return in_micro_batches(one, batch, self._micro, grid=True, advance=advance)

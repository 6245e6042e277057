"""The one model of the house: fields → encoder → pool → heads, composed from a config."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import FrozenConfigDict

from jaxcell.models import cache as caches
from jaxcell.models import pools
from jaxcell.models.cache import Cache
from jaxcell.models.encoder import Encoder
from jaxcell.models.expression_heads import VocabularyMlp
from jaxcell.models.fields import Fields
from jaxcell.models.heads import Heads, conditions_of, reads_of
from jaxcell.models.pools import Pooler
from jaxcell.sharding import shard


def layers_of(spec):
    """Blocks of the encoder, then of the decoder, behind each of which a cell's vector stands.

    The decoder is the one head of kind vocabulary_mlp; with none or several only the encoder's
    count.
    """
    decoders = [name for name, h in spec.heads.items() if h.kind == "vocabulary_mlp"]
    decoder = decoders[0] if len(decoders) == 1 else None
    blocks = spec.heads[decoder].get("blocks", VocabularyMlp.blocks) if decoder else 0
    return spec.encoder.layers, blocks, decoder


def queries_of(spec, pool=None, heads=True):
    """How many of the first tokens pool and heads read of the last block; None: all of them.

    heads : True, all of them; False, none; or names
    """
    names = list(pools.names_of(pool or spec.pool))
    for head in sorted(spec.heads) if heads is True else heads or ():
        reads = reads_of(spec.heads[head])
        names += pools.names_of(spec.pool) if reads == "cell" else (reads,)
    reads = [pools.tokens_read(name, spec) for name in names]
    return None if None in reads else max(reads)


class _Cell(nn.Module):
    """batch -> {'cell' [B, D], 'heads' {name: array}, 'tokens' [B, T, D]}, what is asked for.

    With a ``cache`` also 'cache', with the batch's tokens in it; with ``attention`` the last
    block's softmax weights 'attention' [B, H, T, T].
    """

    spec: FrozenConfigDict
    dtype: jnp.dtype | None = None
    kernel: str = "xla"

    @nn.compact
    def __call__(
        self,
        batch,
        *,
        train,
        heads=True,
        tokens=False,
        depth=None,
        pool=None,
        between=None,
        attention=False,
        cache=None,
    ):
        spec = self.spec
        # Vectors of single fields live on only where a head reads them.
        kept = {} if heads and any(h.kind == "gene_query" for h in spec.heads.values()) else None
        fields = Fields(spec, dtype=self.dtype, name="fields")
        x = fields(batch, train=train, between=between, keep=kept)
        x = shard(x, "batch", None, None)
        extra = x.shape[1] - batch["ids"].shape[1]  # tokens of the cell's metadata, in front
        length, blocked = batch["length"] + extra, batch.get("blocked")
        if blocked is not None and extra:
            blocked = jnp.pad(blocked, ((0, 0), (extra, 0)))
        encoder = Encoder(**spec.encoder, kernel=self.kernel, dtype=self.dtype, name="encoder")
        layers, _, decoder = layers_of(spec)
        # A vector behind the decoder's blocks comes from what the decoder reads.
        read = (decoder,) if depth is not None and depth > layers else heads
        whole = tokens or attention or cache is not None
        queries = None if whole else queries_of(spec, pool, read)
        queries = None if queries is None else queries + extra
        within = None if depth is None else min(depth, layers)
        how = dict(train=train, queries=queries, depth=within, blocked=blocked)
        x = encoder(x, length, **how, cache=cache, weights=attention)
        x, besides = x if attention or cache is not None else (x, None)
        x = x[:, extra:]
        pooler = Pooler(dtype=self.dtype, name="pool") if spec.pooler else None
        pooled = pooler(x[:, 0]) if spec.pooler else None  # made, and dropped where nobody reads

        def source(name):
            if name == "tokens":
                return x
            if name in ("pooler", "pooled"):  # a pool's name, and what a head reads
                return pooled
            if name == "mean":
                return pools.mean_of_genes(x, batch["length"], len(spec.front))
            if name == "weighted":
                return pools.weighted(x, batch["values"], batch["length"], len(spec.front))
            if name == "last":
                return pools.last(x, batch["length"])
            if name == "cell":
                return _joined(source, spec.pool)
            return x[:, pools.tokens_read(name, spec) - 1]

        cell = _joined(source, pool or spec.pool)
        if depth is not None and depth > layers:
            behind, more = Heads(spec, dtype=self.dtype, name="heads"), depth - layers
            found = behind(source, batch, train=train, names=[decoder], depth=more)
            cell = found[decoder]
        outputs = {"cell": cell, "tokens": x} if tokens else {"cell": cell}
        if attention:
            outputs["attention"] = besides[:, :, extra:, extra:]
        if cache is not None:
            outputs["cache"] = besides
        if heads:
            made = Heads(spec, dtype=self.dtype, name="heads")
            names = sorted(spec.heads) if heads is True else heads
            told = {"conditions": conditions_of(spec, names, batch)}
            batch = batch if kept is None else {**batch, "fields": kept}
            outputs["heads"] = made(source, batch, train=train, names=names, **told)
        return outputs


def _joined(source, pool):
    return jnp.concatenate([source(name) for name in pools.names_of(pool)], axis=-1)


class CellModel:
    """A model as pure functions of plain nested dicts.

    Parameters
    ----------
    spec : the config's ``model`` (fields, encoder, pool, heads)
    dtype : the dtype of matrix products; None follows inputs and parameters (float64 parity)
    kernel : what computes attention, see `models.kernels`; the results are the same to rounding

    Attributes
    ----------
    rows : rows of a gene table: the vocabulary rounded up to ``spec.vocab_multiple``
    token_rows : the same of genes and special tokens
    kernel : as given
    """

    def __init__(self, spec, dtype=None, kernel="xla"):
        genes, tokens = spec.vocabulary, spec.vocabulary + len(spec.specials)
        self.rows, self.token_rows = (_up_to(n, spec.vocab_multiple) for n in (genes, tokens))
        front = tuple(spec.front) or tuple(spec.specials)
        sizes = {"rows": self.rows, "token_rows": self.token_rows, "front": front}
        self.spec = FrozenConfigDict({**spec.to_dict(), **sizes})
        pools.check(spec.pool, self.spec)
        for name, head in spec.heads.items():
            pools.check_reads(reads_of(head), self.spec, f"config.model.heads.{name}.reads")
        self.kernel = kernel
        self._module = _Cell(self.spec, dtype=dtype, kernel=kernel)
        # Parameters are drawn with one cell, which no mesh can share out among its devices.
        self._drawn = _Cell(self.spec, dtype=dtype)

    def init(self, key):
        """Parameters and statistics, {'params': …, 'batch_stats': …}, in float32."""
        spec = self.spec
        tokens, s = len(spec.front) + 1, spec.specials
        front = [spec.vocabulary + s.index(name) for name in spec.front]
        batch = {
            "ids": jnp.array([[*front, 0]], jnp.int32),
            "values": jnp.zeros((1, tokens)),
            "length": jnp.full((1,), tokens, jnp.int32),
            "measured": jnp.ones((1, self.rows), bool),
            "gene_places": jnp.zeros((1, 1), jnp.int32),
            "flags": {name: jnp.zeros((1, tokens), jnp.int32) for name in flags_of(spec)},
            "labels": {name: jnp.zeros(1, jnp.int32) for name in labels_of(spec)},
            "tables": external_shapes(spec, self.token_rows, jnp.zeros),
        }
        variables = self._drawn.init({"params": key, "dropout": key}, batch, train=False)
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    def shapes(self):
        """What `init` returns, as shapes alone; traced once for all models of the same spec."""
        found = _shapes(self.spec, jax.config.jax_enable_x64)
        return jax.tree.map(lambda leaf: leaf, found)  # dicts of the caller's own

    def apply(
        self,
        variables,
        batch,
        tables,
        *,
        train,
        rngs=None,
        heads=True,
        tokens=False,
        depth=None,
        pool=None,
        between=None,
        attention=False,
    ):
        """Run the model.

        Parameters
        ----------
        variables : {'params': …, 'batch_stats': …}
        batch : dict with ids [B, T], values [B, T], length [B], and what fields and heads ask for
        tables : masks and statistics that fields or heads ask for
        train : whether dropout and stochastic depth are on
        rngs : {'dropout': key}, needed when ``train``
        heads : False computes the cell's vector alone; names: of these heads alone
        tokens : whether every token's last vector is wanted; the pool may need only some
        depth : the cell's vector behind that block of the encoder (before the final norm, but for
            the last), or, counting on, of the decoder (see ``layers_of``); goes with heads=False
        pool : of the 'cell' that is returned, instead of the config's; heads read the config's
        between : a `fields.Between`: tokens' vectors between a baseline and their own
        attention : whether the softmax weights of the encoder's last block, or of block ``depth``,
            are wanted; only exact attention has them

        Returns
        -------
        outputs : {'cell' [B, D], 'heads' {name: array}, and where asked for 'tokens' [B, T, D],
            'attention' [B, H, T, T] in float32 or wider: which tokens each token reads; rows beyond
            a cell's length mean nothing, and where metadata have tokens of their own, the rest to 1
            is theirs}
        batch_stats : the running statistics, new ones when ``train``
        """
        stats = variables["batch_stats"]
        outputs = self._module.apply(
            {"params": variables["params"], **({"batch_stats": stats} if stats else {})},
            {**batch, "tables": tables},
            train=train,
            heads=heads,
            tokens=tokens,
            depth=depth,
            pool=pool,
            between=between,
            attention=attention,
            rngs=rngs,
            mutable=["batch_stats"] if stats and train else False,
        )
        if stats and train:
            outputs, new = outputs
            return outputs, new["batch_stats"]
        return outputs, stats

    def cache(self, variables, cells, tokens):
        """A cache without tokens, with places for so many of each cell, see `extend`.

        {'keys', 'values' [N, B, T, H, C], 'length' i32 [B]} for N layers, H heads, C channels
        """
        spec, params = self.spec, jax.tree.leaves(variables["params"]["encoder"])
        dtype = self._module.dtype or params[0].dtype
        return caches.empty(spec.encoder, spec.width, cells, tokens, dtype)

    def extend(self, variables, cache, batch, tables, *, heads=True):
        """Run the model on the next tokens of each cell alone; those before are in a cache.

        Parameters
        ----------
        variables, tables, heads : as of `apply`, without training
        cache : of `cache` or of the call before. A cell's tokens beyond its places are lost
        batch : with the next n tokens of each cell, ids, values [B, n] …, of which it has as many
            as length [B] says (0 too). ``next_ids`` [B, n], for a field of kind 'next', where the
            token behind the last of these is known

        Returns
        -------
        outputs : {'tokens' [B, n, D], 'cell' [B, D] (the last token's vector), 'heads' {…}}, as
            `apply` has them of all tokens at once
        cache : with these tokens

        Raises
        ------
        ValueError
            Unless the encoder is causal, its fields are added, and each head reads 'tokens' or
            'last'.
        """
        spec = self.spec
        names = sorted(spec.heads) if heads is True else heads or ()
        caches.check(spec, {name: reads_of(spec.heads[name]) for name in names})
        stats = variables["batch_stats"]
        outputs = self._module.apply(
            {"params": variables["params"], **({"batch_stats": stats} if stats else {})},
            {**batch, "tables": tables},
            train=False,
            heads=heads,
            tokens=True,
            pool="last",
            cache=Cache(**cache),
        )
        return outputs, outputs.pop("cache")._asdict()


def _up_to(n, multiple):
    return -(-n // multiple) * multiple


def flags_of(spec):
    """Names of the flags of tokens that fields look up: 'perturbed' of input 'flags.perturbed'."""
    inputs = [spec.fields[name].get("input", "") for name in spec.tokens]
    return sorted(i.removeprefix("flags.") for i in inputs if i.startswith("flags."))


def labels_of(spec):
    """Names of the labels that heads predict or are told, and that fields show or norm by."""
    return sorted({one.label for _, one in label_users(spec)})


def label_users(spec):
    """[(path below ``config.model``, its block)] of all that has a label and its classes."""
    rooms = ("heads", "metadata", "conditions")
    found = [(f"{room}.{n}", one) for room in rooms for n, one in spec[room].items()]
    found = [(path, one) for path, one in found if "label" in one]
    return [*found, ("domain", spec.domain)] if spec.norm == "domain" else found


def external_shapes(spec, rows, make):
    """{'vectors': {field: [R, E]}, 'known': {field: bool [R]}} of fields from files; see make."""
    files = {n: f for n, f in spec.fields.items() if f.kind == "external" and n in spec.tokens}
    return {
        "vectors": {n: make((rows, f.channels), jnp.float32) for n, f in files.items()},
        "known": {n: make((rows,), bool) for n, f in files.items()},
    }


def count_parameters(spec, labels=True):
    """Number of parameters of a config's ``model``, as published: without padded gene rows.

    ``labels`` False leaves out the heads of labels, whose classes are the data's.
    """
    unpadded = spec.copy_and_resolve_references()
    unpadded.vocab_multiple = 1
    for name in [] if labels else [n for n, head in spec.heads.items() if "label" in head]:
        del unpadded.heads[name]
    shapes = CellModel(unpadded).shapes()
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


@functools.lru_cache(maxsize=64)
def _shapes(spec, wide):
    return jax.eval_shape(CellModel(spec).init, jax.random.key(0))

"""A model and its cells → mean attention between chosen genes, condition by condition.

B cells, T tokens, H heads, M chosen genes, k conditions, m cells of one compiled shape.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcell.evaluation.networks.ranks import Sums
from jaxcell.forward import TOKENS
from jaxcell.models.cell import CellModel

HELD = 2**26  # attention weights computed at a time, at most: 256 MB of float32
CELLS = 16  # computed at a time, at most: a batch is filled up to so many


def check_attention(c, layer, where):
    """Refuse a model that has no attention weights, or none that a network could be read from.

    Parameters
    ----------
    c : the model's config
    layer : a block of the encoder, from 1; None: the last
    where : the checkpoint, for the error

    Raises
    ------
    ValueError
        Attention that is not exact, a causal encoder, or no such block.
    """
    e = c.model.encoder
    if e.get("attention", "exact") != "exact":
        raise ValueError(
            f"{where}: config.model.encoder.attention is {e.attention!r}, expected 'exact': only "
            "that has weights; take --route vectors"
        )
    if e.get("causal", False):
        raise ValueError(
            f"{where}: the encoder is causal, where a gene reads only those before it in a drawn "
            "order; expected one whose genes read one another; take --route vectors"
        )
    if layer is not None and not 1 <= layer <= e.layers:
        raise ValueError(f"layer: found {layer}, expected 1 to {e.layers}, the blocks of {where}")


def show_chosen(c):
    """Set a config, in place, to show every chosen gene of a cell, zeros too, always in one order.

    To be called before an ``Embedder`` is made of it, whose ``gene_sets`` are then the chosen ones.
    """
    c.embed.genes, c.embed.draws = 0, 1
    if "sequence" in c.data.transforms:
        c.embed.zeros, c.data.sequence.order = "all", "vocabulary"


class Attention:
    """Variables and a batch → attention between chosen genes, float32 [B, H, M, M].

    Cells go through ``m`` at a time, which follows from T and H alone, so that no cell's attention
    depends on how many are read at a time or on which others are there.

    Parameters
    ----------
    c : the model's config
    genes : token ids of the chosen genes in the order that is wanted, i32 [M]
    layer : block of the encoder, from 1; None: the last
    tables : those of the model's tables that its fields ask for
    """

    def __init__(self, c, genes, layer=None, tables=None):
        net = CellModel(c.model)
        self._genes, self._heads = np.asarray(genes), c.model.encoder.heads
        fields = {k: (tables or {}).get(k, {}) for k in ("vectors", "known")}
        self._tables = jax.device_put(fields)

        def run(variables, tables, batch, places):
            how = dict(train=False, heads=False, attention=True, depth=layer)
            outputs, _ = net.apply(variables, batch, tables, **how)
            found = outputs["attention"]
            rows = jnp.take_along_axis(found, places[:, None, :, None], axis=2)
            return jnp.take_along_axis(rows, places[:, None, None, :], axis=3).astype(jnp.float32)

        self._run = jax.jit(run)

    def __call__(self, variables, batch):
        """Yield each cell's attention in order, [H, M, M]."""
        places = self._places(batch)
        tokens = -(-int(batch["length"].max()) // 8) * 8
        m = min(CELLS, max(1, HELD // (self._heads * tokens**2)))
        for start in range(0, len(places), m):
            mine = np.arange(start, min(start + m, len(places)))
            order = np.pad(mine, (0, m - len(mine)), mode="edge")
            some = jax.tree.map(lambda a, order=order: a[order], batch)
            for name in TOKENS:
                some[name] = _cut(some[name], tokens)
            some["flags"] = {k: _cut(v, tokens) for k, v in some.get("flags", {}).items()}
            with jax.default_matmul_precision("highest"):
                found = self._run(variables, self._tables, some, places[order])
            yield from np.asarray(found)[: len(mine)]

    def _places(self, batch):
        """Where the chosen genes stand among each cell's tokens, i32 [B, M]."""
        ids = np.where(
            np.arange(batch["ids"].shape[1]) < batch["length"][:, None], batch["ids"], -1
        )
        places = np.empty((len(ids), len(self._genes)), np.int32)
        for b, own in enumerate(ids):
            order = np.argsort(own, kind="stable")
            at = np.minimum(np.searchsorted(own[order], self._genes), len(order) - 1)
            places[b] = order[at]
            if (own[places[b]] != self._genes).any():  # never a row that stands for no gene
                raise ValueError(f"cell {b} of its batch does not show all {len(at)} chosen genes")
        return places


def _cut(x, tokens):
    """Tokens [B, T] cut or padded to so many."""
    x = x[:, :tokens]
    return np.pad(x, ((0, 0), (0, tokens - x.shape[1])))


def condition_maps(embedder, attention, chunks, codes, conditions, measure="ranks", tick=None):
    """Mean attention of each condition's cells.

    Cells of no condition (code -1) and cells without any count of the model's genes are left out.

    Parameters
    ----------
    embedder : `Embedder` of a config that `show_chosen` has set, with the chosen genes as its
        ``gene_sets``
    attention : `Attention`
    chunks : iterable of the source's chunks of counts
    codes : int [cells], the number of each cell's condition
    conditions : k
    measure : 'ranks' or 'weights', see `networks.ranks`
    tick : called with the number of cells done

    Returns
    -------
    maps float32 [k, M, M] (a row reads, a column is read), what each gene receives float64 [k, M],
    cells that count i64 [k]
    """
    sums, start = Sums(conditions, len(attention._genes), measure), 0
    for chunk in chunks:
        rows, keys = embedder.cells(chunk)
        mine = codes[start : start + len(rows)]
        counted = np.flatnonzero((mine >= 0) & (np.diff(rows.indptr) > 0))
        if len(counted):
            batch = embedder.tokens(rows, keys)
            batch = jax.tree.map(lambda a, i=counted: a[i], batch)
            for cell, found in zip(counted, attention(embedder.variables, batch), strict=True):
                sums.add(found, mine[cell])
        start += len(rows)
        if tick:
            tick(len(rows))
    return *sums.means(), sums.cells

"""What the device adds to a batch: the whole panel, and what it holds at tokens.

B cells, N panel slots, R rows of a gene table (vocabulary, padded), G gene sets, T tokens.
"""

import jax
import jax.numpy as jnp

from jaxcell import sharding


def add_panel(batch, tables, rows, library_size, scale=True, values="counts"):
    """Scatter each cell's sparse counts into the panel, on the device.

    Parameters
    ----------
    batch : with panel_ids i32 [B, N] (V where empty), panel_counts [B, N], total [B], dataset [B]
    tables : measured bool [G, R], gene_set i32 [datasets]
    rows : R
    library_size : what a cell's counts are scaled to before log1p
    scale : False leaves them as they are
    values : 'log1p': they are expression already, and stay

    Returns
    -------
    the batch with panel_raw [B, R], panel [B, R] (log1p of the scaled counts) and measured [B, R]
    """

    # vmap over cells: indexing by an arange over the batch would add all-gathers on a mesh. Empty
    # slots add a count of 0, wherever they land.
    def scatter(ids, counts):
        return jnp.zeros(rows, counts.dtype).at[ids].add(counts, mode="drop")

    raw = jax.vmap(scatter)(batch["panel_ids"], batch["panel_counts"])
    # Over 'vocab' each device scatters into its own genes: it drops what falls to the others'.
    raw = sharding.shard(raw, "batch", "vocab")
    measured = tables["measured"][tables["gene_set"][batch["dataset"]]]
    measured = sharding.shard(measured, "batch", "vocab")
    scaled = raw
    if scale:
        divisor = batch["total"][:, None]
        scaled = raw * jnp.where(divisor > 0, library_size / jnp.maximum(divisor, 1e-12), 0)
    panel = scaled if values == "log1p" else jnp.log1p(scaled)
    panel = sharding.shard(panel, "batch", "vocab")
    return {**batch, "panel_raw": raw, "panel": panel, "measured": measured}


def at_tokens(panel, batch):
    """What a panel [B, R] (or [1, R], of all cells) holds at each token's gene: [B, T].

    At special tokens and behind a cell's last token it is whatever the padded rows hold.
    """
    ids = batch["ids"]
    if len(panel) != len(ids):
        return jnp.take(panel[0], ids, mode="clip")
    return jax.vmap(lambda row, genes: jnp.take(row, genes, mode="clip"))(panel, ids)


def of_measured(batch, genes):
    """Tokens of genes that the cell measured, no special ones, no padding: bool [B, T].

    genes : V. Of a pair the cell is the target: what its input measured alone is not compared.
    """
    ids = batch["ids"]
    inside = jnp.arange(ids.shape[1])[None] < batch["length"][:, None]
    return inside & (ids < genes) & at_tokens(batch["measured"], batch)


def binned(values, number, width):
    """Evenly spaced bins of expression: 0 of zero, k of ((k − 1) · width, k · width]; i32.

    The last of so many is open. The inverse of `bin_values`, to half a bin.
    """
    return jnp.clip(jnp.ceil(values / width), 0, number - 1).astype(jnp.int32)


def bin_values(number, width):
    """The expression that each of these bins stands for, its centre: f32 [number]."""
    return jnp.maximum((jnp.arange(number) - 0.5) * width, 0).astype(jnp.float32)


def has_next(batch):
    """Whether a gene's token follows each: bool [B, T]."""
    return jnp.arange(batch["ids"].shape[1])[None] + 1 < batch["length"][:, None]


def shown(batch, rows):
    """Bool [B, R]: the genes that a cell's tokens show (and special tokens in padded rows)."""

    def one(ids, length):
        ids = jnp.where(jnp.arange(ids.shape[0]) < length, ids, rows)
        return jnp.zeros(rows, bool).at[ids].set(True, mode="drop")

    return sharding.shard(jax.vmap(one)(batch["ids"], batch["length"]), "batch", "vocab")

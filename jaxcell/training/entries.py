"""The entries over which errors per gene are counted: which they are, and what is added up of them.

B cells, X entries of a cell (all rows R of a gene table, or its tokens T).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcell.losses.total import resolve
from jaxcell.training.panel import shown
from jaxcell.training.step import make_forward

BINS = 512


class Entries(NamedTuple):
    """Predictions beside the truth, [B, X] each.

    ids : gene of each entry; None: entry x is gene x
    chosen : bool, which entries count
    value, predicted, null : log1p of the count, its prediction, the mean predictor's
    score : of detection, from 0 to 1, one half where the mean predictor is
    """

    ids: jax.Array | None
    chosen: jax.Array
    value: jax.Array
    predicted: jax.Array
    null: jax.Array
    score: jax.Array

    def sum(self, x, rows, where=None):
        """Σ of x [B, X] over the chosen entries of each gene: [R]."""
        x = jnp.where(self.chosen if where is None else self.chosen & where, x, 0)
        if self.ids is None:
            return x.sum(axis=0)
        return jnp.zeros(rows, x.dtype).at[self.ids].add(x, mode="drop")


def make_entries(model, c):
    """``(variables, batch, tables) -> Entries``, as ``config.train.gene_…`` say.

    Among 'hidden', the measured genes that a cell's tokens do not show; 'measured', all of them;
    'masked', the tokens whose value is masked. Where ``gene_zero`` names the logit of a value's
    being zero, the prediction is 0 where that is above 0, and detection goes by it.
    """
    forward, train = make_forward(model, c), c.train

    def entries(variables, batch, tables):
        batch, outputs, _ = forward(variables, batch, tables, train=False)
        predicted = resolve(outputs, train.gene_errors, "config.train.gene_errors")
        mean, logit = tables["mean"], tables["zero_logit"]
        if train.gene_among == "masked":
            ids, value = batch["ids"], batch["target"]
            chosen = batch["mask"]
            mean, logit = (jnp.take(one, ids, mode="clip") for one in (mean, logit))
        else:
            ids, value, chosen = None, batch["panel"], batch["measured"]
            if train.gene_among == "hidden":
                chosen = chosen & ~shown(batch, model.rows)
            mean, logit = (jnp.broadcast_to(one[None], value.shape) for one in (mean, logit))
        chosen = chosen & batch["real"][:, None]
        score = share_of(predicted, mean)
        if train.gene_zero:
            zero = resolve(outputs, train.gene_zero, "config.train.gene_zero")
            score = jax.nn.sigmoid(logit - zero)
            predicted = jnp.where(zero > 0, 0, predicted)
            mean = jnp.where(logit > 0, 0, mean)
        return Entries(ids, chosen, value, predicted, mean, score)

    return entries


def share_of(predicted, null):
    """A prediction p ≥ 0 as p / (p + null): a bin is finest around the null, 0.8 % of it."""
    scale = jnp.where(null > 0, null, 1e-3)
    return jnp.maximum(predicted, 0) / (jnp.maximum(predicted, 0) + scale)


def bin_of(score):
    """Bin i32 of a score from 0 to 1; those of the same bin count as ties."""
    return jnp.minimum((score * BINS).astype(jnp.int32), BINS - 1)


def make_levels(model, c):
    """``(variables, batch, tables)`` -> number and sum of the non-zero values of each gene, [R].

    The model is not computed for it: XLA leaves out what no result needs.
    """
    entries = make_entries(model, c)

    def step(variables, batch, tables):
        found = entries(variables, batch, tables)
        there = found.value > 0
        return {
            "number": found.sum(jnp.ones_like(found.value), model.rows, there),
            "sum": found.sum(found.value, model.rows, there),
        }

    return step


def make_step(model, c):
    """``step(counts, variables, batch, tables, level) -> (counts, sums)``.

    counts i32 [R · 2 · BINS]: entries of each gene by (count > 0) and bin of the detection's score;
    level [R] : mean non-zero value of each gene in these cells; sums of absolute errors [R]: mae
    and mae_null over all entries, mae_nonzero and null_nonzero (of ``level``) over non-zero ones
    """
    entries = make_entries(model, c)

    def step(counts, variables, batch, tables, level):
        found = entries(variables, batch, tables)
        there = found.value > 0
        genes = jnp.arange(model.rows)[None] if found.ids is None else found.ids
        place = (genes * 2 + there) * BINS + bin_of(found.score)
        counts = counts.at[jnp.where(found.chosen, place, counts.size)].add(1, mode="drop")
        level = level[None] if found.ids is None else jnp.take(level, found.ids, mode="clip")
        error = jnp.abs(found.predicted - found.value)
        return counts, {
            "mae": found.sum(error, model.rows),
            "mae_null": found.sum(jnp.abs(found.null - found.value), model.rows),
            "mae_nonzero": found.sum(error, model.rows, there),
            "null_nonzero": found.sum(jnp.abs(level - found.value), model.rows, there),
        }

    return step

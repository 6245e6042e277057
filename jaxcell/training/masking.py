"""Which tokens a step masks, and what their fields show instead; on the device.

B cells, T tokens, P places of masked genes at most, R rows of a gene table.
"""

import math

import jax
import jax.numpy as jnp

from jaxcell.models.values import code_of


def hidden_code(specials):
    """The value that stands where one is hidden: the mask token's or, without one, −(S + 1)."""
    specials = tuple(specials)
    return code_of(specials.index("<mask>") if "<mask>" in specials else len(specials))


def mask_tokens(batch, tables, c):
    """Compare each token's draws (`data.masking`) with its rate, and hide what falls below.

    A token is masked, that is, predicted, where its draw is below the rate: ``draw_masks.ratio``,
    or its gene's ``tables['mask_rate']`` [R] where masking is adaptive. The lowest share ``hidden``
    of these show the mask token, the next share ``replaced`` another gene's value or another gene,
    the others themselves. Unless ``together``, a token masked by its value keeps its gene.

    Returns
    -------
    the batch with expressed bool [B, T] (genes whose value was above 0); mask bool [B, T] and
    target f32 [B, T] (its values as they were; of thinned counts the cell's own); for masked genes
    gene_places i32 [B, P] and gene_target i32 [B, P] (−1: none); and blocked bool [B, T]
    """
    how, specials = c.data.draw_masks, tuple(c.model.specials)
    rate = how.ratio
    if how.adaptive:
        rate = jnp.take(tables["mask_rate"], batch["ids"], mode="clip")
    batch, hidden = dict(batch), jnp.zeros(batch["ids"].shape, bool)
    chosen = hidden
    batch["expressed"] = (batch["values"] > 0) & _genes(batch, c)
    if "values" in how.fields:
        draw, values = batch["draws"]["values"], batch["values"]
        chosen, concealed = draw < rate, draw < rate * how.hidden
        if how.replaced:
            other = jnp.take_along_axis(values, batch["other"]["values"], axis=1)
            swapped = (draw < rate * (how.hidden + how.replaced)) & ~concealed
            batch["values"] = jnp.where(swapped, other, values)
        thinned = "thin" in c.data.transforms
        batch |= {"mask": chosen, "target": own_values(batch, c) if thinned else values}
        batch["values"] = jnp.where(concealed, hidden_code(specials), batch["values"])
        hidden = hidden | concealed
    if "genes" in how.fields:
        draw, ids = batch["draws"]["genes"], batch["ids"]
        free = jnp.ones_like(chosen) if how.together else ~chosen
        masked = (draw < rate) & free
        concealed = (draw < rate * how.hidden) & free
        places = jnp.argsort(~masked, axis=1, stable=True)[:, : places_of(c, ids.shape[1])]
        real = jnp.take_along_axis(masked, places, axis=1)
        genes = jnp.take_along_axis(ids, places, axis=1)
        batch |= {"gene_places": places, "gene_target": jnp.where(real, genes, -1)}
        if how.replaced:
            swapped = (draw < rate * (how.hidden + how.replaced)) & free
            ids = jnp.where(swapped, batch["other"]["genes"], ids)
        batch["ids"] = jnp.where(concealed, c.model.vocabulary + specials.index("<mask>"), ids)
        hidden = hidden | concealed
    if how.blocked:
        batch["blocked"] = hidden
    return batch


def own_values(batch, c):
    """What each token's value would be had no count been thinned, f32 [B, T]; 0 of special ones.

    Normalised as ``values`` are. Source: RDA of scFoundation, whose target is the cell itself.
    """
    how, ids = c.data.normalise, batch["ids"]
    there = _genes(batch, c)
    take = jax.vmap(lambda counts, genes: jnp.take(counts, genes, mode="clip"))
    counts, total = jnp.where(there, take(batch["panel_raw"], ids), 0), batch["total"]
    if "sequence" in c.data.transforms and c.data.sequence.total == "shown":
        total = counts.sum(axis=1) + how.pseudo_total
    if how.scale:
        total = total[:, None]
        counts = counts * jnp.where(total > 0, how.library_size / jnp.maximum(total, 1e-12), 0)
    return counts if how.given == "log1p" else jnp.log1p(counts)


def _genes(batch, c):
    """Which tokens are genes, and neither special nor padding: bool [B, T]."""
    ids = batch["ids"]
    inside = jnp.arange(ids.shape[1])[None] < batch["length"][:, None]
    return inside & (ids < c.model.vocabulary)


def places_of(c, tokens):
    """P: masked genes of a cell that are predicted; six standard deviations above their mean.

    With a constant rate one cell in 10⁹ has more; what is beyond is not predicted.
    """
    genes, rate = tokens - len(c.model.front or c.model.specials), c.data.draw_masks.ratio
    if c.data.draw_masks.adaptive:
        rate = min(2 * rate, 1.0)
    return min(math.ceil(genes * rate + 6 * math.sqrt(genes * rate * (1 - rate))) + 1, tokens)

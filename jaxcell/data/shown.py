"""What a model shows of cells when it embeds them, without JAX: torch's form of it reads this too.

B cells, T tokens.
"""

import hashlib

import numpy as np

from jaxcell.config_data_checks import tokeniser
from jaxcell.data.draft import Draft
from jaxcell.data.transforms import build_transforms


class Plain(dict):
    """A block of a config whose fields are attributes too, as those of a ConfigDict."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the config has no field {name!r}") from None

    __setattr__ = dict.__setitem__


def plain(value):
    """A copy of a config, or of what JSON holds of one, that needs no ml_collections."""
    if hasattr(value, "items"):
        return Plain({name: plain(one) for name, one in value.items()})
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value


def content_keys(rows, seed):
    """The keys of cells' draws: the seed, and their own non-zero genes and counts; u64 [B, 2]."""
    keys = np.empty((len(rows), 2), np.uint64)
    for b in range(len(rows)):
        mine = slice(rows.indptr[b], rows.indptr[b + 1])
        content = hashlib.blake2b(rows.ids[mine].tobytes(), digest_size=8)
        content.update(rows.counts[mine].tobytes())
        keys[b] = seed, int.from_bytes(content.digest(), "little")
    return keys


class Shown:
    """What a config shows of cells when it embeds them: `embed.genes` of them, nothing hidden.

    Counts are not thinned, tokens not masked, expressed genes not dropped. Of a sequence all
    expressed genes are shown, and zeros as ``embed.zeros`` says: 'vocabulary' those too that no
    cell measured; 'interleave' up to `embed.genes` as in training; where these are 0, as many for
    each expressed gene as a cycle of training has.

    c : the model's config
    most : genes that a cell measured at most
    statistics : of the model's training cells, see `jaxcell.data.statistics`
    labels, genes : classes of the labels in the cells' rows, and vocabulary, for `flag_genes`
    """

    def __init__(self, c, most, statistics=None, labels=None, genes=None):
        own = plain(c)
        own.data.transforms = tuple(
            name for name in c.data.transforms if name not in ("thin", "draw_masks")
        )
        self._block = block = tokeniser(own.data)
        if "sequence" in own.data.transforms and c.embed.zeros == "vocabulary":
            most = own.model.vocabulary
        self.trained = block.number
        block.number = min(c.embed.genes or most, most)
        if "sequence" in own.data.transforms:
            block.zeros, block.expressed_only = c.embed.zeros, 0.0
            block.dropout, block.chunk = 0.0, 0
            block.fill = c.embed.genes > 0
        self.number, self._most = block.number, most
        self._config = own
        self._context = {"statistics": statistics, "labels": labels, "genes": genes}

    def draws(self, asked):
        """How many draws are made: one where every gene is shown."""
        return asked if self.number < self._most else 1

    def tokens(self, rows, gene_sets, gene_set, keys):
        """The batch of some cells, tokens alone."""
        own = self._config
        widest = int(np.diff(rows.indptr).max(initial=1))
        transforms = build_transforms(own.data, own.model, most=widest, **self._context)
        draft = Draft(rows=rows, gene_sets=gene_sets, gene_set=gene_set, keys=keys)
        for transform in transforms:
            transform(draft)
        return {k: v for k, v in draft.batch.items() if k in ("ids", "values", "length", "flags")}

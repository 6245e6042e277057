"""The numbers by which a training step masks tokens; drawn here, compared with a rate there.

B cells, T tokens. Whether a token is masked is decided on the device: a rate may then change as the
model learns (adaptive masking), while the draws stay a function of seed, epoch and cell.
"""

from dataclasses import dataclass

import numpy as np

from jaxcell.data import draws

FIELDS = ("values", "genes")
EXPRESSED = ("any", "only")
NEVER = 2.0  # above every rate: special tokens and padding
STREAM = {"values": 6, "genes": 7}  # of a cell's draws, see Draft.keys_of
OTHER, GENE = 8, 9  # what replaces a value, a gene


@dataclass
class DrawMasks:
    """One uniform number for each token and masked field: draws {field: f32 [B, T]}.

    Where ``replaced`` > 0, adds other {field: i32 [B, T]}, what a replaced token shows: of values
    the place of another gene that the cell shows (its own where there is none), whose value it
    takes; of genes any that the cell measured. `jaxcell.training.masking` reads the rates.

    ratio : share of the genes that are predicted
    hidden : share of these whose value is hidden behind the mask token; the others are shown
    replaced : share of them that show another gene's value, or another gene
    fields : what is masked: 'values', 'genes' (which gene it is), each by draws of its own
    together : one draw for all fields: a token is masked in each of them or in none
    blocked : nobody attends to a hidden token but itself
    adaptive : genes that are predicted badly are masked more often, see training.masking
    exactly : of each cell's n genes int(ratio · n) are masked, drawn without replacement, instead
        of each by chance; of these, too, the hidden and the replaced are as even as can be. The
        special tokens never are, where scFormer's code now and then masks the value of its <cls>.
        Source: scFormer, BioFormer
    expressed : 'any'; 'only': tokens without a count are drawn as the others, but not masked.
        Source: BioFormer
    nonzero : p; of the int(ratio · n), p have a count, rounded half to even, and the others have
        none; of a kind of which a cell has too few all are taken, and no more of the other. 0: as
        they come. Source: BioFormers, section 2
    """

    front: np.ndarray
    ratio: float = 0.15
    hidden: float = 0.95
    replaced: float = 0.0
    fields: tuple = ("values",)
    together: bool = False
    blocked: bool = False
    adaptive: bool = False
    exactly: bool = False
    expressed: str = "any"
    nonzero: float = 0.0

    def __post_init__(self):
        if not self.fields:
            raise ValueError(
                f"config.data.draw_masks.fields: found (), expected some of {', '.join(FIELDS)}"
            )
        for name in self.fields:
            if name not in FIELDS:
                raise ValueError(
                    f"config.data.draw_masks.fields: found {name!r}, expected some of "
                    f"{', '.join(FIELDS)}"
                )
        shares = (("ratio", 1), ("hidden", 1), ("replaced", 1 - self.hidden), ("nonzero", 1))
        for name, most in shares:
            if not 0 <= getattr(self, name) <= most + 1e-9:
                raise ValueError(
                    f"config.data.draw_masks.{name}: found {getattr(self, name)}, expected 0 to "
                    f"{most:g}"
                )
        for name, hides in (("ratio", self.ratio), ("hidden", self.hidden + self.replaced)):
            if not hides > 0:
                raise ValueError(
                    f"config.data.draw_masks.{name}: found 0: nothing is hidden; expected above 0"
                )
        if self.expressed not in EXPRESSED:
            raise ValueError(
                f"config.data.draw_masks.expressed: found {self.expressed!r}, expected one of "
                f"{', '.join(EXPRESSED)}"
            )
        number = "exactly" if self.exactly else "nonzero"
        for name, clash, wanted in (
            ("nonzero", self.nonzero and self.expressed != "any", "0 with expressed = 'only'"),
            (number, self.adaptive and getattr(self, number), "none with adaptive: rates differ"),
        ):
            if clash:
                raise ValueError(
                    f"config.data.draw_masks.{name}: found {getattr(self, name)}, expected {wanted}"
                )

    def __call__(self, draft):
        s, length = len(self.front), draft.batch["length"]
        tokens = draft.batch["ids"].shape[1]
        places = np.arange(tokens)[None]
        genes = (places >= s) & (places < length[:, None])
        expressed = genes & (draft.batch["values"] > 0) if self._asks_for_values else genes
        found = {}
        for name in self.fields:
            stream = STREAM["values" if self.together else name]
            drawn = self._drawn(draws.words(draft.keys_of(stream), tokens), genes, expressed)
            shown = expressed if self.expressed == "only" else genes
            found[name] = np.where(shown, drawn, np.float32(NEVER))
        draft.batch["draws"] = found
        if self.replaced:
            other = {"values": self._places, "genes": self._genes}
            draft.batch["other"] = {name: other[name](draft, places) for name in self.fields}

    @property
    def _asks_for_values(self):
        return self.expressed == "only" or self.nonzero > 0

    def _drawn(self, words, genes, expressed):
        """What is compared with the ratio, f32 [B, T], of the cells' words; genes, bool [B, T]."""
        if not (self.exactly or self.nonzero):
            # 24 bits, as many as float32 holds: a draw rounded up to 1 is not below a rate of 1.
            return (words >> 8).astype(np.float32) * np.float32(2.0**-24)
        number = (self.ratio * genes.sum(axis=1)).astype(np.int64)
        if not self.nonzero:
            return spread(words, genes, number, self.ratio)
        some = np.rint(self.nonzero * number).astype(np.int64)
        there = spread(words, expressed, some, self.ratio)
        absent = spread(words, genes & ~expressed, number - some, self.ratio)
        return np.where(expressed, there, absent)

    def _places(self, draft, places):
        """The place of another gene that the cell shows, i32 [B, T]."""
        s = len(self.front)
        number = np.maximum(draft.batch["length"] - s, 1).astype(np.int64)[:, None]
        drawn = draws.words(draft.keys_of(OTHER), places.shape[1]).astype(np.int64)
        further = 1 + (drawn * (number - 1) >> 32)  # as many places on, and around the end
        return (s + (places - s + further) % number).astype(np.int32)

    def _genes(self, draft, places):
        """Any gene that the cell measured, each equally likely, i32 [B, T]."""
        drawn = draws.words(draft.keys_of(GENE), places.shape[1]).astype(np.int64)
        found = np.empty(drawn.shape, np.int32)
        for gene_set in np.unique(draft.gene_set):
            mine, measured = draft.gene_set == gene_set, draft.gene_sets[gene_set]
            found[mine] = np.asarray(measured, np.int32)[drawn[mine] * len(measured) >> 32]
        return found


def spread(words, members, number, ratio):
    """Numbers of which exactly so many of a cell's members lie below a ratio: f32 [B, T].

    Those with the least words lie there, evenly: the r-th of k in [r / k, (r + 1) / k) of the
    ratio, so that of any share of it as many lie below as can be; the others evenly above it.

    words : u32 [B, T]; members : bool [B, T], elsewhere the numbers mean nothing
    number : i64 [B], k; where there are fewer members all of them
    """
    keys = words.astype(np.uint64) << np.uint64(draws.PLACES)
    keys |= np.arange(words.shape[1], dtype=np.uint64)  # decides between equal words
    keys[~members] = np.uint64(2**64 - 1)
    rank, order = np.empty(words.shape, np.int64), keys.argsort(axis=1)
    np.put_along_axis(rank, order, np.arange(words.shape[1])[None], axis=1)
    size = members.sum(axis=1)[:, None]
    number = np.minimum(number[:, None], size)
    # A word's last bits have no say in its rank, but between words that are almost equal.
    within = ((words & np.uint32(0xFF)) + 0.5) / 256
    below = ratio * (rank + within) / np.maximum(number, 1)
    above = ratio + (1 - ratio) * (rank - number + within) / np.maximum(size - number, 1)
    # The device compares in float32: what rounds to the ratio must not change sides.
    edge = np.float32(ratio)
    below = np.minimum(below.astype(np.float32), np.nextafter(edge, np.float32(0)))
    return np.where(rank < number, below, np.maximum(above.astype(np.float32), edge))

"""The numbers by which a training step masks tokens; drawn here, compared with a rate there.

B cells, T tokens. Whether a token is masked is decided on the device: a rate may then change as the
model learns (adaptive masking), while the draws stay a function of seed, epoch and cell.
"""

from dataclasses import dataclass

import numpy as np

from jaxcell.data import draws

FIELDS = ("values", "genes")
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
    """

    front: np.ndarray
    ratio: float = 0.15
    hidden: float = 0.95
    replaced: float = 0.0
    fields: tuple = ("values",)
    together: bool = False
    blocked: bool = False
    adaptive: bool = False

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
        for name, most in (("ratio", 1), ("hidden", 1), ("replaced", 1 - self.hidden)):
            if not 0 <= getattr(self, name) <= most + 1e-9:
                raise ValueError(
                    f"config.data.draw_masks.{name}: found {getattr(self, name)}, expected 0 to "
                    f"{most:g}"
                )
        for name, hides in (("ratio", self.ratio), ("hidden", self.hidden + self.replaced)):
            if not hides > 0:
                raise ValueError(f"config.data.draw_masks.{name}: found 0: nothing is hidden")

    def __call__(self, draft):
        s, length = len(self.front), draft.batch["length"]
        tokens = draft.batch["ids"].shape[1]
        places = np.arange(tokens)[None]
        genes = (places >= s) & (places < length[:, None])
        found = {}
        for name in self.fields:
            stream = STREAM["values" if self.together else name]
            # 24 bits, as many as float32 holds: a draw rounded up to 1 is not below a rate of 1.
            drawn = (draws.words(draft.keys_of(stream), tokens) >> 8).astype(np.float32)
            found[name] = np.where(genes, drawn * np.float32(2.0**-24), np.float32(NEVER))
        draft.batch["draws"] = found
        if self.replaced:
            other = {"values": self._places, "genes": self._genes}
            draft.batch["other"] = {name: other[name](draft, places) for name in self.fields}

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

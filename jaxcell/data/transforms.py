"""What happens to a batch of rows on the host; each transform works on the whole batch.

B cells, T tokens, K visible genes. Randomness comes from one key for each cell, so a cell's tokens
never depend on the cells beside it.
"""

from dataclasses import dataclass

import numpy as np

from jaxcell.data import draws
from jaxcell.data.bins import Bin
from jaxcell.data.draft import look_up, rectangle, segment_sums
from jaxcell.data.flags import FlagGenes
from jaxcell.data.masking import DrawMasks
from jaxcell.data.sequence import Sequence
from jaxcell.data.store import VALUES
from jaxcell.data.thinning import Thin
from jaxcell.registry import build, lookup


@dataclass
class Normalise:
    """Library-size normalisation and log1p: x = ln(1 + L · count / total). Source: TxFM, section 3.

    ``total`` is the sum over the measured genes, or the source's total over all its genes, plus
    ``pseudo_total``. Adds total f32 [B], that of the cell's own counts; counts that were thinned
    are divided by what is left of them. A cell without counts keeps zeros. Without ``scale``,
    x = ln(1 + count). ``given`` 'log1p': what the store holds is such an x already, and stays.
    """

    library_size: float
    total: str = "measured"
    scale: bool = True
    pseudo_total: float = 0.0
    given: str = "counts"

    def __post_init__(self):
        if self.given not in VALUES:
            raise ValueError(
                f"config.data.normalise.given: found {self.given!r}, expected one of "
                f"{', '.join(VALUES)}"
            )
        if self.given == "log1p" and self.scale:
            raise ValueError(
                "config.data.normalise.scale: found True, expected False with given = 'log1p': "
                "they are normalised already"
            )

    def __call__(self, draft):
        rows = draft.input
        total = own = self._total(rows)
        if rows is not draft.rows:
            own = self._total(draft.rows)
        scale = np.ones_like(total)
        if self.scale:
            np.divide(self.library_size, total, out=scale, where=total > 0)
        counts = np.diff(rows.indptr)
        draft.values = np.empty(len(rows.counts), np.float32)
        draft.batch["total"] = own.astype(np.float32)
        if self.given == "log1p":
            draft.values[:] = rows.counts
            return
        for cells in draws.blocks(len(rows), counts.max(initial=0)):
            mine = slice(rows.indptr[cells.start], rows.indptr[cells.stop])
            values = rows.counts[mine].astype(np.float64)
            values *= np.repeat(scale[cells], counts[cells])
            draft.values[mine] = np.log1p(values, out=values)

    def _total(self, rows):
        sums = segment_sums(rows.counts, rows.indptr)
        return (sums if self.total == "measured" else rows.total) + np.float64(self.pseudo_total)


@dataclass
class SampleGenes:
    """Draw K of a cell's measured genes, zeros included, behind the special tokens.

    Adds ids i32 [B, T], values f32 [B, T], length i32 [B] with T = specials + K. A cell with fewer
    measured genes shows them all and is padded. Source: TxFM, section 3 'Masking strategy'.

    number : K
    temperature : T; genes are drawn with chances ∝ n_g ** T, one after the other, where n_g is the
        number of training cells with gene g > 0 (0 counts as 1). 0, the default, is uniform and
        several times faster. Source: TxFM, section 4.3 'Masking ratio and strategy'.
    frequency : n_g [V]; only a temperature other than 0 needs it
    """

    number: int
    specials: int
    vocabulary: int
    temperature: float = 0.0
    frequency: np.ndarray | None = None

    def __post_init__(self):
        if not abs(self.temperature) <= 8:  # beyond, n_g ** T leaves float64's range
            raise ValueError(
                f"config.data.sample_genes.temperature: found {self.temperature}, expected a "
                "number from -8 to 8"
            )

    def __call__(self, draft):
        s, cells = self.specials, len(draft.gene_set)
        ids = np.zeros((cells, s + self.number), np.int32)
        values = np.zeros((cells, s + self.number), np.float32)
        length = np.empty(cells, np.int32)
        ids[:, :s] = self.vocabulary + np.arange(s)
        for gene_set in np.unique(draft.gene_set):
            mine = np.flatnonzero(draft.gene_set == gene_set)
            shown = self._shown(draft.keys[mine], draft.gene_sets[gene_set])
            length[mine] = s + shown.shape[1]
            ids[mine, s : s + shown.shape[1]] = shown
        look_up(draft.input, draft.values, ids[:, s:], self.vocabulary, out=values[:, s:])
        for b in np.flatnonzero(length < s + self.number):
            values[b, length[b] :] = 0  # padding bears gene 0's id
        draft.batch |= {"ids": ids, "values": values, "length": length}

    def _shown(self, keys, measured):
        """Genes that cells with these measured genes [M] show, [b, min(K, M)]."""
        if len(measured) <= self.number:
            return np.broadcast_to(measured, (len(keys), len(measured)))
        if self.temperature == 0:
            return draws.subsets(keys, self.number, measured)
        if self.frequency is None:
            raise ValueError(
                f"config.data.sample_genes.temperature: found {self.temperature}, which needs the "
                "training cells with each gene; this model's tables.npz has no 'detected'"
            )
        frequency = np.maximum(np.asarray(self.frequency, np.float64)[measured], 1)
        weights = (frequency / frequency.max()) ** self.temperature
        return measured[draws.weighted_subsets(keys, self.number, weights)]


DEPTHS = ("<s>", "<t>")  # special tokens that tell the input's depth and the cell's

TRANSFORMS = {
    "thin": Thin,
    "normalise": Normalise,
    "bin": Bin,
    "sample_genes": SampleGenes,
    "sequence": Sequence,
    "flag_genes": FlagGenes,
    "draw_masks": DrawMasks,
}


def temperatures(data):
    """Whether some transform of ``config.data`` draws genes by how many cells have them."""
    return any(data.get(name, {}).get("temperature") for name in data.transforms)


def build_transforms(data, model, statistics=None, most=None, labels=None, genes=None):
    """The transforms that ``config.data.transforms`` names, in that order.

    data, model : ``config.data``, ``config.model``
    statistics : of the training cells, as `jaxcell.data.statistics` makes them; only a temperature
        and some bins need them
    most : genes > 0 of any cell, where that is known
    labels, genes : the store's {label: classes} and vocabulary; only `flag_genes` needs them, and
        without them it is built to be checked, not to be used
    """
    specials, front = tuple(model.specials), tuple(model.front) or tuple(model.specials)
    if unknown := set(front) - set(specials):
        raise ValueError(
            f"config.model.front: {', '.join(sorted(unknown))} is not among config.model.specials"
        )
    number = np.array([specials.index(name) for name in front], np.int32)
    context = dict(
        total=data.total,
        specials=len(front),
        front=model.vocabulary + number,
        codes=-(number + 1.0),
        depths=tuple(front.index(name) for name in DEPTHS if name in front),
        vocabulary=model.vocabulary,
        most=most,
        scale_to=data.normalise.library_size if data.normalise.scale else 0.0,
        pseudo=data.normalise.get("pseudo_total", 0.0),
        labels=labels,
        genes=genes,
        **(statistics or {}),
    )

    def one(name):
        lookup(TRANSFORMS, name, "config.data.transforms")
        spec = {"kind": name, **data.get(name, {})}
        own = {k: v for k, v in context.items() if k not in spec}
        return build(TRANSFORMS, spec, f"config.data.{name}", **own)

    # Flags are made of tokens, and say beforehand which genes must be among these.
    flags = one("flag_genes") if "flag_genes" in data.transforms else None
    context["first"] = flags
    return [flags if name == "flag_genes" else one(name) for name in data.transforms]


def panel(rows, width, pad):
    """Every cell's non-zero genes as a rectangle.

    Returns
    -------
    panel_ids i32 [B, width] (``pad`` where empty), panel_counts f32 [B, width]

    Raises
    ------
    ValueError
        When a cell has more non-zero genes than ``width``: nothing is ever cut off.
    """
    counts = np.diff(rows.indptr)
    if counts.max(initial=0) > width:
        raise ValueError(f"a cell has {counts.max()} non-zero genes, the panel holds {width}")
    return {
        "panel_ids": rectangle(rows.ids, rows.indptr, width, pad),
        "panel_counts": rectangle(rows.counts, rows.indptr, width, 0),
    }

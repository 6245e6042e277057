"""What happens to a batch of rows on the host; each transform works on the whole batch.

B cells, T tokens, K visible genes. Randomness comes from one key for each cell, so a cell's tokens
never depend on the cells beside it.
"""

from dataclasses import dataclass, field

import numpy as np

from jaxcell.data import draws
from jaxcell.registry import build, lookup


@dataclass
class Draft:
    """A batch in the making: sparse rows, the genes each cell measured, and one key for each cell.

    rows : Rows of B cells
    gene_sets : measured gene ids i32 [M_s], ascending, for every gene set s
    gene_set : i32 [B], which of them a cell has
    keys : u64 [B, 2], the seed of a cell's draws
    values : f32 [nnz], the normalised counts beside ``rows.counts``
    batch : what has been made so far
    """

    rows: object
    gene_sets: list
    gene_set: np.ndarray
    keys: np.ndarray
    values: np.ndarray | None = None
    batch: dict = field(default_factory=dict)


def segment_sums(values, indptr):
    """Sums of the segments of ``values`` that ``indptr`` [B+1] bounds, in float64; [B]."""
    # Each segment by itself: a running sum over the batch would let a cell's total feel its
    # neighbours in the last digit. reduceat has no empty segments, so they are left out.
    sums = np.zeros(len(indptr) - 1)
    filled = np.diff(indptr) > 0
    if filled.any():
        sums[filled] = np.add.reduceat(values.astype(np.float64), indptr[:-1][filled])
    return sums


@dataclass
class Normalise:
    """Library-size normalisation and log1p: x = ln(1 + L · count / total). Source: TxFM, section 3.

    ``total`` is the sum over the measured genes, or the source's total over all its genes. Adds
    total f32 [B]. A cell without counts keeps zeros. Without ``scale``, x = ln(1 + count).
    """

    library_size: float
    total: str = "measured"
    scale: bool = True

    def __call__(self, draft):
        rows = draft.rows
        measured = segment_sums(rows.counts, rows.indptr)
        total = measured if self.total == "measured" else rows.total.astype(np.float64)
        scale = np.ones_like(total)
        if self.scale:
            np.divide(self.library_size, total, out=scale, where=total > 0)
        counts = np.diff(rows.indptr)
        draft.values = np.empty(len(rows.counts), np.float32)
        for cells in draws.blocks(len(rows), counts.max(initial=0)):
            mine = slice(rows.indptr[cells.start], rows.indptr[cells.stop])
            values = rows.counts[mine] * np.repeat(scale[cells], counts[cells])
            draft.values[mine] = np.log1p(values, out=values)
        draft.batch["total"] = total.astype(np.float32)


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
        values[:, s:] = look_up(draft.rows, draft.values, ids[:, s:], self.vocabulary)
        for b in np.flatnonzero(length < s + self.number):
            values[b, length[b] :] = 0  # padding bears gene 0's id
        draft.batch |= {"ids": ids, "values": values, "length": length}

    def _shown(self, keys, measured):
        """Genes that cells with these measured genes [M] show, [b, min(K, M)]."""
        if len(measured) <= self.number:
            return np.broadcast_to(measured, (len(keys), len(measured)))
        if self.temperature == 0:
            return measured[draws.subsets(keys, self.number, len(measured))]
        if self.frequency is None:
            raise ValueError(
                f"config.data.sample_genes.temperature: found {self.temperature}, which needs the "
                "training cells with each gene; this model's tables.npz has no 'detected'"
            )
        frequency = np.maximum(np.asarray(self.frequency, np.float64)[measured], 1)
        weights = (frequency / frequency.max()) ** self.temperature
        return measured[draws.weighted_subsets(keys, self.number, weights)]


def look_up(rows, values, ids, vocabulary):
    """What each cell has at some genes: ``values`` [nnz] of the rows at ids [B, K]; f32 [B, K]."""
    found = np.empty(ids.shape, np.float32)
    for cells in draws.blocks(len(rows), vocabulary):
        offset = vocabulary * np.arange(cells.stop - cells.start)
        bounds = rows.indptr[cells.start : cells.stop + 1]
        mine = slice(bounds[0], bounds[-1])
        dense = np.zeros(vocabulary * len(offset), np.float32)
        dense[rows.ids[mine] + np.repeat(offset, np.diff(bounds))] = values[mine]
        found[cells] = dense[ids[cells] + offset[:, None]]
    return found


TRANSFORMS = {"normalise": Normalise, "sample_genes": SampleGenes}


def build_transforms(data, vocabulary, specials, frequency=None):
    """The transforms that ``config.data.transforms`` names, in that order.

    data : ``config.data``
    vocabulary : V
    specials : number of special tokens
    frequency : training cells with each gene > 0, [V]; only a temperature needs it
    """
    made = []
    for name in data.transforms:
        lookup(TRANSFORMS, name, "config.data.transforms")
        spec = {"kind": name, **data.get(name, {})}
        made.append(
            build(
                TRANSFORMS,
                spec,
                f"config.data.{name}",
                total=data.total,
                specials=specials,
                vocabulary=vocabulary,
                frequency=frequency,
            )
        )
    return made


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
    ids = np.full((len(counts), width), pad, np.int32)
    values = np.zeros((len(counts), width), np.float32)
    filled = np.arange(width) < counts[:, None]
    ids[filled] = rows.ids
    values[filled] = rows.counts
    return {"panel_ids": ids, "panel_counts": values}

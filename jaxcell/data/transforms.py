"""What happens to a batch of rows on the host; each transform works on the whole batch.

B cells, T tokens, K visible genes. Randomness comes from one key for each cell, so a cell's tokens
never depend on the cells beside it.
"""

from dataclasses import dataclass, field

import numpy as np

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
    # neighbours in the last digit.
    segment = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    sums = np.bincount(segment, weights=values, minlength=len(indptr) - 1)
    return sums.astype(np.float64)  # of nothing at all numpy counts in integers


@dataclass
class Normalise:
    """Library-size normalisation and log1p: x = ln(1 + L · count / total). Source: TxFM, section 3.

    ``total`` is the sum over the measured genes, or the source's total over all its genes. Adds
    total f32 [B]. A cell without counts keeps zeros.
    """

    library_size: float
    total: str = "measured"

    def __call__(self, draft):
        rows = draft.rows
        measured = segment_sums(rows.counts, rows.indptr)
        total = measured if self.total == "measured" else rows.total.astype(np.float64)
        scale = np.divide(self.library_size, total, out=np.zeros_like(total), where=total > 0)
        each = np.repeat(scale, np.diff(rows.indptr))
        draft.values = np.log1p(rows.counts * each).astype(np.float32)
        draft.batch["total"] = total.astype(np.float32)


@dataclass
class SampleGenes:
    """Draw K of a cell's measured genes uniformly, zeros included, behind the special tokens.

    Adds ids i32 [B, T], values f32 [B, T], length i32 [B] with T = specials + K. A cell with fewer
    measured genes shows them all and is padded. Source: TxFM, section 3 'Masking strategy'.
    """

    number: int
    specials: int
    vocabulary: int

    def __call__(self, draft):
        rows, s = draft.rows, self.specials
        cells = len(draft.gene_set)
        ids = np.zeros((cells, s + self.number), np.int32)
        values = np.zeros((cells, s + self.number), np.float32)
        ids[:, :s] = self.vocabulary + np.arange(s)
        length = np.empty(cells, np.int32)
        scratch = np.zeros(self.vocabulary, np.float32)
        for b in range(cells):
            measured = draft.gene_sets[draft.gene_set[b]]
            if len(measured) > self.number:
                random = np.random.Generator(np.random.Philox(key=draft.keys[b]))
                measured = measured[
                    random.choice(len(measured), self.number, replace=False, shuffle=False)
                ]
            mine = slice(rows.indptr[b], rows.indptr[b + 1])
            end = s + len(measured)
            scratch[rows.ids[mine]] = draft.values[mine]
            ids[b, s:end], values[b, s:end], length[b] = measured, scratch[measured], end
            scratch[rows.ids[mine]] = 0
        draft.batch |= {"ids": ids, "values": values, "length": length}


TRANSFORMS = {"normalise": Normalise, "sample_genes": SampleGenes}


def build_transforms(data, vocabulary, specials):
    """The transforms that ``config.data.transforms`` names, in that order."""
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

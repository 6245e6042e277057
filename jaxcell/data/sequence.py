"""A cell as a sequence of its expressed genes, with zeros among them as the config asks.

B cells, K genes shown at most, S special tokens in front, M measured genes. Every draw hangs on the
cell's own key: zeros are drawn from the genes that the cell measured, never, as in the published
BMFM-RNA, from those that other cells of its batch express.
"""

from dataclasses import dataclass

import numpy as np

from jaxcell.data import draws
from jaxcell.data.draft import segment_sums
from jaxcell.data.records import Rows

ZEROS = ("exclude", "all", "interleave", "random")
ORDERS = ("random", "value")
CYCLE = 10  # genes of a cycle of 'interleave'
# Streams of a cell's draws, see Draft.keys_of.
ORDER, DROP, ZERO, SHARE = 1, 2, 3, 4


@dataclass
class Sequence:
    """Special tokens, then K of a cell's genes: the expressed ones first in line, then zeros.

    Adds ids i32 [B, T], values f32 [B, T] (codes −(k + 1) at special tokens), length i32 [B], with
    T = S + K. Source: BMFM-RNA, section 4.4 and its published configs.

    number : K; where zeros are left out and no cell has so many genes, T is shorter
    zeros : 'exclude'; 'all': every measured gene stands in line, whatever its count; 'interleave':
        cycles of ⌊10 ratio⌋ expressed genes and ⌊10 (1 − ratio)⌋ zeros, at least one of each, until
        there are no more of one of them, then the others; 'random': expressed genes, then zeros
    ratio : see 'interleave'
    expressed_only : share of cells, drawn, that show no zeros all the same
    temperature : T; zeros are drawn with chances ∝ (training cells with the gene)^T; 0: evenly
    order : 'random', or 'value': highest first, so that the lowest are cut off beyond K
    dropout : each of the K expressed genes is left out with this probability; not shown as zeros
    chunk : so many consecutive genes of the order are left out, from a drawn place on
    total : 'cell', or 'shown': values are normalised by the sum over the genes shown, as published
    """

    number: int
    vocabulary: int
    front: np.ndarray
    codes: np.ndarray
    zeros: str = "exclude"
    ratio: float = 0.9
    expressed_only: float = 0.0
    temperature: float = 0.0
    order: str = "random"
    dropout: float = 0.0
    chunk: int = 0
    total: str = "cell"
    scale_to: float = 0.0  # library size and pseudo-total, for total 'shown'
    pseudo: float = 0.0
    depths: tuple = ()  # places in front of the tokens that bear the depths of `Thin`
    frequency: np.ndarray | None = None
    most: int | None = None  # genes > 0 of any cell

    def __post_init__(self):
        for name, known in (("zeros", ZEROS), ("order", ORDERS), ("total", ("cell", "shown"))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"config.data.sequence.{name}: found {getattr(self, name)!r}, expected one of "
                    f"{', '.join(known)}"
                )
        for name in ("ratio", "expressed_only", "dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"config.data.sequence.{name}: found {getattr(self, name)}, expected a share "
                    "from 0 to 1"
                )
        if self.zeros == "exclude" and self.most is not None:
            self.number = min(self.number, -(-max(self.most, 1) // 16) * 16)

    def __call__(self, draft):
        rows = draft.input
        cell, gene, value = self._in_line(draft)
        shown = np.bincount(cell, minlength=len(rows))
        s, cells = len(self.front), len(rows)
        ids = np.zeros((cells, s + self.number), np.int32)
        values = np.zeros((cells, s + self.number), np.float32)
        ids[:, :s], values[:, :s] = self.front, self.codes
        if self.depths:
            values[:, list(self.depths)] = np.log1p(self._depths(draft))
        first = np.concatenate([[0], np.cumsum(shown)])[:-1]
        place = s + np.arange(len(cell)) - first[cell]
        ids[cell, place], values[cell, place] = gene, value
        length = (s + shown).astype(np.int32)
        if self.zeros in ("interleave", "random"):
            for b, genes in self._zeros(draft, shown):
                ids[b, length[b] : length[b] + len(genes)] = genes
                length[b] += len(genes)
        draft.batch |= {"ids": ids, "values": values, "length": length}

    def _depths(self, draft):
        """Totals of the input and of the cell itself, f32 [B, 2]."""
        own = segment_sums(draft.rows.counts, draft.rows.indptr).astype(np.float32)
        return draft.batch.get("depth", np.stack([own, own], axis=1))

    def _in_line(self, draft):
        """Cell, gene and value of every gene shown before the zeros; in order, cell by cell."""
        rows, values = draft.input, draft.values
        counts = rows.counts
        if self.zeros == "all":
            rows, values, counts = _with_zeros(draft)
        cells = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
        within = np.arange(len(cells)) - rows.indptr[cells]
        draw = draws.words(draft.keys_of(ORDER), int(within.max(initial=0)) + 1)[cells, within]
        by = (draw, cells) if self.order == "random" else (draw, -values, cells)
        order = np.lexsort(by)
        kept = order[within < self.number]  # places in line are the same before and after
        cell, within = cells[kept], within[within < self.number]
        stays = self._stays(draft, cell, within)
        kept, cell = kept[stays], cell[stays]
        if self.zeros == "interleave":
            first = np.searchsorted(cell, np.arange(len(rows)))
            stays = np.arange(len(cell)) - first[cell] < self._room(draft, cell)[cell]
            kept, cell = kept[stays], cell[stays]
        gene, value = rows.ids[kept], values[kept]
        if self.total == "shown":
            bounds = np.searchsorted(cell, np.arange(len(rows) + 1))
            total = segment_sums(counts[kept], bounds) + self.pseudo
            scale = np.divide(self.scale_to, total, out=np.zeros_like(total), where=total > 0)
            value = np.log1p(counts[kept] * scale[cell]).astype(np.float32)
        return cell, gene, value

    def _stays(self, draft, cell, within):
        """Which of the genes in line sequence dropout leaves; bool of the same length."""
        if not self.dropout and not self.chunk:
            return np.ones(len(cell), bool)
        in_line = np.bincount(cell, minlength=len(draft.input))
        drawn = draws.words(draft.keys_of(DROP), self.number + 1)
        if self.chunk:
            # From a drawn place on; never all of a cell's genes.
            chunk = np.minimum(self.chunk, np.maximum(in_line - 1, 0))
            start = (drawn[:, 0] * (in_line - chunk + 1).astype(np.uint64)) >> np.uint64(32)
            start = start.astype(np.int64)
            return (within < start[cell]) | (within >= (start + chunk)[cell])
        stays = drawn[cell, within + 1] >= self.dropout * 2.0**32
        left = np.bincount(cell, stays, minlength=len(draft.input))
        return stays | ((within == 0) & (left[cell] == 0))  # one gene at least

    def _room(self, draft, cell):
        """How many of the genes in line each cell shows among interleaved zeros; i64 [B]."""
        n, zeros = np.bincount(cell, minlength=len(draft.input)), self._absent(draft)
        long, short = max(1, int(CYCLE * self.ratio)), max(1, int(CYCLE * (1 - self.ratio)))
        cycles, rest = divmod(self.number, long + short)
        room = np.full(len(n), cycles * long + min(rest, long))
        room = np.where(self.number - room > zeros, self.number - zeros, room)
        return np.where((n + zeros <= self.number) | self._alone(draft), n, np.minimum(room, n))

    def _absent(self, draft):
        """Measured genes without a count, of each cell."""
        sizes = np.array([len(genes) for genes in draft.gene_sets])
        return sizes[draft.gene_set] - np.diff(draft.input.indptr)

    def _alone(self, draft):
        """Which cells show no zeros, drawn."""
        return draws.words(draft.keys_of(SHARE), 1)[:, 0] < self.expressed_only * 2.0**32

    def _zeros(self, draft, shown):
        """(cell, drawn genes without a count) of each cell that shows some."""
        rows, room = draft.input, self.number - shown
        absent, alone = self._absent(draft), self._alone(draft)
        for gene_set in np.unique(draft.gene_set):
            measured = draft.gene_sets[gene_set]
            mine = np.flatnonzero((draft.gene_set == gene_set) & (room > 0) & ~alone)
            weights = self._weights(measured)
            for part in draws.blocks(len(mine), len(measured)):
                cells = mine[part]
                waits = draws.waits(draft.keys_of(ZERO)[cells], len(measured), weights)
                waits[_places(rows, cells, measured)] = np.inf
                wanted = np.minimum(room[cells], absent[cells])
                most = int(wanted.max(initial=0))
                if most == 0:
                    continue
                least = np.argpartition(waits, min(most, waits.shape[1] - 1), axis=1)[:, :most]
                by_wait = np.argsort(np.take_along_axis(waits, least, axis=1), axis=1)
                least = np.take_along_axis(least, by_wait, axis=1)
                for b, row, n in zip(cells, least, wanted, strict=True):
                    yield b, measured[row[:n]]

    def _weights(self, measured):
        if self.temperature == 0:
            return None
        if self.frequency is None:
            raise ValueError(
                f"config.data.sequence.temperature: found {self.temperature}, which needs the "
                "training cells with each gene; this model's tables.npz has no 'detected'"
            )
        n = np.maximum(np.asarray(self.frequency, np.float64)[measured], 1)
        return (n / n.max()) ** self.temperature


def _places(rows, cells, measured):
    """(row of ``cells``, column of ``measured``) of the non-zero genes of some cells."""
    bounds = [slice(rows.indptr[b], rows.indptr[b + 1]) for b in cells]
    genes = np.concatenate([rows.ids[one] for one in bounds])
    row = np.repeat(np.arange(len(cells)), [one.stop - one.start for one in bounds])
    return row, np.searchsorted(measured, genes)


def _with_zeros(draft):
    """Every measured gene of every cell, in the order of the genes: Rows, values, counts."""
    rows, lists = draft.input, [draft.gene_sets[s] for s in draft.gene_set]
    sizes = np.array([len(genes) for genes in lists])
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    ids = np.concatenate(lists)
    counts, values = np.zeros(len(ids), np.float32), np.zeros(len(ids), np.float32)
    for b, genes in enumerate(lists):
        own = slice(rows.indptr[b], rows.indptr[b + 1])
        places = indptr[b] + np.searchsorted(genes, rows.ids[own])
        counts[places], values[places] = rows.counts[own], draft.values[own]
    whole = Rows(indptr, ids, counts, rows.dataset, rows.total, rows.labels)
    return whole, values, counts

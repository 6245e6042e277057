"""A cell as a sequence of its expressed genes, with zeros among them as the config asks.

B cells, K genes shown at most, S special tokens in front, W places in line, F genes flagged at
most (`flags.FlagGenes`), M measured genes, V of the vocabulary. Every draw hangs on the
cell's own key: zeros are drawn from the genes that the cell measured, never, as in the published
BMFM-RNA, from those that other cells of its batch express.
"""

from dataclasses import dataclass

import numpy as np

from jaxcell.data import draws
from jaxcell.data.draft import look_up, rectangle, segment_sums
from jaxcell.data.flags import NONE, FlagGenes

ZEROS = ("exclude", "all", "vocabulary", "interleave", "random")
ORDERS = ("random", "value", "vocabulary")
CYCLE = 10  # genes of a cycle of 'interleave'
# Streams of a cell's draws, see Draft.keys_of.
ORDER, DROP, ZERO, SHARE = 1, 2, 3, 4
LATER, NEVER = np.uint64(2**63), np.uint64(2**64 - 1)  # ranks behind the flagged, behind all


@dataclass
class Sequence:
    """Special tokens, then K of a cell's genes: the expressed ones first in line, then zeros.

    Adds ids i32 [B, T], values f32 [B, T] (codes −(k + 1) at special tokens), length i32 [B], with
    T = S + K. Source: BMFM-RNA, section 4.4 and its published configs.

    number : K; where zeros are left out and no cell has so many genes, T is shorter
    zeros : 'exclude'; 'all': every measured gene stands in line, whatever its count; 'vocabulary':
        every gene that there is, with a zero where it was not measured (for models that were
        trained so); 'interleave': cycles of ⌊10 ratio⌋ expressed genes and ⌊10 (1 − ratio)⌋ zeros
        (of floats, as published: 1 at 0.8), at least one of each, until there are no more of one of
        them, then the others; 'random': expressed genes, then zeros
    ratio : see 'interleave'
    expressed_only : share of cells, drawn, that show no zeros all the same, whatever ``zeros``
    temperature : T; zeros are drawn with chances ∝ (training cells with the gene)^T; 0: evenly
    order : 'random'; 'value': highest first, so that the lowest are cut off beyond K;
        'vocabulary': as their ids are. Of the genes in line: drawn zeros stand behind, as drawn
    dropout : each of the K genes in line is left out with this probability; not shown as zeros
    chunk : so many consecutive genes of the line are left out, from a drawn place on, before that
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
    scale_to: float = 0.0  # library size (0: not scaled) and pseudo-total, for total 'shown'
    pseudo: float = 0.0
    depths: tuple = ()  # places in front of the tokens that bear the depths of `Thin`
    frequency: np.ndarray | None = None
    most: int | None = None  # genes > 0 of any cell
    first: FlagGenes | None = None  # genes that it flags stand first, whatever their counts
    fill: bool = True  # False: interleaved zeros end with the expressed genes, not at place K

    def __post_init__(self):
        for name, known in (("zeros", ZEROS), ("order", ORDERS), ("total", ("cell", "shown"))):
            self._require(name, getattr(self, name) in known, f"one of {', '.join(known)}")
        for name in ("ratio", "expressed_only", "dropout"):
            self._require(name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        self._require("number", self.number > 0, "a number above 0")
        self._require("chunk", self.chunk >= 0, "0 or more")
        # Beyond, n_g ** T leaves float64's range.
        self._require("temperature", abs(self.temperature) <= 8, "a number from -8 to 8")
        flagged = self.first.most if self.first else 0
        self._require("number", self.number >= flagged, f"room for {flagged} flagged genes")
        if self.zeros == "exclude" and self.most is not None:
            most = max(self.most + flagged, 1)
            self.number = min(self.number, -(-most // 16) * 16)

    def _require(self, name, ok, expected):
        if not ok:
            raise ValueError(
                f"config.data.sequence.{name}: found {getattr(self, name)!r}, expected {expected}"
            )

    def __call__(self, draft):
        ids, shown = self._genes(draft)
        front = np.broadcast_to(self.front.astype(np.int32), (len(ids), len(self.front)))
        codes = np.broadcast_to(self.codes.astype(np.float32), front.shape)
        if self.depths:
            codes = codes.copy()
            codes[:, list(self.depths)] = np.log1p(_depths(draft))
        values = self._values(draft, ids, shown)
        draft.batch["ids"] = np.concatenate([front, ids], axis=1)
        draft.batch["values"] = np.concatenate([codes, values], axis=1)
        draft.batch["length"] = (len(self.front) + shown).astype(np.int32)

    def _genes(self, draft):
        """Genes that each cell shows, i32 [B, K] and 0 behind the last, and how many, i64 [B]."""
        first = np.empty((len(draft.input), 0), np.int32)
        if self.first:
            first = self.first.of(draft)
        alone = draws.words(draft.keys_of(SHARE), 1)[:, 0] < self.expressed_only * 2.0**32
        line = self._candidates(draft, first, alone)
        absent = np.zeros(len(line), np.int64)
        if self.zeros in ("interleave", "random"):
            measured = np.array([len(genes) for genes in draft.gene_sets])[draft.gene_set]
            absent = np.where(alone, 0, measured - (line != NONE).sum(axis=1))
        line, shown = self._left(draft, self._in_order(draft, line, first.shape[1]), first)
        if self.zeros == "interleave":
            shown = np.minimum(shown, self._room(absent))
        ids, places = np.zeros((len(line), self.number), np.int32), np.arange(self.number)
        inside = places[: line.shape[1]] < shown[:, None]
        ids[:, : line.shape[1]][inside] = line[inside]
        wanted = np.minimum(self.number - shown, absent)
        if self.zeros == "interleave" and not self.fill:
            long, short = self._cycle()
            wanted = np.minimum(wanted, -(-shown // long) * short)
        for b, genes in self._zeros(draft, first, wanted):
            ids[b, shown[b] : shown[b] + len(genes)] = genes
        return ids, shown + wanted

    def _candidates(self, draft, first, alone):
        """Genes that may stand in line: the flagged, then the others; i32 [B, W], with gaps."""
        rows = draft.input
        genes, indptr = rows.ids, rows.indptr
        if self.zeros in ("all", "vocabulary"):
            every = np.arange(self.vocabulary, dtype=np.int32)
            sets = draft.gene_sets if self.zeros == "all" else [every] * len(draft.gene_sets)
            lists = [
                rows.ids[indptr[b] : indptr[b + 1]] if alone[b] else sets[s]
                for b, s in enumerate(draft.gene_set)
            ]
            genes = np.concatenate(lists)
            indptr = np.concatenate([[0], np.cumsum([len(one) for one in lists])])
        others = rectangle(genes, indptr, int(np.diff(indptr).max(initial=1)), NONE)
        for gene in first.T:
            others[others == gene[:, None]] = NONE
        return np.concatenate([first, others], axis=1)

    def _in_order(self, draft, genes, flagged):
        """The first K of the line, i32 [B, W ≤ K], gaps behind: flagged, then as ``order`` says."""
        keys, width = draft.keys_of(ORDER), genes.shape[1]
        rank = np.empty(genes.shape, np.uint64)
        rank[:, :flagged] = np.arange(flagged)
        rank[:, flagged:] = draws.ranks(keys, width - flagged) + np.uint64(flagged)
        rank[:, flagged:] |= LATER
        rank[genes == NONE] = NEVER
        if self.order == "value":  # as drawn, sorted once more: equal counts stay as they are
            rank.sort(axis=1)
            genes = _taken(genes, rank)
            counts = look_up(draft.input, draft.input.counts, np.maximum(genes, 0), self.vocabulary)
            # Counts are not negative: they are ordered as their bits are.
            bits = (np.uint32(2**31 - 1) - counts.view(np.uint32)).astype(np.uint64)
            own = rank >= LATER
            rank = np.where(own, LATER | (bits << np.uint64(draws.PLACES)), 0)
            rank |= np.arange(width, dtype=np.uint64)
            rank[genes == NONE] = NEVER
        if self.order == "vocabulary":
            own, places = rank >= LATER, np.arange(width, dtype=np.uint64)
            ids = np.maximum(genes, 0).astype(np.uint64) << np.uint64(draws.PLACES)
            rank = np.where(own, LATER | ids | places, rank)
            rank[genes == NONE] = NEVER
        rank.sort(axis=1)
        return _taken(genes, rank[:, : self.number])

    def _left(self, draft, line, first):
        """The line without what sequence dropout takes, and how many are left; i64 [B]."""
        stays, places = line != NONE, np.arange(line.shape[1])
        if self.dropout or self.chunk:
            lead = (first != NONE).sum(axis=1)  # flagged genes stay
            drawn = draws.words(draft.keys_of(DROP), line.shape[1] + 1)
            free = stays.sum(axis=1) - lead
            if self.chunk:  # from a drawn place on; never all of a cell's genes
                chunk = np.minimum(self.chunk, np.maximum(free - (lead == 0), 0))
                start = (drawn[:, 0] * (free - chunk + 1).astype(np.uint64)) >> np.uint64(32)
                start = (lead + start.astype(np.int64))[:, None]
                stays &= (places < start) | (places >= start + chunk[:, None])
            if self.dropout:
                left = stays & (drawn[:, 1:] >= self.dropout * 2.0**32)
                left |= stays & (places < lead[:, None])
                # One gene at least: the first of those that there were.
                left[np.arange(len(left)), stays.argmax(axis=1)] |= ~left.any(axis=1)
                stays &= left
            line = rectangle(line[stays], _bounds(stays.sum(axis=1)), line.shape[1], NONE)
        return line, stays.sum(axis=1)

    def _cycle(self):
        """Genes in line, and zeros, of one cycle of 'interleave'."""
        return max(1, int(CYCLE * self.ratio)), max(1, int(CYCLE * (1 - self.ratio)))

    def _room(self, zeros):
        """How many genes in line stand before place K, interleaved with so many zeros; i64 [B]."""
        long, short = self._cycle()
        cycles, rest = divmod(self.number, long + short)
        # Where the zeros do not suffice for the cycles, the others take their places.
        return np.maximum(cycles * long + min(rest, long), self.number - zeros)

    def _zeros(self, draft, first, wanted):
        """(cell, drawn genes without a count) of each cell that wants so many, i64 [B]."""
        rows, keys = draft.input, draft.keys_of(ZERO)
        for gene_set in np.unique(draft.gene_set[wanted > 0]):
            measured = draft.gene_sets[gene_set]
            mine = np.flatnonzero((draft.gene_set == gene_set) & (wanted > 0))
            weights = self._weights(measured)
            for part in draws.blocks(len(mine), len(measured)):
                cells = mine[part]
                ranks = draws.ranks(keys[cells], len(measured), weights)
                for b, rank in zip(cells, ranks, strict=True):
                    taken = [rows.ids[rows.indptr[b] : rows.indptr[b + 1]], first[b]]
                    for genes in taken:
                        rank[np.searchsorted(measured, genes[genes != NONE])] = NEVER
                    least = np.partition(rank, wanted[b] - 1)[: wanted[b]]
                    least.sort()
                    yield b, measured[(least & draws.PLACE).astype(np.int64)]

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

    def _values(self, draft, ids, shown):
        """Normalised counts of the genes that each cell shows, f32 [B, K]; 0 behind the last."""
        inside = np.arange(ids.shape[1]) < shown[:, None]  # padding bears gene 0's id
        if self.total == "cell" or not self.scale_to:
            return look_up(draft.input, draft.values, ids, self.vocabulary) * inside
        counts = look_up(draft.input, draft.input.counts, ids, self.vocabulary) * inside
        expressed = counts > 0
        number, flat = expressed.sum(axis=1), counts[expressed]
        total = segment_sums(flat, _bounds(number)) + self.pseudo
        scale = np.divide(self.scale_to, total, out=np.zeros_like(total), where=total > 0)
        counts[expressed] = np.log1p(flat * np.repeat(scale, number))
        return counts


def _depths(draft):
    """Totals of the input and of the cell itself, f32 [B, 2]."""
    own = segment_sums(draft.rows.counts, draft.rows.indptr).astype(np.float32)
    return draft.batch.get("depth", np.stack([own, own], axis=1))


def _taken(genes, ranks):
    """Genes [B, W] in the order of their ranks [B, w]; none where these are NEVER."""
    places = (ranks & draws.PLACE).astype(np.int64)
    found = np.take_along_axis(genes, np.minimum(places, genes.shape[1] - 1), axis=1)
    return np.where(ranks == NEVER, NONE, found)


def _bounds(sizes):
    return np.concatenate([[0], np.cumsum(sizes)])

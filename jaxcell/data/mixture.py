"""Which training cell stands at which position of the endless stream, evenly or by weights."""

import functools
from fnmatch import fnmatchcase

import numpy as np

from jaxcell.data.draws import shuffled

SLOTS = 10_000  # of a block; a group's share of the stream is a multiple of 1 / SLOTS
CHUNK = 2**22  # cells of the index looked at together


class Permutations:
    """Position p of an endless stream over n cells → (epoch, cell), in constant memory.

    Each epoch is another permutation, so every cell comes once an epoch and batches straddle
    epochs. ``stream`` tells streams of the same seed apart.
    """

    def __init__(self, cells, seed, stream=0):
        self.cells, self.seed, self.stream = cells, seed, stream

    def __call__(self, positions):
        """i64 [b] -> (epochs i64 [b], cells i64 [b])."""
        epochs, places = np.divmod(positions, self.cells)
        return epochs, shuffled(places, self.cells, keys(self.seed, self.stream, epochs))


def keys(seed, streams, epochs):
    """The key of each epoch of each stream, of permutations alone; u64 [b, 2]."""
    streams, epochs = np.asarray(streams, np.uint64), np.asarray(epochs, np.uint64)
    # The complement, so that no order of cells shares its key with a cell's draw of genes.
    words = ~((streams << np.uint64(40)) | epochs)
    return np.stack([np.full_like(words, seed), words], axis=-1)


class Slots:
    """Position p of an endless stream → (group, how many of the group stand before p).

    The stream goes in blocks of SLOTS positions. A group owns as many slots of each block as its
    quota says, and the slots of each block are mixed by a permutation of its own.

    quotas : integers [groups], slots of each group, together SLOTS
    """

    def __init__(self, quotas, seed):
        self.quotas, self.seed = tuple(map(int, quotas)), seed

    def __call__(self, positions):
        """i64 [b] -> (groups i64 [b], ranks i64 [b])."""
        blocks, places = np.divmod(positions, SLOTS)
        group, ranks = np.empty_like(places), np.empty_like(places)
        for block in np.unique(blocks).tolist():
            mine = blocks == block
            groups, before = _block(self.quotas, self.seed, block)
            group[mine] = groups[places[mine]]
            ranks[mine] = before[places[mine]] + block * np.array(self.quotas)[group[mine]]
        return group, ranks


class Mixture:
    """Position p of an endless stream → (epoch, cell), groups of cells in given shares.

    The k-th of a group, counted by `Slots`, is the k-th of the group's own `Permutations`, in which
    each of its cells comes once an epoch.

    Parameters
    ----------
    runs : list of i64 [runs, 2], for each group the (start, end) of its runs of cells
    quotas : integers [groups], slots of each group, together SLOTS
    seed : int
    """

    def __init__(self, runs, quotas, seed):
        self._slots = Slots(quotas, seed)
        self._starts = [r[:, 0] for r in runs]
        self._before = [np.concatenate([[0], np.cumsum(r[:, 1] - r[:, 0])]) for r in runs]
        self._own = [Permutations(int(b[-1]), seed, g + 1) for g, b in enumerate(self._before)]

    def __call__(self, positions):
        """i64 [b] -> (epochs i64 [b] of the group, cells i64 [b])."""
        group, ranks = self._slots(positions)
        epochs, cells = np.empty_like(ranks), np.empty_like(ranks)
        for g in np.unique(group):
            mine = group == g
            epochs[mine], places = self._own[g](ranks[mine])
            run = np.searchsorted(self._before[g], places, side="right") - 1
            cells[mine] = self._starts[g][run] + places - self._before[g][run]
        return epochs, cells


@functools.lru_cache(maxsize=8)  # a batch after the other asks for the same block
def _block(quotas, seed, block):
    """Group of each position of a block [SLOTS], and how many of it stand before [SLOTS]."""
    _, slots = Permutations(SLOTS, seed)(block * SLOTS + np.arange(SLOTS))
    group = np.searchsorted(np.cumsum(quotas), slots, side="right")
    before = np.empty(SLOTS, np.int64)
    before[np.argsort(group, kind="stable")] = np.concatenate([np.arange(q) for q in quotas])
    return group, before


def parse(shares, where="config.data.mixture"):
    """('PATTERN=WEIGHT', …) of a field of the config → [(pattern, weight)].

    Raises
    ------
    ValueError
        For what is not of this form, and for a weight that is not above 0.
    """
    pairs = []
    for text in (shares,) if isinstance(shares, str) else shares:
        pattern, _, weight = str(text).rpartition("=")  # a dataset's name may hold '=' too
        try:
            pairs.append((pattern, float(weight)))
        except ValueError:
            pairs.append((pattern, np.nan))
        if not (pattern and 0 < pairs[-1][1] < np.inf):
            raise ValueError(
                f"{where}: found {text!r}, expected 'PATTERN=WEIGHT' with a weight "
                "above 0, as in ('bulk*=0.2', '*=0.8')"
            )
    return pairs


def order(store, data, seed):
    """The stream of a store's training cells as ``config.data`` asks for it.

    Without ``mixture`` every cell comes equally often. With it, the cells of the datasets whose
    name matches a pattern (of `Store.names`; the first that matches) make up that pattern's share
    of the stream; within them every cell comes equally often.

    Raises
    ------
    ValueError
        A pattern matches no dataset with training cells, a dataset is matched by none, or a share
        is below half of 1 / SLOTS.
    """
    pairs = parse(data.get("mixture", ()))
    if not pairs:
        return Permutations(store.sizes["train"], seed)
    codes = store.index("train", "dataset")
    present = np.zeros(len(store.names), bool)
    for start in range(0, len(codes), CHUNK):
        present[codes[start : start + CHUNK]] = True
    group = match(store.names, present, [pattern for pattern, _ in pairs])
    quotas = slots(pairs)
    runs = _runs(codes, group, len(pairs))
    return Mixture(runs, quotas, seed)


def weights(store, data):
    """How often a cell of each dataset comes in the stream of `order`, f64 [datasets].

    1 for all without ``mixture``; else 1 on average over the training cells.
    """
    pairs, cells = parse(data.get("mixture", ())), store.stats["cells"]
    if not pairs:
        return np.ones(len(cells))
    group = match(store.names, cells > 0, [pattern for pattern, _ in pairs])
    have = np.bincount(group[cells > 0], cells[cells > 0])
    return np.where(cells > 0, (slots(pairs) / SLOTS * cells.sum() / have)[group], 0)


def match(names, present, patterns, where="config.data.mixture", column="dataset"):
    """Index of the first pattern that matches, for each name with training cells; else -1.

    Raises
    ------
    ValueError
        A pattern matches nothing that is present and still free, or something present has none.
    """
    group = np.full(len(names), -1, np.int64)
    for i in np.flatnonzero(present):
        found = [g for g, pattern in enumerate(patterns) if fnmatchcase(names[i], pattern)]
        group[i] = found[0] if found else -1
    have = [names[i] for i in np.flatnonzero(present)]
    shown = ", ".join(have[:20]) + (f" … ({len(have)})" if len(have) > 20 else "")
    for g, pattern in enumerate(patterns):
        if g not in group:
            raise ValueError(
                f"{where}: {pattern!r} matches no {column} with training cells that an "
                f"earlier pattern has not taken; {column}s: {shown}"
            )
    missed = [names[i] for i in np.flatnonzero(present & (group < 0))]
    if missed:
        raise ValueError(
            f"{where}: no pattern matches {', '.join(missed[:5])}"
            f"{' …' if len(missed) > 5 else ''}; give it a weight, or '*=WEIGHT' for all others; "
            f"{column}s: {shown}"
        )
    return group


def slots(pairs, where="config.data.mixture"):
    """Slots of each group, in proportion to the weights, by largest remainder."""
    weights = np.array([weight for _, weight in pairs])
    exact = weights / weights.sum() * SLOTS
    quotas = np.floor(exact + 1e-6).astype(np.int64)  # .29 · SLOTS is 2 899.999… in binary
    by_remainder = np.argsort(quotas - exact, kind="stable")
    quotas[by_remainder[: SLOTS - quotas.sum()]] += 1
    for (pattern, weight), quota in zip(pairs, quotas, strict=True):
        if quota == 0:
            raise ValueError(
                f"{where}: {pattern!r} has the weight {weight} of {weights.sum():g} in "
                f"all, less than {0.5 / SLOTS}: its cells would never come"
            )
    return quotas


def _runs(codes, group, groups):
    """The (start, end) of the runs of cells of each group; codes [cells] is memory-mapped."""
    starts, kinds, last = [], [], -1
    for begin in range(0, len(codes), CHUNK):
        kind = group[codes[begin : begin + CHUNK]]
        new = np.flatnonzero(np.diff(kind, prepend=last))
        starts.append(begin + new)
        kinds.append(kind[new])
        last = kind[-1]
    starts, kinds = np.concatenate(starts), np.concatenate(kinds)
    runs = np.stack([starts, np.append(starts[1:], len(codes))], axis=1)
    return [runs[kinds == g] for g in range(groups)]

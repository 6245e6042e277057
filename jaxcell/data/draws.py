"""Randomness that is a function of a key and a place alone, for many cells at once, in numpy.

B cells, K positions drawn out of M. No generator is carried along: the i-th number of a key is the
same whichever cells, process or worker ask for it. Source of the numbers: Steele, Lea & Flood 2014,
SplitMix64 (its state is the key plus i times the golden ratio), with Stafford's 13th finaliser.
"""

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
SCRATCH = 2**18  # elements of a block's scratch: cells at a time × M, so that it stays in cache
ROUNDS = 8
PLACES = 20  # bits of a position in `ranks`
PLACE = np.uint64(2**PLACES - 1)


def mix(z):
    """A bijection of 64 bits in which every bit of the result hangs on every bit of z; u64."""
    z = z ^ (z >> np.uint64(30))
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def states(keys):
    """u64 [B, 2] -> u64 [B], where the stream of each key begins."""
    return mix(mix(keys[:, 0] + GOLDEN) + keys[:, 1])


def words(keys, number):
    """The first ``number`` 32-bit words of each key's stream, u32 [B, number]."""
    steps = np.arange(1, -(-number // 2) + 1, dtype=np.uint64) * GOLDEN
    return mix(states(keys)[:, None] + steps).view("<u4")[:, :number]


def blocks(cells, width):
    """Slices over the cells, each of as many as a scratch of ``width`` for each has room for."""
    step = max(1, SCRATCH // max(width, 1))
    return [slice(a, min(a + step, cells)) for a in range(0, cells, step)]


def subsets(keys, number, among):
    """K = ``number`` of M things, each K-subset equally likely; K <= M.

    Words become positions (word · M) >> 32, each equally likely up to M / 2³² of itself, and
    repetitions are left out. Nothing in that but the name of a position tells it from the others,
    so no K-subset is likelier than another. Above M / 2 the positions left out are drawn.

    among : the things [M], or M: the positions [0, M)

    Returns
    -------
    [B, K] of them, in no particular order
    """
    names = np.arange(among) if np.ndim(among) == 0 else among
    of = len(names)
    chosen = np.empty((len(keys), number), names.dtype)
    if number > of / 2:
        kept = np.ones(of, bool)
        for row, rest in zip(chosen, subsets(keys, of - number, of), strict=True):
            kept[rest] = False
            row[:] = names.take(np.flatnonzero(kept))
            kept[rest] = True
        return chosen
    # So many draws have K distinct positions on average; six standard deviations more.
    draws = -of * np.log1p(-number / of)
    draws = int(draws + 6 * np.sqrt(draws * number / of)) + 16
    for cells in blocks(len(keys), 4 * draws):
        _distinct(keys[cells], names, draws, out=chosen[cells])
    return chosen


def _distinct(keys, names, draws, out):
    """Write distinct names [M] of so many draws of each key to a row of [B, K]; more if need be."""
    of, number = len(names), out.shape[1]
    drawn = words(keys, draws) * np.uint64(of)
    drawn >>= np.uint64(32)
    # Whoever writes last into a position's place is the one draw of it that counts; what other
    # cells left there is not read. One cell after the other: their places stay in the cache.
    order = np.arange(draws, dtype=np.int16 if draws < 2**15 else np.int32)
    last = np.empty(of, order.dtype)
    for b, row in enumerate(drawn.view(np.int64)):
        last[row] = order
        once = row[last.take(row) == order][:number]
        if len(once) == number:
            out[b] = names.take(once)
        else:
            _distinct(keys[b : b + 1], names, 2 * draws, out[b : b + 1])


def weighted_subsets(keys, number, weights):
    """K = ``number`` of M positions, one after the other with chances ∝ ``weights`` [M]; K <= M.

    The K least of E / weight with E ~ Exp(1). Source: Efraimidis & Spirakis 2006, in logarithms.

    Returns
    -------
    i64 [B, K], in no particular order
    """
    of = len(weights)
    chosen = np.empty((len(keys), number), np.int64)
    for cells in blocks(len(keys), of):
        # Of the same words the order of positions decides nothing: waits that tie are one in 2³².
        each = waits(keys[cells], of, weights)
        chosen[cells] = np.argpartition(each, min(number, of - 1), axis=1)[:, :number]
    return chosen


def waits(keys, of, weights=None):
    """How long each of M positions waits to be drawn, f64 [B, M]: the K that wait least are a draw.

    weights : [M], chances of the positions; None: alike
    """
    uniform = (words(keys, of) + 0.5) * 2.0**-32
    return uniform if weights is None else -np.log1p(-uniform) / weights


def ranks(keys, of, weights=None):
    """Distinct numbers of M positions, u64 [B, M]: the K least are a draw, as of `waits`.

    Their last bits (``PLACE``) are the position, which decides between equal waits: what the least
    are, and in which order, never hangs on how they are sorted, nor on the rows beside.
    """
    if weights is None:
        found = words(keys, of).astype(np.uint64) << np.uint64(PLACES)
    else:  # positive floats are ordered as their bits are; 32 of a wait's digits stay
        found = waits(keys, of, weights).view(np.uint64) & ~PLACE
    return found | np.arange(of, dtype=np.uint64)


def shuffled(positions, size, keys):
    """Where a permutation of [0, size) takes each of the positions i64 [b]; i64 [b].

    Each position has its own key u64 [b, 2], and may have its own size [b]; equal keys and sizes
    make one permutation. A Feistel network over pairs (l, r) of digits to a base of about √size,
    applied again where it leads beyond ``size``. Source: Black & Rogaway 2002, ciphers with
    arbitrary finite domains.
    """
    size = np.asarray(size, np.uint64)
    root = np.sqrt(size - 1.0).astype(np.uint64)  # exact below 2⁵²
    # Even: adding to a digit of an odd base is an even permutation, and so would be all of them.
    bases = np.uint64(2) * (root // np.uint64(2) + np.uint64(1))
    place, begin = np.asarray(positions).astype(np.uint64), states(keys)
    beyond = np.ones(len(place), bool)
    while beyond.any():
        base = bases[beyond] if size.ndim else bases
        left, right = np.divmod(place[beyond], base)
        for i in range(1, ROUNDS + 1):
            step = mix(mix(begin[beyond] + np.uint64(i)) + (right + np.uint64(1)) * GOLDEN)
            left, right = right, (left + step % base) % base
        place[beyond] = left * base + right
        beyond = place >= size
    return place.astype(np.int64)

"""At most so many cells of a dataset, tissue or cell type: drawn by seed, over all sources.

n cells of a source. Source: BMFM-RNA 12.2.3, "equal downsampling".
"""

import zlib

import numpy as np

_SHARE, _CAP = 1, 2  # two draws of the same cell must not agree


def priorities(name, n_cells, seed, kind=_CAP):
    """A number of [0, 1) for each cell of a source, f64 [n]: those with the least are drawn.

    By the seed, the source's name and the cell's position alone, so that a corpus draws the same
    cells of a source whatever its other sources are.
    """
    key = [seed, zlib.crc32(name.encode()), kind]
    return np.random.default_rng(key).random(n_cells)


def drawn_share(name, n_cells, seed, share):
    """Cells drawn with probability `share`: bool [n]."""
    return priorities(name, n_cells, seed, _SHARE) < share


def draw(kept, priority, codes, caps):
    """Cells that are left when each class has at most so many.

    Caps act one after the other, each on what the ones before it left, so that all hold at the end.
    A cell whose class is unknown (−1) falls under no cap of that column.

    Parameters
    ----------
    kept : list of bool [n], of each source
    priority : list of f64 [n]
    codes : list of dict
        {column: i32 [n]} of each source; a code is the same class in every source.
    caps : dict
        {column: most cells of a class}, in this order.

    Returns
    -------
    list of bool [n]
    """
    left = [one.copy() for one in kept]
    ends = np.cumsum([0, *map(len, kept)])
    for column, most in caps.items():
        cells = np.flatnonzero(np.concatenate(left))
        code = np.concatenate([of[column][one] for of, one in zip(codes, left, strict=True)])
        first = np.concatenate([p[one] for p, one in zip(priority, left, strict=True)])
        order = np.lexsort((first, code))
        sizes = np.unique(code, return_counts=True)[1]
        rank = np.arange(len(code)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        beyond = cells[order[(rank >= most) & (code[order] >= 0)]]
        for i, one in enumerate(left):
            own = beyond[(beyond >= ends[i]) & (beyond < ends[i + 1])]
            one[own - ends[i]] = False
    return left

"""Which training cells a run sees, how often and in what order: ``config.data.sampling``.

It names some of these steps, in this order; each has a block of options in ``config.data``:

- ``cap``: of each group at most so many cells are seen in an epoch;
- ``weights``: groups have shares of the stream that are not those of their cells;
- ``round_robin``: groups take turns;
- ``stratify``: every batch holds the groups in their proportions, and not by chance.

A group is what has the same class in each column that ``by`` names: 'dataset' (see `Store.names`)
or a label column of the store. Each step arranges the cells that the steps before it have left
together: with ('round_robin', 'stratify') by 'dataset' and 'cell_type', datasets take turns, and
each dataset's turns hold its cell types in their proportions in that dataset.

An epoch is as many cells as remain behind ``cap`` and ``unknown``; a node (what no ``weights`` and
no ``round_robin`` divides any more) shows each of its cells once before any comes again. All is
decided from the index, see `groups`, and is a function of the seed and the position. G groups.
"""

import numpy as np

from jaxcell.data import mixture
from jaxcell.data.draws import shuffled
from jaxcell.data.groups import columns_of, divide, refine
from jaxcell.data.mixture import SLOTS, keys
from jaxcell.data.samplers import build_samplers
from jaxcell.data.streams import Stream, Tree

CHUNK = 2**20  # draws made together


def order(store, data, seed, batch_size):
    """The stream of a store's training cells as ``config.data`` asks for it.

    Returns
    -------
    Function: positions i64 [b] → (epochs i64 [b], cells i64 [b]); `Batches` takes the positions
    [s · batch_size, (s + 1) · batch_size) for step s.

    Raises
    ------
    ValueError
        For what `build_samplers` refuses, and for columns, classes and numbers that the store's
        training cells do not have.
    """
    steps = build_samplers(data)
    if not steps:
        return mixture.order(store, data, seed)
    groups, tree = _plan(store, steps, seed)
    redraw = "cap" in steps and steps["cap"].redraw
    window = batch_size if "stratify" in steps else 0
    return Stream(tree, groups.line, seed, window=window, redraw=redraw)


def cells_per_epoch(store, data):
    """Training cells of an epoch: those that remain behind ``cap`` and ``unknown``."""
    steps = build_samplers(data)
    if not steps:
        return store.sizes["train"]
    groups, sizes = _groups(store, steps)
    return int(_capped(groups, sizes, steps["cap"])[2].sum() if "cap" in steps else sizes.sum())


def weights(store, data, seed):
    """How often a cell of each dataset comes in the stream of `order`, f64 [datasets], or None.

    1 on average over the training cells; of a dataset that ``cap`` draws from, the mean over draws.
    None where steps divide by labels, so that cells of one dataset come unevenly: then only the
    stream itself tells.
    """
    steps = build_samplers(data)
    if not steps:
        return mixture.weights(store, data)
    groups, tree = _plan(store, steps, seed)
    cells = store.stats["cells"]
    if groups.columns == ():
        return np.ones(len(cells))
    if groups.columns != ("dataset",):
        return None
    dataset = groups.column("dataset")[np.searchsorted(groups.starts, tree.first)]
    share = np.bincount(dataset, tree.shares(), minlength=len(cells))
    return share * cells.sum() / np.maximum(cells, 1)


def describe(store, data):
    """A line that says how many training cells an epoch has; '' without ``sampling``."""
    steps = build_samplers(data)
    if not steps:
        return ""
    groups, sizes = _groups(store, steps)
    seen = f"{cells_per_epoch(store, data):,} of {store.sizes['train']:,} training cells"
    by = f"{len(groups.sizes)} groups by {', '.join(groups.columns) or 'nothing'}"
    dropped = groups.sizes.sum() - sizes.sum()
    lost = f"; {dropped:,} without a label are left out" if dropped else ""
    return f"config.data.sampling: {', '.join(steps)}: {by}; an epoch is {seen}{lost}"


def _groups(store, steps):
    """The finest groups that the steps tell apart, and their cells that are not dropped, [G]."""
    known = columns_of(store)
    for name, step in steps.items():
        for column in step.by:
            if column not in known:
                raise ValueError(
                    f"config.data.{name}.by: found {column!r}, expected some of "
                    f"{', '.join(sorted(known))}; `jaxcell prepare --labels` makes columns of obs "
                    "labels of the store"
                )
    columns = tuple(dict.fromkeys(column for step in steps.values() for column in step.by))
    groups = divide(store, columns)
    sizes = groups.sizes.copy()
    for name, step in steps.items():
        if step.unknown == "drop":
            sizes[groups.unknown(step.by)] = 0
            if not sizes.any():
                raise ValueError(
                    f"config.data.{name}.unknown: 'drop' leaves no training cell: all lack a label "
                    f"of {', '.join(step.by)}"
                )
    return groups, sizes


def _capped(groups, sizes, cap):
    """Cap's group of each group [G]; of cap's groups the cells, and those that it keeps."""
    whole, number = groups.merge(cap.by)
    cells = np.bincount(whole, sizes, minlength=number).astype(np.int64)
    return whole, cells, cap.quotas(cells)


def _kept(groups, sizes, cap, seed):
    """Cells that an epoch shows of each group, i64 [G]."""
    whole, cells, quotas = _capped(groups, sizes, cap)
    kept = np.where((quotas == cells)[whole], sizes, quotas[whole])
    count, by_whole = np.bincount(whole), np.argsort(whole, kind="stable")
    ends = np.cumsum(count)
    for one in np.flatnonzero((count > 1) & (quotas < cells)):
        mine = by_whole[ends[one] - count[one] : ends[one]]
        kept[mine] = _drawn(sizes[mine], quotas[one], keys(seed, one, 2**40 - 1))
    return kept


def _drawn(sizes, number, key):
    """How many of each group a draw of so many of all their cells takes, i64 [groups]."""
    taken, bounds = np.zeros(len(sizes), np.int64), np.cumsum(sizes)
    for start in range(0, number, CHUNK):
        places = np.arange(start, min(start + CHUNK, number))
        cells = shuffled(places, bounds[-1], np.broadcast_to(key, (len(places), 2)))
        groups = np.searchsorted(bounds, cells, side="right")
        taken += np.bincount(groups, minlength=len(sizes))
    return taken


def _plan(store, steps, seed):
    """The groups, and the tree of those of them that come at all."""
    groups, sizes = _groups(store, steps)
    kept = _kept(groups, sizes, steps["cap"], seed) if "cap" in steps else sizes
    present = kept > 0
    codes = {n: groups.codes[present][:, groups.places(s.by)] for n, s in steps.items()}
    none = np.empty((present.sum(), 0), np.int64)
    branch, quotas = np.zeros(present.sum(), np.int64), np.array([SLOTS])
    if "weights" in steps:
        branch = steps["weights"].branches(groups, present, store)
        branch, number = refine(branch, none)
        quotas = steps["weights"].quotas(np.bincount(branch, kept[present], minlength=number))
    node, _ = refine(branch, codes.get("round_robin", none))
    stratum, _ = refine(node, codes.get("stratify", none))
    sort = np.argsort(stratum, kind="stable")
    columns = (branch, node, stratum, groups.starts[present], groups.sizes[present], kept[present])
    return groups, Tree(*(column[sort] for column in columns), quotas)

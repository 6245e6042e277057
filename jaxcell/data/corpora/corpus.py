"""What a manifest decides over all its sources: caps, the split by dataset, what was expected.

n cells of a source, V genes, D datasets. `surveys` are what the first pass found of each Input.
"""

import numpy as np
import scipy.sparse as sp

from jaxcell.data.corpora.caps import draw, priorities
from jaxcell.data.corpora.dataset_split import held_out
from jaxcell.data.filters import CAPPED
from jaxcell.data.splits import label_codes, parse_hold_out, present_classes, with_values


def dataset_codes(inputs):
    """The datasets of all inputs: i32 [n] of each input, and their names [D].

    One value of a source's column `dataset` is one dataset in all files of that source.
    """
    names = sorted({name for one in inputs for name in one.datasets})
    place = {name: i for i, name in enumerate(names)}
    own = [np.array([place[name] for name in one.datasets], np.int32) for one in inputs]
    return [codes[one.dataset] for codes, one in zip(own, inputs, strict=True)], names


def limit(manifest, inputs, surveys):
    """Take from the surveys' kept cells those that the caps leave out, in place."""
    for v, left in zip(surveys, capped(manifest, inputs, surveys), strict=True):
        v.removed[v.kept & ~left] = CAPPED
        v.kept = left


def capped(manifest, inputs, surveys):
    """Cells that are left under the caps: list of bool [n], of those that the surveys keep.

    First each source's own `most` (over its files), then the corpus' caps in their order.
    """
    kept = [v.kept for v in surveys]
    if not manifest.caps and all(one.entry.most is None for one in inputs):
        return kept
    priority = [
        priorities(one.key, len(v.kept), manifest.seed)
        for one, v in zip(inputs, surveys, strict=True)
    ]
    entries = list(dict.fromkeys(one.entry.name for one in inputs))
    for name in entries:
        mine = [i for i, one in enumerate(inputs) if one.entry.name == name]
        most = inputs[mine[0]].entry.most
        if most is not None:
            zeros = [{"": np.zeros(len(kept[i]), np.int32)} for i in mine]
            left = draw([kept[i] for i in mine], [priority[i] for i in mine], zeros, {"": most})
            for i, one in zip(mine, left, strict=True):
                kept[i] = one
    codes = [{} for _ in inputs]
    for column in manifest.caps:
        if column == "dataset" and "dataset" not in manifest.labels:
            found = dataset_codes(inputs)[0]
        else:
            names = present_classes(column, surveys)
            found = [label_codes(v.source, column, names) for v in surveys]
        for of, code in zip(codes, found, strict=True):
            of[column] = code
    return draw(kept, priority, codes, manifest.caps)


def held_cells(manifest, inputs, surveys):
    """Cells that the split by dataset holds out: list of bool [n], or None where none is asked for.

    Sources whose `split` is said are no candidates; those for training have their types there.
    Cells that `hold_out` takes out of training keep no type there.
    """
    split = manifest.split
    if split.get("by") != "dataset":
        return None
    hold_out = parse_hold_out(split.get("hold_out"))
    codes, names = dataset_codes(inputs)
    column = split.get("types")
    types = present_classes(column, surveys) if column else []
    cells = np.zeros((len(names), len(types)), np.int64)
    fixed = np.zeros(len(names), bool)
    present = np.zeros(len(names), bool)
    for one, v, dataset in zip(inputs, surveys, codes, strict=True):
        there = np.unique(dataset[v.kept])
        present[there] = True
        if one.whole:
            fixed[there] = True
        if one.whole != "valid" and types:
            left = v.kept if one.whole else v.kept & ~with_values(v.source, hold_out)
            cells += _pairs(dataset[left], label_codes(v.source, column, types)[left], cells)
    free = np.flatnonzero(present & ~fixed)
    # What is always in training keeps its types there, whatever is held out.
    always = (cells[fixed] > 0).any(axis=0)
    counted = np.where(always, 0, cells[free])
    held = np.zeros(len(names), bool)
    chosen = held_out(counted, split["share"], manifest.seed, [names[i] for i in free])
    held[free[chosen]] = True
    return [held[dataset] & (one.whole is None) for one, dataset in zip(inputs, codes, strict=True)]


def _pairs(dataset, code, like):
    """Cells of each dataset and type, i64 as `like` [D, T]."""
    known = code >= 0
    ones = np.ones(known.sum(), np.int64)
    found = sp.coo_matrix((ones, (dataset[known], code[known])), like.shape)
    return found.toarray()


def epochs(manifest, cells):
    """Epochs over so many training cells that cost the manifest's compute; None without one.

    As many samples in all as the budget's `cells` × `epochs`, `times` as many. Source: TxFM, C.2.
    """
    given = manifest.compute
    if not given:
        return None
    samples = given["cells"] * given["epochs"] * given.get("times", 1)
    return max(round(samples / cells), 1)


def budget(manifest, cells):
    """A line that says for how many epochs to train on so many cells."""
    given = manifest.compute
    times = f" × {given['times']:g}" if "times" in given else ""
    return (
        f"compute of {given['cells']:,} cells × {given['epochs']:,} epochs{times}: train for "
        f"{epochs(manifest, cells):,} epochs of these {cells:,} (config.epochs)"
    )

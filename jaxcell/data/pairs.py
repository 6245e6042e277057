"""Which control cell a perturbed cell is predicted from; another one in each epoch.

B cells, n classes of a label. A pair is a *target*, a cell of the stream, and an *input*, whose
counts the tokens show: one control cell of the same split, drawn by the seed, the epoch and the
target, never by worker, process or batch. A control cell is its own input. Source: GEARS, whose
pairs are drawn once and then kept.
"""

import numpy as np

from jaxcell.data import draws
from jaxcell.data.draft import stream_keys

STREAM = 30  # of a cell's draws, see Draft.keys_of


class Pairs:
    """The control cells of a split's cells.

    store : Store
    spec : ``config.data.pair``: label (column whose classes say what was done to a cell), control
        (the class of cells to which nothing was), by (column within whose classes controls are
        drawn; '': among all)
    split : 'train' or 'valid'. Where it holds no control cell at all, as where whole perturbations
        were held out, those of 'train' are drawn: they are inputs, and nothing is learned of them
        that the targets would tell
    """

    def __init__(self, store, spec, split):
        self._store, self._by = store, spec.by
        self._column, self._code = _found(store, spec)
        cells = self._controls(split)
        self.split = split
        if not len(cells) and split != "train":
            self.split, cells = "train", self._controls("train")
        group = self._groups_of(store.codes(self.split, spec.by)[cells] if spec.by else cells * 0)
        self._cells = cells[np.argsort(group, kind="stable")]
        self._number = np.bincount(group, minlength=self._groups)
        self._first = np.cumsum(self._number) - self._number

    def __len__(self):
        return len(self._cells)

    @property
    def _groups(self):
        return len(self._store.classes[self._by]) + 1 if self._by else 1

    def _controls(self, split):
        if not self._store.sizes[split]:
            return np.empty(0, np.int64)
        column = self._store.index(split, "labels")[:, self._column]
        return np.flatnonzero(column == self._code)

    def _groups_of(self, codes):
        """Number of each cell's group; 0 of cells whose class is not known."""
        return np.asarray(codes, np.int64) + 1 if self._by else np.zeros(len(codes), np.int64)

    def inputs(self, rows, cells, keys):
        """Rows of the inputs of some targets, by one batched read.

        rows, cells : the targets and their positions i64 [B]; keys : of their draws, u64 [B, 2]
        """
        own = rows.labels[:, self._column] == self._code
        if own.all():
            return rows
        codes = self._store.labels_of(rows)[self._by] if self._by else cells
        group = self._groups_of(codes)
        words = draws.words(stream_keys(keys, STREAM), 1)[:, 0].astype(np.int64)
        place = self._first[group] + (words * self._number[group] >> 32)
        drawn = self._cells[np.minimum(place, len(self._cells) - 1)]
        return self._store.read(self.split, np.where(own, cells, drawn))

    def check(self, split):
        """Refuse a split with cells of which nobody knows what was done, or without a control.

        Raises
        ------
        ValueError
            No control cells at all, or none where some perturbed cells need one; cells of no class.
        """
        store, name = self._store, list(self._store.labels)[self._column]
        where = f"config.data.pair: {store.path}"
        if not len(self):
            raise ValueError(
                f"{where}: no training cell is a control, class "
                f"{store.labels[name][self._code]!r} of {name}"
            )
        codes = store.index(split, "labels")[:, self._column]
        if lost := int((codes < 0).sum()):
            raise ValueError(
                f"{where}: {lost} {split} cells have no class of {name}, so nobody knows what was "
                "done to them; prepare a store without them"
            )
        if not self._by:
            return
        group = self._groups_of(store.codes(split, self._by))[codes != self._code]
        lacks = np.flatnonzero((np.bincount(group, minlength=self._groups) > 0) & ~self._has())
        if len(lacks):
            classes = ["unknown", *store.classes[self._by]]
            raise ValueError(
                f"{where}: perturbed {split} cells of {self._by} = "
                f"{', '.join(classes[i] for i in lacks[:5])} have no control cell among the "
                f"{self.split} cells; expected one, or config.data.pair.by = ''"
            )

    def _has(self):
        return self._number > 0

    def gene_sets(self, split):
        """Pairs of a target's class and an input's gene set that may come, i64 [n, 2]."""
        store = self._store
        codes = store.index(split, "labels")[:, self._column].astype(np.int64)
        targets = self._groups_of(store.codes(split, self._by) if self._by else codes)
        inputs = store.gene_set[store.index(self.split, "dataset")[self._cells]]
        groups = np.repeat(np.arange(self._groups), self._number)
        found = [np.empty((0, 2), np.int64)]
        for group in np.unique(groups):
            sets, classes = np.unique(inputs[groups == group]), np.unique(codes[targets == group])
            found.append(np.stack(np.meshgrid(classes, sets), axis=-1).reshape(-1, 2))
        return np.concatenate(found)


def _found(store, spec):
    """Place of the label among the store's labels, and the code of its control class."""
    if spec.label not in store.labels:
        raise ValueError(
            f"config.data.pair.label: found {spec.label!r}, expected one of the store's labels: "
            f"{', '.join(store.labels) or 'it has none'}"
        )
    classes = store.labels[spec.label]
    if spec.control not in classes:
        some = ", ".join(classes[:8]) + (" …" if len(classes) > 8 else "")
        raise ValueError(
            f"config.data.pair.control: found {spec.control!r}, expected a class of {spec.label}: "
            f"{some}"
        )
    if spec.by and spec.by not in store.classes:
        raise ValueError(
            f"config.data.pair.by: found {spec.by!r}, expected '' or one of "
            f"{', '.join(store.classes)}"
        )
    return list(store.labels).index(spec.label), classes.index(spec.control)


def check(store, spec):
    """Check a store for pairs, see `Pairs.check`.

    Returns
    -------
    A line that says how many cells are predicted from how many.
    """
    said = []
    for split in (split for split, cells in store.sizes.items() if cells):
        pairs = Pairs(store, spec, split)
        pairs.check(split)
        own = len(pairs) if pairs.split == split else 0
        of = "" if pairs.split == split else f" {pairs.split}"
        number = store.sizes[split] - own
        said.append(f"{number:,} {split} cells from {len(pairs):,}{of} controls")
    within = f", within {spec.by}" if spec.by else ""
    return f"config.data.pair: perturbed by {spec.label}: {'; '.join(said)}{within}"

"""What is known of a run's training cells before it begins. V genes, n bins above zero.

Transforms ask for it when a run trains, validates and embeds: all from the same numbers, which
travel in the model's tables.
"""

import numpy as np
import scipy.sparse as sp

from jaxcell.config_data_checks import bin_tables
from jaxcell.data.bins import EDGES, Bin, quantiles
from jaxcell.data.draft import Draft, cell_keys
from jaxcell.data.sampling import cells_per_epoch, order, weights
from jaxcell.data.transforms import Normalise, temperatures

# Cells whose values are read; counts and totals are the store's, of all cells.
CELLS = 8192
AT_ONCE = 1024


def statistics(store, c):
    """What the transforms of ``c.data`` ask for, by the names of their fields: of a store.

    Returns
    -------
    dict with frequency i64 [V] (training cells with each gene), bin_edges f32 [V, n] and mean_total
    f64 [], those of them that are needed: the others stay on disk
    """
    make = {"bin_edges": _bin_edges, "mean_total": _mean_total}
    found = {name: make[name](store, c) for name in bin_tables(c.data)}
    if temperatures(c.data):
        found["frequency"] = store.stats["nonzero"].sum(axis=0)
    return found


def of_tables(tables, genes):
    """The same of a model's tables, whose rows are padded beyond its ``genes`` = V."""
    names = {"frequency": "detected", "bin_edges": "bin_edges", "mean_total": "mean_total"}
    found = {name: np.asarray(tables[k]) for name, k in names.items() if k in tables}
    return {name: one[:genes] if one.ndim else one for name, one in found.items()}


def trained_classes(store, labels):
    """{label: bool [n]}: which classes of these labels some training cell has.

    The others are unknown to a model that shows the label: it has learned nothing of them.
    """
    found = {}
    for label in labels:
        codes, number = store.codes("train", label), len(store.classes[label])
        found[label] = np.bincount(codes[codes >= 0], minlength=number) > 0
    return found


def codes_of(store, rows, trained):
    """Labels of decoded cells {column: class i32 [b]}; −1: unknown, also by `trained_classes`."""
    found = store.labels_of(rows)
    for label, known in trained.items():
        codes = found[label]
        found[label] = np.where((codes >= 0) & known[codes], codes, -1).astype(np.int32)
    return found


def _bin_edges(store, c):
    """Edges of each gene's bins among its normalised values > 0, f32 [V, n]; ∞ where it has none.

    Of all training cells, or ``CELLS`` of them, evenly spaced, whatever mixture and sampling. In
    float32, as the values are: a value that is an edge ties with it.
    """
    cells = _evenly(store)
    found = list(_drafts(store, c, np.zeros_like(cells), cells, [_normalise(c)]))
    values = np.concatenate([draft.values for draft in found])
    ids = np.concatenate([draft.rows.ids for draft in found])
    number = np.concatenate([np.diff(draft.rows.indptr) for draft in found])
    shape = (len(cells), len(store.vocabulary))
    by_gene = sp.csr_matrix((values, ids, np.append(0, np.cumsum(number))), shape).tocsc()
    shares = EDGES["gene"](c.data.bin.number - 1)
    return quantiles(by_gene.data, by_gene.indptr, shares).astype(np.float32)


def _mean_total(store, c):
    """The training cells' mean sum over their measured genes, f64 []."""
    return np.float64(store.stats["sum"].sum() / store.stats["cells"].sum())


def sample(store, c, binned=None):
    """Genes, values and weights of some training cells' non-zero counts, and cells [V].

    Evenly spaced cells that weigh as much as training shows their datasets; where sampling goes by
    labels, the first of the run's stream. Values are log1p of normalised counts.

    binned : the store's `statistics`, by which values are bin numbers instead

    Returns
    -------
    ids i32, values f64 and weights f64 [nnz], and the weight of the cells that measured each gene
    f64 [V], 1 where none did
    """
    weight = weights(store, c.data, c.seed)
    if weight is None:
        number = min(cells_per_epoch(store, c.data), CELLS)
        stream = order(store, c.data, c.seed, c.train.batch_size)
        (epochs, cells), weight = stream(np.arange(number)), np.ones(len(store.datasets))
    else:
        cells = _evenly(store)
        epochs = np.zeros_like(cells)
    transforms = [_normalise(c)]
    if binned is not None:
        known = {name: binned[name] for name in bin_tables(c.data)}
        transforms.append(Bin(**c.data.bin, **known))
    seen = np.zeros(len(store.datasets), np.int64)
    ids, values, often = [], [], []
    for draft in _drafts(store, c, epochs, cells, transforms):
        rows = draft.rows
        ids.append(rows.ids)
        values.append(draft.values.astype(np.float64))
        often.append(np.repeat(weight[rows.dataset], np.diff(rows.indptr)))
        seen += np.bincount(rows.dataset, minlength=len(seen))
    return *map(np.concatenate, (ids, values, often)), measured_by(store, weight * seen)


def measured_by(store, cells):
    """Cells that measured each gene, 1 where none did: cells [datasets] -> [V]."""
    found = (cells[:, None] * store.measured[store.gene_set]).sum(axis=0)
    return np.where(found > 0, found, 1)


def _normalise(c):
    return Normalise(**c.data.normalise, total=c.data.total)


def _evenly(store):
    size = store.sizes["train"]
    return np.unique(np.linspace(0, size - 1, min(size, CELLS)).astype(np.int64))


def _drafts(store, c, epochs, cells, transforms):
    """Yield drafts of some training cells, with the keys that they have in these epochs."""
    for start in range(0, len(cells), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        rows, keys = store.read("train", cells[part]), cell_keys(c.seed, epochs[part], cells[part])
        draft = Draft(rows, [], store.gene_set[rows.dataset], keys)
        for transform in transforms:
            transform(draft)
        yield draft

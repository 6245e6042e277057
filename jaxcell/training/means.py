"""The best that can be said of a gene without looking at the cell. V genes.

It is where the decoder starts, and the lower end of the scale on which a run's loss is shown. Cells
count as often as training sees them, by ``config.data.mixture`` and ``sampling``.
"""

import numpy as np

from jaxcell.data.draft import Draft
from jaxcell.data.sampling import cells_per_epoch, order, weights
from jaxcell.data.transforms import Normalise
from jaxcell.training.external import external_tables
from jaxcell.training.labels import label_tables

# Cells that the centres of MSE and SmoothL1 are found from, and counts' means where sampling goes
# by labels; else these are the store's, of all cells.
CELLS = 8192
AT_ONCE = 1024


def tables_of(store, c, rows, ontologies=None):
    """Masks and statistics for the step, padded to ``rows`` = R.

    Returns
    -------
    dict with measured bool [G, R], gene_set i32 [datasets], detected f32 [R] (training cells with
    the gene > 0), mean f32 [R], the best prediction of each gene that is the same for all cells,
    zero_logit f32 [R], that of its being zero, and mask_rate f32 [R], how often it is masked; and,
    where the config asks for them, vectors and known (of fields from files), leaves and targets (of
    labels).
    """
    pad = rows - len(store.vocabulary)
    genes = {
        "mean": best_constant(store, c),
        "detected": store.stats["nonzero"].sum(axis=0),
        "zero_logit": zero_logit(store, c),
        "mask_rate": np.full(len(store.vocabulary), c.data.draw_masks.ratio),
    }
    return {
        "measured": np.pad(store.measured, ((0, 0), (0, pad))),
        "gene_set": store.gene_set.astype(np.int32),
        **{name: np.pad(one, (0, pad)).astype(np.float32) for name, one in genes.items()},
        **external_tables(c.model, store.vocabulary),
        **label_tables(c, store, ontologies or {}),
    }


def zero_logit(store, c):
    """ln(cells without the gene / cells with it) of training cells that measured it, f64 [V].

    Half a cell is added to either, so that none is infinite.
    """
    weight = weights(store, c.data, c.seed)
    if weight is None:
        ids, _, weight, cells = _sample(store, c)
        found = np.bincount(ids, weight, len(store.vocabulary))
    else:
        cells = _measured_by(store, weight * store.stats["cells"])
        found = weight @ store.stats["nonzero"]
    return np.log(cells - found + 0.5) - np.log(found + 0.5)


def best_constant(store, c):
    """The prediction in log1p space, one for all cells, with the least loss on the training cells.

    For the likelihoods of counts ln(1 + the gene's mean normalised count), the minimum of the
    Poisson loss; for MSE the mean of ln(1 + normalised count), and for SmoothL1 the value from
    which differences, cut at ±1, sum to 0; for a loss of non-zero values alone their mean: all
    these over at most ``CELLS`` cells, evenly spaced. Where sampling goes by labels, all of them
    over as many cells, the first of the run's stream.

    Returns
    -------
    float64 [V], 0 for a gene that no training cell measured
    """
    loss = c.losses.get("mean_predictor") or c.losses.get("expression", {})
    kind = loss.get("kind", "poisson_log1p")
    where = loss.get("where", ())
    if {"batch.panel", "batch.target"} & set((where,) if isinstance(where, str) else where):
        ids, values, weight, _ = _sample(store, c)
        genes = len(store.vocabulary)
        sums, number = (np.bincount(ids, w, minlength=genes) for w in (weight * values, weight))
        return sums / np.where(number > 0, number, 1)
    if kind == "mse":
        return _centre(store, c, np.inf)
    if kind == "smooth_l1":
        return _centre(store, c, 1.0)
    weight = weights(store, c.data, c.seed)
    if weight is None:
        ids, values, weight, cells = _sample(store, c)
        return np.log1p(np.bincount(ids, weight * np.expm1(values), len(store.vocabulary)) / cells)
    cells = _measured_by(store, weight * store.stats["cells"])
    if not c.data.normalise.scale:
        return np.log1p(weight @ store.stats["sum"] / cells)
    share = weight @ store.stats["share" if c.data.total == "measured" else "share_source"]
    return np.log1p(c.data.normalise.library_size * share / cells)


def _measured_by(store, cells):
    """Cells that measured each gene, 1 where none did: cells [datasets] -> [V]."""
    found = (cells[:, None] * store.measured[store.gene_set]).sum(axis=0)
    return np.where(found > 0, found, 1)


def _centre(store, c, cut):
    """The y [V] with Σ over cells of clip(y − x, −cut, cut) = 0, by halving from [0, max x]."""
    ids, values, weight, cells = _sample(store, c)
    genes = len(store.vocabulary)
    nonzero = np.bincount(ids, weight, minlength=genes)
    zeros = cells - nonzero
    low, high = np.zeros(genes), np.zeros(genes)
    np.maximum.at(high, ids, values)
    for _ in range(50):
        y = (low + high) / 2
        pull = np.bincount(ids, weight * np.clip(y[ids] - values, -cut, cut), minlength=genes)
        above = pull + zeros * np.minimum(y, cut) > 0
        low, high = np.where(above, low, y), np.where(above, y, high)
    return (low + high) / 2


def _sample(store, c):
    """Genes, log1p values and weights of some training cells' non-zero counts, and cells [V]."""
    weight = weights(store, c.data, c.seed)
    if weight is None:
        number = min(cells_per_epoch(store, c.data), CELLS)
        stream = order(store, c.data, c.seed, c.train.batch_size)
        positions, weight = stream(np.arange(number))[1], np.ones(len(store.datasets))
    else:
        size = store.sizes["train"]
        positions = np.unique(np.linspace(0, size - 1, min(size, CELLS)).astype(np.int64))
    normalise = Normalise(**c.data.normalise, total=c.data.total)
    seen = np.zeros(len(store.datasets), np.int64)
    ids, values, often = [], [], []
    for start in range(0, len(positions), AT_ONCE):
        rows = store.read("train", positions[start : start + AT_ONCE])
        draft = Draft(rows, [], store.gene_set[rows.dataset], np.empty((0, 2), np.uint64))
        normalise(draft)
        ids.append(rows.ids)
        values.append(draft.values.astype(np.float64))
        often.append(np.repeat(weight[rows.dataset], np.diff(rows.indptr)))
        seen += np.bincount(rows.dataset, minlength=len(seen))
    return *map(np.concatenate, (ids, values, often)), _measured_by(store, weight * seen)

"""The best that can be said of a gene without looking at the cell. V genes.

It is where the decoder starts, and the lower end of the scale on which a run's loss is shown. Cells
count as often as training sees them, by ``config.data.mixture`` and ``sampling``.
"""

import functools

import numpy as np

from jaxcell.config import bin_tables, shown_labels
from jaxcell.data.sampling import weights
from jaxcell.data.statistics import measured_by, sample, statistics, trained_classes
from jaxcell.training.external import external_tables
from jaxcell.training.labels import label_tables

# Of which loss the best constant is asked for; that of masked bins has the name of its paper.
LOSSES = ("mean_predictor", "mgm", "mlm", "expression", "perturbed")
NONZERO = {"batch.panel", "batch.target", "batch.expressed"}  # as a loss's `where`


def tables_of(store, c, rows, ontologies=None):
    """Masks and statistics for the step, padded to ``rows`` = R.

    Returns
    -------
    dict with measured bool [G, R], gene_set i32 [datasets], detected f32 [R] (training cells with
    the gene > 0), mean f32 [R], the best prediction of each gene that is the same for all cells,
    zero_logit f32 [R], that of its being zero, and mask_rate f32 [R], how often it is masked; and,
    where the config asks for them, vectors and known (of fields from files), leaves and targets (of
    labels), trained bool [n] (of labels that the model shows); and bin_edges f32 [R, bins] and
    mean_total f64 [], see `data.statistics`.
    """
    known = statistics(store, c)
    pad = rows - len(store.vocabulary)
    genes = {
        "mean": best_constant(store, c, known),
        "detected": store.stats["nonzero"].sum(axis=0),
        "zero_logit": zero_logit(store, c),
        "mask_rate": np.full(len(store.vocabulary), c.data.draw_masks.ratio),
    }
    trained = trained_classes(store, shown_labels(c.model))
    bins = {name: known[name] for name in bin_tables(c.data)}
    if "bin_edges" in bins:
        bins["bin_edges"] = np.pad(bins["bin_edges"], ((0, pad), (0, 0)))
    return {
        "measured": np.pad(store.measured, ((0, 0), (0, pad))),
        "gene_set": store.gene_set.astype(np.int32),
        **{name: np.pad(one, (0, pad)).astype(np.float32) for name, one in genes.items()},
        **external_tables(c.model, store.vocabulary),
        **label_tables(c, store, ontologies or {}),
        **({"trained": trained} if trained else {}),
        **bins,
    }


def zero_logit(store, c):
    """ln(cells without the gene / cells with it) of training cells that measured it, f64 [V].

    Half a cell is added to either, so that none is infinite.
    """
    weight = weights(store, c.data, c.seed)
    if weight is None:
        ids, _, weight, cells = sample(store, c)
        found = np.bincount(ids, weight, len(store.vocabulary))
    else:
        cells = measured_by(store, weight * store.stats["cells"])
        found = weight @ store.stats["nonzero"]
    return np.log(cells - found + 0.5) - np.log(found + 0.5)


def best_constant(store, c, known):
    """The prediction, one for all cells, with the least loss on the training cells.

    It is in log1p space or, where the loss compares the tokens' own values and these are binned, a
    number of bins. For the likelihoods of counts ln(1 + the gene's mean normalised count), the
    minimum of the Poisson loss; for MSE the mean of ln(1 + normalised count), and for SmoothL1 the
    value from which differences, cut at ±1, sum to 0; of bins their mean, but for SmoothL1; for a
    loss of non-zero values alone their mean: all these over at most ``data.statistics.CELLS``
    cells, evenly spaced. Where sampling goes by labels, all of them over as many cells, the first
    of the run's stream. Masked tokens are taken to be like the others of their gene, but for
    ``draw_masks.expressed`` = 'only'.

    known : the store's `statistics`

    Returns
    -------
    float64 [V], 0 for a gene that no training cell measured
    """
    loss = next((c.losses[name] for name in LOSSES if name in c.losses), {})
    kind = loss.get("kind", "poisson_log1p")
    binned = "bin" in c.data.transforms and loss.get("target") == "batch.target"
    read = functools.partial(sample, store, c, known if binned else None)
    if _of_nonzero(loss, c):
        ids, values, weight, _ = read()
        genes = len(store.vocabulary)
        sums, number = (np.bincount(ids, w, minlength=genes) for w in (weight * values, weight))
        return sums / np.where(number > 0, number, 1)
    if kind == "smooth_l1":
        return _centre(*read(), 1.0)
    if kind == "mse" or binned:
        return _centre(*read(), np.inf)
    weight = weights(store, c.data, c.seed)
    if weight is None or c.data.normalise.given == "log1p":  # the store sums what it holds
        ids, values, weight, cells = read()
        return np.log1p(np.bincount(ids, weight * np.expm1(values), len(store.vocabulary)) / cells)
    cells = measured_by(store, weight * store.stats["cells"])
    if not c.data.normalise.scale:
        return np.log1p(weight @ store.stats["sum"] / cells)
    share = weight @ store.stats["share" if c.data.total == "measured" else "share_source"]
    return np.log1p(c.data.normalise.library_size * share / cells)


def _of_nonzero(loss, c):
    """Whether a loss is of non-zero values alone."""
    where = loss.get("where", ())
    where = {where} if isinstance(where, str) else set(where)
    masks = "draw_masks" in c.data.transforms and "batch.mask" in where
    return bool(NONZERO & where) or (masks and c.data.draw_masks.expressed == "only")


def _centre(ids, values, weight, cells, cut):
    """The y [V] with Σ over cells of clip(y − x, −cut, cut) = 0, by halving from [0, max x]."""
    genes = len(cells)
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

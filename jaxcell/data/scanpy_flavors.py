"""scanpy's flavours of highly variable genes, from streamed sums: their ranking of genes.

Each takes (TrainingCells, names str [V], number) and gives the genes with counts, the best first,
i64. G batches, V genes, k genes that have a score in a batch.
"""

import warnings

import numpy as np
import pandas as pd

from jaxcell.data.gene_moments import moments

TARGET = 1e4  # sum of a cell's normalised counts, for seurat and cell_ranger
SEURAT_BINS = 20
SPANS = (0.3, 0.5, 0.75, 1.0)  # of seurat_v3's curve; scanpy has the first
FEWEST_POINTS = 4  # with fewer, scikit-misc 0.5.3 ends the process


def seurat(training, names, number):
    """Log of the dispersion, z-scored among genes of like mean. Source: Satija et al. 2015."""
    return _by_dispersion(training, names, number, _per_total, _seurat_scores)


def cell_ranger(training, names, number):
    """Dispersion over the MAD of genes of like mean, on log1p. Source: Zheng et al. 2017."""
    log_per_total = lambda counts, batch: np.log1p(_per_total(counts, batch))  # noqa: E731
    return _by_dispersion(training, names, number, log_per_total, _cell_ranger_scores)


def _by_dispersion(training, names, number, value, scores):
    """Genes that are among the highest in most batches; then by mean score; then by name.

    Every batch has a score for each gene that it measured, 0 where it counted none.
    """
    total, squares = moments(training, value)
    several = training.cells > 1  # one cell has no variance
    score = np.where(several, 0.0, np.nan)
    high = np.zeros(score.shape, bool)
    for g in _usable(training, several & (total > 0)):
        # Without a batch key scanpy bins genes without a count too: they move the bins.
        seen = several[g] & ((total[g] > 0) | training.undivided)
        with np.errstate(divide="ignore", invalid="ignore"):  # scores may be infinite, or none
            found = scores(*_mean_variance(training.cells[g], total[g], squares[g], seen))
        score[g, seen] = found
        ranked = np.sort(found[~np.isnan(found)])[::-1]
        if len(ranked):
            high[g, seen] = found >= ranked[min(number, len(ranked)) - 1]
    scored = ~np.isnan(score)
    with np.errstate(invalid="ignore"):  # ∞ − ∞, and genes without any score
        mean = np.where(scored, score, 0).sum(axis=0) / scored.sum(axis=0)
    order = np.lexsort((names, -mean, -high.sum(axis=0)))  # no score: last
    return order[(total > 0).any(axis=0)[order]]


def _per_total(counts, batch):
    """Counts scaled to the same sum in every cell, [nnz]."""
    sums = np.asarray(counts.sum(axis=1)).ravel()
    return counts.data / np.repeat(sums / TARGET, np.diff(counts.indptr))


def _mean_variance(cells, total, squares, seen):
    """Mean (never 0, as in scanpy) and unbiased variance of the genes seen, two f64 [k]."""
    n = cells[seen]
    mean = total[seen] / n
    variance = np.maximum(squares[seen] / n - mean**2, 0) * (n / (n - 1))
    return np.where(mean > 0, mean, 1e-12), variance


def _seurat_scores(mean, variance):
    dispersion = pd.Series(np.log(np.where(variance > 0, variance / mean, np.nan)))
    alike = dispersion.groupby(pd.cut(np.log1p(mean), SEURAT_BINS, labels=False))
    center, spread = alike.transform("mean"), alike.transform("std")
    # A gene that has a bin of its own scores 1, as in scanpy.
    return np.where(spread.isna(), dispersion / center, (dispersion - center) / spread)


def _cell_ranger_scores(mean, variance):
    dispersion = pd.Series(variance / mean)
    # Percentiles coincide where many genes have one mean: scanpy raises then.
    edges = np.unique(np.r_[-np.inf, np.percentile(mean, np.arange(10, 105, 5)), np.inf])
    bins = pd.cut(mean, edges, labels=False)
    away = dispersion - dispersion.groupby(bins).transform("median")
    # scanpy divides by the MAD / 0.6745: a constant, which moves no gene.
    return (away / away.abs().groupby(bins).transform("median")).to_numpy()


def seurat_v3(training, names, number):
    """Variance of clipped z-scores; the spread is a loess of mean. Source: Stuart et al. 2019.

    Genes by their median rank among the highest of each batch; then by the number of these batches;
    then in the vocabulary's order.
    """
    total, squares = moments(training)
    spread = np.ones(total.shape)
    limit = np.zeros(total.shape)
    several = training.cells > 1  # one cell has no variance
    usable = _usable(training, several & (total > 0))
    for g in usable:
        seen = several[g] & (total[g] > 0)
        mean, variance = _mean_variance(training.cells[g], total[g], squares[g], seen)
        spread[g, seen] = _expected_spread(mean, variance, training.names[g])
        limit[g, seen] = spread[g, seen] * np.sqrt(training.cells[g, seen]) + mean

    def clipped(counts, batch):
        cell = np.repeat(batch, np.diff(counts.indptr))
        return np.minimum(counts.data, limit[cell, counts.indices])

    clipped_total, clipped_squares = moments(training, clipped)
    ranks = np.full(total.shape, np.nan)
    for g in usable:
        scored = np.flatnonzero(several[g])
        n = training.cells[g, scored]
        mean = total[g, scored] / n
        squared = n * mean**2 + clipped_squares[g, scored] - 2 * clipped_total[g, scored] * mean
        variance = squared * (1 / ((n - 1) * spread[g, scored] ** 2))
        # Not stable, and each step as scanpy has it: of many genes with one count each, all with
        # the same variance, the same ones come first.
        best = scored[np.argsort(-variance)][:number]
        ranks[g, best] = np.arange(len(best))
    median = np.ma.median(np.ma.masked_invalid(ranks), axis=0).filled(np.nan)
    order = np.lexsort((-np.isfinite(ranks).sum(axis=0), median))  # no rank: last
    return order[(total > 0).any(axis=0)[order]]


def _expected_spread(mean, variance, batch):
    """Standard deviation that a gene's mean lets expect, f64 [k]; 1 where nothing varies.

    Where so many genes have one mean (one count in one cell) that the neighbours of some fix no
    curve, scanpy raises; here the share of the genes that count as neighbours grows.
    """
    varies = variance > 0
    x, y = np.log10(mean[varies]), np.log10(variance[varies])
    spread, loess, reason = np.ones(len(mean)), loess_class(), None
    for span in SPANS if len(x) >= FEWEST_POINTS else ():
        model = loess(x, y, span=span, degree=2)
        try:
            model.fit()
        except ValueError as error:
            reason = error
            continue
        if span != SPANS[0]:
            warnings.warn(
                f"seurat_v3, {batch}: too many genes have the same mean for a span of {SPANS[0]} "
                f"(scanpy fails); {span} is taken. More --min-cells leaves such genes out",
                stacklevel=6,
            )
        spread[varies] = np.sqrt(10**model.outputs.fitted_values)
        return spread
    raise ValueError(
        f"hvg_flavor seurat_v3: no curve of variance by mean fits {batch} ({varies.sum()} genes "
        "vary there): choose another --hvg-batch or flavour"
    ) from reason


def loess_class():
    """scikit-misc's loess; raises ImportError, with the extra that has it, where it is absent."""
    try:
        from skmisc.loess import loess
    except ImportError as error:
        raise ImportError(
            "hvg_flavor seurat_v3 fits with scikit-misc: pip install 'jaxcell[hvg]'"
        ) from error
    return loess


def _usable(training, seen):
    """Batches with two cells and a count; the others choose no genes, and are warned of."""
    usable = seen.any(axis=1)
    if not usable.any():
        raise ValueError(
            "no batch has two training cells with counts, so no gene has a variance: choose "
            "another --hvg-batch"
        )
    few = [name for name, u in zip(training.names, usable, strict=True) if not u]
    if few:
        warnings.warn(
            f"{len(few)} of {len(training.names)} batches have fewer than two training cells, or "
            f"no counts, and choose no genes: {', '.join(few[:5])}{' …' if few[5:] else ''}",
            stacklevel=5,
        )
    return np.flatnonzero(usable)

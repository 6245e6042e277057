"""Highly variable genes of many datasets, by scanpy's flavours and BioFormer's. V genes.

Only training cells choose, so that the held-out ones are unseen.
"""

import numpy as np

from jaxcell.data.gene_moments import TrainingCells, moments
from jaxcell.data.scanpy_flavors import cell_ranger, loess_class, seurat, seurat_v3
from jaxcell.registry import lookup

SHARE_OF_DATASETS = 0.9  # BioFormer: genes measured in fewer are none of the chosen


def choose(surveys, splits, genes, number, *, flavor, batch, bar):
    """Choose genes over all sources, streamed.

    The flavours seurat, cell_ranger and seurat_v3 give the genes of
    ``scanpy.pp.highly_variable_genes(adata, n_top_genes=number, flavor=…, batch_key=…)``, adata
    being all training cells with the genes kept; for seurat and cell_ranger after
    ``normalize_total(target_sum=1e4)``, whose totals are over these genes, and ``log1p``. A single
    dataset without `batch` is scanpy's call without a batch key. There scanpy takes more than
    `number` genes where some have the score of the last; here the first of these by name are taken,
    as with a batch key. Genes without a count never are. Sums are in float64; scanpy's matrix is
    often float32.

    But where datasets measure different genes: scanpy sees zeros; here a gene's mean and variance
    are over the cells in which it was measured, and it has no score in a batch that did not.

    Parameters
    ----------
    surveys, splits : lists
        A Survey and i8 [cells] of each source; see ``TrainingCells``.
    genes : Vocabulary, V genes
    number : int
        How many.
    flavor : {'seurat', 'cell_ranger', 'seurat_v3', 'bioformer'}
    batch : str, optional
        obs column of scanpy's batches; by default each dataset is one.
    bar : callable
        Sources → progress bar of a pass over them.

    Returns
    -------
    bool [V]
        The chosen genes, exactly `number`.

    Raises
    ------
    ValueError
        Fewer genes can be chosen, no batch has two training cells, or a dataset measured none of
        the chosen genes.
    ImportError
        seurat_v3 needs scikit-misc.
    """
    training = TrainingCells(surveys, splits, batch, bar)
    order = FLAVORS[flavor](training, np.asarray(genes.names), number)
    chosen = _first(order, number, len(genes), flavor)
    for v in surveys:
        for i in np.unique(v.dataset[v.kept]):
            if not (v.measured[i] & chosen).any():
                raise ValueError(
                    f"{v.source.name} {v.values[i]}".rstrip()
                    + f": none of the {number} genes chosen "
                    "by the training cells is measured there (--hvg)"
                )
    return chosen


def from_store(store, number):
    """BioFormer's genes by the statistics of a store: those that `choose` finds at prepare time.

    Parameters
    ----------
    store : Store
        With all genes that are to be chosen among.
    number : int

    Returns
    -------
    bool [V]
        The chosen genes, exactly `number`.

    Raises
    ------
    ValueError
        Fewer genes can be chosen.
    """
    stats = store.stats
    there = stats["cells"] > 0  # the others are held out as a whole
    measured = store.measured[store.gene_set][there]
    total, squares = (stats[name][there].sum(axis=0) for name in ("sum", "sum_sq"))
    order = _by_excess(measured, stats["cells"].sum(), total, squares)
    return _first(order, number, len(store.vocabulary), "bioformer")


def check_options(hvg, flavor, batch):
    """Refuse what `prepare` cannot do, before anything is read.

    Raises
    ------
    ValueError
        An unknown flavour, no number above 0, a batch that the flavour does not take, or a flavour
        or batch without a number.
    ImportError
        seurat_v3 needs scikit-misc.
    """
    if flavor is not None:
        lookup(FLAVORS, flavor, "hvg_flavor")
    if hvg is None:
        for name, value in (("flavor", flavor), ("batch", batch)):
            if value is not None:
                raise ValueError(
                    f"hvg_{name} is {value!r}, but no genes are to be chosen: say how many (--hvg)"
                )
        return
    if hvg < 1:
        raise ValueError(f"hvg is {hvg}; expected 1 or more genes")
    if batch and flavor == "bioformer":
        raise ValueError(
            f"hvg_batch is {batch!r}; the flavour bioformer pools all cells and counts datasets, "
            "which --measured-by divides: leave it out"
        )
    if flavor == "seurat_v3":
        loess_class()


def _first(order, number, n_genes, flavor):
    if number > len(order):
        raise ValueError(
            f"hvg is {number}, but only {len(order)} of the {n_genes} genes can be chosen by "
            f"{flavor} (they have counts in the training cells"
            + (" and are measured in 9 of 10 datasets)" if flavor == "bioformer" else ")")
            + "; ask for fewer, or none for all genes"
        )
    chosen = np.zeros(n_genes, bool)
    chosen[order[:number]] = True
    return chosen


def _bioformer(training, names, number):
    total, squares = (part.sum(axis=0) for part in moments(training))
    return _by_excess(training.measured, training.sizes.sum(), total, squares)


def _by_excess(measured, cells, total, squares):
    """Genes by log1p(variance) over its quadratic in log1p(mean), of raw counts of all cells.

    A dataset that did not measure a gene counts as zeros. Source: BioFormer's code, which keeps the
    genes in ascending order of this score; a store keeps the order of its vocabulary.

    Parameters
    ----------
    measured : bool [datasets, V]
    cells : int, of all datasets
    total, squares : f64 [V], sums of the counts and of their squares
    """
    fewest = int(SHARE_OF_DATASETS * len(measured))
    among = np.flatnonzero((measured.sum(axis=0) >= fewest) & (total > 0))
    mean = total[among] / cells
    variance = np.log1p(np.maximum(squares[among] / cells - mean**2, 1e-10))
    mean = np.log1p(mean)
    excess = variance - np.polyval(np.polyfit(mean, variance, 2), mean)
    return among[np.argsort(-excess, kind="stable")]


FLAVORS = {
    "seurat": seurat,
    "cell_ranger": cell_ranger,
    "seurat_v3": seurat_v3,
    "bioformer": _bioformer,
}

"""A store → a `Look` for each dataset, from index, facts and statistics: no record is read."""

import numpy as np

from jaxcell.data.genes import GeneNames
from jaxcell.data.inspection import identifiers, labels
from jaxcell.data.inspection.look import Look
from jaxcell.data.store import SPLITS


def looks_of(store, labels_asked=None):
    """Looks of a store's datasets that have cells.

    Parameters
    ----------
    store : Store
    labels_asked : list of str, optional
        Those of its labels that are shown; by default all.

    Returns
    -------
    list of Look
        Genes are those that the dataset measured; the share of cells with a gene, and the mean
        share of mitochondrial counts, are those of training cells.
    """
    index = {
        column: np.concatenate([store.index(split, column) for split in SPLITS])
        for column in ("dataset", "total", "n_genes", "labels")
    }
    order = np.argsort(index["dataset"], kind="stable")
    ends = np.cumsum(np.bincount(index["dataset"], minlength=len(store.datasets)))
    return [
        _look(store, number, {c: a[rows] for c, a in index.items()}, labels_asked)
        for number, rows in enumerate(np.split(order, ends[:-1]))
        if len(rows)
    ]


def _look(store, number, index, labels_asked):
    facts, measured = store.datasets[number], store.measured[store.gene_set[number]]
    stats = {name: array[number] for name, array in store.stats.items()}
    names = GeneNames(
        *(
            tuple(np.array(own, object)[measured])
            for own in (store.vocabulary.symbols, store.vocabulary.ensembl)
        )
    )
    cells = max(int(stats["cells"]), 1)
    values = "counts" if not facts["non_integer"] else facts["non_integer"]
    wanted = [c for c in store.labels if labels_asked is None or c in labels_asked]
    codes = index["labels"][:, [list(store.labels).index(c) for c in wanted]]
    return Look(
        name=store.names[number],
        file=str(store.path),
        n_cells=len(codes),
        read=len(codes),
        counts=facts["counts"],
        values=values,
        places={facts["counts"]: values},
        depth=index["total"],
        n_genes=index["n_genes"],
        names=names,
        share=stats["nonzero"][measured] / cells,
        mitochondrial=_mitochondrial(names, stats["share_source"][measured] / cells),
        identifiers=identifiers.facts(names),
        labels={c: labels.of_codes(codes[:, i], store.labels[c]) for i, c in enumerate(wanted)},
        other_columns={},
    )


def _mitochondrial(names, share):
    """The mean alone: statistics are of genes, not of cells."""
    genes = np.array(identifiers.mitochondrial(names), bool)
    if not genes.any():
        return None
    return {"genes": int(genes.sum()), "mean": float(100 * share[genes].sum())}

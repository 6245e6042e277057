"""An opened input of `prepare` → a `Look`, in one pass over all its cells or blocks of them."""

import warnings

import numpy as np

from jaxcell.data.checks import WHERE_COUNTS, check_chunk
from jaxcell.data.genes import GeneNames, identify
from jaxcell.data.inspection import identifiers, labels, panels
from jaxcell.data.inspection.look import Look
from jaxcell.data.inspection.values import COUNTS
from jaxcell.data.preparing.repeats import hashes
from jaxcell.data.splits import classes

BLOCKS = 20  # in which a sample of a source is read


def blocks(n_cells, most):
    """Ranges [start, stop) of cells to read: all, or about ``most`` (0 = all) spread evenly."""
    if not most or n_cells <= most:
        return [(0, n_cells)]
    number = min(BLOCKS, most)
    size, starts = most // number, np.linspace(0, n_cells, number + 1).astype(int)[:-1]
    return [(int(a), int(a) + size) for a in starts]


def look_at(
    source, places, *, most=0, labels_asked=None, batch=None, identifiers_by="auto", advance=None
):
    """Read an input, or a sample of its cells.

    Parameters
    ----------
    source : opened source
    places : dict
        As `values.of_places` finds them.
    most : int
        Cells to read; 0 = all.
    labels_asked, batch : see `labels.choose` and `panels.column`
    identifiers_by : {'auto', 'symbols', 'ensembl'}
    advance : callable
        Called with the number of cells done.

    Returns
    -------
    Look
    """
    refused, warned = [], []
    names = _names(source, identifiers_by, refused)
    mito = np.array(identifiers.mitochondrial(names), np.float64)
    by = panels.column(source.obs, batch)
    panel = None
    if by is not None:
        codes, batches = classes(source.obs[by])
        panel = panels.Panels(by, batches, codes, len(names))
    cells_with = np.zeros(len(names), np.int64)
    depth, n_genes, share = [], [], []
    for start, stop in blocks(source.n_cells, most):
        for chunk in source.chunks(start, stop):
            _checked(chunk, source, places, refused, warned)
            # What is NaN or infinite is told above; all numbers below are of the other values.
            chunk.data[~np.isfinite(chunk.data)] = 0
            chunk.eliminate_zeros()
            total = np.asarray(chunk.sum(axis=1, dtype=np.float64)).ravel()
            depth.append(total.astype(np.float32))
            n_genes.append(np.diff(chunk.indptr).astype(np.int32))
            share.append(np.divide(chunk @ mito, total, out=np.zeros_like(total), where=total > 0))
            cells_with += np.bincount(chunk.indices, minlength=len(names))
            if panel is not None:
                panel.add(start, chunk)
            start += chunk.shape[0]
            if advance:
                advance(chunk.shape[0])
    depth, n_genes, share = map(np.concatenate, (depth, n_genes, share))
    taken, others = labels.choose(source.obs, labels_asked)
    return Look(
        name=source.name,
        file=source.name,
        n_cells=source.n_cells,
        read=len(depth),
        counts=source.counts,
        values=places[source.counts],
        places=places,
        depth=depth,
        n_genes=n_genes,
        names=names,
        share=cells_with / len(depth),
        mitochondrial=_mitochondrial(mito, share),
        identifiers=identifiers.facts(names, identifiers.spelled(source.var)),
        labels={str(column): labels.balance(source.obs[column]) for column in taken},
        other_columns=others,
        cells=hashes(source.obs.index),
        panels=panel and panel.facts(),
        refused=refused,
        warned=warned,
    )


def _names(source, by, refused):
    """Names of the genes; where there are none that `prepare` would take, blanks."""
    try:
        return identify(source.var, by, source.name)
    except ValueError as error:
        refused.append(str(error))
        blank = ("",) * len(source.var)
        return GeneNames(blank, blank)


def _checked(chunk, source, places, refused, warned):
    """What `prepare` says of the values; of each kind once."""
    if refused:
        return
    looked = ", ".join(places)
    nowhere = f"No place here holds raw counts (looked in {looked}): take the file from before that"
    hint = WHERE_COUNTS if COUNTS in places.values() else nowhere
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_chunk(chunk, source, hint=hint)
        except ValueError as error:
            refused.append(str(error))
    warned += [text for one in caught if (text := str(one.message)) not in warned]


def _mitochondrial(genes, share):
    """Share of mitochondrial genes [n_var] in cells [n], in per cent."""
    if not genes.any():
        return None
    return {
        "genes": int(genes.sum()),
        "mean": float(100 * share.mean()),
        "median": float(100 * np.median(share)),
        "95 %": float(100 * np.percentile(share, 95)),
    }

"""Synthetic cells in h5ad files of any size, in bounded memory and quickly; the same by seed.

A gene's rate is log-normal, and so is a cell's depth; a count is Poisson with their product as its
mean. Drawn are not the pairs, nine of ten of which are zero, but the transcripts: those of a cell
are points of a Poisson process, which fall to the genes by their rates.
"""

import anndata
import h5py
import numpy as np
import pandas as pd

DENSE = 0.3  # mean count from which on every pair is drawn
STORED = 2**20  # values of a chunk of the file: beyond HDF5's cache, so read straight
WRITTEN = 2**21  # values written at a time
DEPTH_SPREAD = 0.35  # of the logarithm of a cell's depth
RATE_SPREAD = 2.0  # of the logarithm of a gene's rate


def write(path, cells, genes=20_000, nonzero=2000, form="csr", seed=0):
    """Write an h5ad of counts [cells, genes] in float32, uncompressed, as CSR or CSC.

    Parameters
    ----------
    path : path
    cells, genes : int
    nonzero : int
        Genes > 0 of the median cell.
    form : {'csr', 'csc'}
        Rows are drawn one by one, of CSC the genes: the two files of a seed hold other counts.
    seed : int
    """
    rates = _rates(genes, nonzero, seed)
    depth = np.random.default_rng([seed, 1]).lognormal(0, DEPTH_SPREAD, cells)
    obs = pd.DataFrame(
        {"batch": pd.Categorical.from_codes(np.arange(cells) * 8 // cells, list("abcdefgh"))},
        index=np.char.add("cell", np.arange(cells).astype(str)),
    )
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(genes)])
    anndata.AnnData(None, obs, var).write_h5ad(path)
    major, minor = (depth, rates) if form == "csr" else (rates, depth)
    with h5py.File(path, "r+") as file:
        if "X" in file:
            del file["X"]
        group = file.create_group("X")
        group.attrs.update(
            {
                "encoding-type": f"{form}_matrix",
                "encoding-version": "0.1.0",
                "shape": [cells, genes],
            }
        )
        _fill(group, major, minor, seed)


def _rates(genes, nonzero, seed):
    """Mean count of each gene in a cell of median depth, f64 [genes]."""
    if not 0 < nonzero < genes:
        raise ValueError(f"nonzero is {nonzero}; expected above 0 and below the {genes} genes")
    shares = np.random.default_rng([seed, 0]).lognormal(0, RATE_SPREAD, genes)
    shares /= shares.sum()
    low, high = 0.0, 1e9  # the depth that gives so many genes, by bisection
    for _ in range(100):
        depth = (low + high) / 2
        found = -np.expm1(-depth * shares).sum()
        low, high = (depth, high) if found < nonzero else (low, depth)
    return depth * shares


def _fill(group, major, minor, seed):
    """Draw the rows of a compressed matrix, whose means are major [i] * minor [j]."""
    kinds = {"data": "<f4", "indices": "<i4"}
    arrays = {
        name: group.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(STORED,))
        for name, kind in kinds.items()
    }
    sizes, waiting, left = np.zeros(len(major), np.int64), [], 0
    cumulated = np.cumsum(minor)
    for i, scale in enumerate(major):
        random = np.random.default_rng([seed, 2, i])
        found = _draw(scale, minor, cumulated, random)
        sizes[i] = len(found[0])
        waiting.append(found)
        left += sizes[i]
        if left > WRITTEN:
            left -= _append(arrays, waiting)
    _append(arrays, waiting)
    group.create_dataset("indptr", data=np.concatenate([[0], np.cumsum(sizes)]))


def _draw(scale, minor, cumulated, random):
    """Columns, ascending, and counts above zero of one row."""
    mean = scale * cumulated[-1]
    if mean > DENSE * len(minor):
        counts = random.poisson(scale * minor)
        columns = np.flatnonzero(counts)
        return columns, counts[columns]
    # Points of a Poisson process, in order: each falls to a column by the column's share.
    gaps = random.standard_exponential(random.poisson(mean) + 1)
    points = np.cumsum(gaps)
    places = np.searchsorted(cumulated, points[:-1] * (cumulated[-1] / points[-1]))
    first = np.flatnonzero(np.diff(places, prepend=-1))
    return places[first], np.diff(first, append=len(places))


def _append(arrays, waiting):
    """Write what waits, and empty it; how many values that were."""
    both = zip(*waiting, strict=True)
    for array, parts in zip((arrays["indices"], arrays["data"]), both, strict=True):
        values = np.concatenate(parts)
        done = len(array)
        array.resize(done + len(values), axis=0)
        array[done:] = values.astype(array.dtype)
    waiting.clear()
    return len(values)

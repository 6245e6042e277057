"""How well each gene of held-out cells is predicted.

Every held-out cell shows the genes that it shows in validation; which entries count says
``config.train.gene_among`` (see `entries`). Of TxFM, those that were measured in a cell and **not**
shown to the model, since a shown one is partly copied. Errors are in log1p space; the null predicts
each gene's training mean ``tables["mean"]``, which is the best constant under the training loss;
and 0 where most cells are 0, of a model that predicts that by itself.
B cells, R rows of a gene table, V genes.
"""

import jax
import numpy as np
import pandas as pd

from jaxcell import sharding
from jaxcell.config import bin_tables, tokeniser
from jaxcell.data.pipeline import Batches
from jaxcell.data.statistics import of_tables
from jaxcell.data.store import Store
from jaxcell.data.transforms import temperatures
from jaxcell.data.types import StrPath
from jaxcell.training.checkpoint import load_model
from jaxcell.training.entries import BINS, make_levels, make_step
from jaxcell.training.gene_figure import ENOUGH, enough
from jaxcell.training.machine import model_of
from jaxcell.training.means import tables_of
from jaxcell.training.sums import summed
from jaxcell.writing import check_free, write_text


def gene_errors(
    checkpoint: StrPath,
    store: StrPath | Store,
    out: StrPath | None = None,
    *,
    genes: int | str | None = None,
    draws: int = 1,
    batch_size: int = 64,
) -> pd.DataFrame:
    """Detection AUC and error against the null for each gene, on a store's held-out cells.

    Parameters
    ----------
    checkpoint : workdir, step folder, model folder or 'hf://ORG/NAME[@REVISION]'
    store : folder or Store with validation cells, of the checkpoint's vocabulary
    out : tab-separated file to write, must not exist; None writes none
    genes : how many genes each cell shows, or 'all'; as in validation by default
    draws : how often each cell is taken, each time with other draws: of what masks tokens, more
        entries of each gene
    batch_size : cells computed at a time; changes no number but in its last digits

    A store other than the one trained on may hold cells out that were trained on; this is printed.

    Returns
    -------
    DataFrame, a row for each gene of the vocabulary; see `table`

    Raises
    ------
    ValueError
        No such checkpoint, or one without the genes' means (or, with a temperature, the cells with
        each gene); a store of other genes, without validation cells, or whose cells show every
        gene; a batch size below 1; or ``out`` exists.
    """
    for name, value in (("batch_size", batch_size), ("draws", draws)):
        if value < 1:
            raise ValueError(f"{name}: found {value}, expected a number above 0")
    if out is not None:
        check_free(out, "a file")
    model = load_model(checkpoint)
    store = store if isinstance(store, Store) else Store.open(store)
    if store.vocabulary.with_specials(model.vocabulary.specials).sha256 != model.vocabulary.sha256:
        raise ValueError(
            f"{store.path}: its genes are not those of {checkpoint}; prepare a store with "
            f"--vocabulary and the checkpoint's vocabulary.json"
        )
    if not store.sizes["valid"]:
        raise ValueError(
            f"{store.path}: holds no validation cells; prepare one with --hold-out or "
            "--hold-out-fraction"
        )
    c = model.config
    for name, one in c.model.metadata.items():
        if store.classes.get(one.label) != model.labels[one.label]:
            raise ValueError(
                f"{store.path}: its classes of {one.label!r} are not those of {checkpoint}, which "
                f"shows them to the model (model.metadata.{name}); measure on the run's own store"
            )
    if genes is not None:
        tokeniser(c.data).number = (
            int(store.measured.sum(axis=1).max()) if genes == "all" else genes
        )
    needs = ["mean", *(["detected"] if temperatures(c.data) else []), *bin_tables(c.data)]
    if lacks := [name for name in needs if name not in model.tables]:
        raise ValueError(
            f"{checkpoint}: its tables.npz has no {' and no '.join(lacks)}, which errors per gene "
            "need; expected a model that jaxcell trained"
        )
    if model.info.get("store") != store.content_hash:
        print(
            f"{store.path} is another store than the one that {checkpoint} was trained on; its "
            "validation cells may have been trained on"
        )
    c.train.gene_errors = c.train.get("gene_errors") or "heads.expression"
    net = model_of(c)
    mesh = sharding.make_mesh({"data": 1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    names = ("mean", "zero_logit", *bin_tables(c.data))
    trained = {k: model.tables[k] for k in names if k in model.tables}
    tables = {**tables_of(store, c, net.rows), **trained}
    variables, tables = jax.device_put((model.variables, tables), sharding.replicated(mesh))
    known = of_tables(model.tables, len(store.vocabulary))  # what is shown is drawn as in training
    batches = Batches(store, c, "valid", batch_size, statistics=known, passes=draws)
    found = Measure(net, c, mesh)(batches, variables, tables, store.vocabulary)
    if not found["n_cells"].any():
        raise ValueError(
            f"{store.path}: every cell shows all of its genes; nothing is hidden: show fewer "
            "(--genes N)"
        )
    if out is not None:
        write(found, out)
    return found


class Measure:
    """(batches, variables, tables, vocabulary) → the `table` of all held-out cells.

    Two passes: the first, which does not compute the model, finds each gene's mean non-zero value.
    Memory is [R, 2, BINS] whatever the number of cells. Compiled once.

    model : CellModel; mesh : on which variables {'params', 'batch_stats'} and tables lie
    """

    def __init__(self, model, c, mesh):
        self._whole = whole = sharding.replicated(mesh)
        self._levels = jax.jit(make_levels(model, c), out_shardings=whole)
        self._step = jax.jit(make_step(model, c), out_shardings=whole, donate_argnums=0)
        self._rows, self._c, self._mesh = model.rows, c, mesh

    def __call__(self, batches, variables, tables, vocabulary):
        whole, rows = self._whole, self._rows
        found = self._summed(
            batches, lambda batch: self._levels(variables, batch, tables), "means of genes"
        )
        level = found["sum"] / np.where(found["number"] > 0, found["number"], 1)
        on_device = sharding.put(level.astype(np.float32), whole)
        counts = sharding.put(np.zeros(rows * 2 * BINS, np.int32), whole)

        def add(batch):
            nonlocal counts
            counts, sums = self._step(counts, variables, batch, tables, on_device)
            return sums

        sums = self._summed(batches, add, "errors of genes")
        counts = jax.device_get(counts).reshape(rows, 2, BINS)
        return table(counts, {**sums, "mean_nonzero": level}, vocabulary)

    def _summed(self, batches, step, what):
        return summed(batches, step, self._mesh, what, self._c.data.threads)


def auc(counts):
    """ROC-AUC of binned scores and what binning may change in it at most.

    counts [..., 2, bins]: entries without and with the label -> two arrays [...]; NaN where there
    is only one kind. Ties count half. Source: Mann and Whitney 1947.
    """
    without, with_ = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    ties = (without * with_).sum(axis=-1) / 2
    below = np.cumsum(without, axis=-1) - without
    pairs = without.sum(axis=-1) * with_.sum(axis=-1)
    pairs = np.where(pairs > 0, pairs, np.nan)
    return ((with_ * below).sum(axis=-1) + ties) / pairs, ties / pairs


def table(counts, sums, vocabulary):
    """A row for each gene, over its entries in the held-out cells.

    Returns
    -------
    DataFrame with gene, ensembl; n_cells (entries), n_detected (those with a count);
    auc of detection, ± auc_bound (at most; from binning); mae and mae_null (log1p); ratio of the
    two, below 1 where the model is better than the mean predictor; of the non-zero entries
    mae_nonzero, mean_nonzero (the mean true value) and null_nonzero (their mean distance from it)
    """
    genes = len(vocabulary)
    entries = counts[:genes].sum(axis=2)
    n = entries.sum(axis=1)
    # Some genes at a time: in float64 all of them would take gigabytes.
    parts = [auc(part) for part in np.array_split(counts[:genes], -(-genes // 4096))]
    score, bound = (np.concatenate(one) for one in zip(*parts, strict=True))
    mae, null = (sums[k][:genes] / np.where(n > 0, n, np.nan) for k in ("mae", "mae_null"))
    there = np.where(entries[:, 1] > 0, entries[:, 1], np.nan)
    return pd.DataFrame(
        {
            "gene": vocabulary.names,
            "ensembl": vocabulary.ensembl,
            "n_cells": n,
            "n_detected": entries[:, 1],
            "auc": score,
            "auc_bound": bound,
            "mae": mae,
            "mae_null": null,
            "ratio": mae / np.where(null > 0, null, np.nan),
            "mae_nonzero": sums["mae_nonzero"][:genes] / there,
            "mean_nonzero": sums["mean_nonzero"][:genes] * there / there,
            "null_nonzero": sums["null_nonzero"][:genes] / there,
        }
    )


def summary(found):
    """{'genes', 'median_auc', 'median_ratio', 'better_than_null'} of a `table`.

    Over the genes with at least 10 hidden entries with a count and 10 without; only 'genes', 0,
    when there are none.
    """
    some = enough(found)
    if not len(some):
        return {"genes": 0}
    return {
        "genes": len(some),
        "median_auc": float(some["auc"].median()),
        "median_ratio": float(some["ratio"].median()),
        "better_than_null": float((some["ratio"] < 1).mean()),
    }


def show(found):
    """The summary as a line."""
    s = summary(found)
    if not s["genes"]:
        return f"errors per gene: no gene has {ENOUGH} hidden entries with and without a count"
    return (
        f"errors per gene, held-out cells: median detection AUC "
        f"{s['median_auc']:.3f}, median error {s['median_ratio']:.3f} of the null's, "
        f"{s['better_than_null']:.0%} of {s['genes']:,} genes better than the null"
    )


def write(found, path):
    """Write a `table` as tab-separated text; what is not known stays empty."""
    write_text(path, found.to_csv(sep="\t", index=False, float_format="%.6g"))

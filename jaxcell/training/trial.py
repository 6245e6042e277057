"""A few seconds of real training on made-up cells: does everything work here, and how fast?"""

import contextlib
import io
import tempfile
import time
from pathlib import Path

import anndata
import jax
import numpy as np
import pandas as pd
import scipy.sparse as sp

from jaxcell import config, sharding
from jaxcell.data.pipeline import Batches, iterate
from jaxcell.data.prepare import prepare
from jaxcell.data.statistics import of_tables
from jaxcell.data.store import Store
from jaxcell.training import optim
from jaxcell.training.machine import compute_dtype, model_of
from jaxcell.training.means import tables_of
from jaxcell.training.setup import adopt, check
from jaxcell.training.step import compile_steps

CELLS, GENES, KINDS = 256, 300, 3
STEPS = 300  # at most
FEW = 10  # losses at both ends whose means are compared


def trial(seconds=10.0):
    """Prepare a store, compile a small TxFM's training step, and train it.

    Parameters
    ----------
    seconds : of training at most, behind the compilation

    Returns
    -------
    dict : config, dtype, attention, compile_s, steps, steps_per_s, finite (whether all losses
        are numbers), first and last (means of the first and the last losses, None if not)
    """
    with tempfile.TemporaryDirectory(prefix="jaxcell-") as folder:
        store = Path(folder, "store")
        with contextlib.redirect_stdout(io.StringIO()):  # its report of made-up genes
            prepare(store, [_cells()], progress=False)
        return _train(store, seconds)


def _cells():
    """AnnData of counts [CELLS, GENES], each kind of cells with genes of its own."""
    random = np.random.default_rng(0)
    kind = random.integers(0, KINDS, (CELLS, 1))
    rates = np.where(np.arange(GENES) % KINDS == kind, 3.0, 0.3)
    counts = random.poisson(rates * random.uniform(0.5, 2, (CELLS, 1))).astype(np.float32)
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(GENES)])
    return anndata.AnnData(sp.csr_matrix(counts), var=var)


def _train(store, seconds):
    c = config.variant(config.defaults(), "tiny")
    c.data.store, c.steps = str(store), STEPS
    c = config.settled(c)
    check(c)
    store, began = Store.open(store), time.perf_counter()
    ontologies = adopt(c, store, lambda line: None)
    mesh, model = sharding.make_mesh({**c.mesh, "data": 1}, jax.devices()[:1]), model_of(c)
    tables = tables_of(store, c, model.rows, ontologies)
    known, size = of_tables(tables, len(store.vocabulary)), c.train.batch_size
    optimizer = optim.build(c, STEPS)
    state, step, _, tables = compile_steps(model, c, optimizer, mesh, tables, STEPS)
    batches = Batches(store, c, "train", size, statistics=known, start=0, stop=STEPS)
    losses, compiled = [], None
    with iterate(batches, threads=1) as stream, jax.set_mesh(mesh):
        for batch in stream:
            state, found = step(state, sharding.to_global(batch, mesh), tables)
            losses.append(float(found["loss"]))
            if compiled is None:
                compiled, began = time.perf_counter() - began, time.perf_counter()
            elif time.perf_counter() - began > seconds:
                break
    took, finite = time.perf_counter() - began, bool(np.isfinite(losses).all())
    return {
        "config": c.name,
        "dtype": str(compute_dtype(c.dtype)),
        "attention": model.kernel,
        "compile_s": compiled,
        "steps": len(losses),
        "steps_per_s": (len(losses) - 1) / took,
        "first": float(np.mean(losses[:FEW])) if finite else None,  # NaN is no JSON
        "last": float(np.mean(losses[-FEW:])) if finite else None,
        "finite": finite,
    }

"""Eight CPU devices, and no silent rank promotion where models, losses and training are tested."""

import os
import tempfile
from pathlib import Path

# Tests compile much and compute little: without LLVM's optimisation they take a third less time.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)
os.environ["JAX_PLATFORMS"] = "cpu"
# The same tiny steps are compiled in many tests and in child processes: once is enough. Each worker
# of pytest-xdist has a folder of its own: JAX writes into it without a lock.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxcell-tests-")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from jaxcell import config
from jaxcell.data.prepare import prepare

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _no_rank_promotion(request):
    room = Path(request.node.path).parent.name
    strict = room in ("models", "losses", "training")
    with jax.numpy_rank_promotion("raise" if strict else "allow"):
        yield


def config_of(name):
    """The config in configs/ of that name, with an optional ':variant'."""
    file, _, variant = name.partition(":")
    return config.load(f"{ROOT / 'configs' / file}.py:{variant}")


def draw_cells(seed, cells, genes, kinds=3):
    """AnnData of counts with ``kinds`` kinds of cells, each with its own high genes."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, kinds, cells)
    rates = np.where(np.arange(genes) % kinds == kind[:, None], 3.0, 0.3)
    depth = random.uniform(0.5, 2, (cells, 1))
    counts = random.poisson(rates * depth).astype(np.float32)
    obs = pd.DataFrame(
        {"kind": [f"kind {k}" for k in kind], "batch": [f"batch {seed}"] * cells},
        index=[f"{seed}-{i}" for i in range(cells)],
    )
    var = pd.DataFrame(index=[f"G{i}" for i in range(genes)])
    return anndata.AnnData(sp.csr_matrix(counts), obs=obs, var=var)


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Two h5ad files with different panels: 90 × 300 genes, 60 × 240 of them."""
    folder = tmp_path_factory.mktemp("sources")
    first, second = draw_cells(1, 90, 300), draw_cells(2, 60, 300)[:, 30:270].copy()
    first.write_h5ad(folder / "first.h5ad")
    second.write_h5ad(folder / "second.h5ad")
    return folder / "first.h5ad", folder / "second.h5ad"


@pytest.fixture(scope="session")
def store(sources, tmp_path_factory):
    """A store of both, a fifth held out."""
    out = tmp_path_factory.mktemp("stores") / "store"
    return prepare(out, sources, labels=("kind",), hold_out_fraction=0.2, progress=False)

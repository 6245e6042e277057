"""Integration without a foundation model: PCA, Harmony and scVI of the same cells and genes.

n cells, g genes, k components. All are transductive: they see every cell they embed.
"""

import importlib.util
import logging
import warnings
from contextlib import contextmanager

import numpy as np

from . import baselines

# What an extra's package says on the way, by the beginning of its message.
SAID = (
    r".*isinstance\(treespec, LeafSpec\)",  # lightning on torch 2.13
    r".*does not have many workers",  # on many cores
)
LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities")


def check(names, batch):
    """Raise if a baseline cannot be made here: its extra is absent, or it lacks batches.

    Parameters
    ----------
    names : iterable of str
        'pca', 'harmony', 'scvi'.
    batch : str [n] or None

    Raises
    ------
    ImportError
        Naming the extra that is not installed.
    ValueError
        Harmony without two batches.
    """
    for name, package in (("harmony", "harmonypy"), ("scvi", "scvi")):
        if name in names and importlib.util.find_spec(package) is None:
            raise ImportError(
                f'baseline {name} needs {package}, not installed: pip install "jaxcell[{name}]"'
            )
    n = 0 if batch is None else len(np.unique(batch))
    if "harmony" in names and n < 2:
        raise ValueError(
            f"baseline harmony: found {n} batches, expected two at least to integrate: name a"
            " batch column with batch="
        )


def pca(counts, k=50):
    """Principal components of (Lib+Log)Norm.

    counts [n, g] (CSR) -> float32 [n, min(k, n − 1, g − 1)]
    """
    x = baselines.normalise(counts)
    return baselines.principal_components(x, k).scores(x)


def harmony(counts, batch, k=50, seed=0):
    """Harmony (Korsunsky et al. 2019) on the principal components of (Lib+Log)Norm.

    Parameters
    ----------
    counts : CSR [n, g]
    batch : str [n]
    k : int
        Principal components.
    seed : int
        Of Harmony's clusters.

    Returns
    -------
    float32 [n, k]

    Raises
    ------
    ImportError, ValueError
        As `check`.
    """
    return harmonise(pca(counts, k), batch, seed)


def harmonise(components, batch, seed=0):
    """Principal components moved together over batches, by harmonypy with its defaults.

    components [n, k], batch str [n] -> float32 [n, k]
    """
    check(["harmony"], batch)
    import harmonypy
    import pandas as pd

    table = pd.DataFrame({"batch": batch})
    found = harmonypy.run_harmony(
        components, table, "batch", random_state=seed, verbose=False
    )  # 2.0 and later: cells in rows, as given
    return np.asarray(found.Z_corr, np.float32)


def scvi(counts, batch, seed=0, epochs=None):
    """Latent variables of scVI (Lopez et al. 2018) with scvi-tools' defaults: 10, their means.

    One layer of 128, zero-inflated negative binomial, trained on all cells (transductive) for
    min(400, 400 · 20 000 / n) epochs. On one machine the seed decides the result. It sets the
    global generators of torch and numpy, as scvi-tools has it.

    Parameters
    ----------
    counts : CSR [n, g]
        Raw counts.
    batch : str [n] or None
        Covariate to be integrated; None: no covariate.
    seed : int
    epochs : int, optional
        Other than scvi-tools' own number.

    Returns
    -------
    float32 [n, 10]

    Raises
    ------
    ImportError
        If the extra ``scvi`` is not installed.
    """
    check(["scvi"], batch)
    import anndata

    cells = anndata.AnnData(counts.astype(np.float32))
    cells.obs["batch"] = "one" if batch is None else batch
    import scvi as tools  # sets its loggers' levels, so before they are lowered

    with _quiet():
        tools.settings.seed = seed
        tools.model.SCVI.setup_anndata(cells, batch_key="batch")
        model = tools.model.SCVI(cells)
        model.train(
            max_epochs=epochs,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
        )
        return np.asarray(model.get_latent_representation(), np.float32)


@contextmanager
def _quiet():
    """Without lightning's notes and the warnings in SAID, and on one thread.

    The layers are small: on a machine that is busy, two threads took 17 times as long (702 cells,
    500 genes, 2 cores); and one gives the same figures on any number of cores.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings():
        for message in SAID:
            warnings.filterwarnings("ignore", message=message)
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)

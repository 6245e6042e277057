"""Integration without a foundation model: PCA, Harmony and scVI of the same cells and genes.

n cells, g genes, k components. All are transductive: they see every cell they embed; but for
`scvi_inductive`, which embeds other cells than those it was fitted on.
"""

import importlib.util

import numpy as np

from . import baselines, scvi_fit


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


def scvi(counts, batch, seed=0, epochs=None, preset="default", **settings):
    """Latent variables of scVI (Lopez et al. 2018), their means; trained on all cells.

    By default with scvi-tools' own settings: 10 latent variables, one layer of 128, zero-inflated
    negative binomial, min(400, 400 · 20 000 / n) epochs. preset='paper_transductive' is TxFM's
    (B.1.2): 8000 variable genes, 256 latent variables, one layer of 512, no dropout.

    Parameters
    ----------
    counts : CSR [n, g]
        Raw counts.
    batch : str [n] or None
        Covariate to be integrated; None: no covariate.
    seed : int
        On one machine it decides the result; see `scvi_fit.fit`.
    epochs : int, optional
        Other than scvi-tools' own number.
    preset, **settings
        Of `scvi_fit.PRESETS`, and fields of `scvi_fit.Settings` to change.

    Returns
    -------
    float32 [n, latent]

    Raises
    ------
    ImportError
        If the extra ``scvi`` is not installed.
    ValueError
        An unknown preset or setting.
    """
    how = scvi_fit.settings(preset, epochs=epochs, **settings)
    check(["scvi"], batch)
    return scvi_fit.fit(counts, batch, seed, how).own()


def scvi_inductive(train_counts, counts, seed=0, preset="paper_inductive", **settings):
    """The same of cells that scVI was not fitted on, without a batch covariate.

    By default TxFM's settings (B.1.2): 768 latent variables, one layer of 1024, negative binomial,
    AdamW at 5e-4.

    Parameters
    ----------
    train_counts : CSR [m, g]
        Raw counts to fit on.
    counts : CSR [n, g]
        Raw counts of the same genes to embed.
    seed, preset, **settings
        As `scvi`.

    Returns
    -------
    float32 [n, latent]
    """
    how = scvi_fit.settings(preset, **settings)
    check(["scvi"], None)
    return scvi_fit.fit(train_counts, None, seed, how).latent(counts)


def scvi_gene_vectors(counts, seed=0, preset="paper_inductive", **settings):
    """What scVI's weights know of each gene: codebook and decoder, float32 [g, hidden] each.

    Arguments as `scvi_inductive`'s; see `scvi_fit.Fitted.gene_vectors`.
    """
    how = scvi_fit.settings(preset, **settings)
    check(["scvi"], None)
    return scvi_fit.fit(counts, None, seed, how).gene_vectors()

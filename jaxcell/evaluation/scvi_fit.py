"""scVI (Lopez et al. 2018) by scvi-tools: the papers' settings, latent means, gene vectors.

n cells, g genes, h hidden units.
"""

import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import numpy as np

from . import baselines

LIKELIHOODS = ("nb", "zinb", "poisson")
# What scvi-tools and lightning say on the way, by the beginning of its message.
SAID = (
    r".*isinstance\(treespec, LeafSpec\)",  # lightning on torch 2.13
    r".*does not have many workers",  # on many cores
)
LOGGERS = (
    *("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities"),
    "scvi",
)


@dataclass(frozen=True)
class Settings:
    """Of a model and its training; what is not here is scvi-tools' own. The defaults are too."""

    latent: int = 10
    hidden: int = 128  # of the one layer of encoder and decoder
    likelihood: str = "zinb"
    dispersion: str = "gene"
    dropout: float = 0.1
    optimizer: str = "Adam"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-6
    genes: int | None = None  # the most variable ones, by binned normalised dispersion; None: all
    epochs: int | None = None  # None: min(400, 400 · 20 000 / n)


_INDUCTIVE = Settings(
    latent=768, hidden=1024, likelihood="nb", optimizer="AdamW", learning_rate=5e-4
)
# TxFM B.1.2. Of the inductive ones the paper reports the first: it was the best of those it tried,
# which are these with weight decay 1e-6 and (but for Poisson) 0.03.
PRESETS = {
    "default": Settings(),
    "paper_inductive": _INDUCTIVE,
    "paper_inductive_zinb": replace(_INDUCTIVE, likelihood="zinb"),
    "paper_inductive_poisson": replace(_INDUCTIVE, likelihood="poisson", learning_rate=1e-4),
    "paper_transductive": Settings(latent=256, hidden=512, dropout=0.0, genes=8000),
}


def settings(preset="default", **changed):
    """The Settings of a preset, some fields changed.

    Raises
    ------
    ValueError
        An unknown preset or field, or a value out of range.
    """
    if preset not in PRESETS:
        raise ValueError(f"scvi: preset {preset!r} is unknown; known are {', '.join(PRESETS)}")
    known = [field.name for field in fields(Settings)]
    if odd := sorted(changed.keys() - set(known)):
        raise ValueError(f"scvi: {odd[0]} is no setting; known are {', '.join(known)}")
    found = replace(PRESETS[preset], **changed)
    if found.likelihood not in LIKELIHOODS:
        expected = ", ".join(LIKELIHOODS)
        raise ValueError(f"scvi: likelihood is {found.likelihood!r}, expected one of {expected}")
    for name in ("latent", "hidden", "genes", "epochs"):
        value = getattr(found, name)
        if value is not None and value < 1:
            raise ValueError(f"scvi: {name} is {value}, expected 1 or more")
    return found


@dataclass(frozen=True)
class Fitted:
    """A trained model and the genes it was trained on."""

    model: object
    genes: np.ndarray  # bool [g]

    def latent(self, counts):
        """Means of the latent variables of cells: counts CSR [., g] -> float32 [., latent]."""
        with _quiet():
            cells = _cells(counts[:, self.genes], None)
            return np.asarray(self.model.get_latent_representation(cells), np.float32)

    def own(self):
        """The same of the cells that it was trained on."""
        with _quiet():
            return np.asarray(self.model.get_latent_representation(), np.float32)

    def gene_vectors(self):
        """What the weights know of each gene: {'codebook' | 'decoder': float32 [g, h]}.

        ``codebook``: a gene's column of the encoder's first layer; ``decoder``: its row of the
        layer that gives the expected share of its counts. Genes that were not chosen have NaN.
        """
        module = self.model.module
        first = module.z_encoder.encoder.fc_layers[0][0].weight  # [h, genes, covariates behind]
        last = module.decoder.px_scale_decoder[0].weight  # [genes, h, covariates behind]
        k, h = int(self.genes.sum()), first.shape[0]
        found = {"codebook": first[:, :k].T, "decoder": last[:, :h]}
        wide = {name: np.full((len(self.genes), h), np.nan, np.float32) for name in found}
        for name, weight in found.items():
            wide[name][self.genes] = weight.detach().cpu().numpy()
        return wide


def fit(counts, batch=None, seed=0, how=None):
    """Train scVI on all given cells.

    On one machine the seed decides the result. It sets the global generators of torch and numpy,
    as scvi-tools has it.

    Parameters
    ----------
    counts : CSR [n, g]
        Raw counts.
    batch : str [n], optional
        Covariate to be integrated; None: no covariate.
    seed : int
    how : Settings, optional

    Returns
    -------
    Fitted
    """
    import scvi as tools  # sets its loggers' levels, so before they are lowered

    how = how or Settings()
    genes = np.ones(counts.shape[1], bool)
    if how.genes is not None and how.genes < counts.shape[1]:
        genes = baselines.highly_variable(baselines.normalise(counts), how.genes)
    with _quiet():
        cells = _cells(counts[:, genes] if not genes.all() else counts, batch)
        tools.settings.seed = seed
        tools.model.SCVI.setup_anndata(cells, batch_key=None if batch is None else "batch")
        model = tools.model.SCVI(
            cells, n_latent=how.latent, n_hidden=how.hidden, gene_likelihood=how.likelihood,
            dispersion=how.dispersion, dropout_rate=how.dropout,
        )  # fmt: skip
        plan = dict(optimizer=how.optimizer, lr=how.learning_rate, weight_decay=how.weight_decay)
        model.train(
            max_epochs=how.epochs,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
            plan_kwargs=plan,
        )
    return Fitted(model, genes)


def _cells(counts, batch):
    import anndata

    cells = anndata.AnnData(counts.astype(np.float32))
    if batch is not None:
        cells.obs["batch"] = batch
    return cells


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

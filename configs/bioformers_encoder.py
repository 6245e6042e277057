"""BioFormers (Biostate), encoder-only: 2 000 HVGs in value bins, 8 blocks × 512, 8 heads.

    python -m jaxcell.main --config=configs/bioformers_encoder.py --config.data.store=STORE

Masked genes, half of them expressed, by cross-entropy over bins (b = 3, c = 8). ':normalised' bins
counts that are scaled to the cells' mean total; ':external' adds tokens for perturbed genes
(`--config.data.flag_genes.label=perturbation`). ':cpu' trains in minutes, ':tiny' in seconds.

':perturb' predicts perturbed cells from control cells, with ',affine', ',ce' and ',log1p', as
configs/scformer.py says.
"""

from jaxcell.config import BIOFORMERS, bioformers, defaults, variant


def get_config(name=""):
    c = bioformers(defaults())
    c.name = "bioformers_encoder"
    return variant(c, name, **BIOFORMERS)

"""BioFormer (Ho & Le): 1 000 HVGs in 51 bins, CLS, 12 blocks × 512; losses 1, 0.1, 0.1, 0.1.

    python -m jaxcell.main --config=configs/bioformer.py --config.data.store=STORE

Studies are the files of STORE; `--config.batch=LABEL` takes a label. The contrastive term reads the
label cell_type: `--config.labels="('ecs=LABEL',)"` another, `"()"` leaves it out. As is, what the
paper means: bins per gene, regression of masked genes, the adversary behind a gradient reversal
with weight 0.1, and no cell type as an input. ':code' bins per cell and regresses all expressed
genes, as the repository does; its sign of the adversary, which rewards telling the studies, is not
offered.
':cpu' trains in minutes on two cores, ':tiny' in seconds.

':perturb' is the repository's perturbation protocol: a cell's bins and the class of its
perturbation (label 'condition'; `--config.model.metadata.perturbation.label=LABEL`) in, the same
cell's expression out. That reconstructs cells and predicts no perturbation.
"""

from jaxcell.config import BIOFORMER, bioformer, defaults, variant


def get_config(name=""):
    c = bioformer(defaults())
    c.name = "bioformer"
    return variant(c, name, **BIOFORMER)

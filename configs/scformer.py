"""scFormer: genes with binned values, integrated over batches. 1 200 HVGs, 6 blocks × 64.

    python -m jaxcell.main --config=configs/scformer.py --config.data.store=STORE

STORE has the HVGs alone (`jaxcell prepare … --hvg 1200 --labels batch`), and the batches in its
label 'batch'; `--config.batch=dataset` takes its files, `--config.batch=""` a single data set (no
adversary, no batch labels, plain batch norm). As is, what the repository and its checkpoints do
(':code': squared error of bins, and the probability of zero); ':paper' has cross-entropy, 4 blocks
× 128, β = 0.6. ':cpu' trains in minutes on two cores, ':tiny' in seconds.
`--config.labels="('cls',)"` learns the label cell_type too; ':simcse' adds the contrastive term,
':category' has a vector for each bin instead of an MLP.
"""

from jaxcell.config import SCFORMER, defaults, scformer, variant


def get_config(name=""):
    c = scformer(defaults())
    c.name = "scformer"
    return variant(c, name, **SCFORMER)

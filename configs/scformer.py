"""scFormer: genes with binned values, integrated over batches. 1 200 HVGs, 6 blocks × 64.

    python -m jaxcell.main --config=configs/scformer.py --config.data.store=STORE

STORE has the HVGs alone (`jaxcell prepare … --hvg 1200 --labels batch`), and the batches in its
label 'batch'; `--config.batch=dataset` takes its files, `--config.batch=""` a single data set (no
adversary, no batch labels, plain batch norm). As is, what the repository and its checkpoints do
(':code': squared error of bins, and the probability of zero); ':paper' has cross-entropy, 4 blocks
× 128, β = 0.6. ':cpu' trains in minutes on two cores, ':tiny' in seconds.
`--config.labels="('cls',)"` learns the label cell_type too; ':simcse' adds the contrastive term,
':category' has a vector for each bin instead of an MLP.

':perturb' predicts perturbed cells instead: control cell and flags of the perturbed genes in, the
perturbed cell's expression out, 4 blocks × 128, squared error. STORE has the perturbations in its
label 'condition' as GEARS writes them (ctrl, A+ctrl, A+B); `--config.data.pair.label=LABEL` and
`--config.data.pair.control=CLASS` name others, `--config.data.pair.by=LABEL` draws controls within
a batch. ',affine' has scGPT's decoder, ',ce' cross-entropy over bins, ',log1p' is for a store of
log-normalised values (`jaxcell prepare --values log1p`); `--config.train.init_from` starts from a
checkpoint. `jaxcell perturb predict` asks such a model.
"""

from jaxcell.config import SCFORMER, defaults, scformer, variant


def get_config(name=""):
    c = scformer(defaults())
    c.name = "scformer"
    return variant(c, name, **SCFORMER)

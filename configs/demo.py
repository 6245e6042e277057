"""From raw counts to a report on the 700 labelled PBMCs that ship inside scanpy, in minutes.

    python -m jaxcell.main --config=configs/demo.py --workdir=runs/demo

A small TxFM: 2 blocks, width 64. No network, no accelerator.
"""

from jaxcell.config import defaults, variant


def get_config(name=""):
    c = defaults()
    c.name = "demo"
    c.stages = ("prepare", "train", "embed", "evaluate")
    c.prepare.files = ("scanpy:pbmc68k_reduced",)
    c.prepare.labels = ("bulk_labels",)
    c.prepare.hold_out_fraction = 0.1
    c.embed.input = "scanpy:pbmc68k_reduced"
    c.evaluate.label = "bulk_labels"

    c.model.vocabulary = 765
    c.model.width = 64
    c.model.encoder.layers = 2
    c.model.encoder.heads = 4
    c.model.encoder.layer_scale = 0.1
    c.data.sample_genes.number = 256
    c.train.batch_size = 32
    c.train.validate_every = 250
    c.optimizer.learning_rate = 3e-3
    c.epochs = 0
    c.steps = 2000
    return variant(c, name)

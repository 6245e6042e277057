"""From raw counts to a report on the 700 labelled PBMCs that ship inside scanpy, in minutes.

    python -m jaxcell.main --config=configs/demo.py --workdir=runs/demo

A small TxFM (1 block, width 64) that sees 128 of 765 genes in training and all of them when it
embeds. No network, no accelerator.
"""

from jaxcell.config import cpu, defaults, variant


def get_config(name=""):
    c = cpu(defaults())
    c.name = "demo"
    c.stages = ("prepare", "train", "embed", "evaluate")
    c.prepare.files = ("scanpy:pbmc68k_reduced",)
    c.prepare.labels = ("bulk_labels",)
    c.prepare.hold_out_fraction = 0.1
    c.embed.input = "scanpy:pbmc68k_reduced"
    c.evaluate.label = "bulk_labels"
    c.evaluate.baselines = ("log", "pca", "shuffled")

    c.model.vocabulary = 765
    c.data.sample_genes.number = 128
    c.train.validate_every = 1000
    c.steps = 3000
    return variant(c, name)

"""BioFormer (Ho & Le): as its paper has it and as its repository does; each changes a config."""

from jaxcell.systems.batches import BATCH
from jaxcell.systems.bins import MASKED, label_loss, size, small, tokens
from jaxcell.systems.perturbation import reconstruct


def bioformer(c):
    """BioFormer (Ho & Le) as its paper has it: bins per gene, CLS, GRL of the study, margin ECS.

    The cell type is never an input, in training or later (the paper names an embedding of it, and
    the repository feeds the test cells' true types, from which its NMI of .917 comes). It would be
    ``c.model.metadata.cell_type = {"label": "cell_type", "classes": 2, "place": "all"}``.
    Studies that training did not see have the 'unknown' row, which study dropout trains.
    """
    c = tokens(c, 1000, ("<cls>",), (-1, 0))
    c = size(c, 512, 12, 8, 2048, 0.1)
    c.batch = "dataset"
    c.labels = ("ecs",)
    c.model.fields = {
        "gene": {"kind": "lookup", "input": "ids", "of": "tokens", "std": 0.04},
        "value": {"kind": "bins", "input": "values", "number": 51, "codes": (-1, 0)},
    }
    c.model.metadata = {"study": {"label": BATCH, "classes": 2, "place": "all", "dropout": 0.1}}
    c.model.norm = "layer"
    c.model.silent_zeros = True
    c.model.encoder.kernels = "xavier"
    c.model.heads = {
        "mlm": {"kind": "token_mlp", "outputs": 51, "layers": 1},
        "regression": {"kind": "token_mlp", "layers": 1},
        "study": {
            **{"kind": "classifier", "label": BATCH, "classes": 2},
            **{"reverse": 1.0, "ramp": False},
        },
    }
    c.data.bin.method, c.data.bin.number = "gene", 51
    c.data.draw_masks.ratio, c.data.draw_masks.expressed = 0.15, "only"
    c.losses = {
        "mlm": {"kind": "cross_entropy", "pred": "heads.mlm", "weight": 1.0, **MASKED},
        "regression": {
            **{"kind": "mse", "pred": "heads.regression", "weight": 0.1},
            **MASKED,
            "target": "batch.token_panel",
        },
        "ecs": {
            **{"kind": "margin", "pred": "cell", "target": "batch.labels.cell_type"},
            **{"tau": 1.0, "weight": 0.1},
        },
    }
    label_loss(c, "study", BATCH, 0.1)
    # Not of all losses: the contrastive one would choose a step by the held-out studies' types.
    c.best = ("val/mlm", "min")
    c.epochs, c.train.batch_size = 10, 78
    o = c.optimizer
    o.kind, o.learning_rate, o.weight_decay = "adam", 1e-4, 1e-5
    o.decayed, o.schedule = "", "constant"
    return c


def bioformer_code(c):
    """BioFormer as its repository trains: bins per cell, regression of all expressed genes."""
    c.data.bin.method = "cell_low"
    c.losses.regression.where = "batch.expressed"
    c.train.batch_size = 74
    return c


BIOFORMER = {  # variants of its config
    "cpu": small,
    "paper": lambda c: c,
    "code": bioformer_code,
    "perturb": reconstruct,
}

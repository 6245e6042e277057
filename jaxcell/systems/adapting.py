"""A trained model put to a task of its user's: heads, losses and what trains; of any config."""

FROZEN = r"^(fields|encoder|condition_|pool)"  # all but heads


def annotate(c):
    """Learn the classes of a label from whole cells, and nothing else: supervised fine-tuning.

    4 epochs with every parameter training (TxFM's section 4.3), at a tenth of the rate that the
    model was pretrained at; nothing of a cell is hidden. The head is called cell_type;
    ``--config.labels="('cell_type=COLUMN',)"`` is another label's.
    """
    c.data.transforms = tuple(t for t in c.data.transforms if t not in ("thin", "draw_masks"))
    c.model.heads = {"cell_type": {"kind": "classifier", "label": "cell_type", "classes": 2}}
    c.losses = {
        "cell_type": {
            **{"kind": "cross_entropy", "pred": "heads.cell_type", "weight": 1.0},
            **{"target": "batch.labels.cell_type", "where": "batch.labels.cell_type"},
            **{"reduce": "masked_mean"},
        }
    }
    c.labels, c.ontology.labels, c.best = ("cell_type",), (), ("val/loss", "min")
    c.train.gene_errors, c.train.gene_zero, c.train.bias_at_means = "", "", False
    c.epochs, c.steps = 4, 0
    c.optimizer.learning_rate *= 0.1
    return c


def annotate_ontology(c):
    """The same over the leaves of the Cell Ontology, of labels at any of its levels."""
    c = annotate(c)
    c.ontology.labels, c.ontology.file = ("cell_type",), c.ontology.file or "cellxgene"
    c.losses.cell_type.update(
        kind="hierarchical", leaves="tables.leaves.cell_type", reduce="batch_mean"
    )
    return c


def lora(c):
    """Low-rank updates of all kernels of the encoder, and heads; the rest stays as it is."""
    c.train.lora.rank, c.train.lora.alpha = 16, 32.0
    c.optimizer.frozen = FROZEN
    return c


def probe(c):
    """Heads alone: a linear classifier on vectors of a model that stays as it is."""
    c.optimizer.frozen = FROZEN
    return c


ADAPTING = {
    "annotate": annotate,
    "annotate_ontology": annotate_ontology,
    "lora": lora,
    "probe": probe,
}

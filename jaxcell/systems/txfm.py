"""TxFM's objective: every measured gene of a cell, reconstructed from its vector."""

# What a likelihood of raw counts reads beside prediction and target, and the heads that learn it.
COUNTS = {"dispersion": "heads.dispersion", "total": "batch.total"}
FURTHER = {"nb": COUNTS, "zinb": {**COUNTS, "logits": "heads.zero_inflation"}}
HEADS = {"dispersion": "gene_parameter", "zero_inflation": "gene_linear"}


def reconstruction(c, kind):
    """Train on one kind of loss between expression and prediction, shown between its two ends.

    The mean predictor and the perfect prediction differ from the model in the predicted mean
    alone: dispersion and additional zeros are the model's own.
    """
    c.losses = {}
    for name, pred, weight in (
        ("expression", "heads.expression", 1.0),
        ("mean_predictor", "tables.mean", 0.0),
        ("perfect", "batch.panel", 0.0),
    ):
        c.losses[name] = {
            "kind": kind,
            "pred": pred,
            "target": "batch.panel_raw" if kind in FURTHER else "batch.panel",
            "where": "batch.measured",
            "reduce": "sum_then_mean",
            "weight": weight,
            **FURTHER.get(kind, {}),
        }
        if kind in FURTHER:
            size = c.data.normalise.get_oneway_ref("library_size")
            c.losses[name].library_size = size
    for path in FURTHER.get(kind, {}).values():
        head = path.removeprefix("heads.")
        if head in HEADS:
            c.model.heads[head] = {"kind": HEADS[head]}
    return c

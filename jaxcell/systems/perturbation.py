"""Perturbation: from a control cell and what is done to it to the cell that comes of it.

Each function changes a config; scFormer's, scGPT's and BioFormers' models are alike in this.
"""

PERTURBED = {"where": "batch.token_measured", "reduce": "masked_mean"}


def perturb(c):
    """Control cell in, with flags of the perturbed genes; expression of the perturbed cell out.

    Values are log-normalised, not binned, no token is hidden or special, and the loss is the
    squared error of every gene shown: K = 1 536 drawn for each cell from all that the control
    measured, zeros too, the perturbed ones first. scFormer shows the genes that any control cell of
    the batch expresses, and its code draws their numbers where it means to draw the genes. Its
    flags have a third row, for padding; ours need none, since padding is not seen.
    Source: scFormer, section 4.3, and its and scGPT's code.
    """
    m, d = c.model, c.data
    with c.unlocked():
        d.transforms = ("normalise", "sequence", "flag_genes")
        m.vocabulary, d.sequence.number = 5000, 1536
        d.sequence.zeros = c.embed.zeros = "all"
        d.normalise.library_size = 10_000.0
        d.pair.label = "condition"
        d.flag_genes.label = d.pair.get_oneway_ref("label")
        d.flag_genes.control = d.pair.get_oneway_ref("control")
        m.specials, m.front, m.pool = (), (), "mean"
        m.norm, m.metadata, m.conditions = "", {}, {}
        m.fields.value = {"kind": "continuous", "input": "values", "codes": (-1.0,)}
        m.fields.external = {"kind": "lookup", "input": "flags.perturbed", "of": 2, "std": 1.0}
        m.tokens = ("gene", "value", "external")
        m.heads = {"perturbed": {"kind": "token_mlp", "layers": 1}}
        own = {"kind": "mse", "target": "batch.token_panel", **PERTURBED}
        c.losses = {
            "perturbed": {**own, "pred": "heads.perturbed", "weight": 1.0},
            "no_change": {**own, "pred": "batch.values", "weight": 0.0},
        }
    c.batch, c.labels = "", ()
    c.best = ("val/perturbed", "min")
    c.train.batch_size, c.epochs = 32, 6
    o = c.optimizer
    o.kind, o.learning_rate, o.weight_decay, o.clip = "adam", 1e-4, 0.0, 1.0
    o.schedule, o.decay, o.warmup_steps = "step", 0.9, 0
    return c


def affine(c):
    """The prediction is an affine function of the control's value: scGPT's decoder."""
    _predicting(c, "affine")
    c.model.heads.perturbed = {"kind": "token_affine"}
    return c


def ce(c):
    """Cross-entropy over evenly spaced bins of the perturbed cell's log-normalised values."""
    _predicting(c, "ce")
    head = {"kind": "token_mlp", "layers": 1, "outputs": c.data.pair.get_oneway_ref("bins")}
    c.model.heads.perturbed = head
    c.losses.perturbed.update(kind="cross_entropy", target="batch.token_bins")
    return c


def log1p(c):
    """Of a store of values that are log-normalised already (``jaxcell prepare --values log1p``)."""
    c.data.normalise.scale, c.data.normalise.given = False, "log1p"
    return c


def _predicting(c, name):
    if "perturbed" not in c.model.heads:
        raise ValueError(
            f"{c.name}:{name}: is of models with a head 'perturbed', name perturb first"
        )


PERTURB = {"perturb": perturb, "affine": affine, "ce": ce, "log1p": log1p}


def reconstruct(c):
    """BioFormer's own protocol: the perturbed cell's bins in, the same cell's expression out.

    Every token bears a vector of the cell's perturbation, and the loss is the squared error of the
    genes that are not zero. Nothing is hidden and no control cell is shown, so this is the
    reconstruction of a cell that the model sees: it predicts no perturbation, known or new.
    Source: BioFormer's repository; its paper does not describe the task.
    """
    with c.unlocked():
        c.data.transforms = ("normalise", "bin", "sequence")
        c.data.bin.method = "cell_low"
        own = {"label": "condition", "classes": 2, "place": "all", "dropout": 0.0}
        c.model.metadata = {"perturbation": own}
        c.model.heads = {"regression": {"kind": "token_mlp", "layers": 1}}
        c.losses = {
            "regression": {
                **{"kind": "mse", "pred": "heads.regression", "target": "batch.token_panel"},
                **{"where": ("batch.token_measured", "batch.token_panel")},
                **{"reduce": "masked_mean", "weight": 1.0},
            }
        }
    c.batch, c.labels = "", ()
    c.best = ("val/regression", "min")
    c.epochs, c.train.batch_size = 10, 64
    return c

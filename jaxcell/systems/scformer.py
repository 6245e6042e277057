"""scFormer: its repository's objectives, its paper's, and its options; each changes a config."""

from jaxcell.systems.batches import BATCH
from jaxcell.systems.bins import MASKED, label_loss, size, small, tokens
from jaxcell.systems.perturbation import PERTURB, perturb

QUERY = {"style": "inner_product", "detach": False}  # of MVC


def scformer(c):
    """What scFormer's repository integrates batches by: MGM, MVC, ECS, DAR, DSBN; MSE on bins.

    Its masks may hide <cls>'s own value, and all its layers start alike; ours do not.
    """
    c = tokens(c, 1200, ("<pad>", "<cls>", "<eoc>"), (-2.0, 0.0, 0.0, -1.0))
    c = size(c, 64, 6, 4, 64, 0.2)
    c.batch = "batch"
    c.model.fields.value.dropout = 0.2
    c.model.norm = "domain"
    c.model.domain = {"label": BATCH, "classes": 2, "affine": False}
    c.model.conditions = {"batch": {"label": BATCH, "classes": 2}}
    c.model.heads = {
        "mgm": {"kind": "token_mlp", "zero": True, "given": "batch"},
        "mvc": {"kind": "gene_query", "zero": True, "given": "batch", **QUERY},
        "dar": {
            **{"kind": "mlp_classifier", "label": BATCH, "classes": 2},
            **{"activation": "leaky_relu", "reverse": 1.0, "ramp": False},
        },
        "cls": {"kind": "mlp_classifier", "label": "cell_type", "classes": 2},
    }
    c.data.bin.method = "cell_high"
    c.data.draw_masks.ratio = 0.4
    _values(c, "mse")
    c.losses.ecs = {"kind": "elastic", "pred": "cell", "beta": 0.5, "weight": 10.0}
    label_loss(c, "dar", BATCH, 1.0)
    label_loss(c, "cls", "cell_type", 1.0)
    c.embed.unit = True
    c.best = ("val/mgm", "min")
    c.epochs, c.train.batch_size = 30, 32
    o = c.optimizer
    o.kind, o.learning_rate, o.weight_decay, o.clip = "adam", 1e-3, 0.0, 1.0
    o.schedule, o.decay = "step", 0.9
    return c


def _values(c, kind):
    """MGM's and MVC's losses of masked tokens: a number, and whether it is zero, or classes."""
    for name in ("mgm", "mvc"):
        zero = kind == "mse"
        pred = f"heads.{name}.value" if zero else f"heads.{name}"
        c.losses[name] = {"kind": kind, "pred": pred, "weight": 1.0, **MASKED}
        if zero:
            pred = f"heads.{name}.nonzero"
            own = {"kind": "is_nonzero", "pred": pred, "weight": 1.0, **MASKED}
            c.losses[f"{name}_zero"] = own
    if kind == "mse":
        mean = {"kind": "mse", "pred": "batch.token_mean", "weight": 0.0, **MASKED}
        c.losses.mgm_at_means = mean


def scformer_paper(c):
    """What scFormer's paper says instead: cross-entropy over bins, 4 blocks × 128, β = 0.6.

    MVC then predicts as many logits as MGM. No batch labels in decoders, no zeros by themselves.
    """
    c = size(c, 128, 4, 4, 128, 0.2)
    bins = c.data.bin.number
    c.model.conditions = {}
    for name in ("mgm", "mvc"):
        own = {"token_mlp": {}, "gene_query": QUERY}[kind := c.model.heads[name].kind]
        c.model.heads[name] = {"kind": kind, "outputs": bins, **own}
        for loss in (f"{name}_zero", f"{name}_at_means"):
            if loss in c.losses:
                del c.losses[loss]
    _values(c, "cross_entropy")
    c.losses.ecs.beta = 0.6
    c.train.batch_size = 16
    return c


def simcse(c):
    """Tell each cell from the others by a second pass with other dropout: scFormer's CCE."""
    own = {"kind": "contrastive", "pred": "cell", "target": "again.cell", "temperature": 0.5}
    c.losses.cce = {**own, "weight": 10.0}
    return c


def category(c):
    """Learn a vector for each bin, padding and a hidden value: scFormer's category style."""
    n = c.data.bin.number
    kind = {"kind": "bins", "input": "values", "number": n + 2, "norm": True}
    c.model.fields.value = {**kind, "codes": (n, 0, 0, n + 1), "dropout": 0.2}
    return c


def scformer_perturb(c):
    """Size of scFormer's paper, 4 blocks × 128, for its perturbation model."""
    return perturb(size(c, 128, 4, 4, 128, 0.2))


SCFORMER = {  # variants of its config
    "cpu": small,
    "code": lambda c: c,
    "paper": scformer_paper,
    "simcse": simcse,
    "category": category,
    **PERTURB,
    "perturb": scformer_perturb,
}

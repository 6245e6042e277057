"""Systems whose tokens are genes with bins, as changes of a config; each returns it.

scFormer, BioFormer, and BioFormers as encoder and as decoder.
"""

from jaxcell.batches import BATCH

MASKED = {"target": "batch.target", "where": "batch.mask", "reduce": "masked_mean"}
EXPRESSED = {**MASKED, "where": ("batch.mask", "batch.target")}


def tokens(c, genes, specials, codes):
    """All genes of the vocabulary as tokens behind the first of the special ones, with torch's
    encoder layer: norms behind the residuals, ReLU, dropout in four places.

    codes : what special tokens, and a hidden value, show to the value's encoder
    """
    c.model.vocabulary = c.data.sequence.number = genes
    c.model.specials, c.model.front = specials, ("<cls>",)
    c.model.combine = "sum"
    c.model.norm_eps = 1e-5
    c.model.fields = {
        "gene": {"kind": "lookup", "input": "ids", "of": "tokens", "norm": True, "std": 0.06},
        "value": {"kind": "continuous", "input": "values", "codes": codes},
    }
    c.model.heads = {}
    c.losses = {}
    c.data.transforms = ("normalise", "bin", "sequence", "draw_masks")
    c.data.normalise.library_size = 10_000.0
    c.data.sequence.zeros = c.embed.zeros = "all"
    c.data.draw_masks.hidden, c.data.draw_masks.exactly = 1.0, True
    c.train.bias_at_means = False
    c.train.gene_errors = ""
    e = c.model.encoder
    e.norm_first = e.final_norm = False
    e.norm_eps, e.activation, e.kernels = 1e-5, "relu", "torch"
    e.layer_scale = e.drop_path = 0.0
    e.dropout_inside = True
    c.optimizer.b2, c.optimizer.eps = 0.999, 1e-8
    c.optimizer.warmup = 0.0
    return c


QUERY = {"style": "inner_product", "detach": False}  # of MVC


def _size(c, width, layers, heads, hidden, dropout):
    e = c.model.encoder
    c.model.width, e.layers, e.heads, e.hidden, e.dropout = width, layers, heads, hidden, dropout
    return c


def scformer(c):
    """What scFormer's repository integrates batches by: MGM, MVC, ECS, DAR, DSBN; MSE on bins.

    Its masks may hide <cls>'s own value, and all its layers start alike; ours do not.
    """
    c = tokens(c, 1200, ("<pad>", "<cls>", "<eoc>"), (-2.0, 0.0, 0.0, -1.0))
    c = _size(c, 64, 6, 4, 64, 0.2)
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
    _label_loss(c, "dar", BATCH, 1.0)
    _label_loss(c, "cls", "cell_type", 1.0)
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


def _label_loss(c, name, label, weight):
    path = f"batch.labels.{label}"
    c.losses[name] = {
        **{"kind": "cross_entropy", "pred": f"heads.{name}", "target": path, "where": path},
        **{"reduce": "masked_mean", "weight": weight},
    }


def scformer_paper(c):
    """What scFormer's paper says instead: cross-entropy over bins, 4 blocks × 128, β = 0.6.

    MVC then predicts as many logits as MGM. No batch labels in decoders, no zeros by themselves.
    """
    c = _size(c, 128, 4, 4, 128, 0.2)
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


def bioformer(c):
    """BioFormer (Ho & Le) as its paper has it: bins per gene, CLS, GRL of the study, margin ECS.

    The cell type is never an input, in training or later (the paper names an embedding of it, and
    the repository feeds the test cells' true types, from which its NMI of .917 comes). It would be
    ``c.model.metadata.cell_type = {"label": "cell_type", "classes": 2, "place": "all"}``.
    Studies that training did not see have the 'unknown' row, which study dropout trains.
    """
    c = tokens(c, 1000, ("<cls>",), (-1, 0))
    c = _size(c, 512, 12, 8, 2048, 0.1)
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
    _label_loss(c, "study", BATCH, 0.1)
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


def bioformers(c):
    """BioFormers (Biostate) as an encoder: value bins, half of the masked genes expressed.

    The block is scFormer's, which the paper leaves open. ``flags`` are its external tokens:
    genes that ``data.flag_genes.label`` names as perturbed.
    """
    c = tokens(c, 2000, ("<cls>",), (0.0, -1.0))
    c = _size(c, 512, 8, 8, 512, 0.2)
    c.model.heads = {"mgm": {"kind": "token_mlp", "outputs": 64}}
    c.data.bin.method, c.data.bin.number = "value", 64
    c.data.draw_masks.ratio, c.data.draw_masks.nonzero = 0.1, 0.5
    c.losses = {"mgm": {"kind": "cross_entropy", "pred": "heads.mgm", "weight": 1.0, **MASKED}}
    c.epochs, c.train.batch_size = 10, 32
    o = c.optimizer
    o.learning_rate, o.weight_decay, o.schedule, o.warmup_steps = 2e-4, 0.01, "cosine", 2000
    return c


def external(c):
    """External tokens of perturbed genes: the field ``flags`` and the transform that makes it."""
    c.model.fields.external = {"kind": "lookup", "input": "flags.perturbed", "of": 2, "std": 0.02}
    c.model.tokens = (*c.model.tokens, "external")
    *others, last = c.data.transforms
    behind = (last,) if last == "draw_masks" else ()
    c.data.transforms = (*others, *([] if behind else [last]), "flag_genes", *behind)
    return c


def causal(c):
    """BioFormers as a decoder: the bin of the next gene, asked for by its own vector.

    Genes come in an order drawn for each cell: by value it would tell the next one's bin.
    """
    c.model.encoder.causal = True
    c.model.pool = "last"
    c.model.fields.query = {"kind": "next"}
    c.model.tokens = ("gene", "value", "query")
    c.data.transforms = ("normalise", "bin", "sequence")
    c.losses.mgm.update(target="batch.next_values", where="batch.next")
    return c


def by_value(c):
    """Expressed genes, highest first; which gene comes next is what is predicted."""
    del c.model.fields["query"]
    c.model.tokens = ("gene", "value")
    c.data.sequence.order, c.data.sequence.zeros, c.embed.zeros = "value", "exclude", "exclude"
    c.model.heads = {"mgm": {"kind": "token_genes"}}
    c.losses.mgm.target = "batch.next_ids"
    return c


def _field(path, value):
    def change(c):
        c.update_from_flattened_dict({path: value})
        return c

    return change


def small(c):
    """':cpu' of these systems: 2 blocks × 64, for some hundred genes and minutes of two cores."""
    c = _size(c, 64, 2, 4, 64, c.model.encoder.dropout)
    c.model.encoder.unroll = 2
    c.train.batch_size = 32
    c.optimizer.learning_rate = 1e-3
    c.optimizer.warmup_steps = min(c.optimizer.warmup_steps, 100)
    c.epochs = 10
    return c


SCFORMER = {
    "cpu": small,
    "code": lambda c: c,
    "paper": scformer_paper,
    "simcse": simcse,
    "category": category,
}
BIOFORMER = {"cpu": small, "paper": lambda c: c, "code": bioformer_code}
BIOFORMERS = {
    "cpu": small,
    "normalised": _field("data.bin.normalised", True),
    "external": external,
}
BIOFORMERS_DECODER = {**BIOFORMERS, "by_value": by_value}

"""BMFM-RNA: whole-cell decoding, masked values, labels; each function changes a config."""

from jaxcell.systems.blocks import llama

# Special tokens of BMFM-RNA's vocabularies, in the order of their published ids.
SPECIALS = ("<unk>", "<sep>", "<pad>", "<cls>", "<mask>", *(f"<cls_{k}>" for k in range(31)))
# Labels of its multi-task checkpoints: what a head reads in WCED's and in MLM's, and its loss.
TASKS = {
    "cell_type": ("<cls_0>", "hierarchical"),
    "tissue": ("<cls_1>", "focal"),
    "tissue_general": ("<cls_1>", "focal"),
    "donor": ("<cls_2>", "focal"),
    "sex": ("<cls_3>", "cross_entropy"),
}


def sequences(c):
    """Tokens, encoder and optimizer of BMFM-RNA's LLaMA checkpoints, without heads and losses."""
    c.model.vocabulary = 19_285  # and 36 special tokens: 19 321
    c.model.specials = SPECIALS
    c.model.width = 384
    c.model.fields = {
        "gene": {"kind": "lookup", "input": "ids", "of": "tokens"},
        "value": {"kind": "periodic", "input": "values"},
    }
    c.model.combine = "sum"
    c.model.norm = "layer"
    c.model.pooler = True
    c.model.heads = {}
    c.losses = {}
    c.normalise_weights = True

    c.data.transforms = ("normalise", "sequence")
    c.data.normalise.library_size = 10_000.0
    c.data.normalise.pseudo_total = 1.0
    c.data.sequence.number = 8192 - 6
    c.data.sequence.zeros = "interleave"
    c.data.sequence.expressed_only = 0.2
    c.data.sequence.total = "shown"
    c.embed.micro_batch = 8

    llama(c)
    c.model.encoder.layers = 12
    c.model.encoder.heads = 12

    c.epochs = 10
    c.train.batch_size = 64
    c.train.bias_at_means = False
    c.optimizer.schedule = "constant"
    c.optimizer.learning_rate = 1e-4
    c.optimizer.warmup_steps = 1000
    c.optimizer.b2 = 0.99
    c.optimizer.eps = 1e-8
    c.optimizer.weight_decay = 0.1
    c.optimizer.decayed = r"kernel$|heads/.*(rows|parts)$"  # linear layers: no table of tokens
    c.optimizer.clip = 0.5
    return c


def whole_cell(c):
    """WCED: expression of every gene, and whether it is zero, from the first token."""
    c.model.front = ("<cls>", "<cls_0>", "<cls_1>", "<cls_2>", "<cls_3>", "<sep>")
    c.model.heads.expression = {"kind": "vocabulary_parts"}
    _per_gene(c, "measured")
    _two_losses(c, "batch.panel", "batch.measured", 1.0)
    _at_means(c, expression="tables.mean", is_zero="tables.zero_logit")
    tasks(c, pooled=False)
    return c


def masked_values(c):
    """MLM: the values of masked genes, and whether they are zero, from their own tokens."""
    c.model.front = ("<cls>", "<sep>")
    c.data.sequence.number = 8192 - 2
    c.data.transforms = ("normalise", "sequence", "draw_masks")
    c.model.heads.expression = {"kind": "token_parts"}
    _per_gene(c, "masked")
    _two_losses(c, "batch.target", "batch.mask", 1.5)
    _at_means(c, expression="batch.token_mean")
    tasks(c, pooled=True)
    c.losses.donor.weight, c.model.heads.donor.reverse = 0.05, 1.0
    return c


def _per_gene(c, among):
    """Which prediction is measured per gene, and where."""
    c.train.gene_errors = "heads.expression.expression"
    c.train.gene_zero = "heads.expression.is_zero"
    c.train.gene_among = among


def _two_losses(c, target, mask, weight):
    """The squared error of non-zero values; with this weight, whether a value is zero."""
    for name, kind, where, own in (
        ("expression", "mse", (mask, target), 1.0),
        ("is_zero", "is_zero", (mask,), weight),
    ):
        c.losses[name] = {
            "kind": kind,
            "pred": f"heads.expression.{name}",
            "target": target,
            "where": where,
            "reduce": "masked_mean",
            "weight": own,
        }


def _at_means(c, **known):
    """Beside a loss, shown only, what a model gets that knows no more than each gene's mean."""
    for name, path in known.items():
        partner = c.losses[name].to_dict() | {"pred": path, "weight": 0.0}
        c.losses[f"{name}_at_means"] = partner


def tasks(c, pooled):
    """Heads and losses of the labels; those that ``c.labels`` names stay (`config.settled`)."""
    c.labels = tuple(TASKS)
    c.ontology.labels = ("cell_type",)
    c.ontology.file = "cellxgene"
    for name, (token, kind) in TASKS.items():
        reads = "pooled" if pooled else token
        c.model.heads[name] = {"kind": "classifier", "label": name, "classes": 2, "reads": reads}
        c.losses[name] = {
            "kind": kind,
            "pred": f"heads.{name}",
            "target": f"batch.labels.{name}",
            "where": f"batch.labels.{name}",
            "reduce": "masked_mean",
            "weight": 1.0,
            "after": 0.0,
        }
    c.losses.cell_type.update(leaves="tables.leaves.cell_type", reduce="batch_mean")
    return c


def flat(c):
    """Cell types as classes that exclude each other, coarse ones among them: no ontology."""
    return _cell_types(c, "cross_entropy")


def sigmoids(c):
    """Cell types as scPRINT has them: a sigmoid for each leaf of the ontology."""
    return _cell_types(c, "independent_sigmoids", leaves="tables.leaves.cell_type")


def _cell_types(c, kind, **further):
    old = {k: v for k, v in c.losses.cell_type.items() if k != "leaves"}
    c.losses.cell_type = {**old, "kind": kind, "reduce": "masked_mean", **further}
    c.ontology.labels = ("cell_type",) if further else ()
    return c


def sigmoids_of(c, head):
    """Whether each class of a label's head has a sigmoid of its own, no share in one softmax."""
    kinds = [one.kind for one in c.losses.values() if one.weight and one.pred == f"heads.{head}"]
    return c.targets.get(c.model.heads[head].label) == "several" or "independent_sigmoids" in kinds


def paper(c):
    """What the paper's text and Table 1 say, where its published checkpoints do otherwise."""
    c.model.norm = ""  # without it the missing first norm keeps the inputs' magnitudes
    c.model.encoder.activation, c.model.encoder.hidden = "gelu", 1536  # as many weights
    if "draw_masks" in c.data.transforms:
        # Its zeros stay: section 12.3 leaves them out for WCED alone, and whether a masked value is
        # zero cannot be learned without them.
        c.data.draw_masks.ratio, c.data.draw_masks.hidden = 0.95, 1.0
    else:
        c.data.sequence.zeros, c.data.sequence.expressed_only = "exclude", 0.0
        c.data.sequence.dropout = 0.2
        for name in TASKS:  # after several epochs of reconstruction alone
            if name in c.losses:
                c.losses[name].after = 0.5
        if "donor" in c.losses:
            c.losses.donor.weight, c.model.heads.donor.reverse = 1.0, 0.0
    for name in (name for name in TASKS if name in c.model.heads):
        c.model.heads[name].update(mlp=True, dropout=0.1)
    return c


def decoded(path):
    """WCED of some genes alone: those where ``path`` of the batch holds, or 'not path'."""

    def change(c):
        for name, one in c.losses.items():
            if name.removesuffix("_at_means") in ("expression", "is_zero"):
                one.where = (*one.where, path)
        return c

    return change


def depth_aware(c):
    """RDA: the input is thinned at random; two more tokens tell its depth and the cell's."""
    depths = ("<s>", "<t>")
    c.model.specials, c.model.front = (*c.model.specials, *depths), (*c.model.front, *depths)
    c.data.transforms = ("thin", *c.data.transforms)
    if "draw_masks" in c.data.transforms:
        c.data.draw_masks.ratio = 0.3
    return c


def pilot(c):
    """Section 2.1's model: reconstruction alone (its corpus is 1 % of the whole one)."""
    c.labels = ()
    return c


def small(c):
    """':cpu' of these systems: what two cores train in minutes on thousands of cells.

    Two blocks, since masked tokens' objective teaches CLS nothing in one. Truncated to so few
    genes, a cell's values are normalised by its own sum; WCED's biases start at the genes' means.
    """
    c.model.width, c.model.encoder.layers, c.model.encoder.heads = 64, 2, 4
    c.model.encoder.unroll = 2
    if c.model.encoder.hidden:
        c.model.encoder.hidden = 2 * c.model.width
    c.data.sequence.number = 128
    c.data.sequence.total = "cell"
    c.train.batch_size = 64
    c.train.validate_every = 500
    c.train.bias_at_means = True
    c.optimizer.schedule, c.optimizer.learning_rate = "one_cycle", 4e-3
    c.epochs, c.steps = 0, 3000
    return c


BMFM_RNA = {  # variants of its configs
    "cpu": small,
    "paper": paper,
    "pilot": pilot,
    "flat": flat,
    "sigmoids": sigmoids,
    "rda": depth_aware,
    "released": lambda c: c,
}
WHOLE_CELL = BMFM_RNA | {
    "input": decoded("batch.shown"),
    "non_input": decoded("not batch.shown"),
}

"""What scFormer, BioFormer and BioFormers share: genes with binned values as tokens."""

MASKED = {"target": "batch.target", "where": "batch.mask", "reduce": "masked_mean"}


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


def size(c, width, layers, heads, hidden, dropout):
    """Width, blocks, heads, width of the MLP and dropout of the encoder."""
    e = c.model.encoder
    c.model.width, e.layers, e.heads, e.hidden, e.dropout = width, layers, heads, hidden, dropout
    return c


def small(c):
    """':cpu' of these systems: 2 blocks × 64, for some hundred genes and minutes of two cores."""
    c = size(c, 64, 2, 4, 64, c.model.encoder.dropout)
    c.model.encoder.unroll = 2
    c.train.batch_size = 32
    c.optimizer.learning_rate = 1e-3
    c.optimizer.warmup_steps = min(c.optimizer.warmup_steps, 100)
    c.epochs = 10
    return c


def label_loss(c, name, label, weight):
    """Cross-entropy of the head and loss ``name`` over the known classes of a label."""
    path = f"batch.labels.{label}"
    c.losses[name] = {
        **{"kind": "cross_entropy", "pred": f"heads.{name}", "target": path, "where": path},
        **{"reduce": "masked_mean", "weight": weight},
    }

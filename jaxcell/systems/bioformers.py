"""BioFormers (Biostate): as encoder, as decoder, with external tokens; each changes a config."""

from jaxcell.systems.bins import MASKED, size, small, tokens
from jaxcell.systems.perturbation import PERTURB


def bioformers(c):
    """BioFormers (Biostate) as an encoder: value bins, half of the masked genes expressed.

    The block is scFormer's, which the paper leaves open. ``flags`` are its external tokens:
    genes that ``data.flag_genes.label`` names as perturbed.
    """
    c = tokens(c, 2000, ("<cls>",), (0.0, -1.0))
    c = size(c, 512, 8, 8, 512, 0.2)
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


_BOTH = {
    "cpu": small,
    "normalised": _field("data.bin.normalised", True),
    "external": external,
}
BIOFORMERS = {**_BOTH, **PERTURB}  # variants of its configs
BIOFORMERS_DECODER = {**_BOTH, "by_value": by_value}

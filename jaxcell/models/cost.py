"""What a model costs: floating-point operations of a cell, from the config alone."""

from jaxcell.models.heads import VocabularyMlp
from jaxcell.models.layers import Encoder


def forward_flops(spec, tokens):
    """Floating-point operations of one cell's forward pass, 2 for each multiply-add.

    Matrix products only (blocks, attention, token projection, decoder): norms, softmax and
    activations are left out, as is usual for model FLOPs. TxFM-B at 2 049 tokens: 505.3e9.

    Parameters
    ----------
    spec : the config's ``model``
    tokens : T, special tokens included
    """
    d, n = spec.width, spec.encoder.layers
    projections = 4 * d * d + 2 * d * int(spec.encoder.get("mlp_ratio", Encoder.mlp_ratio) * d)
    attention = 2 * tokens * d
    combine = (tokens - len(spec.specials)) * (d + 1) * d
    multiply_adds = n * tokens * (projections + attention) + combine
    for head in spec.heads.values():
        multiply_adds += head.get("blocks", VocabularyMlp.blocks) * 2 * d * d + spec.vocabulary * d
    return 2 * multiply_adds


def training_flops(spec, tokens):
    """A training step's operations for one cell: the backward pass costs twice the forward."""
    return 3 * forward_flops(spec, tokens)

"""What a model costs: floating-point operations of a cell, from the config alone."""

from jaxcell.models.cell import POOLS
from jaxcell.models.heads import VocabularyMlp
from jaxcell.models.layers import Encoder


def forward_flops(spec, tokens, *, whole=False):
    """Floating-point operations of one cell's forward pass, 2 for each multiply-add.

    Matrix products only (blocks, attention, token projection, decoder): norms, softmax and
    activations are left out, as is usual for model FLOPs. The last block counts what is computed
    of it for those tokens that the pool reads.

    Parameters
    ----------
    spec : the config's ``model``
    tokens : T, special tokens included
    whole : count all of the last block, as published figures do; TxFM-B at 2 049 tokens: 505.3e9,
        and 463.5e9 without
    """
    d, n = spec.width, spec.encoder.layers
    projections = 4 * d * d + 2 * d * int(spec.encoder.get("mlp_ratio", Encoder.mlp_ratio) * d)
    attention = 2 * tokens * d
    multiply_adds = (tokens - len(spec.specials)) * (d + 1) * d  # of the token projection
    multiply_adds += (n - 1) * tokens * (projections + attention)
    _, reads = POOLS[spec.pool]
    if whole or reads is None:
        multiply_adds += tokens * (projections + attention)
    elif reads < d // spec.encoder.heads:  # see attention_of_few
        multiply_adds += reads * (projections + attention * spec.encoder.heads)
    else:
        multiply_adds += reads * (projections - 2 * d * d + attention) + tokens * 2 * d * d
    for head in spec.heads.values():
        if head.kind == "vocabulary_mlp":
            multiply_adds += head.get("blocks", VocabularyMlp.blocks) * 2 * d * d
        if head.kind in ("vocabulary_mlp", "gene_linear"):
            multiply_adds += spec.vocabulary * d
    return 2 * multiply_adds


def training_flops(spec, tokens):
    """A training step's operations for one cell: the backward pass costs twice the forward."""
    return 3 * forward_flops(spec, tokens)

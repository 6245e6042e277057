"""What a model costs: floating-point operations of a cell, from the config alone."""

from jaxcell.models.cell import POOLS
from jaxcell.models.heads import VocabularyMlp
from jaxcell.models.layers import Encoder


def forward_flops(spec, tokens, *, whole=False):
    """Floating-point operations of one cell's forward pass, 2 for each multiply-add.

    Matrix products only (blocks, attention, token projection, decoder): norms, softmax and
    activations are left out, as is usual for model FLOPs. The last block counts what is computed
    of it: keys and values of all tokens, the rest of those that the pool reads.

    Parameters
    ----------
    spec : the config's ``model``
    tokens : T, special tokens included
    whole : count all of the last block, as published figures do; TxFM-B at 2 049 tokens: 505.3e9,
        and 468.3e9 without
    """
    d, n = spec.width, spec.encoder.layers
    projections = 4 * d * d + 2 * d * int(spec.encoder.get("mlp_ratio", Encoder.mlp_ratio) * d)
    attention = 2 * tokens * d
    combine = (tokens - len(spec.specials)) * (d + 1) * d
    _, reads = POOLS[spec.pool]
    last = tokens if whole or reads is None else reads
    multiply_adds = (n - 1) * tokens * (projections + attention) + combine
    multiply_adds += last * (projections - 2 * d * d + attention) + tokens * 2 * d * d
    for head in spec.heads.values():
        if head.kind == "vocabulary_mlp":
            multiply_adds += head.get("blocks", VocabularyMlp.blocks) * 2 * d * d
        if head.kind in ("vocabulary_mlp", "gene_linear"):
            multiply_adds += spec.vocabulary * d
    return 2 * multiply_adds


def training_flops(spec, tokens):
    """A training step's operations for one cell: the backward pass costs twice the forward."""
    return 3 * forward_flops(spec, tokens)

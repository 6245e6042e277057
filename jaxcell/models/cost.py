"""What a model costs: floating-point operations of a cell, from the config alone."""

from jaxcell.models.cell import CellModel, queries_of
from jaxcell.models.encoder import Encoder
from jaxcell.models.expression_heads import TokenParts, VocabularyMlp, VocabularyParts
from jaxcell.models.label_heads import MlpClassifier
from jaxcell.models.layers import GATED
from jaxcell.models.token_heads import GeneQuery, TokenAffine, TokenMlp
from jaxcell.models.values import BASIS, ValueMlp


def forward_flops(spec, tokens, *, whole=False):
    """Floating-point operations of one cell's forward pass, 2 for each multiply-add.

    Matrix products only (blocks, attention, token projection, decoders): norms, softmax and
    activations are left out, as is usual for model FLOPs. The last block counts what is computed
    of it for those tokens that pool and heads read.

    Parameters
    ----------
    spec : the config's ``model``
    tokens : T, special tokens included
    whole : count all of the last block, as published figures do; TxFM-B at 2 049 tokens: 505.3e9,
        and 463.5e9 without
    """
    spec = CellModel(spec).spec
    d, n, e = spec.width, spec.encoder.layers, spec.encoder
    reads = None if whole else queries_of(spec)
    full, last = tokens * _of_token(spec) + _attention(spec, tokens, tokens), 0
    if reads is None:
        last = full
    elif e.get("attention", "exact") != "exact":
        last = reads * _of_token(spec) + 3 * (tokens - reads) * d * d
        last += _attention(spec, tokens, reads)
    elif reads < d // e.heads:  # see attention_of_few
        last = reads * (_of_token(spec) + 2 * tokens * d * e.heads)
    else:
        last = reads * (_of_token(spec) - 2 * d * d + 2 * tokens * d) + tokens * 2 * d * d
    return 2 * ((n - 1) * full + last + _fields(spec, tokens) + _heads(spec, tokens))


def _of_token(spec):
    """Multiply-adds of a block's linear layers, of a token."""
    d, e = spec.width, spec.encoder
    hidden = e.get("hidden") or int(e.get("mlp_ratio", Encoder.mlp_ratio) * d)
    return 4 * d * d + (3 if e.get("activation") in GATED else 2) * d * hidden


def _attention(spec, tokens, queries):
    """Multiply-adds of a block's attention, projections left out."""
    d, e = spec.width, spec.encoder
    kind = e.get("attention", "exact")
    if kind == "performer":
        return 2 * (tokens + queries) * e.get("features", Encoder.features) * d
    if kind == "nystrom":
        marks = min(e.get("landmarks", Encoder.landmarks), tokens)
        inverse = 4 * e.get("iterations", Encoder.iterations) * marks**3 * e.heads
        return 2 * (tokens + queries) * marks * d + 2 * marks * marks * d + inverse
    return 2 * tokens * queries * d


def _fields(spec, tokens):
    d = spec.width
    if spec.combine == "concat":
        return (tokens - len(spec.front)) * (d + 1) * d
    total = 0
    for field in (spec.fields[name] for name in spec.tokens):
        if field.kind == "periodic":
            total += tokens * 2 * BASIS * d
        elif field.kind == "value_mlp":
            total += tokens * field.get("hidden", ValueMlp.hidden) * (d + 1)
        elif field.kind == "continuous":
            total += tokens * (d + 1) * d
        elif field.kind == "external":
            total += tokens * field.channels * d
    return total


def _heads(spec, tokens):
    d = spec.width
    total = d * d if spec.pooler else 0
    for head in spec.heads.values():
        if head.kind == "vocabulary_mlp":
            total += head.get("blocks", VocabularyMlp.blocks) * 2 * d * d
        if head.kind in ("vocabulary_mlp", "gene_linear"):
            total += spec.vocabulary * d
        elif head.kind == "vocabulary_parts":
            total += d * d + len(head.get("parts", VocabularyParts.parts)) * spec.vocabulary * d
        elif head.kind == "token_parts":
            total += tokens * d * (d + len(head.get("parts", TokenParts.parts)))
        elif head.kind == "classifier":
            total += d * head.classes + (d * d if head.get("mlp") else 0)
        elif head.kind == "mlp_classifier":
            layers = head.get("layers", MlpClassifier.layers)
            total += d * head.classes + (layers - 1) * d * d
        elif head.kind == "token_genes":
            total += tokens * d * spec.vocabulary
        elif head.kind == "token_mlp":
            total += tokens * _token_mlp(spec, head)
        elif head.kind == "token_affine":
            layers = head.get("layers", TokenAffine.layers)
            total += 2 * tokens * ((layers - 1) * d * d + d)
        elif head.kind == "gene_query":
            outputs = head.get("outputs", GeneQuery.outputs) + head.get("zero", GeneQuery.zero)
            total += tokens * d * (d + outputs)
    return total


def _token_mlp(spec, head):
    """Multiply-adds of a token in its layers, those that tell zeros included."""
    d, layers = spec.width, head.get("layers", TokenMlp.layers)
    read = 2 * d if head.get("given") else d
    first, zero = (read if layers == 1 else d), head.get("zero", TokenMlp.zero)
    hidden = (layers > 1) * read * d + max(layers - 2, 0) * d * d
    return (1 + zero) * hidden + first * (head.get("outputs", TokenMlp.outputs) + zero)


def training_flops(spec, tokens, *, whole=False):
    """A training step's operations for one cell: the backward pass costs twice the forward."""
    return 3 * forward_flops(spec, tokens, whole=whole)

"""What is read from a cell's or a token's vector, by the names that configs use.

Every head is called with the vectors that it reads and the batch, of which most ask nothing, and
returns an array or a dict of arrays. B cells, T tokens, D width.
"""

import jax.numpy as jnp
from flax import linen as nn
from ml_collections import FrozenConfigDict

from jaxcell.models.expression_heads import (
    GeneLinear,
    GeneParameter,
    TokenParts,
    VocabularyMlp,
    VocabularyParts,
)
from jaxcell.models.label_heads import Classifier, MlpClassifier
from jaxcell.models.token_heads import GeneQuery, TokenAffine, TokenGenes, TokenMlp
from jaxcell.registry import build, lookup

HEADS = {
    "vocabulary_mlp": VocabularyMlp,
    "vocabulary_parts": VocabularyParts,
    "gene_linear": GeneLinear,
    "gene_parameter": GeneParameter,
    "token_parts": TokenParts,
    "token_mlp": TokenMlp,
    "token_affine": TokenAffine,
    "token_genes": TokenGenes,
    "gene_query": GeneQuery,
    "classifier": Classifier,
    "mlp_classifier": MlpClassifier,
}
# They read the tokens, if nothing else is said.
OF_TOKENS = ("token_parts", "token_mlp", "token_affine", "token_genes")


def reads_of(head):
    """What a head reads: 'cell' (the pool's vector), 'pooled', 'tokens', or a special's name."""
    return head.get("reads", "tokens" if head["kind"] in OF_TOKENS else "cell")


class Heads(nn.Module):
    """All heads of a model, in a scope of their own: sources, batch -> {name: array or parts}.

    names : of those that are computed; None: all
    conditions : as of `conditions_of`; a head that is ``given`` one reads it behind its own
    """

    spec: FrozenConfigDict
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, source, batch, *, train, names=None, conditions=None, **options):
        spec, found = self.spec, {}
        sizes = dict(rows=spec.rows, token_rows=spec.token_rows, vocabulary=spec.vocabulary)
        sizes |= dict(width=spec.width, tokens=spec.vocabulary + len(spec.specials))
        for name in sorted(spec.heads) if names is None else names:
            where, head = f"config.model.heads.{name}", spec.heads[name].to_dict()
            read, given = source(reads_of(head)), head.pop("given", "")
            head.pop("reads", None)
            made = build(HEADS, head, where, name=name, dtype=self.dtype, **sizes)
            more = {"train": train} if head["kind"] == "classifier" else {}
            read = _beside(read, conditions[given]) if given else read
            found[name] = made(read, batch, **more, **options)
        return found


class Condition(nn.Module):
    """A normed vector for each cell's class of a label, which heads may read beside their own.

    codes i32 [B] (−1: unknown) -> [B, D]; parameters rows [classes + 1, D], norm/{scale, bias}.
    Source: scFormer's batch labels, which its decoders are told and its encoder is not.
    """

    label: str
    classes: int
    width: int

    @nn.compact
    def __call__(self, codes):
        table = self.param("rows", nn.initializers.normal(1.0), (self.classes + 1, self.width))
        rows = jnp.take(table, jnp.where(codes < 0, self.classes, codes), axis=0)
        return nn.LayerNorm(epsilon=1e-5, name="norm")(rows)


def conditions_of(spec, heads, batch):
    """{condition: [B, D]} of those that some of these heads are given; modules of the caller's."""
    found, wanted = {}, {spec.heads[name].get("given", "") for name in heads}
    for name in sorted(wanted - {""}):
        where = f"config.model.conditions.{name}"
        one = {"kind": "condition", **lookup(spec.conditions, name, where)}
        context = dict(name=f"condition_{name}", width=spec.width)
        made = build({"condition": Condition}, one, where, **context)
        found[name] = made(batch["labels"][made.label])
    return found


def _beside(x, vector):
    """Put beside x [B, D] or [B, T, D] a vector [B, C] of the cell: [..., D + C]."""
    vector = vector.astype(x.dtype)
    if x.ndim == 3:
        vector = jnp.broadcast_to(vector[:, None], (*x.shape[:2], vector.shape[-1]))
    return jnp.concatenate([x, vector], axis=-1)

"""What is read from a cell's or a token's vector, by the names that configs use.

Every head is called with the vectors that it reads and the batch, of which most ask nothing, and
returns an array or a dict of arrays.
"""

from jaxcell.models.expression_heads import (
    GeneLinear,
    GeneParameter,
    TokenParts,
    VocabularyMlp,
    VocabularyParts,
)
from jaxcell.models.label_heads import Classifier, MlpClassifier
from jaxcell.models.token_heads import GeneQuery, TokenGenes, TokenMlp

HEADS = {
    "vocabulary_mlp": VocabularyMlp,
    "vocabulary_parts": VocabularyParts,
    "gene_linear": GeneLinear,
    "gene_parameter": GeneParameter,
    "token_parts": TokenParts,
    "token_mlp": TokenMlp,
    "token_genes": TokenGenes,
    "gene_query": GeneQuery,
    "classifier": Classifier,
    "mlp_classifier": MlpClassifier,
}
OF_TOKENS = ("token_parts", "token_mlp", "token_genes")  # read the tokens, if nothing else is said


def reads_of(head):
    """What a head reads: 'cell' (the pool's vector), 'pooled', 'tokens', or a special's name."""
    return head.get("reads", "tokens" if head["kind"] in OF_TOKENS else "cell")

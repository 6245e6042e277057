"""What is read from a cell's vector: expression of all genes, and labels; and the table of heads.

B cells, D width of what is read, V genes, S special tokens. Every head is called with what it
reads and the batch, and returns an array or a dict of arrays.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from jaxcell.conversion.torch_model.building import choose
from jaxcell.conversion.torch_model.layers import Mlp
from jaxcell.conversion.torch_model.token_heads import (
    GeneQuery,
    TokenAffine,
    TokenGenes,
    TokenMlp,
    TokenParts,
    Transform,
)


def rectified_tanh(z, upper):
    """ln(1 + upper) · max(0, tanh(z / 4e)), e Euler's number."""
    return math.log1p(upper) * F.relu(torch.tanh(z / (4 * math.e)))


def clamped_relu(z, upper):
    """The logit, cut off below 0 and above ln(1 + upper)."""
    return F.relu(z).clamp(max=math.log1p(upper))


def softmax(z, upper):
    """ln(1 + upper · softmax(z)): z [B, V] -> [B, V]; a logit of −inf takes no part and gets 0."""
    takes_part = z > -torch.inf
    z = z.masked_fill(~takes_part, torch.finfo(z.dtype).min / 2)
    found = F.softplus(math.log(upper) + z.log_softmax(dim=-1), threshold=50)
    return torch.where(takes_part, found, 0)


# From logits to expression in log1p space.
COUNT_ACTIVATIONS = {
    "rectified_tanh": rectified_tanh,
    "relu": lambda z, upper: F.relu(z),
    "clamped_relu": clamped_relu,
    "softmax": softmax,
}


class VocabularyMlp(nn.Module):
    """Residual MLP from the cell's vector to the expression of every gene: [B, D] -> [B, V].

    In log1p space. With the activation 'softmax' the batch says which genes were measured, bool
    [B, V]: the others take no part.
    """

    def __init__(
        self, inputs, vocabulary, library_size, path, blocks=4, activation="rectified_tanh"
    ):
        super().__init__()
        self.blocks, self.upper, self.vocabulary = blocks, library_size, vocabulary
        self.activation = choose(COUNT_ACTIVATIONS, activation, f"{path}.activation")
        self.shared = activation == "softmax"  # genes compete for one sum
        for i in range(blocks):
            self.add_module(f"blocks_{i}", Mlp(inputs, inputs))
        self.rows = nn.Linear(inputs, vocabulary)

    def forward(self, cell, batch):
        for i in range(self.blocks):
            cell = cell + self.get_submodule(f"blocks_{i}")(cell)
        logits = self.rows(cell)
        if self.shared:
            logits = logits.masked_fill(~batch["measured"][:, : self.vocabulary], -torch.inf)
        return self.activation(logits, self.upper)


class GeneLinear(nn.Module):
    """A linear layer from the cell's vector to one number for every gene: [B, D] -> [B, V]."""

    def __init__(self, inputs, vocabulary):
        super().__init__()
        self.rows = nn.Linear(inputs, vocabulary)

    def forward(self, cell, batch):
        return self.rows(cell)


class GeneParameter(nn.Module):
    """One learned number for every gene, the same for all cells: -> [V]."""

    def __init__(self, vocabulary):
        super().__init__()
        self.values = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, cell, batch):
        return self.values


class PartRows(nn.Module):
    """P numbers for every gene: x [B, D] -> [B, V, P]; weight [V + S, P · D], bias [V + S, P]."""

    def __init__(self, inputs, vocabulary, tokens, parts):
        super().__init__()
        self.vocabulary, self.parts = vocabulary, parts
        self.weight = nn.Parameter(torch.zeros(tokens, parts * inputs))
        self.bias = nn.Parameter(torch.zeros(tokens, parts))

    def forward(self, x):
        v = self.vocabulary
        weight = self.weight[:v].reshape(v * self.parts, -1)
        return F.linear(x, weight, self.bias[:v].reshape(-1)).view(-1, v, self.parts)


class VocabularyParts(nn.Module):
    """A few numbers for every gene from a cell's vector: [B, D] -> {part: [B, V]}.

    Source: BMFM-RNA: expression, and the logit of its being zero.
    """

    def __init__(self, inputs, vocabulary, tokens, parts=("expression", "is_zero")):
        super().__init__()
        self.parts = parts
        self.transform = Transform(inputs)
        self.rows = PartRows(inputs, vocabulary, tokens, len(parts))

    def forward(self, cell, batch):
        logits = self.rows(self.transform(cell))
        return {part: logits[..., i] for i, part in enumerate(self.parts)}


class Classifier(nn.Module):
    """Logits of the classes of one label, with ``mlp`` behind a layer and GELU: -> [B, classes]."""

    def __init__(self, inputs, label, classes, mlp=False):
        super().__init__()
        self.label = label
        self.hidden = nn.Linear(inputs, inputs) if mlp else None
        self.out = nn.Linear(inputs, classes)

    def forward(self, cell, batch):
        return self.out(cell if self.hidden is None else F.gelu(self.hidden(cell)))


class MlpClassifier(nn.Module):
    """Logits of a label behind layers of linear, activation, layer norm: -> [B, classes]."""

    def __init__(self, inputs, label, classes, path, layers=3, activation="relu"):
        super().__init__()
        known = {"relu": F.relu, "leaky_relu": F.leaky_relu}
        self.activation = choose(known, activation, f"{path}.activation")
        self.label, self.layers = label, layers - 1
        for i in range(self.layers):
            self.add_module(f"hidden_{i}", nn.Linear(inputs, inputs))
            self.add_module(f"norm_{i}", nn.LayerNorm(inputs))
        self.out = nn.Linear(inputs, classes)

    def forward(self, x, batch):
        for i in range(self.layers):
            hidden, norm = self.get_submodule(f"hidden_{i}"), self.get_submodule(f"norm_{i}")
            x = norm(self.activation(hidden(x)))
        return self.out(x)


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
    """What a head reads: 'cell' (the pool's vector), 'tokens', 'pooled', a pool or a special."""
    return head.get("reads", "tokens" if head["kind"] in OF_TOKENS else "cell")

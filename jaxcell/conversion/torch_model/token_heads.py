"""Heads that predict a token's value, bin or gene: from its own vector, or from the cell's (MVC).

B cells, T tokens, D width of a field, E width of what is read, n outputs, P places.
"""

import torch
import torch.nn.functional as F
from torch import nn

from jaxcell.conversion.torch_model.building import choose

QUERY = 64  # channels of a concatenated query, and of the hidden layer that reads one


class Transform(nn.Module):
    """Linear, GELU, layer norm, as BERT has before its decoders: [..., D] -> [..., D]."""

    def __init__(self, width):
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x):
        return self.norm(F.gelu(self.hidden(x)))


class TokenParts(nn.Module):
    """A few numbers for every token from its own vector: tokens [B, T, E] -> {part: [B, T]}.

    With ``genes`` also 'genes' [B, P, V + S], the logits of which gene it is, at the batch's
    ``gene_places`` [B, P].
    """

    def __init__(self, inputs, tokens, parts=("expression", "is_zero"), genes=False):
        super().__init__()
        self.names = parts
        self.transform = Transform(inputs)
        self.parts = nn.Linear(inputs, len(parts))
        self.rows = nn.Linear(inputs, tokens) if genes else None

    def forward(self, tokens, batch):
        x = self.transform(tokens)
        values = self.parts(x)
        found = {part: values[..., i] for i, part in enumerate(self.names)}
        if self.rows is not None:
            found["genes"] = self.rows(x.take_along_dim(batch["gene_places"][..., None], dim=1))
        return found


class TokenMlp(nn.Module):
    """Leaky-ReLU layers from each token's vector [B, T, E] to a number [B, T] or logits [B, T, n].

    With ``zero`` {'value': that, 'nonzero': [B, T]}, the logit of its not being zero.
    """

    def __init__(self, inputs, width, outputs=1, layers=3, zero=False):
        super().__init__()
        self.layers, self.zero = layers - 1, zero
        for prefix, number in (("", outputs), *([("zero_", 1)] if zero else [])):
            for i in range(self.layers):
                layer = nn.Linear(inputs if i == 0 else width, width)
                self.add_module(f"{prefix}hidden_{i}", layer)
            self.add_module(f"{prefix}out", nn.Linear(width if self.layers else inputs, number))

    def forward(self, tokens, batch):
        value = _squeezed(self._mlp(tokens, ""))
        if not self.zero:
            return value
        return {"value": value, "nonzero": self._mlp(tokens, "zero_")[..., 0]}

    def _mlp(self, x, prefix):
        for i in range(self.layers):
            x = F.leaky_relu(self.get_submodule(f"{prefix}hidden_{i}")(x))
        return self.get_submodule(f"{prefix}out")(x)


class TokenAffine(nn.Module):
    """An affine function of each token's value by its vector: tokens [B, T, E] -> [B, T]."""

    def __init__(self, inputs, width, layers=3):
        super().__init__()
        self.layers = layers - 1
        for kind in ("_slope", ""):
            for i in range(self.layers):
                layer = nn.Linear(inputs if i == 0 else width, width)
                self.add_module(f"hidden{kind}_{i}", layer)
            self.add_module(f"out{kind}", nn.Linear(width if self.layers else inputs, 1))

    def forward(self, tokens, batch):
        slope, shift = (self._mlp(tokens, kind)[..., 0] for kind in ("_slope", ""))
        return (1 + slope) * batch["values"] + shift

    def _mlp(self, x, kind):
        for i in range(self.layers):
            x = F.leaky_relu(self.get_submodule(f"hidden{kind}_{i}")(x))
        return self.get_submodule(f"out{kind}")(x)


class TokenGenes(nn.Module):
    """Logits of which gene it is, for each token: tokens [B, T, E] -> [B, T, V]."""

    def __init__(self, inputs, vocabulary):
        super().__init__()
        self.rows = nn.Linear(inputs, vocabulary)

    def forward(self, tokens, batch):
        return self.rows(tokens)


class GeneQuery(nn.Module):
    """Each token's value from the cell's vector and the token's gene alone (MVC of scFormer).

    cell [B, E], and the field's vectors [B, T, D] in the batch -> as `TokenMlp`. A query
    q = sigmoid(linear(gene)) meets the cell's vector c by ``style``: 'inner_product', q W · c (of
    several outputs with a layer behind it); or both go through linear, PReLU, linear, side by side
    ('concat_query') or added ('sum_query').
    """

    def __init__(
        self, inputs, width, path, style="inner_product", field="gene", outputs=1, zero=False
    ):
        super().__init__()
        styles = {"inner_product": width, "concat_query": QUERY, "sum_query": inputs}
        query = choose(styles, style, f"{path}.style")
        self.style, self.field, self.outputs, self.is_zero = style, field, outputs, zero
        self.query = nn.Linear(width, query)
        if style == "inner_product":
            self.product = nn.Linear(query, inputs, bias=False)
            self.out = nn.Linear(inputs, outputs) if outputs > 1 else None
            self.zero = nn.Linear(query, inputs) if zero else None
            return
        self.hidden = nn.Linear(query, QUERY)
        if style == "concat_query":
            self.hidden_cell = nn.Linear(inputs, QUERY, bias=False)
        self.slope = nn.PReLU()
        self.out = nn.Linear(QUERY, outputs)
        self.zero_out = nn.Linear(QUERY, 1) if zero else None

    def forward(self, cell, batch):
        q = torch.sigmoid(self.query(batch["fields"][self.field]))
        value, zero = (self._inner if self.style == "inner_product" else self._joint)(q, cell)
        value = _squeezed(value)
        return {"value": value, "nonzero": zero} if self.is_zero else value

    def _inner(self, q, cell):
        # The product is taken on the cell's side, once for all its tokens.
        if self.out is None:
            value = _dot(q, cell @ self.product.weight)[..., None]
        else:
            both = torch.einsum("ed,be,ne->bdn", self.product.weight, cell, self.out.weight)
            value = torch.einsum("btd,bdn->btn", q, both) + self.out.bias
        if self.zero is None:
            return value, None
        return value, _dot(q, cell @ self.zero.weight) + (cell @ self.zero.bias)[:, None]

    def _joint(self, q, cell):
        if self.style == "concat_query":
            h = self.hidden(q) + self.hidden_cell(cell)[:, None]
        else:
            h = self.hidden(q + cell[:, None])
        h = self.slope(h)
        return self.out(h), None if self.zero_out is None else self.zero_out(h)[..., 0]


def _dot(q, cell):
    """The product over D: q [B, T, D], cell [B, D] -> [B, T]."""
    return torch.einsum("btd,bd->bt", q, cell)


def _squeezed(value):
    """Predictions [B, T, n], or [B, T] where there is one."""
    return value[..., 0] if value.shape[-1] == 1 else value

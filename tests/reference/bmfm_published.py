"""BMFM-RNA in plain PyTorch, with the names of the published checkpoints' parameters.

Written from the description of the state dicts, in the foreign order of tokens: special tokens have
the first ids. Letters: B cells, T tokens, V tokens of the vocabulary, S special ones, d width.

A sequence is [CLS] (and [CLS_0] …), genes, [SEP], [PAD] …; values of special tokens are −(id + 1).
What `bmfm.py` says of silences in the description holds here too. The fixed frequencies are a
buffer in float64, which a float64 model multiplies by.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

SEP, PAD, CLS, MASK = 1, 2, 3, 4


class ScaleAdapt(nn.Module):
    """x [B, T] -> [B, T, d]: sines, cosines of x > 0, and rows of special tokens and of zero."""

    def __init__(self, width, specials, trainable, scale=0.01, number=48):
        super().__init__()
        if trainable:
            self.basis = nn.Parameter(2 * math.pi * scale * torch.randn(number))
        else:
            powers = torch.pow(2.0, torch.arange(number, dtype=torch.float64))
            self.register_buffer("basis", 2 * math.pi * scale * powers)
        self.special_token_embeddings = nn.Embedding(specials + 1, width)
        self.dense = nn.Linear(2 * number, width, bias=False)

    def forward(self, x):
        angle = x.unsqueeze(-1) * self.basis
        waves = self.dense(torch.cat((angle.sin(), angle.cos()), -1))
        return torch.where(
            (x > 0).unsqueeze(-1), waves, self.special_token_embeddings(_row(self, x))
        )


class SpecialMlp(nn.Module):
    """Version 1: x [B, T] -> [B, T, d]; rows of special tokens and zero lie in the hidden layer."""

    def __init__(self, width, specials, hidden=128):
        super().__init__()
        self.dense_1, self.dense_2 = nn.Linear(1, hidden), nn.Linear(hidden, width)
        self.special_token_embeddings = nn.Embedding(specials + 1, hidden)

    def forward(self, x):
        hidden = F.leaky_relu(self.dense_1(x.unsqueeze(-1)))
        rows = self.special_token_embeddings(_row(self, x))
        return self.dense_2(F.leaky_relu(torch.where((x > 0).unsqueeze(-1), hidden, rows)))


class PlainMlp(nn.Module):
    """x [B, T] -> [B, T, d]; codes of special tokens are numbers like others."""

    def __init__(self, width, hidden=128):
        super().__init__()
        self.dense_1, self.dense_2 = nn.Linear(1, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return F.leaky_relu(self.dense_2(F.leaky_relu(self.dense_1(x.unsqueeze(-1)))))


def _row(encoder, x):
    """Row of the special tokens' table for x ≤ 0; 0 where x is a value."""
    zero = encoder.special_token_embeddings.num_embeddings - 1
    row = torch.where(x == 0, torch.full_like(x, zero), -x - 1)
    return row.clamp(0, zero).long()


class Embeddings(nn.Module):
    """Token + value, and a layer norm: ids, values [B, T] -> [B, T, d]."""

    def __init__(self, tokens, width, values):
        super().__init__()
        self.genes_embeddings = nn.Embedding(tokens, width)
        self.expressions_embeddings = values
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, ids, values):
        return self.LayerNorm(self.genes_embeddings(ids) + self.expressions_embeddings(values))


def attention(q, k, v, real, heads):
    """q, k, v [B, T, d], real bool [B, T] (keys that count) -> [B, T, d]."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    weights = scores.masked_fill(~real[:, None, None], -math.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


class RmsNorm(nn.Module):
    """x [..., d] by the root of its mean square."""

    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.scale * x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-5)


def _named(**parts):
    """A module that is nothing but names for others."""
    module = nn.Module()
    for name, part in parts.items():
        module.add_module(name, part)
    return module


class LlamaBlock(nn.Module):
    """x [B, T, d], real bool [B, T] -> x; the first has no norm before its attention."""

    def __init__(self, width, heads, hidden, first):
        super().__init__()
        flat = {"bias": False}
        self.heads, self.first = heads, first
        if not first:
            self.rms_1 = RmsNorm(width)
        self.attn = _named(
            c_attn=nn.Linear(width, 3 * width, **flat), proj=nn.Linear(width, width, **flat)
        )
        self.rms_2 = RmsNorm(width)
        self.mlp = _named(
            c_fc1=nn.Linear(width, hidden, **flat),
            c_fc2=nn.Linear(width, hidden, **flat),
            c_proj=nn.Linear(hidden, width, **flat),
        )

    def forward(self, x, real):
        h = x if self.first else self.rms_1(x)
        x = x + self.attn.proj(attention(*self.attn.c_attn(h).chunk(3, -1), real, self.heads))
        h = self.rms_2(x)
        return x + self.mlp.c_proj(F.silu(self.mlp.c_fc1(h)) * self.mlp.c_fc2(h))


class BertLayer(nn.Module):
    """x [B, T, d], real bool [B, T] -> x; layer norms behind the residuals."""

    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads = heads
        own = {name: nn.Linear(width, width) for name in ("query", "key", "value")}
        self.attention = _named(self=_named(**own), output=_behind(width, width))
        self.intermediate = _named(dense=nn.Linear(width, hidden))
        self.output = _behind(hidden, width)

    def forward(self, x, real):
        own, out = self.attention.get_submodule("self"), self.attention.output
        h = attention(own.query(x), own.key(x), own.value(x), real, self.heads)
        x = out.LayerNorm(x + out.dense(h))
        h = F.gelu(self.intermediate.dense(x))
        return self.output.LayerNorm(x + self.output.dense(h))


def _behind(inputs, width):
    return _named(dense=nn.Linear(inputs, width), LayerNorm=nn.LayerNorm(width, eps=1e-12))


class Label(nn.Module):
    """Logits of a label; with a reversal the layer is the second of two (values do not change)."""

    def __init__(self, width, classes, position=None, reversal=None, hidden=False):
        super().__init__()
        self.position = position
        self.decoder = nn.Linear(width, classes)
        if reversal is not None:
            self.decoder = nn.Sequential(nn.Identity(), self.decoder)
        if hidden:
            parts = {"dense": nn.Linear(width, width), "act": nn.GELU(), "out_proj": self.decoder}
            self.decoder = nn.Sequential()
            for name, part in parts.items():
                self.decoder.add_module(name, part)

    def forward(self, x, pooled):
        return self.decoder(pooled if self.position is None else x[:, self.position])


class Published(nn.Module):
    """A multi-task model.

    kind : 'llama' or 'bert'
    values : value encoder
    decoders : {name: outputs}, of 'expressions_wced' (2 V), 'expressions_regression',
        'expressions_is_zero' (1), 'genes_token_scores' (V)
    labels : {label: keywords of Label}
    """

    def __init__(self, kind, tokens, width, layers, heads, hidden, values, decoders, labels):
        super().__init__()
        embeddings = Embeddings(tokens, width, values)
        pooler = _named(dense=nn.Linear(width, width))
        if kind == "llama":
            blocks = [LlamaBlock(width, heads, hidden, first=i == 0) for i in range(layers)]
            encoder = _named(embeddings=embeddings, blocks=nn.ModuleList(blocks))
            self.core = _named(encoder=encoder, pooler=pooler)
        else:
            blocks = [BertLayer(width, heads, hidden) for _ in range(layers)]
            encoder = _named(layer=nn.ModuleList(blocks))
            self.scbert = _named(embeddings=embeddings, encoder=encoder, pooler=pooler)
        self._parts = (embeddings, blocks, pooler)  # a tuple: no names of their own
        each = nn.ModuleDict({name: nn.Linear(width, n) for name, n in decoders.items()})
        made = nn.ModuleDict({name: Label(width, **how) for name, how in labels.items()})
        head = _named(transform=_behind(width, width), decoder=_named(field_decoders=each))
        self.cls = _named(
            predictions=_named(predictions=head),
            label_predictions=_named(predictions=_named(label_decoders=made)),
        )

    def forward(self, ids, values, real):
        """Ids, values [B, T], real bool [B, T] -> tokens [B, T, d], cell, pooled and the heads.

        heads : {decoder: [B, T, outputs], or [B, V, 2] at position 0 for whole cells}; labels
        """
        embeddings, blocks, pooler = self._parts
        x = embeddings(ids, values)
        for block in blocks:
            x = block(x, real)
        pooled = torch.tanh(pooler.dense(x[:, 0]))
        head = self.cls.predictions.predictions
        h = head.transform.LayerNorm(F.gelu(head.transform.dense(x)))
        found = {}
        for name, layer in head.decoder.field_decoders.items():
            whole = name.endswith("_wced")
            found[name] = layer(h[:, 0]).unflatten(-1, (-1, 2)) if whole else layer(h)
        decoders = self.cls.label_predictions.predictions.label_decoders
        labels = {name: one(x, pooled) for name, one in decoders.items()}
        return {"tokens": x, "cell": x[:, 0], "pooled": pooled, "heads": found, "labels": labels}

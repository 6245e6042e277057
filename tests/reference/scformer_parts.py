"""The parts of scFormer in plain PyTorch: embeddings, norms, encoder, heads. See `scformer.py`.

Letters: B cells, T tokens, d width, n outputs, K domains (batches, studies).

Names of parameters are those of the published state dicts, so `state_dict()` is a checkpoint.

Where the description is silent, or this project departs from it, this is what was chosen:

- Batch norms read only valid tokens (before `length`) of real cells; published code reads padding
  too, and takes the first cell's domain for the whole batch where here each cell has its own.
- A cell of domain −1 is normalised with the pooled running statistics, in training as well (as they
  were before the batch; it enters no statistics); with affine norms by weights and biases pooled
  alike. Before any cell was seen the pooled mean is 0, the variance 1 and there is no affine map.
- 'mean' reads the valid gene tokens as everywhere in this project; 'avg-pool', the published one,
  all valid tokens, CLS included (published: padding too).
- MVC with n > 1 outputs: logits_k = Σ_d (W q)_d c_d U_dk + b_k; the other styles widen `fc2`.
- MVC by summed query has a query as wide as the cell's vector, batch label included.
- MVC by concatenated or summed query gets its zero logit by a second Linear behind the hidden
  layer, `zero_logit`; published code has none.
- The zero logit is one number per token, however many outputs there are.
"""

import itertools

import torch
from torch import nn

from tests.reference.bmfm_parts import Reverse


class GeneEncoder(nn.Module):
    """Embedding, then LayerNorm 1e-5; batch labels and bins as categories too. [...] -> [..., d]"""

    def __init__(self, rows, width, norm=True):
        super().__init__()
        self.embedding = nn.Embedding(rows, width)
        self.enc_norm = nn.LayerNorm(width) if norm else nn.Identity()

    def forward(self, ids):
        return self.enc_norm(self.embedding(ids.long()))


class ContinuousValues(nn.Module):
    """min(x, clamp) – Linear(1, d) – ReLU – Linear(d, d) – LayerNorm. x [B, T] -> [B, T, d]"""

    def __init__(self, width, clamp=512.0, norm=True):
        super().__init__()
        self.clamp = clamp
        self.linear1, self.linear2 = nn.Linear(1, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()

    def forward(self, x):
        x = torch.where(x > self.clamp, self.clamp, x)[..., None].to(self.linear1.weight.dtype)
        return self.norm(self.linear2(torch.relu(self.linear1(x))))


class PlainNorm(nn.BatchNorm1d):
    """Batch norm over valid tokens. x [B, T, d], valid bool [B, T] -> [B, T, d], 0 where invalid"""

    def forward(self, x, valid):
        result = torch.zeros_like(x)
        result[valid] = super().forward(x[valid])
        return result


class DomainNorm(nn.Module):
    """Batch norm of each cell with its own domain's statistics. -> [B, T, d], 0 where invalid

    x [B, T, d], valid bool [B, T] (padding and padded cells are invalid), domain [B] in −1 … K − 1.
    `bns.k` is torch's BatchNorm1d over that domain's valid tokens: momentum 0.1, biased variance to
    normalise, unbiased in running_var. `seen` [K] counts cells of training batches.
    """

    def __init__(self, domains, width, affine=False, eps=1e-5):
        super().__init__()
        norms = [nn.BatchNorm1d(width, eps=eps, affine=affine) for _ in range(domains)]
        self.bns, self.eps = nn.ModuleList(norms), eps
        self.register_buffer("seen", torch.zeros(domains), persistent=False)

    def forward(self, x, valid, domain):
        result = torch.zeros_like(x)
        unknown = valid & (domain < 0)[:, None]
        mean, variance, weight, bias = self.pooled()
        pooled = (x[unknown] - mean) / torch.sqrt(variance + self.eps) * weight + bias
        result[unknown] = pooled
        for k, norm in enumerate(self.bns):
            mine = valid & (domain == k)[:, None]
            if mine.any():
                result[mine] = norm(x[mine])
                if self.training:
                    self.seen[k] += mine.any(1).sum()
        return result

    def pooled(self):
        """(mean, variance, weight, bias), each [d] or a number, weighted by cells seen."""
        if not self.seen.any():
            return 0.0, torch.ones_like(self.seen[0]), 1.0, 0.0
        share = (self.seen / self.seen.sum())[:, None]
        means = torch.stack([norm.running_mean for norm in self.bns])
        variances = torch.stack([norm.running_var for norm in self.bns])
        mean = (share * means).sum(0)
        variance = (share * (variances + means**2)).sum(0) - mean**2
        if not self.bns[0].affine:
            return mean, variance, 1.0, 0.0
        weight = (share * torch.stack([norm.weight for norm in self.bns])).sum(0)
        bias = (share * torch.stack([norm.bias for norm in self.bns])).sum(0)
        return mean, variance, weight, bias


class PostNormEncoder(nn.Module):
    """Torch's own post-norm ReLU layers, LayerNorm 1e-5, no dropout, no final norm.

    x [B, T, d], length [B] -> [B, T, d]; keys behind `length` are never read (a length of 0 is read
    as 1), with `causal` neither are keys behind the query. The layers are called one by one: it is
    nn.TransformerEncoder whose fast path, of evaluation without gradients, zeroes padded tokens.
    """

    def __init__(self, width, heads, layers, hidden, causal=False):
        super().__init__()
        keywords = {"dropout": 0.0, "activation": "relu", "batch_first": True}
        blocks = [
            nn.TransformerEncoderLayer(width, heads, hidden, **keywords) for _ in [0] * layers
        ]
        self.layers, self.causal = nn.ModuleList(blocks), causal

    def forward(self, x, length):
        positions = torch.arange(x.shape[1])
        padding = positions >= length[:, None].clamp(min=1)
        later = positions[None, :] > positions[:, None] if self.causal else None
        for layer in self.layers:
            x = layer(x, src_mask=later, src_key_padding_mask=padding)
        return x


def mlp(width_in, width, outputs, layers=3):
    """Linear – LeakyReLU – … – Linear: `layers` Linears, numbered 0, 2, 4 …"""
    widths = [width_in] + [width] * (layers - 1) + [outputs]
    parts = []
    for i, (rows, columns) in enumerate(itertools.pairwise(widths)):
        parts += [nn.LeakyReLU()] * (i > 0) + [nn.Linear(rows, columns)]
    return nn.Sequential(*parts)


def one(x, outputs):
    """Without the last axis where there is one output."""
    return x[..., 0] if outputs == 1 else x


class ExprDecoder(nn.Module):
    """x [B, T, d_in] -> (prediction [B, T] or [B, T, n], logit of non-zero [B, T] or None)"""

    def __init__(self, width_in, width, outputs=1, zero=False, layers=3):
        super().__init__()
        self.outputs = outputs
        self.fc = mlp(width_in, width, outputs, layers)
        self.zero_logit = mlp(width_in, width, 1, layers) if zero else None

    def forward(self, x):
        zero = None if self.zero_logit is None else self.zero_logit(x)[..., 0]
        return one(self.fc(x), self.outputs), zero


class LinearDecoder(nn.Linear):
    """The single Linear of the published June 2022 checkpoint; no zero logit."""

    def forward(self, x):
        return one(super().forward(x), self.out_features), None


class MvcDecoder(nn.Module):
    """Values from the cell's vector and a query per gene.

    cell [B, d_in], genes [B, T, d] (behind the LayerNorm) -> (prediction [B, T] or [B, T, n], logit
    of being non-zero [B, T] or None). q = sigmoid(Linear(gene)); style: 'inner product' W q · c,
    'concat query' fc2(PReLU(fc1([c; q]))) with 64 queries, 'sum query' the same on c + q.
    """

    def __init__(self, width_in, width, style, outputs=1, zero=False, detach=False):
        super().__init__()
        self.style, self.outputs, self.detach = style, outputs, detach
        query = {"inner product": width, "concat query": 64, "sum query": width_in}[style]
        self.gene2query = nn.Linear(width, query)
        if style == "inner product":
            self.W = nn.Linear(width, width_in, bias=False)
            self.U = nn.Linear(width_in, outputs) if outputs > 1 else None
            self.W_zero_logit = nn.Linear(width, width_in) if zero else None
            return
        self.fc1 = nn.Linear(width_in + query if style == "concat query" else width_in, 64)
        self.hidden_activation = nn.PReLU()
        self.fc2 = nn.Linear(64, outputs)
        self.zero_logit = nn.Linear(64, 1) if zero else None

    def forward(self, cell, genes):
        query = torch.sigmoid(self.gene2query(genes.detach() if self.detach else genes))
        cell = cell[:, None].expand(-1, genes.shape[1], -1)
        if self.style == "inner product":
            products = self.W(query) * cell
            prediction = products.sum(-1) if self.U is None else self.U(products)
            if self.W_zero_logit is None:
                return prediction, None
            return prediction, (self.W_zero_logit(query) * cell).sum(-1)
        joined = torch.cat([cell, query], -1) if self.style == "concat query" else cell + query
        hidden = self.hidden_activation(self.fc1(joined))
        zero = None if self.zero_logit is None else self.zero_logit(hidden)[..., 0]
        return one(self.fc2(hidden), self.outputs), zero


class Classifier(nn.Module):
    """(Linear – activation – LayerNorm) × (layers − 1), Linear. x [B, d] -> [B, classes]

    The classifier has ReLU, the adversary LeakyReLU behind a gradient reversal of that strength.
    """

    def __init__(self, width, classes, layers=3, activation=nn.ReLU, reversal=None):
        super().__init__()
        self.reversal = reversal
        parts = []
        for _ in range(layers - 1):
            parts += [nn.Linear(width, width), activation(), nn.LayerNorm(width)]
        self._decoder = nn.ModuleList(parts)
        self.out_layer = nn.Linear(width, classes)

    def forward(self, x):
        if self.reversal is not None:
            x = Reverse.apply(x, self.reversal)
        for part in self._decoder:
            x = part(x)
        return self.out_layer(x)


def weighted_pool(x, weights, valid):
    """Σ weight·x over valid tokens, then of length 1. x [B, T, d], weights [B, T] -> [B, d]"""
    total = (torch.where(valid, weights, 0.0)[..., None] * x).sum(1)
    return nn.functional.normalize(total, dim=-1)


def average_pool(x, valid):
    """The mean of the valid tokens, CLS included. x [B, T, d] -> [B, d]"""
    return torch.where(valid[..., None], x, 0.0).sum(1) / valid.sum(1, keepdim=True).clamp(min=1)

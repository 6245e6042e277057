"""The parts of BMFM-RNA in plain PyTorch: embeddings, encoders, heads. See `bmfm.py`.

Letters: B cells, T tokens, V genes, S special tokens, d width, H heads, N frequencies.

Where the description is silent, this is what was chosen:

- Fixed frequencies are computed in float64 and rounded once to the dtype of x: the last ones are
  near 9e12, where one rounding more or less is another sine.
- In `ValueMlp` the codes of special tokens pass as the negative numbers that they are.
- GELU is the exact one everywhere, by erf; in the head of the Llama model too.
- Only the embedding's LayerNorm is named for all encoders, so ModernBert has it as well (eps 1e-12,
  with bias) in place of its own.
- q, k, v of Bert are packed into one Linear as in Llama; the rows are q, then k, then v.
- The MLP of a label is as wide as the model: d -> d -> classes.
- A masked token may attend to specials, which are never masked themselves.
- A cell without genes has the mean 0.
"""

import math

import torch
from torch import nn
from torch.nn.functional import gelu, leaky_relu, silu


def special_rows(x, n_special):
    """Rows of the special-token table for values x: −x − 1 below zero, the last for zero. x's shape

    The rows given for x > 0 are not to be used. Codes must be −1, −2, … −n_special.
    """
    legal = (x >= 0) | ((x == x.round()) & (x >= -n_special))
    if not legal.all():
        raise ValueError(f"values must be >= 0 or −1 … −{n_special}, got {x[~legal][0]}")
    return torch.where(x < 0, -x - 1, torch.where(x == 0, n_special, 0)).long()


class ScaleAdapt(nn.Module):
    """Periodic value encoder. x [B, T] -> [B, T, d]

    x > 0: Linear without bias of sin(xω_1) … sin(xω_N), cos(xω_1) … cos(xω_N); the product xω is
    rounded as x is: float32 x gives float32 angles. x <= 0: a row of `special` [S + 1, d].
    Fixed ω_k = 2π·basis_scale·2^k, k = 0 … N − 1; trainable ω start as N(0, (2π·basis_scale)²).
    """

    def __init__(self, width, n_special, trainable=False, basis_scale=0.01, frequencies=48):
        super().__init__()
        scale = 2 * math.pi * basis_scale
        if trainable:
            self.basis = nn.Parameter(scale * torch.randn(frequencies, dtype=torch.float64))
        else:
            powers = 2.0 ** torch.arange(frequencies, dtype=torch.float64)
            self.register_buffer("basis", scale * powers, persistent=False)
        self.n_special = n_special
        self.special = nn.Embedding(n_special + 1, width)
        self.dense = nn.Linear(2 * frequencies, width, bias=False)

    def forward(self, x):
        if not x.is_floating_point():
            raise TypeError(f"values must be floating, got {x.dtype}")
        angles = (x[..., None] * self.basis.to(x.dtype)).to(self.dense.weight.dtype)
        waves = self.dense(torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1))
        rows = self.special(special_rows(x, self.n_special))
        return torch.where(x[..., None] > 0, waves, rows)


class ValueMlp(nn.Module):
    """Linear(1, 128) – LeakyReLU – Linear(128, d) – LeakyReLU. x [B, T] -> [B, T, d]"""

    def __init__(self, width, hidden=128):
        super().__init__()
        self.dense1, self.dense2 = nn.Linear(1, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        x = x[..., None].to(self.dense1.weight.dtype)
        return leaky_relu(self.dense2(leaky_relu(self.dense1(x))))


class ValueMlpSpecials(nn.Module):
    """The MLP of version 1, with rows for specials and zero. x [B, T] -> [B, T, d]

    x > 0: Linear(1, 128) – LeakyReLU; x <= 0: a row of `special` [S + 1, 128]. Both then meet
    LeakyReLU (the former a second time) and Linear(128, d).
    """

    def __init__(self, width, n_special, hidden=128):
        super().__init__()
        self.n_special = n_special
        self.dense1, self.dense2 = nn.Linear(1, hidden), nn.Linear(hidden, width)
        self.special = nn.Embedding(n_special + 1, hidden)

    def forward(self, x):
        rows = self.special(special_rows(x, self.n_special))
        h = leaky_relu(self.dense1(x[..., None].to(rows.dtype)))
        return self.dense2(leaky_relu(torch.where(x[..., None] > 0, h, rows)))


class Embeddings(nn.Module):
    """Sum over the fields, then LayerNorm. ids, values and each lookup [B, T] -> [B, T, d]

    `values` is a value encoder; `lookups` {name: rows} are further tables, of tokens 0 … rows − 1.
    """

    def __init__(self, tokens, width, values, lookups=None, norm=True):
        super().__init__()
        self.genes = nn.Embedding(tokens, width)
        self.values = values
        tables = {name: nn.Embedding(rows, width) for name, rows in (lookups or {}).items()}
        self.lookups = nn.ModuleDict(tables)
        self.norm = nn.LayerNorm(width, eps=1e-12) if norm else nn.Identity()

    def forward(self, ids, values, lookups):
        if lookups.keys() != set(self.lookups):
            raise ValueError(f"lookups must be {sorted(self.lookups)}, got {sorted(lookups)}")
        x = self.genes(ids) + self.values(values)
        for name, tokens in lookups.items():
            x = x + self.lookups[name](tokens)
        return self.norm(x)


def may_attend(tokens, length, masked=None):
    """Which query may attend to which key: bool [B, T, T], queries first.

    Keys behind `length` never. With masked bool [B, T]: a masked key only from itself.
    """
    positions = torch.arange(tokens, device=length.device)
    valid = positions < length[:, None]
    allowed = valid[:, None, :].expand(-1, tokens, -1)
    if masked is None:
        return allowed
    if masked[:, 0].any():
        raise ValueError("position 0 is masked: it is CLS and has to be seen")
    return allowed & (~masked[:, None, :] | (positions[:, None] == positions))


class Attention(nn.Module):
    """Softmax attention. x [B, T, d], allowed bool [B, T, T] -> [B, T, d]"""

    def __init__(self, width, heads, bias):
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads} does not divide width={width}")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, x, allowed):
        q, k, v = (a.unflatten(-1, (self.heads, -1)) for a in self.qkv(x).chunk(3, dim=-1))
        scores = torch.einsum("bqhc,bkhc->bhqk", q, k) / math.sqrt(q.shape[-1])
        weights = scores.masked_fill(~allowed[:, None], -math.inf).softmax(-1)
        return self.out(torch.einsum("bhqk,bkhc->bqhc", weights, v).flatten(-2))


class RmsNorm(nn.Module):
    """x / sqrt(mean(x²) + 1e-5) · weight. x [..., d] -> x [..., d]"""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * self.weight


def swiglu_width(width):
    """Hidden width of Llama's FFN: two thirds of 4d, rounded up to a multiple of 256."""
    return math.ceil(int(2 * 4 * width / 3) / 256) * 256


class LlamaBlock(nn.Module):
    """x + attention(norm1(x)), then x + down(silu(gate(x'))·up(x')), x' = norm2(x). No biases.

    The first block has no norm1.
    """

    def __init__(self, width, heads, hidden, first):
        super().__init__()
        self.norm1 = nn.Identity() if first else RmsNorm(width)
        self.attention = Attention(width, heads, bias=False)
        self.norm2 = RmsNorm(width)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x, allowed):
        x = x + self.attention(self.norm1(x), allowed)
        h = self.norm2(x)
        return x + self.down(silu(self.gate(h)) * self.up(h))


class BertBlock(nn.Module):
    """norm1(x + attention(x)), then norm2(x + W2 gelu(W1 x)); biases, LayerNorm eps 1e-12."""

    def __init__(self, width, heads, hidden):
        super().__init__()
        self.attention = Attention(width, heads, bias=True)
        self.norm1 = nn.LayerNorm(width, eps=1e-12)
        self.mlp_in = nn.Linear(width, hidden)
        self.mlp_out = nn.Linear(hidden, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x, allowed):
        x = self.norm1(x + self.attention(x, allowed))
        return self.norm2(x + self.mlp_out(gelu(self.mlp_in(x))))


class ModernBertBlock(nn.Module):
    """x + attention(norm1(x)), then x + Wo(gelu(a)·b), (a, b) = halves of Wi(norm2(x)). No biases.

    LayerNorm without bias, eps 1e-5; the first block has no norm1.
    """

    def __init__(self, width, heads, hidden, first):
        super().__init__()
        self.norm1 = nn.Identity() if first else nn.LayerNorm(width, eps=1e-5, bias=False)
        self.attention = Attention(width, heads, bias=False)
        self.norm2 = nn.LayerNorm(width, eps=1e-5, bias=False)
        self.mlp_in = nn.Linear(width, 2 * hidden, bias=False)
        self.mlp_out = nn.Linear(hidden, width, bias=False)

    def forward(self, x, allowed):
        x = x + self.attention(self.norm1(x), allowed)
        a, gate = self.mlp_in(self.norm2(x)).chunk(2, dim=-1)
        return x + self.mlp_out(gelu(a) * gate)


class Encoder(nn.Module):
    """Blocks, then a norm. x [B, T, d], length [B], masked bool [B, T] or None -> x [B, T, d]"""

    def __init__(self, blocks, norm):
        super().__init__()
        self.blocks, self.norm = nn.ModuleList(blocks), norm

    def forward(self, x, length, masked=None):
        allowed = may_attend(x.shape[1], length, masked)
        for block in self.blocks:
            x = block(x, allowed)
        return self.norm(x)


def llama(width, layers, heads, hidden=None):
    """Without a final norm; `hidden` is `swiglu_width` if not given."""
    hidden = hidden or swiglu_width(width)
    blocks = [LlamaBlock(width, heads, hidden, first=i == 0) for i in range(layers)]
    return Encoder(blocks, nn.Identity())


def bert(width, layers, heads, hidden):
    """Post-norm, so without a norm after the last block."""
    return Encoder([BertBlock(width, heads, hidden) for _ in range(layers)], nn.Identity())


def modern_bert(width, layers, heads, hidden):
    """With a final norm; global attention and no rotary positions, as genes have no order."""
    blocks = [ModernBertBlock(width, heads, hidden, first=i == 0) for i in range(layers)]
    return Encoder(blocks, nn.LayerNorm(width, eps=1e-5, bias=False))


def mean_pool(x, ids, length, vocabulary):
    """Mean of the valid gene tokens, masked ones included, specials not. x [B, T, d] -> [B, d]"""
    valid = torch.arange(x.shape[1], device=x.device) < length[:, None]
    genes = (valid & (ids < vocabulary))[..., None]
    return torch.where(genes, x, 0.0).sum(1) / genes.sum(1).clamp(min=1)


class Pooler(nn.Module):
    """tanh(Linear(cell)). cell [B, d] -> [B, d]"""

    def __init__(self, width):
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, cell):
        return torch.tanh(self.dense(cell))


class Transform(nn.Module):
    """Linear – GELU – LayerNorm in front of every decoder of expression. x [..., d] -> [..., d]"""

    def __init__(self, width):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x):
        return self.norm(gelu(self.dense(x)))


class TokenHead(nn.Module):
    """Of each token. x [B, T, d] -> (regression [B, T], is-zero logits [B, T])"""

    def __init__(self, width):
        super().__init__()
        self.transform = Transform(width)
        self.regression, self.is_zero = nn.Linear(width, 1), nn.Linear(width, 1)

    def forward(self, x):
        h = self.transform(x)
        return self.regression(h)[..., 0], self.is_zero(h)[..., 0]


class WcedHead(nn.Module):
    """Of all tokens from position 0. x [B, T, d] -> (regression [B, V + S], is-zero [B, V + S])

    Row 2·gene of the decoder is the gene's regression, row 2·gene + 1 its is-zero logit.
    """

    def __init__(self, width, tokens):
        super().__init__()
        self.transform = Transform(width)
        self.decoder = nn.Linear(width, 2 * tokens)

    def forward(self, x):
        rows = self.decoder(self.transform(x[:, 0]))
        return rows[:, 0::2], rows[:, 1::2]


class Reverse(torch.autograd.Function):
    """The identity, whose gradient is −strength times the incoming one."""

    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None


class LabelHead(nn.Module):
    """Logits of one label. x [B, T, d], pooled [B, d] -> [B, classes]

    From the pooler's output, or from the encoder's raw output at `position`; with `reversal` the
    gradient is reversed with that strength in front. Linear, or with `mlp` the paper's
    Linear – GELU – dropout – Linear.
    """

    def __init__(self, width, classes, position=None, reversal=None, mlp=False, dropout=0.1):
        super().__init__()
        self.position, self.reversal = position, reversal
        self.dense = nn.Linear(width, width) if mlp else None
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(width, classes)

    def forward(self, x, pooled):
        h = pooled if self.position is None else x[:, self.position]
        if self.reversal is not None:
            h = Reverse.apply(h, self.reversal)
        if self.dense is not None:
            h = self.dropout(gelu(self.dense(h)))
        return self.decoder(h)

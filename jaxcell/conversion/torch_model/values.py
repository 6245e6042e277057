"""How the value of a token becomes a vector. B cells, T tokens, D width, S special tokens.

Values [B, T] are expression or bins (≥ 0). At special and hidden tokens they are codes: −(k + 1) of
the k-th special token, and of a hidden value that of '<mask>' or, without one, −(S + 1).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def split_codes(values, specials):
    """Values [B, T] -> row of a table with S + 1 rows [B, T], and bool [B, T]: is it above zero?

    Rows are of special tokens and, the last one, of zero.
    """
    rows = torch.where(values < 0, -values - 1, specials).long()
    return rows.clamp(0, specials), values > 0


def shown(values, codes):
    """Values [B, T] ≥ 0 as they are, and a code −(k + 1) as ``codes[k]``."""
    table = torch.tensor(codes, dtype=values.dtype, device=values.device)
    return torch.where(values < 0, table[(-values - 1).clamp(0, len(codes) - 1).long()], values)


class Scalar(nn.Module):
    """The value itself as one channel: [B, T] -> [B, T, 1]."""

    channels = 1

    def __init__(self, input):
        super().__init__()
        self.input = input

    def forward(self, batch):
        return batch[self.input][..., None]


class Periodic(nn.Module):
    """Sines and cosines of the value at 48 frequencies, projected; zero and specials have rows.

    values [B, T] -> [B, T, D]. Fixed frequencies are 2π · 0.01 · 2^k. Source: BMFM-RNA.
    """

    frequencies = 48

    def __init__(self, input, width, specials, trainable=False, scale=0.01):
        super().__init__()
        self.input, self.specials, self.scale, self.channels = input, specials, scale, width
        self.rows = nn.Embedding(specials + 1, width)
        self.dense = nn.Linear(2 * self.frequencies, width, bias=False)
        self.basis = nn.Parameter(torch.ones(self.frequencies)) if trainable else None

    def forward(self, batch):
        x = batch[self.input]
        rows, is_value = split_codes(x, self.specials)
        basis = self.basis
        if basis is None:  # made in the values' own precision
            basis = [2 * math.pi * self.scale * 2.0**k for k in range(self.frequencies)]
            basis = torch.tensor(basis, dtype=x.dtype, device=x.device)
        angle = torch.where(is_value, x, 0)[..., None] * basis
        waves = torch.cat([angle.sin(), angle.cos()], dim=-1)
        return torch.where(is_value[..., None], self.dense(waves), self.rows(rows))


class ValueMlp(nn.Module):
    """Two layers with leaky ReLUs: values [B, T] -> [B, T, D].

    With ``special_rows`` special tokens and zero have rows of their own in the hidden layer, and
    the last layer has no leaky ReLU. Source: BMFM-RNA.
    """

    def __init__(self, input, width, specials, hidden=128, special_rows=False):
        super().__init__()
        self.input, self.specials, self.channels = input, specials, width
        self.hidden, self.out = nn.Linear(1, hidden), nn.Linear(hidden, width)
        self.rows = nn.Embedding(specials + 1, hidden) if special_rows else None

    def forward(self, batch):
        x = batch[self.input]
        h = F.leaky_relu(self.hidden(x[..., None]))
        if self.rows is None:
            return F.leaky_relu(self.out(h))
        rows, is_value = split_codes(x, self.specials)
        h = torch.where(is_value[..., None], h, self.rows(rows))
        return self.out(F.leaky_relu(h))


class Continuous(nn.Module):
    """Two layers with a ReLU between them and a layer norm: values [B, T] -> [B, T, D].

    Values are cut off at ``most``; ``codes`` are what special tokens and a hidden value show.
    Source: scFormer.
    """

    def __init__(self, input, width, codes, most=512.0):
        super().__init__()
        self.input, self.codes, self.most, self.channels = input, codes, most, width
        self.hidden, self.out = nn.Linear(1, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, batch):
        x = shown(batch[self.input], self.codes).clamp(max=self.most)
        return self.norm(self.out(F.relu(self.hidden(x[..., None]))))


class Bins(nn.Module):
    """A vector for each bin: values [B, T], whole numbers -> [B, T, D].

    ``codes`` are the rows of special tokens and of a hidden value; −1: none, zeros.
    """

    def __init__(self, input, width, number, codes, norm=False):
        super().__init__()
        self.input, self.codes, self.channels = input, codes, width
        self.rows = nn.Embedding(number, width)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()

    def forward(self, batch):
        rows = shown(batch[self.input], self.codes).long()
        x = self.norm(self.rows(rows.clamp(min=0)))
        return torch.where((rows >= 0)[..., None], x, 0)


VALUES = {
    "scalar": Scalar,
    "periodic": Periodic,
    "value_mlp": ValueMlp,
    "continuous": Continuous,
    "bins": Bins,
}

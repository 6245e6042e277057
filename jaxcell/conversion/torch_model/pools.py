"""From a cell's tokens to its vector. B cells, T tokens, D width; special tokens stand in front."""

import torch
from torch import nn


class Pooler(nn.Module):
    """A linear layer and tanh on the first token's vector: [B, D] -> [B, D]."""

    def __init__(self, width):
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, x):
        return torch.tanh(self.dense(x))


def names_of(pool):
    """The pools that a config names: 'cls', or several to be joined, 'cls+mean'."""
    return tuple(pool.split("+")) if isinstance(pool, str) else tuple(pool)


def mean(tokens, batch, specials):
    """The mean over a cell's gene tokens [B, T, D] -> [B, D]; zeros without any."""
    valid = _genes(tokens, batch, specials)
    total = torch.where(valid[..., None], tokens, 0).sum(dim=1)
    return total / valid.sum(dim=1).clamp(min=1)[:, None]


def weighted(tokens, batch, specials):
    """The sum of a cell's gene tokens by their values, of length 1; of a hidden value: none."""
    valid = _genes(tokens, batch, specials)
    weights = torch.where(valid, batch["values"].clamp(min=0), 0)[..., None]
    found = torch.where(valid[..., None], tokens * weights, 0).sum(dim=1)
    square = found.square().sum(dim=1, keepdim=True)
    return found / torch.where(square > 0, square, 1).sqrt()


def last(tokens, batch, specials):
    """The vector at a cell's last valid token; zeros without any."""
    cells = torch.arange(len(tokens), device=tokens.device)
    found = tokens[cells, (batch["length"] - 1).clamp(min=0)]
    return torch.where((batch["length"] > 0)[:, None], found, 0)


def _genes(tokens, batch, specials):
    """Bool [B, T]: which tokens are a cell's genes."""
    places = torch.arange(tokens.shape[1], device=tokens.device)
    return (places >= specials) & (places < batch["length"][:, None])


OF_GENES = {"mean": mean, "weighted": weighted, "last": last}

"""TxFM in plain PyTorch, as its users would write it: what `bench.step` and `bench.embed` beat.

torch.compile, bfloat16 by autocast where the GPU has it, scaled_dot_product_attention without a
mask (all cells of the benchmark have all their tokens), fused AdamW. B cells, T tokens, D width.
"""

import math
import time

import jax
import torch
from absl import app, flags
from ml_collections import config_flags
from torch import nn
from torch.nn import functional as F

from jaxcell import config
from jaxcell.bench.synthetic import synthetic
from jaxcell.bench.turns import serve

_READ = ("ids", "values", "panel_ids", "panel_counts", "total")


class Block(nn.Module):
    """Pre-norm layer with LayerScale and stochastic depth: x [B, T, D] -> x [B, T, D]."""

    def __init__(self, width, heads, hidden, drop, scale):
        super().__init__()
        self.heads, self.drop = heads, drop
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.scale1 = nn.Parameter(torch.full((width,), scale))
        self.scale2 = nn.Parameter(torch.full((width,), scale))

    def _path(self, x):
        if not self.training or not self.drop:
            return x
        kept = torch.rand(len(x), 1, 1, device=x.device) >= self.drop
        return x * kept / (1 - self.drop)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, d)
        x = x + self._path(self.scale1 * self.out(h))
        h = self.second(F.gelu(self.first(self.norm2(x))))
        return x + self._path(self.scale2 * h)


class TxFM(nn.Module):
    """ids [B, K], values [B, K] -> CLS [B, D]; ``decode``: log1p rates [B, V]."""

    def __init__(self, spec):
        super().__init__()
        width, e, genes = spec.width, spec.encoder, spec.vocabulary
        self.upper = math.log1p(spec.heads.expression.library_size)
        self.genes = nn.Embedding(genes, width)
        self.combine = nn.Linear(width + 1, width)
        self.cls = nn.Parameter(0.02 * torch.randn(1, 1, width))
        hidden = e.hidden or int(e.mlp_ratio * width)
        drops = torch.linspace(0, e.drop_path, e.layers).tolist()
        blocks = [Block(width, e.heads, hidden, drop, e.layer_scale) for drop in drops]
        self.blocks, self.norm = nn.ModuleList(blocks), nn.LayerNorm(width, eps=1e-6)
        layers = range(spec.heads.expression.blocks)
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in layers)
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in layers)
        self.rows = nn.Linear(width, genes)

    def forward(self, ids, values):
        x = torch.cat([self.genes(ids), values[..., None]], dim=-1)
        x = torch.cat([self.cls.expand(len(ids), -1, -1), self.combine(x)], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0])

    def decode(self, cell):
        for first, second in zip(self.first, self.second, strict=True):
            cell = cell + second(F.gelu(first(cell)))
        return self.upper * F.relu(torch.tanh(self.rows(cell).float() / (4 * math.e)))

    def loss(self, ids, values, panel_ids, panel_counts, total, library_size):
        y = self.decode(self(ids, values))
        counts = torch.zeros_like(y).scatter_(1, panel_ids, panel_counts)
        t = torch.log1p(counts * library_size / total[:, None])
        return (torch.exp(y) - torch.exp(t) * y).sum(1).mean()


class Peer:
    """A compiled model with its batch on the device; ``train`` and ``embed`` work once."""

    def __init__(self, c, batch, dtype):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(0)
        torch.set_float32_matmul_precision("high")
        self.model = TxFM(c.model).to(self.device)
        front = len(c.model.front or c.model.specials)
        tensors = {k: torch.from_numpy(batch[k]).to(self.device) for k in _READ}
        self.ids, self.values = tensors["ids"][:, front:].long(), tensors["values"][:, front:]
        self.panel = tensors["panel_ids"].long(), tensors["panel_counts"], tensors["total"]
        self.library_size = c.data.normalise.library_size
        fused = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=fused)
        half = dtype == "bfloat16"
        self.cast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half)
        self._loss, self._cell = torch.compile(self.model.loss), torch.compile(self.model)

    def train(self):
        """One step; returns the loss, still on the device."""
        self.model.train()
        with self.cast:
            loss = self._loss(self.ids, self.values, *self.panel, self.library_size)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    @torch.no_grad()
    def embed(self):
        """CLS of all cells; returns one of its numbers."""
        self.model.eval()
        with self.cast:
            return self._cell(self.ids, self.values)[0, 0]

    def seconds(self, work, times):
        """Mean seconds of so many calls in a row, the last one awaited."""
        began = time.perf_counter()
        for _ in range(times):
            last = work()
        float(last)
        return (time.perf_counter() - began) / times

    def peak_gb(self):
        """Most memory of the GPU in use so far, in GB; None on a CPU."""
        return torch.cuda.max_memory_allocated() / 1e9 if self.device.type == "cuda" else None


def _dtype(name):
    """The dtype of products that jaxcell would take here."""
    if name != "auto":
        return name
    half = torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8
    return "bfloat16" if half else "float32"


def main(_):
    """Serve turns of training steps or of embedding, see `bench.turns`."""
    asked = flags.FLAGS
    jax.config.update("jax_platforms", "cpu")  # the GPU is torch's here
    c = config.settled(asked.config)
    batch, _ = synthetic(c, c.model.vocabulary, asked.batch)
    dtype = _dtype(c.dtype)
    peer = Peer(c, batch, dtype)
    work = {"train": peer.train, "embed": peer.embed}[asked.work]
    began = time.perf_counter()
    float(work())
    compile_s = time.perf_counter() - began
    peer.seconds(work, 2)

    def turn():
        seconds = peer.seconds(work, asked.steps)
        return {"seconds": seconds, "cells_per_s": asked.batch / seconds}

    number = sum(p.numel() for p in peer.model.parameters())
    facts = {"batch": asked.batch, "parameters": number, "compile_s": compile_s, "dtype": dtype}
    serve(facts | {"torch": torch.__version__, "peak_gb": peer.peak_gb()}, turn)


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", "configs/txfm_b.py", "the config to time")
    flags.DEFINE_integer("batch", 32, "cells of a step")
    flags.DEFINE_integer("steps", 10, "steps of a turn")
    flags.DEFINE_enum("work", "train", ["train", "embed"], "what to time")
    app.run(main)

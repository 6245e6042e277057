"""TxFM in plain PyTorch and float64, written from the paper: the JAX model is compared with it.

Letters: B cells, T tokens (CLS first, then genes), V genes, d width, H heads, L the library size.
"""

import math

import numpy as np
import torch
from torch import nn


def rectified_tanh(z, upper):
    """Gene logits z to log rates in [0, A): A·relu(tanh(z / 4e)), A = ln(1 + upper)."""
    return math.log1p(upper) * torch.relu(torch.tanh(z / (4 * math.e)))


def softmax(z, upper, measured):
    """Gene logits z to ln(1 + upper · share), shares over the measured genes alone. [B, V]"""
    shares = torch.exp(z) * measured
    total = shares.sum(-1, keepdim=True)
    return torch.log1p(upper * shares / torch.where(total > 0, total, 1.0))


ACTIVATIONS = {
    "rectified_tanh": lambda z, upper, measured: rectified_tanh(z, upper),
    "relu": lambda z, upper, measured: torch.relu(z),
    "clamped_relu": lambda z, upper, measured: torch.clamp(z, 0, math.log1p(upper)),
    "softmax": softmax,
}


def poisson_log1p(y, t):
    """Poisson negative log-likelihood of log rate y and target t = ln(1 + count), elementwise.

    The constant is dropped; the least value is (1 − t)·exp(t), at y = t.
    """
    return torch.exp(y) - torch.exp(t) * y


def nb(y, k, log_theta, total, upper, smallest=1e-3):
    """−ln NB(k) of mean μ = expm1(y)·total/upper and inverse dispersion exp(log_theta) [V]. [B, V]

    Below `smallest` normalised counts ln μ is continued by its tangent, so that μ = 0 is allowed.
    """
    size, theta = (total / upper)[:, None], torch.exp(log_theta)
    mean, floor = torch.expm1(y) * size, smallest * torch.where(size > 0, size, 1.0)
    at = torch.maximum(mean, floor)
    known = torch.distributions.NegativeBinomial(theta, logits=torch.log(at) - torch.log(theta))
    below = (theta + k) * (torch.log1p(mean / theta) - torch.log1p(at / theta))
    return below - k * (mean - at) / at - known.log_prob(k)


def zinb(y, k, logits, log_theta, total, upper):
    """−ln of π·[k = 0] + (1 − π)·NB(k), π = sigmoid(logits) [B, V]. [B, V]"""
    pi, drawn = torch.sigmoid(logits), nb(y, k, log_theta, total, upper)
    return torch.where(k > 0, drawn - torch.log(1 - pi), -torch.log(pi + (1 - pi) * (-drawn).exp()))


def normalise(counts, measured, upper):
    """ln(1 + upper·c / total), total over the measured genes; 0 where not measured. [B, V]"""
    counts, measured = _tensor(counts).double(), _tensor(measured).bool()
    counts = torch.where(measured, counts, 0.0)
    total = counts.sum(-1, keepdim=True)
    return torch.log1p(upper * counts / torch.where(total > 0, total, 1.0))


class Block(nn.Module):
    """Pre-norm transformer layer with LayerScale. x [B, T, d], length [B] -> x [B, T, d]"""

    def __init__(self, width, heads, drop, layer_scale):
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads} does not divide width={width}")
        self.heads, self.drop = heads, drop
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.scale1 = nn.Parameter(torch.full((width,), layer_scale))
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)
        self.scale2 = nn.Parameter(torch.full((width,), layer_scale))

    def attention(self, x, length):
        q, k, v = (a.unflatten(-1, (self.heads, -1)) for a in self.qkv(x).chunk(3, dim=-1))
        scores = torch.einsum("bqhc,bkhc->bhqk", q, k) / math.sqrt(q.shape[-1])
        padding = torch.arange(x.shape[1], device=x.device) >= length[:, None]
        weights = scores.masked_fill(padding[:, None, None, :], -math.inf).softmax(-1)
        return self.out(torch.einsum("bhqk,bkhc->bqhc", weights, v).flatten(-2))

    def drop_path(self, branch):
        """In training, drop the branch of a whole cell with probability `drop`."""
        if not self.training or self.drop == 0:
            return branch
        keep = 1 - self.drop
        return branch * branch.new_empty(len(branch), 1, 1).bernoulli_(keep) / keep

    def forward(self, x, length):
        x = x + self.drop_path(self.scale1 * self.attention(self.norm1(x), length))
        h = self.mlp_out(nn.functional.gelu(self.mlp_in(self.norm2(x))))  # the exact one, by erf
        return x + self.drop_path(self.scale2 * h)


class Residual(nn.Module):
    """h + second(gelu(first(h))). h [B, d] -> h [B, d]"""

    def __init__(self, width):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, h):
        return h + self.second(nn.functional.gelu(self.first(h)))


class TxFM(nn.Module):
    """Masked autoencoder of expression: genes seen -> CLS vector -> log rates of all genes.

    ids [B, T]: V (or more) at position 0, which is CLS, then genes 0 … V−1; values [B, T]: as
    `normalise` gives them, the one of CLS is not used; length [B]: valid tokens, CLS included.
    Nothing behind `length` is read. `drop_path` is the last block's rate, the first has 0.
    `counts` 'nb' adds a dispersion for each gene, 'zinb' the logits of additional zeros as well.
    """

    def __init__(
        self,
        vocabulary,
        width,
        layers,
        heads,
        *,
        drop_path=0.0,
        upper=1e5,
        layer_scale=1e-4,
        decoder=4,
        activation="rectified_tanh",
        counts=None,
    ):
        super().__init__()
        self.vocabulary, self.upper, self.activation = vocabulary, upper, activation
        self.codebook = nn.Embedding(vocabulary, width)
        self.cls = nn.Parameter(torch.randn(width))
        self.combine = nn.Linear(width + 1, width)
        rates = [drop_path * i / max(layers - 1, 1) for i in range(layers)]
        self.blocks = nn.ModuleList(Block(width, heads, rate, layer_scale) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder = nn.ModuleList(Residual(width) for _ in range(decoder))
        self.output = nn.Linear(width, vocabulary)
        if counts in ("nb", "zinb"):
            self.dispersion = nn.Parameter(torch.zeros(vocabulary))
        if counts == "zinb":
            self.zero_inflation = nn.Linear(width, vocabulary)
        self.double()

    def encode(self, ids, values, length):
        """All tokens after the final norm, [B, T, d]."""
        ids, values, length = _tensor(ids), _tensor(values), _tensor(length).clamp(min=1)
        if (ids[:, 0] < self.vocabulary).any():
            raise ValueError(f"ids[:, 0] must be CLS (>= {self.vocabulary}), got {ids[:, 0]}")
        valid = torch.arange(ids.shape[1], device=ids.device) < length[:, None]
        genes = torch.where(valid, ids, 0)[:, 1:]
        x = torch.where(valid, values.to(self.cls.dtype), 0.0)[:, 1:, None]
        x = self.combine(torch.cat([self.codebook(genes), x], dim=-1))
        x = torch.cat([self.cls.expand(len(x), 1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x, length)
        return self.norm(x)

    def embed(self, ids, values, length):
        """The cells' vectors, [B, d]."""
        return self.encode(ids, values, length)[:, 0]

    def decode(self, cell):
        """Gene logits z [B, V] of cell vectors [B, d]."""
        for block in self.decoder:
            cell = block(cell)
        return self.output(cell)

    def activate(self, z, measured=None):
        """Predicted ln(1 + normalised count) of gene logits z, [B, V]."""
        return ACTIVATIONS[self.activation](z, self.upper, measured)

    def forward(self, ids, values, length, measured=None):
        """Predicted ln(1 + normalised count) of every gene, [B, V]; softmax: of the measured."""
        return self.activate(self.decode(self.embed(ids, values, length)), measured)


def loss(
    model, ids, values, length, panel, measured, real, *, kind="poisson_log1p", raw=None, total=None
):
    """A loss, summed over a cell's measured genes, mean over the real cells (0 if none).

    panel [B, V]: *normalised* targets, from `normalise`; measured bool [B, V]; real bool [B]; for
    'nb' and 'zinb' the raw counts [B, V] and the cells' totals [B] beside them.
    """
    panel, measured, real = _tensor(panel).double(), _tensor(measured).bool(), _tensor(real).bool()
    panel = torch.where(measured & real[:, None], panel, 0.0)
    if panel.max() > math.log1p(model.upper) * (1 + 1e-6):
        raise ValueError(f"panel holds {panel.max()}, above ln(1 + {model.upper}): raw counts?")
    cell = model.embed(ids, values, length)
    y = model.activate(model.decode(cell), measured)
    panel = panel.to(y.dtype)
    if kind == "poisson_log1p":
        each = poisson_log1p(y, panel)
    elif kind == "mse":
        each = nn.functional.mse_loss(y, panel, reduction="none")
    elif kind == "smooth_l1":
        each = nn.functional.smooth_l1_loss(y, panel, reduction="none")
    else:
        size = model.dispersion, _tensor(total), model.upper
        logits = (model.zero_inflation(cell),) if kind == "zinb" else ()
        each = {"nb": nb, "zinb": zinb}[kind](y, _tensor(raw), *logits, *size)
    each = torch.where(measured, each, 0.0).sum(-1)
    return torch.where(real, each, 0.0).sum() / real.sum().clamp(min=1)


def adamw(model, objective, rates, *, betas, eps, weight_decay, decayed):
    """One torch.optim.AdamW step per learning rate in `rates`; the losses before each step.

    objective(step) -> loss; `decayed`: names of model.named_parameters() that weight_decay meets.
    """
    named, decayed = dict(model.named_parameters()), set(decayed)
    if decayed - named.keys():
        raise KeyError(f"no such parameters: {sorted(decayed - named.keys())}")
    groups = [
        {"params": [p for n, p in named.items() if n in decayed], "weight_decay": weight_decay},
        {"params": [p for n, p in named.items() if n not in decayed], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], betas=betas, eps=eps)
    losses = []
    for step, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        losses.append(objective(step))
        losses[-1].backward()
        optimizer.step()
    return [value.item() for value in losses]


def jax_slots(model):
    """Where each parameter lives in the JAX tree: {name: (path, index into the leaf, transpose)}"""
    slots = {}

    def put(name, path, weight, index=...):
        slots[f"{name}.weight"] = f"{path}/{weight}", index, weight == "kernel"
        slots[f"{name}.bias"] = f"{path}/bias", index, False

    genes = slice(model.vocabulary)  # the rows behind are padding
    slots["codebook.weight"] = "fields/gene/embedding", genes, False
    slots["cls"] = "fields/specials/embedding", 0, False
    put("combine", "fields/combine", "kernel")
    for i in range(len(model.blocks)):
        here, there = f"blocks.{i}", "encoder/blocks"
        put(f"{here}.qkv", f"{there}/attention/qkv", "kernel", i)
        put(f"{here}.out", f"{there}/attention/out", "kernel", i)
        put(f"{here}.mlp_in", f"{there}/mlp/in", "kernel", i)
        put(f"{here}.mlp_out", f"{there}/mlp/out", "kernel", i)
        for k in (1, 2):
            put(f"{here}.norm{k}", f"{there}/norm{k}", "scale", i)
            slots[f"{here}.scale{k}"] = f"{there}/scale{k}/scale", i, False
    put("norm", "encoder/norm", "scale")
    for i in range(len(model.decoder)):
        put(f"decoder.{i}.first", f"heads/expression/blocks_{i}/in", "kernel")
        put(f"decoder.{i}.second", f"heads/expression/blocks_{i}/out", "kernel")
    put("output", "heads/expression", "rows", genes)
    if hasattr(model, "dispersion"):
        slots["dispersion"] = "heads/dispersion/values", genes, False
    if hasattr(model, "zero_inflation"):
        put("zero_inflation", "heads/zero_inflation", "rows", genes)
    return slots


def load_jax(model, params):
    """Copy the JAX parameter tree into the model; every leaf must be known and of its shape."""
    slots, leaves = jax_slots(model), _leaves(params)
    if odd := {path for path, _, _ in slots.values()} ^ leaves.keys():
        raise KeyError(f"in the JAX tree or in the reference, not in both: {sorted(odd)}")
    for name, parameter in model.named_parameters():
        path, index, transpose = slots[name]
        leaf = np.array(leaves[path], np.float64)
        if isinstance(index, int) and len(leaf) != sum(p == path for p, _, _ in slots.values()):
            raise ValueError(f"{path} {leaf.shape}: the first axis does not fit the model")
        part = leaf[index].T if transpose else leaf[index]
        if part.shape != parameter.shape:
            raise ValueError(f"{path} {leaf.shape} does not fit {name} {tuple(parameter.shape)}")
        parameter.data.copy_(torch.from_numpy(part))


def gradients_as_jax(model, params):
    """The gradients after backward(), as a tree like `params`; padded rows are zero."""
    return _as_jax(model, params, lambda parameter: parameter.grad)


def parameters_as_jax(model, params):
    """The model's parameters as a tree like `params`; padded rows are zero."""
    return _as_jax(model, params, lambda parameter: parameter.detach())


def _as_jax(model, params, pick):
    def zeros(tree):
        return {k: zeros(v) if hasattr(v, "items") else np.zeros(v.shape) for k, v in tree.items()}

    result, slots = zeros(params), jax_slots(model)
    leaves = _leaves(result)
    for name, parameter in model.named_parameters():
        path, index, transpose = slots[name]
        part = leaves[path][index]  # a view: writing into it fills `result`
        part[...] = pick(parameter).numpy().T if transpose else pick(parameter).numpy()
    return result


def _leaves(tree, prefix=""):
    if not hasattr(tree, "items"):
        return {prefix: tree}
    below = (_leaves(v, f"{prefix}/{k}" if prefix else k) for k, v in tree.items())
    return {path: leaf for leaves in below for path, leaf in leaves.items()}


def _tensor(a):
    return a if isinstance(a, torch.Tensor) else torch.from_numpy(np.array(a))

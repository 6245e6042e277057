"""The transformer: attention, MLP, block, encoder. B cells, T tokens, D width, H heads, C channels.

Cells have a valid prefix of ``length`` [B] tokens; what stands behind it changes no valid token.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from jaxcell.conversion.torch_model.building import choose
from jaxcell.conversion.torch_model.linear_attention import nystrom, performer

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "swiglu": F.silu, "geglu": F.gelu}
GATED = ("swiglu", "geglu")  # the activation of one half, times the other
ATTENTION = {"exact": "exact", "performer": "performer", "nystrom": "nystrom"}


class Layer(NamedTuple):
    """What all blocks of an encoder have in common."""

    width: int
    heads: int
    hidden: int
    activation: str = "gelu"
    norm: str = "layer"
    norm_eps: float = 1e-6
    norm_first: bool = True
    bias: bool = True
    layer_scale: float = 0.0
    attention: str = "exact"
    causal: bool = False
    features: int = 256
    landmarks: int = 64
    iterations: int = 6

    def make_norm(self):
        """Layer norm, or the norm by the root mean square alone."""
        if choose({"layer": False, "rms": True}, self.norm, "encoder.norm"):
            return nn.RMSNorm(self.width, eps=self.norm_eps)
        return nn.LayerNorm(self.width, eps=self.norm_eps, bias=self.bias)


class Attention(nn.Module):
    """Multi-head self-attention: x [B, T, D], length [B] -> [B, T, D]."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.qkv = nn.Linear(layer.width, 3 * layer.width, bias=layer.bias)
        self.out = nn.Linear(layer.width, layer.width, bias=layer.bias)
        if layer.attention == "performer":
            channels = layer.width // layer.heads
            self.register_buffer("features", torch.empty(layer.features, channels))

    def forward(self, x, length):
        cells, tokens, width = x.shape
        heads = self.qkv(x).view(cells, tokens, 3, self.layer.heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each [B, H, T, C]
        valid = torch.arange(tokens, device=x.device) < length[:, None]  # [B, T]
        out = self._attend(q, k, v, valid)
        return self.out(out.transpose(1, 2).reshape(cells, tokens, width))

    def _attend(self, q, k, v, valid):
        if self.layer.attention == "performer":
            return performer(q, k, v, valid, self.features)
        if self.layer.attention == "nystrom":
            return nystrom(q, k, v, valid, self.layer.landmarks, self.layer.iterations)
        seen = valid[:, None, None]  # [B, 1, 1, T]: the keys of each query
        if self.layer.causal:
            seen = seen & valid.new_ones(seen.shape[-1], seen.shape[-1]).tril()
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


class Mlp(nn.Module):
    """out(act(hidden(x))), or gated, out(act(hidden(x)) · gate(x)): x [..., D] -> [..., D]."""

    def __init__(self, width, hidden, activation="gelu", bias=True):
        super().__init__()
        self.activation = choose(ACTIVATIONS, activation, "encoder.activation")
        self.hidden = nn.Linear(width, hidden, bias=bias)
        self.gate = nn.Linear(width, hidden, bias=bias) if activation in GATED else None
        self.out = nn.Linear(hidden, width, bias=bias)

    def forward(self, x):
        h = self.activation(self.hidden(x))
        return self.out(h if self.gate is None else h * self.gate(x))


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch: x [..., D] -> [..., D]."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * self.weight


class Block(nn.Module):
    """One layer: norm first or behind the residual. x [B, T, D], length [B] -> [B, T, D].

    ``normed`` False: no norm before attention.
    """

    def __init__(self, layer, normed=True):
        super().__init__()
        self.first = layer.norm_first
        self.norm1 = layer.make_norm() if normed or not self.first else None
        self.attention = Attention(layer)
        self.norm2 = layer.make_norm()
        self.mlp = Mlp(layer.width, layer.hidden, layer.activation, layer.bias)
        self.scale1 = LayerScale(layer.width) if layer.layer_scale else nn.Identity()
        self.scale2 = LayerScale(layer.width) if layer.layer_scale else nn.Identity()

    def forward(self, x, length):
        if self.first:
            h = x if self.norm1 is None else self.norm1(x)
            x = x + self.scale1(self.attention(h, length))
            return x + self.scale2(self.mlp(self.norm2(x)))
        x = self.norm1(x + self.scale1(self.attention(x, length)))
        return self.norm2(x + self.scale2(self.mlp(x)))


class Encoder(nn.Module):
    """A stack of blocks and a final norm: x [B, T, D], length [B] -> [B, T, D].

    Without ``first_norm`` the first block, ``first``, has no norm before its attention; ``blocks``
    are the others then.
    """

    def __init__(
        self,
        width,
        layers,
        heads,
        mlp_ratio=4.0,
        hidden=0,
        first_norm=True,
        final_norm=True,
        activation="gelu",
        norm="layer",
        norm_eps=1e-6,
        norm_first=True,
        bias=True,
        layer_scale=0.0,
        attention="exact",
        causal=False,
        features=256,
        landmarks=64,
        iterations=6,
    ):
        super().__init__()
        layer = Layer(
            width=width,
            heads=heads,
            hidden=hidden or int(mlp_ratio * width),
            activation=activation,
            norm=norm,
            norm_eps=norm_eps,
            norm_first=norm_first,
            bias=bias,
            layer_scale=layer_scale,
            attention=choose(ATTENTION, attention, "encoder.attention"),
            causal=causal,
            features=features,
            landmarks=landmarks,
            iterations=iterations,
        )
        self.first = None if first_norm else Block(layer, normed=False)
        self.blocks = nn.ModuleList(Block(layer) for _ in range(layers - (not first_norm)))
        self.norm = layer.make_norm() if final_norm else nn.Identity()

    def forward(self, x, length):
        # A softmax over nothing is NaN: a cell without tokens looks at its padding.
        length = length.clamp(min=1)
        if self.first is not None:
            x = self.first(x, length)
        for block in self.blocks:
            x = block(x, length)
        return self.norm(x)

"""scGPT in plain PyTorch under its published names: what its converted checkpoints must equal.

Letters: B cells, T tokens, d width. Values are bins, −2 for padding and <cls>, −1 for a masked one;
the sequence is <cls>, genes, padding. Gene, value and decoder parts are `scformer_parts`', whose
names scGPT kept; attention is written out here, for torch's names and those of flash kernels.

Where the published code does otherwise:

- it normalises a whole batch by the domain of the first cell, here each cell by its own
- ``flag_encoder`` is read by its generation alone, and so not at all here
- ids and values behind ``length`` are not attended to, and their outputs mean nothing
"""

import torch
from torch import nn

from tests.reference.bmfm import tensor
from tests.reference.scformer_parts import (
    Classifier,
    ContinuousValues,
    ExprDecoder,
    GeneEncoder,
    MvcDecoder,
)

EPS = 6.1e-5  # of batch and domain norms


class Packed(nn.Module):
    """What flash kernels' modules hold: Wqkv [3d, d] (q, k, v) and out_proj."""

    def __init__(self, width):
        super().__init__()
        self.Wqkv, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)


class Attention(nn.Module):
    """Exact attention among valid tokens. x [B, T, d], valid bool [B, T] -> [B, T, d]

    names : 'torch' (in_proj_weight, in_proj_bias, out_proj), 'flash' (Wqkv, out_proj) or 'flash 2'
        (the same in ``_impl``)
    """

    def __init__(self, width, heads, names):
        super().__init__()
        self.heads, self.names = heads, names
        if names == "torch":
            self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) / width**0.5)
            self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
            self.out_proj = nn.Linear(width, width)
        elif names == "flash":
            self.Wqkv, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        else:
            self._impl = Packed(width)

    def forward(self, x, valid):
        b, t, d = x.shape
        module = self._impl if self.names == "flash 2" else self
        if self.names == "torch":
            packed = x @ self.in_proj_weight.T + self.in_proj_bias
        else:
            packed = module.Wqkv(x)
        q, k, v = packed.view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5
        scores = scores.masked_fill(~valid[:, None, None], -torch.inf)
        read = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, d)
        return module.out_proj(read)


class Layer(nn.Module):
    """Post-norm layer with ReLU. x [B, T, d], valid bool [B, T] -> [B, T, d]"""

    def __init__(self, width, heads, hidden, names):
        super().__init__()
        self.self_attn = Attention(width, heads, names)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x, valid):
        x = self.norm1(x + self.self_attn(x, valid))
        return self.norm2(x + self.linear2(torch.relu(self.linear1(x))))


class Layers(nn.Module):
    """The layers, by the name that they have in torch's encoder."""

    def __init__(self, layers, *sizes):
        super().__init__()
        self.layers = nn.ModuleList(Layer(*sizes) for _ in range(layers))

    def forward(self, x, valid):
        for layer in self.layers:
            x = layer(x, valid)
        return x


class Domains(nn.Module):
    """Batch norms without weights, one a domain. x [B, T, d], domain [B] -> [B, T, d]"""

    def __init__(self, number, width):
        super().__init__()
        norms = [nn.BatchNorm1d(width, eps=EPS, affine=False) for _ in range(number)]
        self.bns = nn.ModuleList(norms)

    def forward(self, x, domain):
        cells = [self.bns[k](one) for k, one in zip(domain.tolist(), x, strict=True)]
        return torch.stack(cells)


class Scgpt(nn.Module):
    """Gene and value -> (norm) -> encoder -> expression, MVC, classes and adversary; evaluated.

    Parameters
    ----------
    rows : of the gene table, specials included
    width, heads, layers, hidden : d, attention heads, blocks, width of the FFN
    names : of attention's tensors, see `Attention`
    values : 'continuous', or the rows of the category style (bins + 2)
    flags : whether there is a flag_encoder
    norm : None, 'batch' (affine) or 'domain' (of `batches`, without weights)
    mvc : None or 'inner product'; zero : whether decoder and MVC tell non-zeros
    classes : of the classifier, 0 for none
    batches : of domains, the adversary and, if `labelled`, the decoders' batch labels; 0 for none
    """

    def __init__(
        self,
        rows,
        width,
        heads,
        layers,
        hidden,
        *,
        names="flash",
        values="continuous",
        flags=True,
        norm=None,
        mvc="inner product",
        zero=False,
        classes=0,
        batches=0,
        labelled=False,
    ):
        super().__init__()
        wide = 2 * width if labelled else width
        continuous = values == "continuous"
        self.encoder = GeneEncoder(rows, width)
        self.value_encoder = ContinuousValues(width) if continuous else GeneEncoder(values, width)
        self.flag_encoder = nn.Embedding(2, width) if flags else None
        self.batch_encoder = GeneEncoder(batches, width) if labelled else None
        self.bn = nn.BatchNorm1d(width, eps=EPS) if norm == "batch" else None
        self.dsbn = Domains(batches, width) if norm == "domain" else None
        self.transformer_encoder = Layers(layers, width, heads, hidden, names)
        self.decoder = ExprDecoder(wide, width, 1, zero)
        self.mvc_decoder = MvcDecoder(wide, width, mvc, 1, zero) if mvc else None
        self.cls_decoder = Classifier(width, classes) if classes else None
        self.grad_reverse_discriminator = (
            Classifier(width, batches, 3, nn.LeakyReLU) if batches else None
        )
        self.eval()

    def forward(self, ids, values, length, batch=None):
        """All outputs, as a dict: tokens [B, T, d], cell [B, d], and heads by our names.

        ids, values [B, T]; length, batch [B]. mgm, mvc (and mgm_zero, mvc_zero, logits) [B, T];
        cls [B, classes], dar [B, batches].
        """
        valid = torch.arange(ids.shape[1]) < tensor(length)[:, None]
        dtype = self.encoder.enc_norm.weight.dtype
        gene = self.encoder(tensor(ids))
        x = gene + self.value_encoder(tensor(values).to(dtype))
        if self.bn is not None:
            x = self.bn(x.transpose(1, 2)).transpose(1, 2)
        batch = None if batch is None else tensor(batch)
        if self.dsbn is not None:
            x = self.dsbn(x, batch)
        x = self.transformer_encoder(x, valid)
        cell = wide = x[:, 0]
        tokens = x
        if self.batch_encoder is not None:
            label = self.batch_encoder(batch)
            tokens = torch.cat([x, label[:, None].expand_as(x)], -1)
            wide = torch.cat([cell, label], -1)
        found = {"tokens": x, "cell": cell}
        found["mgm"], found["mgm_zero"] = self.decoder(tokens)
        if self.mvc_decoder is not None:
            found["mvc"], found["mvc_zero"] = self.mvc_decoder(wide, gene)
        if self.cls_decoder is not None:
            found["cls"] = self.cls_decoder(cell)
        if self.grad_reverse_discriminator is not None:
            found["dar"] = self.grad_reverse_discriminator(cell)
        return {name: x for name, x in found.items() if x is not None}

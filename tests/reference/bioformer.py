"""BioFormer (Ho & Le) in plain PyTorch, written from its description: the JAX model is compared.

Letters: B cells, T tokens, d width. Position 0 is CLS; `values` are bins 0 … 50, bin 0 for zero
counts and for masked ones; codes below 0 are read as bin 0. `live` says which counts were above 0
before masking.

Where the description is silent, or this project departs from it, this is what was chosen:

- CLS is prepended (the paper's reading) and learned: in the sum it stands for gene and bin; study
  and, if there is one, cell type are added, and it passes the LayerNorm. It is always live.
- Cells shorter than T have padding behind `length`, which is not attended to.
- A study of −1 is the last row of the study table, 'unknown', where there is one; the same for the
  cell type (off by default).
- The adversary is the paper's: gradient reversal, from CLS; it has no row for 'unknown'.
"""

import torch
from torch import nn

from tests.reference.bmfm import tensor
from tests.reference.bmfm_parts import Reverse
from tests.reference.scformer_parts import PostNormEncoder


class Bioformer(nn.Module):
    """Gene, bin and study -> LayerNorm -> zero counts become zero vectors -> encoder -> heads.

    Parameters
    ----------
    genes, width, heads, layers, hidden : V, d, attention heads, blocks, width of the FFN
    studies : classes of the adversary; `unknown` adds a row to the study table
    cell_types : rows of the cell type's table, 0 for none; `unknown` adds a row
    bins : rows of the bin table and classes of `mlm_head`
    reversal : strength of the gradient reversal
    """

    def __init__(
        self,
        genes,
        width,
        heads,
        layers,
        hidden,
        studies,
        *,
        cell_types=0,
        unknown=True,
        bins=51,
        reversal=1.0,
    ):
        super().__init__()
        self.unknown, self.reversal = unknown, reversal
        self.cls = nn.Parameter(torch.randn(width))
        self.gene_embedding = nn.Embedding(genes, width)
        self.value_embedding = nn.Embedding(bins, width)
        self.study_embedding = nn.Embedding(studies + unknown, width)
        self.cell_type_embedding = nn.Embedding(cell_types + unknown, width) if cell_types else None
        self.norm = nn.LayerNorm(width)
        self.transformer = PostNormEncoder(width, heads, layers, hidden)
        self.mlm_head, self.cont_head = nn.Linear(width, bins), nn.Linear(width, 1)
        self.adv_head = nn.Linear(width, studies)
        self.double()

    def forward(self, ids, values, length, live, study, cell_type=None):
        """All outputs, as a dict.

        ids, values, live [B, T], of which position 0 is not read; length [B], CLS included; study,
        cell_type [B]. -> embedded and tokens [B, T, d], cell [B, d], mlm [B, T, bins], regression
        [B, T], study [B, studies].
        """
        length = tensor(length).long()
        valid = torch.arange(ids.shape[1]) < length[:, None]
        genes = torch.where(valid, tensor(ids), 0).long()[:, 1:]
        bins = torch.where(valid, tensor(values), 0).clamp(min=0).long()[:, 1:]
        live = tensor(live).bool().clone()
        live[:, 0] = True
        first = self.cls.expand(len(genes), 1, -1)
        x = torch.cat([first, self.gene_embedding(genes) + self.value_embedding(bins)], 1)
        x = x + self.row_of(self.study_embedding, study)[:, None]
        if self.cell_type_embedding is not None:
            x = x + self.row_of(self.cell_type_embedding, cell_type)[:, None]
        embedded = self.norm(x) * live[..., None]
        x = self.transformer(embedded, length)
        return {
            "embedded": embedded,
            "tokens": x,
            "cell": x[:, 0],
            "mlm": self.mlm_head(x),
            "regression": self.cont_head(x)[..., 0],
            "study": self.adv_head(Reverse.apply(x[:, 0], self.reversal)),
        }

    def row_of(self, table, labels):
        """The rows of labels [B]; −1 is the last where the tables have a row for it. [B, d]"""
        labels = tensor(labels).long()
        if self.unknown:
            labels = torch.where(labels < 0, len(table.weight) - 1, labels)
        return table(labels)


def listed(model):
    """{name: tensor} of the parameters, by the names of the reference's state dict.

    With i a block; Linear weights are [out, in]:

    - gene_embedding.weight [V, d], value_embedding.weight [bins, d], study_embedding.weight
      [studies (+ 1), d], cell_type_embedding.weight [types (+ 1), d] if any
    - cls [d], this project's own
    - norm.weight, .bias [d]
    - transformer.layers.i.…: self_attn.in_proj_weight [3d, d] (q, k, v), .in_proj_bias,
      self_attn.out_proj.weight, .bias, linear1.weight [f, d], .bias, linear2.weight [d, f], .bias,
      norm1.weight, .bias, norm2.weight, .bias
    - mlm_head.weight [bins, d], .bias, cont_head.weight [1, d], .bias, adv_head.weight
      [studies, d], .bias
    """
    return dict(model.named_parameters())

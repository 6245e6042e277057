"""BioFormers (Biostate) in plain PyTorch, encoder-only and decoder-only: JAX is compared with it.

Letters: B cells, T tokens, d width, n bins. Position 0 is CLS, then genes, then padding. `values`
are bin numbers, 0 for CLS and `hidden`, −1 by default, where masked (`scformer.shown` makes them
from this project's codes).

Where the paper is silent, this is what was chosen:

- Gene table and value MLP are scFormer's, LayerNorms included (`norms` False leaves both out); so
  are the block and the head, an MLP with LeakyReLU on every token, CLS included.
- Decoder-only: token i sees tokens 0 … i, is told by the `query` table (no LayerNorm) which gene
  comes next, and says the next gene's bin. The last valid token has no query and no target. CLS
  is told of the first gene. The cell's vector is then the last valid token's.
- External tokens are those of the gene itself, not of the next.
"""

import torch
from torch import nn

from tests.reference.bmfm import tensor
from tests.reference.scformer_parts import (
    ContinuousValues,
    ExprDecoder,
    GeneEncoder,
    PostNormEncoder,
)


class Bioformers(nn.Module):
    """Gene, value and flag (and the next gene) -> encoder -> bins.

    Parameters
    ----------
    rows : of the gene table, specials included
    width, heads, layers, hidden : d, attention heads, blocks, width of the FFN
    bins : classes of the head, 0 … bins − 1
    causal : decoder-only
    flags : rows of the table of external tokens; 0 for none
    norms : whether gene table and value MLP end in a LayerNorm
    head_layers : Linears of the head
    """

    def __init__(
        self,
        rows,
        width,
        heads,
        layers,
        hidden,
        bins,
        *,
        causal=False,
        flags=0,
        norms=True,
        clamp=512.0,
        head_layers=3,
    ):
        super().__init__()
        self.encoder = GeneEncoder(rows, width, norms)
        self.value_encoder = ContinuousValues(width, clamp, norms)
        self.flag_encoder = nn.Embedding(flags, width) if flags else None
        self.query = nn.Embedding(rows, width) if causal else None
        self.transformer_encoder = PostNormEncoder(width, heads, layers, hidden, causal)
        self.decoder = ExprDecoder(width, width, bins, layers=head_layers)
        self.double()

    def forward(self, ids, values, length, flags=None):
        """Outputs, as a dict.

        ids, values, flags [B, T], length [B], CLS included. -> embedded and tokens [B, T, d], cell
        [B, d], logits [B, T, bins]: of the token's own bin or, decoder-only, of the next one's.
        """
        length = tensor(length).long()
        valid = torch.arange(ids.shape[1]) < length[:, None]
        read = lambda a: torch.where(valid, tensor(a), 0)
        ids = read(ids).long()
        x = self.encoder(ids) + self.value_encoder(read(values))
        if self.flag_encoder is not None:
            x = x + self.flag_encoder(read(flags).long())
        if self.query is not None:
            x[:, :-1] += torch.where(valid[:, 1:, None], self.query(ids[:, 1:]), 0.0)
        embedded, x = x, self.transformer_encoder(x, length)
        last = (length - 1).clamp(min=0) if self.query is not None else torch.zeros_like(length)
        return {
            "embedded": embedded,
            "tokens": x,
            "cell": x[torch.arange(len(x)), last],
            "logits": self.decoder(x)[0],
        }


def next_targets(values, length):
    """(target [B, T], where bool [B, T]): token i's is the value of i + 1, if there is one."""
    values, length = tensor(values), tensor(length)
    target = torch.zeros_like(values)
    target[:, :-1] = values[:, 1:]
    where = torch.arange(values.shape[1]) + 1 < length[:, None]
    return torch.where(where, target, 0), where


def listed(model):
    """{name: tensor} of the parameters; there is no checkpoint, so the names are scFormer's.

    As `scformer.listed`: encoder, value_encoder, flag_encoder, transformer_encoder and
    decoder.fc.{0, 2, 4} (the last [bins, d]); decoder-only also query.weight [rows, d]. Without
    `norms` there are no encoder.enc_norm and value_encoder.norm.
    """
    return dict(model.named_parameters())

"""BioFormer (Ho & Le) in plain PyTorch as its code has it, under the names of its checkpoints.

Letters: B cells, V genes, d width. There is no special token: position i is gene i, and a cell's
vector is what the encoder yields at position 0. `training` has the study's embedding and adversary,
the model of the evaluation neither.
"""

import numpy as np
from torch import nn

from tests.reference.bmfm import tensor


class Published(nn.Module):
    """(gene + bin + cell type (+ study), normed, 0 without a count) -> encoder -> heads; evaluated.

    Parameters
    ----------
    genes, width, heads, layers, hidden : V, d, attention heads, blocks, width of the FFN
    types, studies : rows of their tables; studies 0: the model of the evaluation
    bins : rows of the bin table
    """

    def __init__(self, genes, width, heads, layers, hidden, types, studies=0, bins=51):
        super().__init__()
        self.gene_embedding = nn.Embedding(genes, width)
        self.value_embedding = nn.Embedding(bins, width)
        self.cell_type_embedding = nn.Embedding(types, width)
        self.study_embedding = nn.Embedding(studies, width) if studies else None
        layer = nn.TransformerEncoderLayer(width, heads, hidden, 0.1, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.mlm_head, self.cont_head = nn.Linear(width, bins), nn.Linear(width, 1)
        self.adv_head = nn.Linear(width, studies) if studies else None
        self.eval()

    def forward(self, bins, live, cell_type=None, study=None):
        """All outputs, as a dict: tokens [B, V, d], cell [B, d], mlm, regression, study.

        bins, live [B, V]; cell_type, study [B], or None: the mean of all rows stands for it.
        """
        shown = [(self.cell_type_embedding, cell_type)]
        shown += [(self.study_embedding, study)] if self.study_embedding is not None else []
        x = self.gene_embedding.weight[None] + self.value_embedding(tensor(bins).long())
        for table, codes in shown:
            mean = table.weight.mean(0)[None]
            x = x + (mean if codes is None else table(tensor(codes).long()))[:, None]
        x = self.norm(x) * tensor(live)[..., None].to(x.dtype)
        x = self.transformer(x)
        found = {"tokens": x, "cell": x[:, 0], "mlm": self.mlm_head(x)}
        found["regression"] = self.cont_head(x)[..., 0]
        if self.adv_head is not None:
            found["study"] = self.adv_head(x[:, 0])
        return found


def bins_of(counts, number=51):
    """Bins of one cell's counts [V]: 1 + how many of its thresholds lie below; 0 for 0. i64 [V]

    Thresholds are the quantiles k / n of its counts above 0, k = 1 … n = number − 1.
    """
    above = counts[counts > 0].astype(np.float64)
    if not len(above):
        return np.zeros(len(counts), int)
    edges = [np.quantile(above, k / (number - 1)) for k in range(1, number)]
    return np.array([1 + sum(edge < x for edge in edges) if x else 0 for x in counts])

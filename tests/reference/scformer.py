"""scFormer in plain PyTorch, written from its description: the JAX model is compared with it.

Letters: B cells, T tokens, d width, n outputs, K domains.

`values` are in the published convention: bins or log-normalised counts of genes, 0 for CLS, −1 for
a masked value; in the category style bins, then a row each for padding and mask (0 … bins − 1,
bins, bins + 1). `shown` makes them from this project's codes. The sequence is CLS, genes, padding.

Where the description is silent, this is what was chosen (for the parts, see `scformer_parts.py`):

- Dropout is off everywhere; `train` only says which statistics batch norms use.
- Ids and values behind `length` are not read.
- The weighted pool's weights are the values where they are above 0: CLS and masked tokens, whose
  values are codes, weigh nothing. `weights` gives others.
- MVC reads the gene embedding of every token, CLS and masked ones included, without values.
- A batch label of −1 is the last row of the batch encoder, which then has one more than batches.
"""

import torch
from torch import nn

from tests.reference.bmfm import tensor
from tests.reference.bmfm_parts import mean_pool
from tests.reference.scformer_parts import (
    Classifier,
    ContinuousValues,
    DomainNorm,
    ExprDecoder,
    GeneEncoder,
    LinearDecoder,
    MvcDecoder,
    PlainNorm,
    PostNormEncoder,
    average_pool,
    weighted_pool,
)


class Scformer(nn.Module):
    """Gene, value and flag -> norm -> encoder -> expression, MVC, classes and adversary.

    Parameters
    ----------
    rows : of the gene table, specials included
    width, heads, layers, hidden : d, attention heads, blocks, width of the FFN
    values : 'continuous', or the rows of the category style (bins + 2)
    flags : rows of the table of external tokens; 0 for none
    norm : None, 'batch' (affine) or 'domain' (of `domains`, affine or not)
    pool : 'cls', 'mean' (of the gene tokens; genes are ids below `vocabulary`), 'avg-pool' or
        'weighted'
    decoder : 'mlp', 'linear' (the June 2022 checkpoint) or None; of `outputs` numbers a token
    zero : whether decoder and MVC say the logit of being non-zero
    mvc : None, 'inner product', 'concat query' or 'sum query'; `detach` spares the gene embedding
    classes, batches : of the classifier and of the adversary, 0 for none; reversal of the latter
    conditions : rows of the batch encoder, concatenated before decoder and MVC; 0 for none
    """

    def __init__(
        self,
        rows,
        width,
        heads,
        layers,
        hidden,
        *,
        values="continuous",
        clamp=512.0,
        flags=0,
        norm=None,
        domains=0,
        affine=False,
        pool="cls",
        vocabulary=None,
        decoder="mlp",
        outputs=1,
        zero=False,
        mvc=None,
        detach=False,
        classes=0,
        class_layers=3,
        batches=0,
        reversal=1.0,
        conditions=0,
    ):
        super().__init__()
        self.pool_by, self.vocabulary = pool, vocabulary
        self.encoder = GeneEncoder(rows, width)
        continuous = values == "continuous"
        self.value_encoder = (
            ContinuousValues(width, clamp) if continuous else GeneEncoder(values, width)
        )
        self.flag_encoder = nn.Embedding(flags, width) if flags else None
        self.batch_encoder = GeneEncoder(conditions, width) if conditions else None
        self.bn = PlainNorm(width) if norm == "batch" else None
        self.dsbn = DomainNorm(domains, width, affine) if norm == "domain" else None
        self.transformer_encoder = PostNormEncoder(width, heads, layers, hidden)
        wide = 2 * width if conditions else width
        kinds = {
            "mlp": lambda: ExprDecoder(wide, width, outputs, zero),
            "linear": lambda: LinearDecoder(wide, outputs),
        }
        self.decoder = kinds[decoder]() if decoder else None
        self.mvc_decoder = MvcDecoder(wide, width, mvc, outputs, zero, detach) if mvc else None
        self.cls_decoder = Classifier(width, classes, class_layers) if classes else None
        self.grad_reverse_discriminator = (
            Classifier(width, batches, 3, nn.LeakyReLU, reversal) if batches else None
        )
        self.double()

    def forward(
        self,
        ids,
        values,
        length,
        domain=None,
        batch=None,
        train=False,
        *,
        flags=None,
        weights=None,
        real=None,
    ):
        """All outputs, as a dict.

        ids, values, flags, weights [B, T]; length, domain, batch [B]; real bool [B], False for rows
        that only fill up the batch (they enter no statistics; what they yield is not to be read).
        -> gene, value, embedded (behind the norm) and tokens [B, T, d], cell [B, d]; mgm, mvc
        [B, T] or [B, T, n], mgm_zero, mvc_zero [B, T]; cls [B, classes], dar [B, batches].
        """
        self.train(train)
        length = tensor(length).long()
        valid = torch.arange(ids.shape[1]) < length[:, None]
        read = lambda a: torch.where(valid, tensor(a), 0)
        ids, values = read(ids).long(), read(values)
        gene, value = self.encoder(ids), self.value_encoder(values)
        x = gene + value
        if self.flag_encoder is not None:
            x = x + self.flag_encoder(read(flags).long())
        counted = valid if real is None else valid & tensor(real)[:, None]
        if self.bn is not None:
            x = self.bn(x, counted)
        if self.dsbn is not None:
            x = self.dsbn(x, counted, tensor(domain))
        outputs = {"gene": gene, "value": value, "embedded": x}
        x = self.transformer_encoder(x, length)
        weights = values.clamp(min=0) if weights is None else tensor(weights)
        cell = self.pooled(x, ids, length, valid, weights)
        outputs |= {"tokens": x, "cell": cell}
        return outputs | self.heads(x, cell, gene, batch)

    def pooled(self, x, ids, length, valid, weights):
        """The cell's vector [B, d]."""
        return {
            "cls": lambda: x[:, 0],
            "mean": lambda: mean_pool(x, ids, length, self.vocabulary),
            "avg-pool": lambda: average_pool(x, valid),
            "weighted": lambda: weighted_pool(x, weights, valid),
        }[self.pool_by]()

    def heads(self, x, cell, gene, batch):
        """What each head says, as a dict."""
        outputs, wide, whole = {}, x, cell
        if self.batch_encoder is not None:
            last = len(self.batch_encoder.embedding.weight) - 1
            batch = tensor(batch).long()
            labels = self.batch_encoder(torch.where(batch < 0, last, batch))
            wide = torch.cat([x, labels[:, None].expand(-1, x.shape[1], -1)], -1)
            whole = torch.cat([cell, labels], -1)
        if self.decoder is not None:
            outputs["mgm"], outputs["mgm_zero"] = self.decoder(wide)
        if self.mvc_decoder is not None:
            outputs["mvc"], outputs["mvc_zero"] = self.mvc_decoder(whole, gene)
        if self.cls_decoder is not None:
            outputs["cls"] = self.cls_decoder(cell)
        if self.grad_reverse_discriminator is not None:
            outputs["dar"] = self.grad_reverse_discriminator(cell)
        return {name: output for name, output in outputs.items() if output is not None}


def listed(model):
    """{name: tensor} of the parameters and statistics by the names of published state dicts.

    For `Scformer`, with i a block and k a domain; Linear weights are [out, in], d_in = 2d with
    conditions, else d:

    - encoder.embedding.weight [rows, d], encoder.enc_norm.weight, .bias [d]; batch_encoder alike
    - value_encoder.linear1.weight [d, 1], .linear2.weight [d, d], biases, .norm.weight, .bias;
      in the category style value_encoder.embedding.weight, .enc_norm.weight, .bias
    - flag_encoder.weight [flags, d]
    - bn.… or dsbn.bns.k.…: weight, bias (if affine), running_mean, running_var [d],
      num_batches_tracked []; dsbn.seen [K], this project's own
    - transformer_encoder.layers.i.…: self_attn.in_proj_weight [3d, d] (q, k, v), .in_proj_bias,
      self_attn.out_proj.weight, .bias, linear1.weight [f, d], .bias, linear2.weight [d, f], .bias,
      norm1.weight, .bias, norm2.weight, .bias
    - decoder.fc.{0, 2, 4}.weight, .bias and decoder.zero_logit.{0, 2, 4}; or decoder.weight, .bias
    - mvc_decoder.gene2query, .W (no bias), .U (n > 1; this project's own) and .W_zero_logit; or
      .gene2query, .fc1, .hidden_activation.weight [1], .fc2 and .zero_logit (own)
    - cls_decoder._decoder.{0, 3} (Linear), {2, 5} (LayerNorm), .out_layer;
      grad_reverse_discriminator alike
    """
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def shown(values, specials, special, hidden):
    """Values in the published convention, from this project's codes. [B, T] -> [B, T]

    −(k + 1) at special token k becomes `special`, −(specials + 1), a hidden value, `hidden`:
    0 and −1 in the continuous style, 0 and bins + 1 in the category style.
    """
    values = tensor(values)
    values = torch.where((values < 0) & (values >= -specials), float(special), values)
    return torch.where(values == -(specials + 1), float(hidden), values)

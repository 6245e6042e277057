"""BMFM-RNA in plain PyTorch and float64, written from its description: the JAX model is compared.

Letters: B cells, T tokens, V genes, S special tokens, d width, K leaves of the ontology.

Tokens: genes are 0 … V − 1, specials V … V + S − 1 in the order UNK SEP PAD CLS MASK CLS_0 CLS_1 …
Values: the log-normalised expression; −(i + 1) where the value is that of special token i, so −5
where it is masked; exactly 0 for a gene that is not expressed. The sequence is [CLS] [CLS_0] …
[CLS_3] [SEP] genes (WCED) or [CLS] [SEP] genes (MLM), then padding that is never read.

Where the description is silent, this is what was chosen (for the parts, see `bmfm_parts.py`):

- Sums are divided by n, not n + 1e-6; where n = 0 expression losses and HCE are 0.
- Cross-entropy and focal loss of a batch without any label are NaN, as torch's mean is, and `total`
  leaves such a task out: its weight is not in the denominator either. HCE of cells that are all
  unknown is 0 and its weight does count.
- With label smoothing ε, a share ε goes evenly to all classes, the true one included.
- HCE: a row of the mask without a leaf is an unknown label.
- Rows of the WCED decoder that stand for specials exist but have no label.
- `tokens` behind a cell's length are not to be read.
- `cell` is the encoder's output at position 0; the pooler reads it, or the mean over the genes.
- A length of 0 (a row that fills up a batch) is read as 1.
"""

import numpy as np
import torch
from torch import nn

from tests.reference.bmfm_parts import (
    Embeddings,
    LabelHead,
    Pooler,
    TokenHead,
    WcedHead,
    mean_pool,
)

IGNORE = -100
PAD = 2  # of the special tokens


class Bmfm(nn.Module):
    """Gene, value and further fields -> encoder -> expression and labels.

    Parameters
    ----------
    vocabulary, specials : V and S
    values : value encoder, e.g. ScaleAdapt(width, specials)
    encoder : e.g. llama(width, layers, heads)
    task : 'wced' (all tokens, from position 0), 'mlm' (each token's own) or None
    labels : {name: keywords of LabelHead}; released WCED: cell type reads position 1, tissue and
        general tissue 2, donor 3, sex 4; released MLM: all read the pooler
    lookups : {name: rows} of further fields
    pooler_reads : 'first' (position 0) or 'mean' (the gene tokens)
    """

    def __init__(
        self,
        vocabulary,
        specials,
        width,
        values,
        encoder,
        *,
        task="wced",
        labels=None,
        lookups=None,
        embedding_norm=True,
        pooler_reads="first",
    ):
        super().__init__()
        self.vocabulary, self.pooler_reads = vocabulary, pooler_reads
        tokens = vocabulary + specials
        self.embeddings = Embeddings(tokens, width, values, lookups, embedding_norm)
        self.encoder = encoder
        self.pooler = Pooler(width)
        heads = {"wced": lambda: WcedHead(width, tokens), "mlm": lambda: TokenHead(width)}
        self.expression = heads[task]() if task else None
        heads = {name: LabelHead(width, **keywords) for name, keywords in (labels or {}).items()}
        self.labels = nn.ModuleDict(heads)
        self.double()

    def forward(self, ids, values, length, masked=None, **lookups):
        """All outputs, as a dict.

        ids, values, lookups [B, T]; length [B], specials included; masked bool [B, T]: tokens that
        only themselves may attend to. -> tokens [B, T, d], cell, mean and pooled [B, d],
        regression and is_zero [B, V + S] (wced) or [B, T] (mlm), labels {name: [B, classes]}.
        """
        ids, values, length = tensor(ids).long(), tensor(values), tensor(length).clamp(min=1)
        valid = torch.arange(ids.shape[1], device=ids.device) < length[:, None]
        ids = torch.where(valid, ids, self.vocabulary + PAD)
        values = torch.where(valid, values, -(PAD + 1))
        lookups = {k: torch.where(valid, tensor(v).long(), 0) for k, v in lookups.items()}
        masked = None if masked is None else tensor(masked) & valid
        x = self.encoder(self.embeddings(ids, values, lookups), length, masked)
        mean = mean_pool(x, ids, length, self.vocabulary)
        pooled = self.pooler({"first": x[:, 0], "mean": mean}[self.pooler_reads])
        outputs = {"tokens": x, "cell": x[:, 0], "mean": mean, "pooled": pooled}
        if self.expression is not None:
            outputs["regression"], outputs["is_zero"] = self.expression(x)
        outputs["labels"] = {name: head(x, pooled) for name, head in self.labels.items()}
        return outputs


def load(model, tree):
    """Copy a nested or flat dict of arrays into the model; all keys and shapes must fit.

    Keys are those of model.named_parameters(), weights of Linear as [out, in]. A nested dict stands
    for its keys joined by dots. For `Bmfm`, with i a block and NAME a label or a lookup:

    - embeddings.genes.weight [V + S, d]; embeddings.lookups.NAME.weight [rows, d];
      embeddings.norm.weight, .bias [d]
    - embeddings.values.…  ScaleAdapt: special.weight [S + 1, d], dense.weight [d, 2N] and, only if
      trainable, basis [N]; ValueMlp: dense1.weight [128, 1], dense1.bias, dense2.weight [d, 128],
      dense2.bias; ValueMlpSpecials: those and special.weight [S + 1, 128]
    - encoder.blocks.i.…  all: attention.qkv.weight [3d, d] (q, k, v; heads contiguous),
      attention.out.weight [d, d], norm1.weight [d] (Llama and ModernBert: not for i = 0),
      norm2.weight [d]; Llama: gate.weight, up.weight [hidden, d], down.weight [d, hidden]; Bert:
      mlp_in.weight [hidden, d], mlp_out.weight [d, hidden], and a bias beside each weight;
      ModernBert: mlp_in.weight [2·hidden, d] (what GELU meets first, then the gate),
      mlp_out.weight [d, hidden], and behind the blocks encoder.norm.weight [d]
    - pooler.dense.weight [d, d], .bias
    - expression.transform.dense.weight [d, d], .bias, expression.transform.norm.weight, .bias [d]
    - wced: expression.decoder.weight [2(V + S), d], .bias; row 2·token + (0 value, 1 is-zero)
    - mlm: expression.regression.weight [1, d], .bias, expression.is_zero.weight [1, d], .bias
    - labels.NAME.decoder.weight [classes, d], .bias; with mlp also labels.NAME.dense.weight, .bias
    """
    leaves, parameters = _leaves(tree), dict(model.named_parameters())
    if odd := leaves.keys() ^ parameters.keys():
        raise KeyError(f"in the tree or in the model, not in both: {sorted(odd)}")
    for name, parameter in parameters.items():
        leaf = np.array(leaves[name], np.float64)
        if leaf.shape != parameter.shape:
            raise ValueError(f"{name}: {leaf.shape}, the model has {tuple(parameter.shape)}")
        parameter.data.copy_(torch.from_numpy(leaf))


def _leaves(tree, prefix=""):
    if not hasattr(tree, "items"):
        return {prefix: tree}
    below = (_leaves(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in tree.items())
    return {path: leaf for leaves in below for path, leaf in leaves.items()}


def normalise(counts):
    """ln(1 + 1e4·c / (Σc + 1)) over the last axis."""
    counts = tensor(counts).double()
    return torch.log1p(1e4 * counts / (counts.sum(-1, keepdim=True) + 1))


def combined(regression, is_zero):
    """The predicted value: 0 where the is-zero logit is above 0, else the regression."""
    return torch.where(is_zero > 0, 0.0, regression)


def is_zero_bce(logits, labels):
    """Binary cross-entropy of 'the label is 0', mean over the labels that are not −100."""
    valid, target = labels != IGNORE, (labels == 0).to(logits.dtype)
    each = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return _mean(each, valid)


def mse(prediction, labels):
    """Mean squared error over the labels that are neither −100 nor 0."""
    return _mean((prediction - labels) ** 2, (labels != IGNORE) & (labels != 0))


def mae(prediction, labels):
    """Mean absolute error over the labels that are neither −100 nor 0."""
    return _mean((prediction - labels).abs(), (labels != IGNORE) & (labels != 0))


def _mean(each, where):
    return torch.where(where, each, 0.0).sum() / where.sum().clamp(min=1)


def cross_entropy(logits, labels, smoothing=0.0):
    """logits [B, K], labels [B] with −100 = unknown: mean over the known cells, NaN without any."""
    known = labels != IGNORE
    log_p = logits[known].log_softmax(-1)
    true = log_p.gather(-1, labels[known][:, None])[:, 0]
    return -((1 - smoothing) * true + smoothing * log_p.mean(-1)).mean()


def focal(logits, labels, gamma=2.0):
    """−(1 − p)^γ ln(p + ε), p of the true class, ε the dtype's: mean over the known cells."""
    known = labels != IGNORE
    p = logits[known].softmax(-1).gather(-1, labels[known][:, None])[:, 0]
    return -((1 - p) ** gamma * torch.log(p + torch.finfo(p.dtype).eps)).mean()


def hce(logits, leaves):
    """−ln of the probability of a set of leaves. logits [B, K], leaves bool [B, K]

    Mean over all cells; a cell whose set is empty is unknown and adds 0.
    """
    total = logits.new_zeros(())
    for z, mask in zip(logits, leaves, strict=True):
        if mask.any():
            total = total + z.logsumexp(-1) - z[mask].logsumexp(-1)
    return total / len(logits)


def total(losses, weights):
    """Σ wℓ / Σ w over the tasks whose loss is not NaN. Two dicts with the same names."""
    if losses.keys() != weights.keys():
        raise ValueError(f"losses of {sorted(losses)}, weights of {sorted(weights)}")
    kept = [name for name in losses if not torch.isnan(losses[name])]
    return sum(weights[k] * losses[k] for k in kept) / sum(weights[k] for k in kept)


def tensor(a):
    """An array or a tensor as a tensor."""
    return a if isinstance(a, torch.Tensor) else torch.from_numpy(np.array(a))

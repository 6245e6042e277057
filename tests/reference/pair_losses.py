"""The losses of scFormer, BioFormer and BioFormers, one pair or token at a time. Scalars, float64.

Letters: B cells, T tokens, D width, n classes. `real` bool [B] leaves out the rows that only fill
up a batch, as if they were not there.

Where the descriptions are silent, or this project departs from them, this is what was chosen:

- A mean over nothing is 0. Means are Σ/n, without a small number in the denominator.
- Elastic similarity: the cosine of a vector of length 0 with any other is 0.
- Margin: pairs of which one cell's label is unknown (−1) are in neither the sum nor the count, so
  neither is such a cell's pair with itself. The distance of two equal vectors has gradient 0.
- Contrastive: the first pass asks, the second answers; one direction, as published.
"""

import math

import torch


def mean(terms, like):
    """The mean of a list of scalars, 0 if it is empty."""
    return torch.stack(terms).mean() if terms else like.sum() * 0.0


def rows(cell, real):
    """The real rows of cell [B, D] as a list."""
    return [c for i, c in enumerate(cell) if real is None or real[i]]


def cosine(a, b):
    """a · b / (‖a‖ ‖b‖), 0 if one is the zero vector."""
    length = torch.sqrt((a * a).sum() * (b * b).sum())
    return (a * b).sum() / length if length > 0 else (a * b).sum()


def elastic(cell, beta, real=None):
    """Mean over all B² pairs of 1 − (s − β)², s = max(0, cosine), 0 on the diagonal. cell [B, D]"""
    cells, terms = rows(cell, real), []
    for i, a in enumerate(cells):
        for j, b in enumerate(cells):
            s = torch.relu(cosine(a, b)) if i != j else cell.new_zeros(())
            terms.append(1 - (s - beta) ** 2)
    return mean(terms, cell)


def margin(cell, labels, tau=1.0, real=None):
    """Mean over pairs, i = j included: D² of one label, max(0, τ − D)² of two. cell [B, D]"""
    cells = rows(cell, real)
    labels = [int(k) for i, k in enumerate(labels) if real is None or real[i]]
    terms = []
    for a, label in zip(cells, labels, strict=True):
        for b, other in zip(cells, labels, strict=True):
            if label < 0 or other < 0:
                continue
            square = ((a - b) ** 2).sum()
            distance = torch.sqrt(square) if square > 0 else square.detach()
            terms.append(square if label == other else torch.relu(tau - distance) ** 2)
    return mean(terms, cell)


def contrastive(first, second, temperature=0.5, real=None):
    """Mean of −ln of cell i's share among e^(cosine(first_i, second_j)/temperature) over j."""
    ours, theirs, terms = rows(first, real), rows(second, real), []
    for i, a in enumerate(ours):
        logits = torch.stack([cosine(a, b) for b in theirs]) / temperature
        terms.append(logits.logsumexp(0) - logits[i])
    return mean(terms, first)


def where_of(mask, real):
    """mask bool [B, T] without the rows that are not real."""
    return mask if real is None else mask & real[:, None]


def masked_mse(prediction, target, mask, real=None):
    """Mean of (prediction − target)² over the masked tokens; all [B, T]."""
    where = where_of(mask, real)
    return mean(list((prediction[where] - target[where]) ** 2), prediction)


def masked_cross_entropy(logits, target, mask, real=None):
    """Mean over the masked tokens of −ln p(true bin). logits [B, T, n], target [B, T] bins."""
    where = where_of(mask, real)
    terms = [z.logsumexp(0) - z[int(k)] for z, k in zip(logits[where], target[where], strict=True)]
    return mean(terms, logits)


def label_cross_entropy(logits, labels, real=None):
    """Mean over the known labels (not −1). logits [B, n], labels [B]"""
    known = labels >= 0 if real is None else (labels >= 0) & real
    return masked_cross_entropy(logits[:, None], labels[:, None], known[:, None])


def nonzero_nll(logits, target, mask, real=None):
    """−ln of the Bernoulli of (target > 0), sigmoid(logit) being its probability. All [B, T]"""
    where, terms = where_of(mask, real), []
    for z, x in zip(logits[where], target[where], strict=True):
        sign = z if x > 0 else -z
        terms.append(torch.logaddexp(z.new_zeros(()), -sign))
    return mean(terms, logits)


def relative_error(prediction, target, mask, real=None):
    """Mean of |prediction − target| / (target + 1e-6) over the masked tokens. All [B, T]"""
    where = where_of(mask, real)
    each = (prediction[where] - target[where]).abs() / (target[where] + 1e-6)
    return mean(list(each), prediction)


def ramp(progress, gamma=10.0):
    """The adversary's strength of Ganin & Lempitsky: 2 / (1 + e^(−γp)) − 1, p in 0 … 1."""
    return 2 / (1 + math.exp(-gamma * progress)) - 1

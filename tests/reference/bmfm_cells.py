"""BMFM-RNA's cells in plain numpy, one at a time: sequences, targets, masking, down-sampling.

Letters: V genes, T tokens, n a gene's count, N a cell's total. Nothing here draws: orders and
uniforms are given, so that any generator can be compared. `counts` [V] are the raw counts of one
cell, `order` the ids of its measured genes in the order in which they are tried.

Where the description is silent, this is what was chosen:

- 'all' keeps the given order over zeros and non-zeros together; the other strategies take the
  non-zeros and the zeros each in the given order, which is how they are shuffled.
- Released code shares zeros out within a batch (those expressed in another of its cells first);
  here all of a cell's measured zeros are alike, and a caller who prefers some puts them first.
- The maximal length counts the special tokens. Sequences are cut after zeros were put in.
- [SEP] stands behind the other specials: without positions its place has no effect.
- 10(1 − p) is computed as it stands: 0.8 gives int(1.9999999999999996) = 1, so 8 : 1, not 8 : 2.
- The cells of 'interleaved' that show no zeros (1 in 5) are those whose uniform is below the ratio.
- "Exposed" genes, those with a target, are the measured ones.
- A token is masked where u < p·mask_ratio, only given a label where p·mask_ratio <= u < p; it is
  those replaced by [MASK] that an attention block hides, not those that kept their value.
- Token weights are scaled to the mean p over the cell's own candidates, once, and then clipped.
- Replacing values by others (switch_ratio, 0 in every config) and several masked fields are left
  out.
"""

import math

import numpy as np

SPECIALS = ("UNK", "SEP", "PAD", "CLS", "MASK", *(f"CLS_{i}" for i in range(31)))  # 36
WCED = ("CLS", "CLS_0", "CLS_1", "CLS_2", "CLS_3", "SEP")
MLM = ("CLS", "SEP")
IGNORE = -100.0


def code(name):
    """The value of a special token: −1 for UNK, −2 for SEP, …, −5 for MASK, −6 for CLS_0, …"""
    return -(SPECIALS.index(name) + 1)


def interleave(nonzero, zeros, p):
    """max(1, int(10p)) of the first list, max(1, int(10(1 − p))) of the second, and so on.

    Until one is used up; then the rest of the other. p = None: first all of the first list.
    """
    if p is None:
        return [*nonzero, *zeros]
    nonzero, zeros, result = list(nonzero), list(zeros), []
    ones, others = max(1, int(10 * p)), max(1, int(10 * (1 - p)))
    while nonzero and zeros:
        result += nonzero[:ones] + zeros[:others]
        nonzero, zeros = nonzero[ones:], zeros[others:]
    return result + nonzero + zeros


def shows_zeros(uniform, expressed_ratio=0.2):
    """Whether a cell of 'interleaved' shows any zeros; otherwise it is built as 'excluded'."""
    return uniform >= expressed_ratio


def chosen_genes(order, counts, room, zeros, p=0.9):
    """The genes of a sequence, at most `room` of them.

    zeros: 'excluded' (only genes with a count), 'all' (every measured gene), 'interleaved' (see
    `interleave`) or 'random' (all genes with a count, then zeros while there is room).
    """
    present = [gene for gene in order if counts[gene] > 0]
    absent = [gene for gene in order if counts[gene] == 0]
    if zeros == "excluded":
        genes = present
    elif zeros == "all":
        genes = list(order)
    elif zeros == "interleaved":
        genes = interleave(present, absent, p)
    elif zeros == "random":
        genes = interleave(present, absent, None)
    else:
        raise ValueError(f"zeros={zeros!r} is not excluded, all, interleaved or random")
    return genes[:room]


def normalise(counts):
    """ln(1 + 1e4·n / (N + 1)) of each of the counts; N is their sum."""
    total = math.fsum(counts)
    return np.array([math.log1p(1e4 * n / (total + 1)) for n in counts])


def sequence(order, counts, vocabulary, *, specials, max_length, zeros, p=0.9, multiple=16):
    """One cell's ids [T], values [T] and length; T is the length rounded up to the multiple.

    Values are normalised by the total of the genes in the sequence alone.
    """
    genes = chosen_genes(order, counts, max_length - len(specials), zeros, p)
    ids = [vocabulary + SPECIALS.index(name) for name in specials] + genes
    values = [code(name) for name in specials] + list(normalise([counts[g] for g in genes]))
    length = len(ids)
    padding = -length % multiple
    ids += [vocabulary + SPECIALS.index("PAD")] * padding
    values += [code("PAD")] * padding
    return np.array(ids), np.array(values, np.float64), length


def wced_targets(order, counts, ids, vocabulary):
    """What WCED predicts of one cell: {'all', 'input', 'non_input': [V + S]}, −100 elsewhere.

    The whole cell is normalised by the total of its measured genes, before anything was cut;
    'input' are the genes of the sequence, 'non_input' the other measured ones.
    """
    result = {k: np.full(vocabulary + len(SPECIALS), IGNORE) for k in ("all", "input", "non_input")}
    for gene, value in zip(order, normalise([counts[g] for g in order]), strict=True):
        result["all"][gene] = value
        result["input" if gene in ids else "non_input"][gene] = value
    return result


def mask(ids, values, uniforms, vocabulary, *, ratio=0.15, mask_ratio=0.95, weights=None):
    """Masked language modelling of the values of one cell; one uniform for each token [T].

    A gene token is chosen where u < p and masked where u < p·mask_ratio; p is `ratio`, or with
    `weights` [V] p ∝ weight of the gene with mean `ratio`, clipped to [0, 1]. Special tokens,
    padding and unknown genes are never chosen. Returns the values as the model sees them, the
    labels (−100 where not chosen), and which tokens are masked.
    """
    seen, labels = np.array(values, np.float64), np.full(len(ids), IGNORE)
    masked = np.zeros(len(ids), bool)
    candidates = [i for i, token in enumerate(ids) if token < vocabulary]
    probability = dict.fromkeys(candidates, ratio)
    if weights is not None and candidates:
        mean = sum(weights[ids[i]] for i in candidates) / len(candidates)
        for i in candidates:
            probability[i] = min(max(weights[ids[i]] * ratio / mean, 0.0), 1.0)
    for i in candidates:
        if uniforms[i] < probability[i]:
            labels[i] = values[i]
        if uniforms[i] < probability[i] * mask_ratio:
            seen[i], masked[i] = code("MASK"), True
    return seen, labels, masked


def binomial_moments(n, b):
    """Mean and variance of Binomial(n, b)."""
    return n * b, n * b * (1 - b)


def rda_moments(n, chance=0.5):
    """Mean and variance of a count of RDA: Binomial(n, b), b ~ Beta(2, 2), else n itself.

    Down-sampling happens with `chance`, and only in cells of 1000 counts and more; chance = 1 gives
    the Beta-binomial alone: n/2 and n(n + 4)/20. b is one per cell: genes i and j then have the
    covariance n_i·n_j/20.
    """
    mean, variance = n / 2, n * (n + 4) / 20
    square = chance * (variance + mean**2) + (1 - chance) * n**2
    mixed = chance * mean + (1 - chance) * n
    return mixed, square - mixed**2


def poisson_moments(n, rate=0.55 * 0.6):
    """Mean and variance of max(0, n − Poisson(rate·n)), further zeroed with probability `rate`."""
    first = second = 0.0
    for lost in range(int(n)):
        log_chance = lost * math.log(rate * n) - rate * n - math.lgamma(lost + 1)
        first += (n - lost) * math.exp(log_chance)
        second += (n - lost) ** 2 * math.exp(log_chance)
    mean = (1 - rate) * first
    return mean, (1 - rate) * second - mean**2

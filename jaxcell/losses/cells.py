"""Losses over pairs of a batch's cells: vectors x [B, D] and which cells count, bool [B].

B cells, D width. Each returns its values and a mask of those that count, both [B, B] (of pairs,
i = j among them) or both [B]. Under jit B is the whole batch, however it lies on devices. A cell
that does not count reaches neither values nor gradients of others, whatever its vector holds.
"""

import jax
import jax.numpy as jnp

from jaxcell.sharding import shard

# A vector without any entry of this size has no direction: its cosine with any other is 0.
SMALLEST = 1e-12


def _up(a):
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))


def elastic(x, counted, beta):
    """Elastic cell similarity: 1 - (max(0, cos(x_i, x_j)) - β)², of a cell with itself 1 - β².

    Least far from β: similar cells are drawn together, cells less alike than β drawn apart, down
    to a right angle. As published: the diagonal is set to 0 and stays in the mean.

    Parameters
    ----------
    x : [B, D]
    counted : bool [B]
    beta : β, the similarity of the strongest loss

    Returns
    -------
    [B, B] twice. Source: scFormer's code (the paper prints -(cos - β)² per pair).
    """
    x = _only(counted, x)
    similarity = jnp.where(jnp.eye(len(x), dtype=bool), 0, _cosines(x, x))
    return 1 - (jax.nn.relu(similarity) - beta) ** 2, _pairs(counted)


def margin(x, label, counted, tau=1.0):
    """Contrastive separation: D² between cells of one label, max(0, τ - D)² between two labels.

    D is the Euclidean distance, from differences: as a Gram matrix's |x|² + |y|² - 2xy float32 has
    no digit left of a D² below 1e-7 |x|². They take [B, B, D] numbers, 13 MB of 78 cells × 512.
    At D = 0 the gradient is 0, as torch.cdist's is.

    Parameters
    ----------
    x : [B, D]
    label : i32 [B]; a cell of -1 is unknown, and none of its pairs counts
    counted : bool [B]
    tau : τ, the distance from which on cells of two labels cost nothing

    Returns
    -------
    [B, B] twice. Source: BioFormer, whose mean is over all pairs, i = j among them.
    """
    counted = counted & (label >= 0)
    x = _only(counted, x)
    square = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    apart = square > 0
    distance = jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1)), 0)
    same = label[:, None] == label[None]
    return jnp.where(same, square, jax.nn.relu(tau - distance) ** 2), _pairs(counted)


def contrastive(x, again, counted, temperature=0.5):
    """Cross-entropy of telling each cell's second vector among those of all cells.

    -ln softmax over j of cos(x_i, again_j) / temperature, at j = i. Cells that do not count are
    none of those to tell it from.

    Parameters
    ----------
    x, again : [B, D], the same cells encoded twice with different dropout
    counted : bool [B]
    temperature : what cosines are divided by

    Returns
    -------
    [B] twice. Source: SimCSE (Gao et al. 2021), as scFormer's CCE has it.
    """
    logits = _cosines(_only(counted, x), _only(counted, again)) / temperature
    own = jnp.eye(len(x), dtype=bool)
    # A cell that does not count keeps its own logit: a softmax over nothing would be NaN.
    log_p = jax.nn.log_softmax(jnp.where(counted[None] | own, logits, -jnp.inf), axis=1)
    return -jnp.where(own, log_p, 0).sum(axis=1), counted


def _only(counted, x):
    """The vectors that count, 0 elsewhere: 0 times the gradient of a NaN would be NaN."""
    return jnp.where(counted[:, None], _up(x), 0)


def _pairs(counted):
    return counted[:, None] & counted[None]


def _cosines(x, y):
    # On a mesh a device compares its own cells with all, whose vectors it gathers.
    x, y = shard(_unit(x), "batch", None), shard(_unit(y), None, None)
    # TF32's or bfloat16's products would be cosines of three digits.
    return jnp.matmul(x, y.T, precision="highest")


def _unit(x):
    """Rows of length 1, and 0 for rows of ``SMALLEST``: no square overflows or vanishes."""
    size = jax.lax.stop_gradient(jnp.abs(x).max(axis=1, keepdims=True))
    some = size >= SMALLEST
    x = jnp.where(some, x / jnp.where(some, size, 1), 0)
    square = jnp.where(some, (x**2).sum(axis=1, keepdims=True), 1)
    return x / jnp.sqrt(square)

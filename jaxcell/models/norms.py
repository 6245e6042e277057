"""Normalisation over the cells of a batch, with running statistics for later.

B cells, T tokens, D channels, K domains. flax's own keeps the biased running variance and knows no
domains nor cells that do not count.
"""

import jax.numpy as jnp
from flax import linen as nn

HIGHEST = "highest"  # of the sums over cells: TPUs would take bfloat16


class BatchNorm(nn.Module):
    """Batch normalisation of tokens, each cell within its own domain (DSBN; K = 1: the plain one).

    x [B, T, D], domain i32 [B] (−1: unknown), counted bool [B, T] -> [B, T, D] in float32 or wider

    In training a cell is normalised by mean and (biased) variance over all counted tokens of the
    batch's cells of its domain, whatever the other domains beside it; cells of an unknown domain
    are one more. The running statistics ``mean``, ``var`` [K, D] (collection batch_stats) move by a
    tenth towards the batch's, the variance unbiased, as torch's do; those of a domain that the
    batch lacks stay. ``seen`` [K] counts cells. Afterwards they are what normalises, and a cell of
    an unknown domain takes them pooled: the moments of all cells seen. Parameters scale, bias
    [K, D] if ``affine``; an unknown domain takes their mean over cells seen. Sources: Ioffe &
    Szegedy 2015; Chang et al. 2019, as scFormer uses it, one domain a batch there.
    """

    domains: int = 1
    affine: bool = True
    eps: float = 1e-5
    momentum: float = 0.1

    @nn.compact
    def __call__(self, x, domain, counted, *, train):
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        shape, zeros, ones = (self.domains, x.shape[-1]), jnp.zeros, jnp.ones
        mean = self.variable("batch_stats", "mean", zeros, shape)
        var = self.variable("batch_stats", "var", ones, shape)
        seen = self.variable("batch_stats", "seen", zeros, (self.domains,))
        group = jnp.where(domain < 0, self.domains, domain)
        share = _shares(seen.value)
        if train:
            own = self._of_batch(x, group, counted)
            self._run(own, counted, group, mean, var, seen)
            m, v = own[0], own[1]
        else:
            m, v = _pooled(mean.value, var.value, share)
        x = (x - _of_cells(m, group)) / jnp.sqrt(_of_cells(v, group) + self.eps)
        if self.affine:
            scale = self.param("scale", nn.initializers.ones_init(), shape)
            bias = self.param("bias", nn.initializers.zeros_init(), shape)
            both = (jnp.concatenate([a, share[None] @ a]) for a in (scale, bias))
            scale, bias = (_of_cells(a, group) for a in both)
            x = x * scale + bias
        return x

    def _of_batch(self, x, group, counted):
        """Mean, biased variance [K + 1, D] and number of tokens [K + 1] of each group."""
        one = (group[:, None] == jnp.arange(self.domains + 1)[None]).astype(x.dtype)
        number = (one * counted.sum(axis=1).astype(x.dtype)[:, None]).sum(axis=0)
        least = jnp.maximum(number, 1)[:, None]

        def sums(y):
            y = jnp.where(counted[..., None], y, 0).sum(axis=1)
            return jnp.einsum("bk,bd->kd", one, y, precision=HIGHEST) / least

        m = sums(x)
        return m, sums((x - _of_cells(m, group)) ** 2), number

    def _run(self, own, counted, group, mean, var, seen):
        m, v, number = (a[: self.domains] for a in own)
        several = number > 1
        unbiased = v * jnp.where(several, number / jnp.maximum(number - 1, 1), 0)[:, None]
        for running, new in ((mean, m), (var, unbiased)):
            moved = running.value + self.momentum * (new - running.value)
            running.value = jnp.where(several[:, None], moved, running.value)
        there = counted.any(axis=1)[:, None] & (group[:, None] == jnp.arange(self.domains)[None])
        seen.value = seen.value + there.sum(axis=0)


def _of_cells(of_groups, group):
    """Of groups [K + 1, D], what each cell has: [B, 1, D]."""
    return jnp.take(of_groups, group, axis=0)[:, None]


def _shares(seen):
    """Share of the cells seen that each domain has [K]; alike where none was seen."""
    total = seen.sum()
    return jnp.where(total > 0, seen / jnp.maximum(total, 1), 1 / seen.shape[0])


def _pooled(mean, var, share):
    """Statistics [K, D] and, in a last row, those of all domains' cells together: [K + 1, D]."""
    whole = jnp.einsum("k,kd->d", share, mean, precision=HIGHEST)
    apart = var + (mean - whole[None]) ** 2
    spread = jnp.einsum("k,kd->d", share, apart, precision=HIGHEST)
    return jnp.concatenate([mean, whole[None]]), jnp.concatenate([var, spread[None]])

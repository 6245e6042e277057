"""What a token is made of: gene and value encoders, and how they are combined.

B cells, T tokens, D width, V genes (rows of a gene table are padded to R ≥ V).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import FrozenConfigDict

from jaxcell.registry import build, lookup


class Taken(NamedTuple):
    """Rows ``ids`` [B, T] of ``table`` [R, D], to be taken by whoever combines the fields."""

    table: jax.Array
    ids: jax.Array


class Lookup(nn.Module):
    """A learned vector for each gene.

    ids [B, T] -> Taken, standing for [B, T, D]; parameter embedding [R, D], drawn from N(0, std²).
    """

    input: str
    rows: int
    width: int
    std: float = 1.0

    @nn.compact
    def __call__(self, batch):
        table = self.param("embedding", nn.initializers.normal(self.std), (self.rows, self.width))
        return Taken(table, batch[self.input])


class Scalar(nn.Module):
    """The value itself as one channel: [B, T] -> [B, T, 1], never rounded below float32."""

    input: str

    def __call__(self, batch):
        return batch[self.input][..., None]


class Concat(nn.Module):
    """Concatenate the fields and project: fields [B, T, D_i] -> [B, T, D].

    Parameters kernel [Σ D_i, D], bias [D]. Each field meets its own rows of the kernel, so that the
    matrix products keep widths of a power of two and a field of one channel costs no matrix
    product and keeps its precision. Rows of a table with fewer rows than there are tokens are
    projected before they are taken: a quarter of a small model's step on a CPU.
    """

    width: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, fields):
        widths = [(f.table if isinstance(f, Taken) else f).shape[-1] for f in fields]
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), (sum(widths), self.width))
        out = self.param("bias", nn.initializers.zeros_init(), (self.width,))[None, None]
        start = 0
        for field, width in zip(fields, widths, strict=True):
            out = out + self._project(field, kernel[start : start + width])
            start += width
        return out.astype(self.dtype or out.dtype)

    def _project(self, field, kernel):
        if isinstance(field, Taken):
            table, ids = field
            if table.shape[0] > ids.size:
                return self._project(jnp.take(table, ids, axis=0), kernel)
            return jnp.take(self._project(table, kernel), ids, axis=0)
        if field.shape[-1] == 1:
            return field * kernel[None]
        dtype = self.dtype or jnp.promote_types(field.dtype, kernel.dtype)
        wide = jnp.promote_types(dtype, jnp.float32)  # gradients of a taken row are summed in it
        return jnp.matmul(field.astype(dtype), kernel.astype(dtype), preferred_element_type=wide)


FIELDS = {"lookup": Lookup, "scalar": Scalar}
COMBINE = {"concat": Concat}


class Fields(nn.Module):
    """All fields of a token, combined, behind the special tokens' own vectors.

    batch with ids [B, T], values [B, T] -> tokens [B, T, D]

    The first ``len(specials)`` positions of ``ids`` hold special tokens (ids V, V+1, …). Each has a
    learned vector of width D (``specials`` [S, D]) that stands in for the combined fields.
    """

    spec: FrozenConfigDict
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, batch):
        spec, s = self.spec, len(self.spec.specials)
        genes = {k: batch[k][:, s:] for k in ("ids", "values")}
        made = dict(rows=spec.rows, width=spec.width, dtype=self.dtype)
        parts = [
            build(FIELDS, spec.fields[f], f"config.model.fields.{f}", name=f, **made)(genes)
            for f in spec.tokens
        ]
        combine = lookup(COMBINE, spec.combine, "config.model.combine")
        tokens = combine(spec.width, dtype=self.dtype, name="combine")(parts)
        if not s:
            return tokens
        table = self.param("specials", nn.initializers.normal(0.02), (s, spec.width))
        front = table.astype(tokens.dtype)[batch["ids"][:, :s] - spec.vocabulary]
        return jnp.concatenate([front, tokens], axis=1)

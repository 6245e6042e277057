"""What a token is made of: gene and value encoders, and how they are combined.

B cells, T tokens, D width, V genes (rows of a gene table are padded to R ≥ V).
"""

import jax.numpy as jnp
from flax import linen as nn
from ml_collections import FrozenConfigDict

from jaxcell.registry import build, lookup


class Lookup(nn.Module):
    """A learned vector for each gene.

    ids [B, T] -> [B, T, D]; parameter embedding [R, D], drawn from N(0, std²).
    """

    input: str
    rows: int
    width: int
    std: float = 1.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, batch):
        table = self.param("embedding", nn.initializers.normal(self.std), (self.rows, self.width))
        return jnp.take(table, batch[self.input], axis=0).astype(self.dtype or table.dtype)


class Scalar(nn.Module):
    """The value itself as one channel: [B, T] -> [B, T, 1], never rounded below float32."""

    input: str

    def __call__(self, batch):
        return batch[self.input][..., None]


class Concat(nn.Module):
    """Concatenate the fields and project: fields [B, T, D_i] -> [B, T, D].

    Parameters kernel [Σ D_i, D], bias [D]. Each field meets its own rows of the kernel, so that the
    matrix products keep widths of a power of two and a field of one channel costs no matrix
    product and keeps its precision.
    """

    width: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, fields):
        rows = sum(f.shape[-1] for f in fields)
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), (rows, self.width))
        out = self.param("bias", nn.initializers.zeros_init(), (self.width,))[None, None]
        start = 0
        for field in fields:
            part = kernel[start : start + field.shape[-1]]
            start += field.shape[-1]
            if field.shape[-1] == 1:
                out = out + field * part[None]
            else:
                dtype = self.dtype or jnp.promote_types(field.dtype, part.dtype)
                out = out + field.astype(dtype) @ part.astype(dtype)
        return out.astype(self.dtype or out.dtype)


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

"""What a token is made of: gene and value encoders, and how they are combined.

B cells, T tokens, S special tokens in front of a cell's genes, D width, V genes (rows of a gene
table are padded to R ≥ V).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import FrozenConfigDict

from jaxcell.models.layers import padded
from jaxcell.models.norms import BatchNorm
from jaxcell.models.values import VALUES, code_of
from jaxcell.registry import build, lookup
from jaxcell.sharding import dot_of_whole, shard


class Taken(NamedTuple):
    """Rows ``ids`` [B, T] of ``table`` [R, D], to be taken by whoever combines the fields."""

    table: jax.Array
    ids: jax.Array


class Between(NamedTuple):
    """A point between a baseline and the cell itself, for each field of each gene's token.

    ``shares`` {field: [B, T - S]}: 1 is the field's own vector, 0 the baseline's; a field without
    one keeps its own, and special tokens always do. ``pad`` is the number of the special token
    whose vectors are the baseline; None: it is zero.
    """

    shares: dict
    pad: int | None = None

    def __call__(self, name, field, own, batch, vocabulary):
        """The vectors of ``field`` there: own Taken or [B, T, D] -> [B, T, D]."""
        own = _vectors(own)
        if name not in self.shares:
            return own
        base = jnp.zeros((), own.dtype)
        if self.pad is not None:
            ids = jnp.full_like(batch["ids"], vocabulary + self.pad)
            values = jnp.full_like(batch["values"], code_of(self.pad))
            base = _vectors(field({**batch, "ids": ids, "values": values, "next_ids": ids}))
        share = self.shares[name].astype(own.dtype)
        front = own.shape[1] - share.shape[1]  # special tokens, where fields are added
        short = jnp.pad(1 - share, ((0, 0), (front, 0)))
        return own - short[..., None] * (own - base)  # exactly its own at a share of 1


def _vectors(field):
    return _take(*field) if isinstance(field, Taken) else field


def _take(table, ids):
    """Rows ids [B, T] of table [R, D] -> [B, T, D].

    Of a table over 'vocab' each device takes the rows that are its own, zeros for the others, and
    the sum over devices is what was asked for: the table stays where it is.
    """
    return shard(jnp.take(table, ids, axis=0), "batch", None, None)


class Lookup(nn.Module):
    """A learned vector for each gene, for each token (genes and specials), or for each of n flags.

    ids [B, T] -> Taken, standing for [B, T, D]; parameter embedding (of flags: rows) [rows, D],
    drawn from N(0, std²); with ``norm`` a layer norm behind it, norm/{scale, bias}.

    of : 'genes', 'tokens', or a number n of flags
    """

    input: str
    rows: int
    token_rows: int
    vocabulary: int
    specials: int
    width: int
    of: str | int = "genes"
    std: float = 1.0
    norm: bool = False

    @nn.compact
    def __call__(self, batch):
        tokens = self.token_rows, self.vocabulary + self.specials
        known = {"genes": (self.rows, self.vocabulary), "tokens": tokens}
        rows, real = known.get(self.of, (self.of, self.of))
        if not isinstance(rows, int):
            raise ValueError(
                f"config.model.fields.{self.name}.of: found {self.of!r}, expected 'genes', "
                "'tokens' or a number"
            )
        name = "rows" if isinstance(self.of, int) else "embedding"  # gene tables can be sharded
        draw = padded(nn.initializers.normal(self.std), real)
        table = self.param(name, draw, (rows, self.width))
        if name == "embedding":
            table = shard(table, "vocab", None)
        if self.norm:  # of rows, which are fewer than tokens
            table = nn.LayerNorm(epsilon=1e-5, name="norm")(table)
        field, _, flag = self.input.partition(".")  # 'ids', or 'flags.perturbed'
        return Taken(table, batch[field][flag] if flag else batch[field])


def next_ids(ids, length):
    """The next token of each: ids i32 [B, T], length [B] -> i32 [B, T], −1 where there is none."""
    shifted = jnp.pad(ids[:, 1:], ((0, 0), (0, 1)))
    return jnp.where(jnp.arange(1, ids.shape[1] + 1)[None] < length[:, None], shifted, -1)


class NextGene(nn.Module):
    """A learned vector for the gene of the next token, which a causal model is asked about.

    ids [B, T], length [B] -> [B, T, D]; ``next_ids`` i32 [B, T] in the batch stand for them, where
    the next token is not there yet. Zeros where none comes next (−1) or a special token. Parameter
    embedding [R, D], drawn from N(0, std²).
    """

    rows: int
    vocabulary: int
    width: int
    std: float = 1.0

    @nn.compact
    def __call__(self, batch):
        draw = padded(nn.initializers.normal(self.std), self.vocabulary)
        table = self.param("embedding", draw, (self.rows, self.width))
        ids = batch.get("next_ids")
        ids = next_ids(batch["ids"], batch["length"]) if ids is None else ids
        there = (ids >= 0) & (ids < self.vocabulary)
        table = shard(table, "vocab", None)
        return jnp.where(there[..., None], _take(table, jnp.where(there, ids, 0)), 0)


class External(nn.Module):
    """Gene vectors from a file, projected; genes that it lacks, and special tokens, are learned.

    ids [B, T] -> [B, T, D]. ``tables['vectors'][name]`` [R, E] holds the file's vectors and
    ``tables['known'][name]`` bool [R] which genes it has; they never train. Parameters embedding
    [R, E] and kernel [E, D].
    """

    input: str
    token_rows: int
    vocabulary: int
    specials: int
    width: int
    channels: int
    file: str = ""  # tsv, npz or h5ad that the vectors come from; read when a run begins
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, batch):
        shape = (self.token_rows, self.channels)
        draw = padded(nn.initializers.normal(1.0), self.vocabulary + self.specials)
        table = self.param("embedding", draw, shape)
        vectors = batch["tables"]["vectors"][self.name]
        known = batch["tables"]["known"][self.name]
        table = jnp.where(known[:, None], vectors.astype(table.dtype), table)
        how = dict(dtype=self.dtype, dot_general=dot_of_whole)
        dense = nn.Dense(self.width, **how, name="dense")
        return dense(_take(shard(table, "vocab", None), batch[self.input]))


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
        kernel = shard(kernel, None, None)  # over 'fsdp' it is gathered, not what it multiplies
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
                return self._project(_take(table, ids), kernel)
            return _take(self._project(table, kernel), ids)
        if field.shape[-1] == 1:
            return field * kernel[None]
        dtype = self.dtype or jnp.promote_types(field.dtype, kernel.dtype)
        wide = jnp.promote_types(dtype, jnp.float32)  # gradients of a taken row are summed in it
        return jnp.matmul(field.astype(dtype), kernel.astype(dtype), preferred_element_type=wide)


class Sum(nn.Module):
    """Add the fields: [B, T, D] each -> [B, T, D], in float32 or wider."""

    width: int
    dtype: jnp.dtype | None = None

    def __call__(self, fields):
        return sum(map(_vectors, fields))


class Metadata(nn.Module):
    """A vector for the class of each cell: codes i32 [B] (−1: unknown) -> [B, D].

    Parameter rows [classes + 1, D], the last row for 'unknown'. In training a class is hidden
    with probability ``dropout``, so that 'unknown' is learned too.
    """

    label: str
    classes: int
    width: int
    place: str = "cls"  # added to the first token; or 'all', to each; or 'token', one of its own
    dropout: float = 0.1

    @nn.compact
    def __call__(self, codes, train):
        draw = nn.initializers.normal(0.02)
        table = self.param("rows", draw, (self.classes + 1, self.width))
        if train and self.dropout:
            hide = jax.random.bernoulli(self.make_rng("dropout"), self.dropout, codes.shape)
            codes = jnp.where(hide, -1, codes)
        return jnp.take(table, jnp.where(codes < 0, self.classes, codes), axis=0)


FIELDS = {"lookup": Lookup, "external": External, "next": NextGene, **VALUES}
COMBINE = {"concat": Concat, "sum": Sum}
NORMS = ("", "layer", "batch", "domain")


class Fields(nn.Module):
    """All fields of a token, combined; special tokens stand in front.

    batch with ids [B, T], values [B, T] … -> tokens [B, M + T, D]

    Concatenated fields are of genes alone: each special token has a vector of width D
    (``specials`` [S, D]) that stands in for them. Added fields know special tokens by their own
    rows. Then come, of what the config asks for, cells' metadata (added to the first token or to
    all, or M tokens of their own in front), a norm, zeros in place of the tokens of genes without a
    count (``silent_zeros``: they are still there to attend to), and dropout.
    """

    spec: FrozenConfigDict
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, batch, *, train, between=None, keep=None):
        """``between``: a `Between`, the fields' vectors there instead of their own.

        keep : a dict that is given each added field's own vectors, {name: [B, T, D]}
        """
        spec = self.spec
        add = spec.combine == "sum"
        make = self._summed if add else self._concatenated
        x = make(batch, train, between, keep)
        # Those added to the first token come before those that put tokens in front of it.
        for name in sorted(spec.metadata, key=lambda n: (spec.metadata[n].get("place", "cls"), n)):
            where = f"config.model.metadata.{name}"
            kind = {"kind": "metadata", **spec.metadata[name]}
            made = build({"metadata": Metadata}, kind, where, name=name, width=spec.width)
            vector = made(batch["labels"][made.label], train)[:, None].astype(x.dtype)
            if made.place == "cls":
                x = jnp.concatenate([x[:, :1] + vector, x[:, 1:]], axis=1)
            elif made.place == "all":
                x = x + vector
            else:
                x = jnp.concatenate([vector, x], axis=1)
        x = self._normed(x, batch, train)
        if spec.silent_zeros:
            x = jnp.where(_heard(batch, x.shape[1], spec.vocabulary)[..., None], x, 0)
        if train and spec.dropout:
            x = nn.Dropout(spec.dropout, deterministic=False)(x)
        return x.astype(self.dtype or x.dtype)

    def _normed(self, x, batch, train):
        spec, kind = self.spec, self.spec.norm
        if not lookup(dict.fromkeys(NORMS, kind), kind, "config.model.norm"):
            return x
        if kind == "layer":
            return nn.LayerNorm(epsilon=spec.norm_eps, name="norm")(x)
        domains, affine, code = 1, spec.domain.affine, jnp.zeros_like(batch["length"])
        if kind == "domain":
            domains, code = spec.domain.classes, batch["labels"][spec.domain.label]
        extra = x.shape[1] - batch["ids"].shape[1]  # tokens of metadata, in front
        counted = jnp.arange(x.shape[1])[None] < batch["length"][:, None] + extra
        if "real" in batch:
            counted = counted & batch["real"][:, None]
        norm = BatchNorm(domains, affine, spec.norm_eps, name="norm")
        return norm(x, code, counted, train=train)

    def _parts(self, batch, train, between, keep=None):
        spec, parts = self.spec, []
        sizes = dict(rows=spec.rows, token_rows=spec.token_rows, specials=len(spec.specials))
        for name in spec.tokens:
            field, where = spec.fields[name].to_dict(), f"config.model.fields.{name}"
            dropout = field.pop("dropout", 0.0)
            made = dict(name=name, width=spec.width, dtype=self.dtype, **sizes)
            made["vocabulary"] = spec.vocabulary
            encoder = build(FIELDS, field, where, **made)
            part = encoder(batch)
            part = part if isinstance(part, Taken) else shard(part, "batch", None, None)
            if between is not None:
                part = between(name, encoder, part, batch, spec.vocabulary)
            if keep is not None:
                keep[name] = _vectors(part)
            if train and dropout:
                part = nn.Dropout(dropout, deterministic=False)(_vectors(part))
            parts.append(part)
        return parts

    def _combined(self, parts):
        spec = self.spec
        combine = lookup(COMBINE, spec.combine, "config.model.combine")
        return combine(spec.width, dtype=self.dtype, name="combine")(parts)

    def _summed(self, batch, train, between, keep):
        return self._combined(self._parts(batch, train, between, keep))

    def _concatenated(self, batch, train, between, keep):
        spec = self.spec
        s, width = len(spec.front), spec.width
        genes = {**batch, **{k: batch[k][:, s:] for k in ("ids", "values")}}
        genes["flags"] = {k: flag[:, s:] for k, flag in batch.get("flags", {}).items()}
        tokens = self._combined(self._parts(genes, train, between))
        if not s:
            return tokens
        table = self.param("specials", nn.initializers.normal(0.02), (len(spec.specials), width))
        front = table.astype(tokens.dtype)[batch["ids"][:, :s] - spec.vocabulary]
        return jnp.concatenate([front, tokens], axis=1)


def _heard(batch, tokens, vocabulary):
    """Tokens [B, M + T] that are not silent: specials, and genes with a count, hidden or not."""
    expressed = batch.get("expressed", batch["values"] > 0)
    heard = expressed | (batch["ids"] >= vocabulary)
    return jnp.pad(heard, ((0, 0), (tokens - heard.shape[1], 0)), constant_values=True)

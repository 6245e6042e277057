"""From chunks of raw counts to the vectors of cells: their tokens, and the compiled model.

B cells, T tokens, D width, V genes.
"""

import hashlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from jaxcell import __version__
from jaxcell.data.records import Rows
from jaxcell.data.survey import divide
from jaxcell.data.transforms import Draft, build_transforms
from jaxcell.models.attention import CHUNK, SCORES
from jaxcell.models.cell import POOLS, CellModel, layers_of
from jaxcell.models.cost import forward_flops

FEW_CELLS = 100  # of a batch: its measured genes are a guess


class Forward:
    """The compiled model: variables, a batch of tokens → the cells' vectors float32 [B, D].

    One compiled shape [m, T]; m is the checkpoint's, so that no vector depends on its neighbours.
    """

    def __init__(self, c, layer, dtype):
        self._spec, self._layer, self._dtype = c.model, layer, dtype
        self._micro = c.embed.micro_batch
        self._run, self._distance = self._compiled(dtype), None

    def _compiled(self, dtype):
        net = CellModel(self._spec, None if dtype == "float32" else jnp.dtype(dtype))

        def forward(variables, batch):
            def some(batch):
                outputs, _ = net.apply(
                    variables, batch, {}, train=False, heads=False, depth=self._layer
                )
                return outputs["cell"].astype(jnp.float32)

            # Few cells at a time where each has many tokens: attention holds heads · T² scores,
            # but in the last block, which computes only what the pool reads.
            m, tokens = batch["ids"].shape
            blocks, _, _ = layers_of(self._spec)
            whole = min(self._layer or blocks, blocks) > 1 or POOLS[self._spec.pool][1] is None
            few = _cells_at_once(m, self._spec.encoder.heads, tokens) if whole else m
            split = jax.tree.map(lambda a: a.reshape(m // few, few, *a.shape[1:]), batch)
            return jax.lax.map(some, split).reshape(m, -1)

        return jax.jit(forward)

    def __call__(self, variables, batch):
        # The last micro-batch is filled up with the first cell.
        cells, m = len(batch["length"]), self._micro
        order = np.pad(np.arange(cells), (0, -cells % m))
        parts = []
        with jax.default_matmul_precision("highest"):
            for start in range(0, len(order), m):
                some = {k: v[order[start : start + m]] for k, v in batch.items()}
                parts.append(self._run(variables, some))
                if self._dtype != "float32" and self._distance is None:
                    exact = self._compiled("float32")(variables, some)
                    self._distance = _relative_distance(parts[0], exact)
        return np.concatenate(jax.device_get(parts))[:cells]

    def provenance(self):
        """Precision and layer, as ``uns['jaxcell'][key]`` has them."""
        found = {"dtype": self._dtype}
        if self._distance is not None:
            found["distance_from_float32"] = self._distance
        if self._layer is not None:
            found["layer"] = self._layer
        return found


def _cells_at_once(m, heads, tokens):
    """The largest divisor of m cells whose scores stay within what attention allows a chunk."""
    each = heads * tokens * min(tokens, CHUNK)
    return max(n for n in range(1, m + 1) if m % n == 0 and (n == 1 or n * each <= SCORES))


def _relative_distance(x, exact):
    """Mean over cells of ‖x − exact‖ / ‖exact‖: x, exact [B, D] -> float."""
    x, exact = np.asarray(x, np.float64), np.asarray(exact, np.float64)
    return float(np.mean(np.linalg.norm(x - exact, axis=1) / np.linalg.norm(exact, axis=1)))


def _measured(source, found, measured_by):
    """Dataset of each cell i32 [cells], and the genes that each dataset measured."""
    matched = np.unique(found.columns[found.columns >= 0]).astype(np.int32)
    if measured_by and measured_by not in source.obs:
        raise ValueError(
            f"{source.name}: obs has no column {measured_by!r} (measured_by); it has "
            f"{list(source.obs)}"
        )
    dataset, values = divide(source, measured_by)
    if values == [""]:
        return dataset, [matched]
    seen, start = np.zeros((len(values), found.n_genes), bool), 0
    for chunk in source.chunks():
        matrix = found.apply(chunk)
        mine = dataset[start : start + chunk.shape[0]]
        seen[np.repeat(mine, np.diff(matrix.indptr)), matrix.indices] = True
        start += chunk.shape[0]
    for value, genes in zip(values, seen, strict=True):
        if not genes.any():
            raise ValueError(f"{source.name}: no cell of {measured_by}={value} has any count")
    few = np.bincount(dataset, minlength=len(values)) < FEW_CELLS
    if few.any():
        names = ", ".join(value for value, is_few in zip(values, few, strict=True) if is_few)
        warnings.warn(
            f"{source.name}: fewer than {FEW_CELLS} cells of {measured_by} = {names}: which genes "
            "were measured there is found from these cells alone, and so misses rare ones; embed "
            "whole batches",
            stacklevel=4,
        )
    return dataset, [np.flatnonzero(genes).astype(np.int32) for genes in seen]


def content_keys(rows, seed):
    """The keys of cells' draws: the seed, and their own non-zero genes and counts; u64 [B, 2]."""
    keys = np.empty((len(rows), 2), np.uint64)
    for b in range(len(rows)):
        mine = slice(rows.indptr[b], rows.indptr[b + 1])
        content = hashlib.blake2b(rows.ids[mine].tobytes(), digest_size=8)
        content.update(rows.counts[mine].tobytes())
        keys[b] = seed, int.from_bytes(content.digest(), "little")
    return keys


class Embedder:
    """Chunks of raw counts [B, genes of the file] → vectors float32 [B, D]."""

    def __init__(self, model, source, found, seed, measured_by):
        c = model.config
        self._model, self._source, self._found, self._seed = model, source, found, seed
        self._variables = jax.device_put(model.variables)
        v = len(model.vocabulary)
        measured = model.tables.get("measured", np.ones((1, v), bool))  # by gene sets of training
        self._match = found.only(measured.any(axis=0)[:v])
        self._untrained = len(set(found.columns) - set(self._match.columns))
        if self._untrained:
            warnings.warn(
                f"{source.name}: {self._untrained} matched genes were measured in no training "
                "cell of this model; they are left out",
                stacklevel=3,
            )
        self._measured_by = measured_by
        self._dataset, self._gene_sets = _measured(source, self._match, measured_by)
        most = max(map(len, self._gene_sets))
        self._trained = c.data.sample_genes.number
        c.data.sample_genes.number = min(c.embed.genes or most, most)
        # A draw of all genes is the same each time.
        self._draws = c.embed.draws if c.data.sample_genes.number < most else 1
        self._transforms = build_transforms(
            c.data, v, len(c.model.specials), model.tables.get("detected")
        )
        self._empty = self._done = 0

    def say_cost(self):
        """Name the cheaper way where showing so many genes costs much more than training did."""
        c, specials = self._model.config, len(self._model.config.model.specials)
        here, there = (
            forward_flops(c.model, specials + n)
            for n in (c.data.sample_genes.number, self._trained)
        )
        if here * self._draws > 5 * there:
            print(
                f"each cell shows {c.data.sample_genes.number} genes, training showed "
                f"{self._trained}: {here * self._draws / 1e9:,.2g} GFLOP a cell, "
                f"{here * self._draws / there:.0f} times a training cell's. --genes "
                f"{self._trained} --draws 4 is faster, at some cost in quality"
            )

    def __call__(self, chunk, forward):
        matrix = self._match.apply(chunk)
        empty = int((np.diff(matrix.indptr) == 0).sum())
        if empty and not self._empty:
            warnings.warn(
                f"{self._source.name}: holds cells without any count in the model's genes; their "
                "vectors carry nothing",
                stacklevel=3,
            )
        self._empty += empty
        rows = self._rows(matrix, np.asarray(chunk.sum(axis=1, dtype=np.float64)).ravel())
        keys = content_keys(rows, self._seed)
        total = 0
        for _ in range(self._draws):
            total = total + forward(self._variables, self._tokens(rows, keys))
            keys[:, 0] += np.uint64(2**32)  # seeds are below: no two of them share a draw
        return total / self._draws

    def _rows(self, matrix, totals):
        cells, start = matrix.shape[0], self._done
        self._done += cells
        return Rows(
            indptr=matrix.indptr.astype(np.int64),
            ids=matrix.indices.astype(np.int32),
            counts=matrix.data.astype(np.float32),
            dataset=self._dataset[start : self._done],
            total=totals.astype(np.float32),
            labels=np.empty((cells, 0), np.int32),
        )

    def _tokens(self, rows, keys):
        draft = Draft(rows=rows, gene_sets=self._gene_sets, gene_set=rows.dataset, keys=keys)
        for transform in self._transforms:
            transform(draft)
        return {k: draft.batch[k] for k in ("ids", "values", "length")}

    def provenance(self, checkpoint, seen):
        """What ``uns['jaxcell'][key]`` says about how the vectors came to be."""
        found, c = self._found, self._model.config
        return {
            "jaxcell": __version__,
            "checkpoint": str(checkpoint),
            "checkpoint_hash": self._model.sha256,
            "checkpoint_step": str(self._model.info["step"]),
            "config": c.name,
            "genes_matched": found.n_matched,
            "genes_missing": len(found.missing),
            "genes_unmatched": len(found.unmatched),
            "genes_duplicated": len(found.duplicated),
            "genes_untrained": self._untrained,
            "measured_by": self._measured_by or "",
            "gene_sets": len(self._gene_sets),
            "cells_without_counts": self._empty,
            "values_seen": str(seen),
            "library_size": c.data.normalise.library_size if c.data.normalise.scale else "none",
            "genes_shown": int(c.data.sample_genes.number),
            "draws": int(self._draws),
            "pooling": c.model.pool,
            "seed": self._seed,
        }

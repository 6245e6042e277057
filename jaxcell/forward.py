"""The compiled model, from a batch of tokens to cells' vectors and the logits of their labels.

B cells, T tokens, D width of a vector, m cells of one compiled shape.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxcell.models.attention import CHUNK, SCORES
from jaxcell.models.cell import CellModel, queries_of
from jaxcell.models.kernels import choose
from jaxcell.models.pools import names_of

TOKENS = ("ids", "values")  # what a batch holds for each token; flags too


class Forward:
    """Variables, a batch of tokens → {'cell': f32 [B, D], head: logits f32 [B, classes] …}.

    Cells go through in micro-batches of one compiled shape [m, T]; m is the checkpoint's and T
    follows from a cell's own length, so that no vector depends on its neighbours.

    Parameters
    ----------
    c : the checkpoint's config
    layer : take the vector behind this block instead
    dtype : of matrix products, 'float32' or 'bfloat16'
    pool : name of a pool, or several to join; None: the config's
    heads : names of those whose logits are wanted
    tables : those of the model's tables that its fields ask for
    """

    def __init__(self, c, layer=None, dtype="float32", pool=None, heads=(), tables=None):
        self._config, self._spec, self._layer, self._dtype = c, c.model, layer, dtype
        self._unit = c.embed.unit
        self._pool, self._heads = pool or c.model.pool, tuple(heads)
        fields = {k: (tables or {}).get(k, {}) for k in ("vectors", "known")}
        self._tables = jax.device_put(fields)
        self._micro, self._grid = c.embed.micro_batch, "sequence" in c.data.transforms
        self._run, self._distance = self._compiled(dtype), None

    def _compiled(self, dtype):
        kind = jnp.dtype(dtype)
        kernel, _ = choose(self._config, kind, jax.default_backend(), train=False)
        net = CellModel(self._spec, None if dtype == "float32" else kind, kernel)
        heads, layers = self._heads, self._spec.encoder.layers

        def forward(variables, tables, batch):
            def some(batch):
                outputs, _ = net.apply(
                    variables,
                    batch,
                    tables,
                    train=False,
                    heads=heads,
                    depth=self._layer,
                    pool=self._pool,
                )
                found = {"cell": outputs["cell"], **{k: outputs["heads"][k] for k in heads}}
                found = jax.tree.map(lambda x: x.astype(jnp.float32), found)
                return found | {"cell": _unit(found["cell"])} if self._unit else found

            # Few cells at a time where each has many tokens: attention holds heads · T² scores,
            # but in the last block, which computes only what pool and heads read.
            m, tokens = batch["ids"].shape
            several = min(self._layer or layers, layers) > 1
            whole = several or queries_of(net.spec, self._pool, heads) is None
            scores = whole and kernel == "xla"
            few = cells_at_once(m, self._spec.encoder.heads, tokens) if scores else m
            split = jax.tree.map(lambda a: a.reshape(m // few, few, *a.shape[1:]), batch)
            found = jax.lax.map(some, split)
            return jax.tree.map(lambda a: a.reshape(m, *a.shape[2:]), found)

        return jax.jit(forward)

    def __call__(self, variables, batch, advance=None):
        run = functools.partial(self._one, variables)
        return in_micro_batches(run, batch, self._micro, self._grid, advance)

    def _one(self, variables, some):
        if self._dtype == "float32":
            return self._exact(self._run, variables, some)
        made = self._run(variables, self._tables, some)
        if self._distance is None:
            exact = self._exact(self._compiled("float32"), variables, some)
            self._distance = _relative_distance(made["cell"], exact["cell"])
        return made

    def _exact(self, run, variables, some):
        with jax.default_matmul_precision("highest"):
            return run(variables, self._tables, some)

    def provenance(self):
        """Precision, pool and layer, as ``uns['jaxcell'][key]`` has them."""
        found = {"dtype": self._dtype, "pooling": "+".join(names_of(self._pool))}
        if self._unit:
            found["unit"] = True
        if self._distance is not None:
            found["distance_from_float32"] = self._distance
        if self._layer is not None:
            found["layer"] = self._layer
        return found


def _unit(x):
    """Vectors [B, D] of length 1, as scFormer takes them; of a zero vector itself."""
    length = jnp.linalg.norm(x, axis=1, keepdims=True)
    return x / jnp.where(length > 0, length, 1)


def in_micro_batches(run, batch, micro, grid, advance=None):
    """All cells of a batch through ``run``, ``micro`` at a time, in order.

    run : a batch of ``micro`` cells [m, T] -> a tree of arrays [m, …]
    grid : whether T differs between cells, on a grid of their lengths
    advance : called with numbers of cells that are done
    """
    widths, found = _widths(batch["length"], grid), None
    for width in np.unique(widths):
        mine = np.flatnonzero(widths == width)
        # The last micro-batch is filled up with the first of these cells.
        order = mine[np.pad(np.arange(len(mine)), (0, -len(mine) % micro))]
        parts = []
        for start in range(0, len(order), micro):
            parts.append(run(_select(batch, order[start : start + micro], int(width))))
            if advance:
                # The device is one micro-batch ahead of what is counted, not a whole chunk.
                jax.block_until_ready(parts[-2:][0])
                advance(min(micro, len(mine) - start))
        parts = jax.tree.map(lambda *a: np.concatenate(a), *jax.device_get(parts))
        if found is None:
            found = jax.tree.map(functools.partial(_room, len(widths)), parts)
        for whole, part in zip(*map(jax.tree.leaves, (found, parts)), strict=True):
            whole[mine] = part[: len(mine)]
    return found


def _room(cells, part):
    return np.empty((cells, *part.shape[1:]), part.dtype)


def _widths(length, grid):
    """T of each cell: as many tokens as it has, or as the next of a grid where they differ."""
    if not grid:
        return np.full(len(length), np.max(length, initial=1))
    steps = 16 * 2 ** np.arange(0, 16, 0.5)  # 16, 22.6 → 24, 32, 45.2 → 48, 64, …
    grid = (np.ceil(steps / 8) * 8).astype(np.int64)
    return grid[np.searchsorted(grid, length)]


def _select(batch, cells, width):
    """Some cells of a batch, their tokens cut or padded to ``width``."""

    def tokens(x):
        x = x[cells, :width]
        return np.pad(x, ((0, 0), (0, width - x.shape[1])))

    found = {k: v[cells] for k, v in batch.items() if k not in (*TOKENS, "flags", "labels")}
    found |= {k: tokens(batch[k]) for k in TOKENS}
    found["labels"] = {k: v[cells] for k, v in batch.get("labels", {}).items()}
    found["flags"] = {k: tokens(v) for k, v in batch.get("flags", {}).items()}
    return found


def cells_at_once(m, heads, tokens):
    """The largest divisor of m cells whose scores stay within what attention allows a chunk."""
    return most_at_once(m, heads * tokens * min(tokens, CHUNK))


def most_at_once(m, each):
    """The largest divisor of m cells of so many numbers each that stay within the same."""
    return max(n for n in range(1, m + 1) if m % n == 0 and (n == 1 or n * each <= SCORES))


def _relative_distance(x, exact):
    """Mean over cells of ‖x − exact‖ / ‖exact‖: x, exact [B, D] -> float."""
    x, exact = np.asarray(x, np.float64), np.asarray(exact, np.float64)
    return float(np.mean(np.linalg.norm(x - exact, axis=1) / np.linalg.norm(exact, axis=1)))

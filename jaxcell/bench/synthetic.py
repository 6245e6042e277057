"""Batches of a config's shapes out of nothing, for benchmarks and tests."""

import jax
import numpy as np

from jaxcell.training.shapes import batch_shapes, table_shapes, tokens_of


def synthetic(c, rows, cells, seed=0):
    """A batch and tables of a config's shapes, as the pipeline would make them.

    Every gene is measured; each cell has counts in 4 096 genes (or a third of a small panel).
    """
    random = np.random.default_rng(seed)
    genes, specials = c.model.vocabulary, list(c.model.specials)
    front = [specials.index(name) for name in c.model.front or specials]
    s, tokens = len(front), tokens_of(c)
    number, nonzero = tokens - s, min(4096, genes // 3)
    ids = np.stack([random.permutation(genes)[: max(number, nonzero)] for _ in range(cells)])
    counts = random.geometric(0.5, (cells, nonzero)).astype(np.float32)

    def drawn(shape):
        return random.uniform(size=shape.shape).astype(shape.dtype)

    def zeros(shape):
        return np.zeros(shape.shape, shape.dtype)

    batch = jax.tree.map(zeros, batch_shapes(c, cells, nonzero))
    batch |= {k: jax.tree.map(drawn, batch[k]) for k in ("draws",) if k in batch}
    special = np.broadcast_to(genes + np.array(front, int), (cells, s))
    values = random.gamma(0.5, 1.0, (cells, tokens)).astype(np.float32)
    if "bin" in c.data.transforms:  # whole numbers, which are compared as classes
        values = np.minimum(np.floor(4 * values), c.data.bin.number - 1)
    if c.model.combine == "sum":
        values[:, :s] = -1.0 - np.array(front)
    batch |= {
        "ids": np.concatenate([special, ids[:, :number]], axis=1).astype(np.int32),
        "values": values,
        "length": np.full(cells, tokens, np.int32),
        "panel_ids": np.sort(ids[:, :nonzero]).astype(np.int32),
        "panel_counts": counts,
        "total": counts.sum(axis=1),
        "real": np.ones(cells, bool),
    }
    measured = (np.arange(rows) < genes)[None]
    tables = jax.tree.map(zeros, table_shapes(c))
    tables["leaves"] = {k: np.eye(len(t), dtype=bool) for k, t in tables["leaves"].items()}
    tables |= {
        "measured": measured,
        "mean": (0.1 * measured[0]).astype(np.float32),
        "mask_rate": np.full(rows, c.data.draw_masks.ratio, np.float32),
    }
    return batch, tables

"""Steps of training on a mesh, with all that a test may want to know of them."""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcell import sharding
from jaxcell.data.pipeline import Batches
from jaxcell.models.cell import CellModel
from jaxcell.training import loop
from jaxcell.training.checkpoint import flatten
from jaxcell.training.step import compile_steps


class Ran(NamedTuple):
    """metrics {name: [steps]}, state {path: array} (no keys), compiled step, the State's shapes."""

    metrics: dict
    state: dict
    program: Any
    shapes: Any


def run_on(axes, c, store, optimizer, ontologies=None, steps=3):
    """Train so many steps on a mesh; in float64 where that is enabled."""
    c.mesh.data, c.mesh.fsdp, c.mesh.tensor = axes
    model = CellModel(c.model, kernel="cells")  # as a run on processors has it
    tables = _wide(loop.tables_of(store, c, model.rows, ontologies or {}))
    mesh = sharding.make_mesh(c.mesh, jax.devices()[: int(np.prod(axes))])
    state, step, _, tables = compile_steps(model, c, optimizer, mesh, tables, steps)
    state, batches, found = (
        _wide(state),
        Batches(store, c, "train", c.train.batch_size, stop=steps),
        [],
    )
    shapes = jax.tree.map(_shape, state)
    with jax.set_mesh(mesh):
        batch = sharding.to_global(_wide(batches[0]), mesh)
        program = step.lower(state, batch, tables).compile()
        for i in range(steps):
            batch = sharding.to_global(_wide(batches[i]), mesh)
            state, metrics = program(state, batch, tables)
            found.append(jax.device_get(metrics))
    metrics = {name: np.array([one[name] for one in found], float) for name in found[0]}
    kept = {"params": state.params, "stats": state.batch_stats}
    return Ran(metrics, flatten(kept), program, shapes)


def _shape(x):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _wide(tree):
    """In float64, where that is enabled."""

    def one(x):
        return x.astype(float) if jax.numpy.issubdtype(x.dtype, np.floating) else x

    return jax.tree.map(one, tree) if jax.config.jax_enable_x64 else tree


def assert_same(ours, theirs, tolerance):
    """Metrics and state of two runs."""
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose(ours.metrics[name], theirs.metrics[name], rtol=tolerance)
    assert ours.state.keys() == theirs.state.keys()
    for path, one in theirs.state.items():
        np.testing.assert_allclose(ours.state[path], one, tolerance, tolerance, err_msg=path)

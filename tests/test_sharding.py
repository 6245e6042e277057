"""Meshes and rules: what they refuse, and where they put every parameter of every system.

`python -m tests.test_sharding` writes the golden files anew.
"""

import functools
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, NamedSharding
from ml_collections import ConfigDict

from jaxcell import sharding
from jaxcell.models.cell import CellModel
from tests.conftest import config_of
from tests.models.test_golden import BINNED, BMFM, TXFM

GOLDEN = Path(__file__).parent / "golden_shardings"
NAMES = (*TXFM, *BMFM, *BINNED)


def mesh_of(**sizes):
    spec = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1, **sizes})
    return sharding.make_mesh(spec, jax.devices())


def test_one_free_axis_takes_what_is_left():
    assert dict(mesh_of(fsdp=2).shape) == {"data": 4, "fsdp": 2, "tensor": 1}


def test_a_mesh_that_does_not_lay_out_the_devices_is_refused():
    with pytest.raises(ValueError, match="does not lay out 8 devices"):
        mesh_of(fsdp=3)
    with pytest.raises(ValueError, match="at most one axis may be -1"):
        mesh_of(fsdp=-1)


@pytest.mark.parametrize("sizes", [{"tensor": 0}, {"data": -4, "tensor": -2}])
def test_an_axis_has_devices(sizes):
    with pytest.raises(ValueError, match=r"config\.mesh: found .* expected 1 or more devices"):
        mesh_of(**sizes)


def test_a_parameter_without_a_rule_is_refused():
    tree = {"fields": {"new": jax.ShapeDtypeStruct((4, 4), "float32")}}
    with pytest.raises(ValueError, match=r"no rule matches the parameter fields/new \(4, 4\)"):
        sharding.specs(tree, [("gene", ())], mesh_of())


def test_uneven_shards_are_refused():
    tree = {"gene": jax.ShapeDtypeStruct((19_321, 4), "float32")}
    with pytest.raises(ValueError, match="does not divide by tensor = 8.*vocab_multiple"):
        sharding.specs(tree, [("gene", ("tensor",))], mesh_of(data=1, tensor=8))


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch_size: 12 cells do not divide over data × fsdp = 8"):
        sharding.rows_divide(12, mesh_of())


def test_shard_is_the_identity_outside_jit():
    x = jax.numpy.ones((3, 3))
    with jax.set_mesh(mesh_of()):
        assert sharding.shard(x, "batch", None) is x


@functools.cache
def laid_out(name):
    """Each parameter of a full-size config on a mesh of 2 x 2 x 2: shape, axes, bytes of its part.

    What the optimizer keeps of it lies alike.
    """
    c = config_of(name)
    mesh = AbstractMesh((2, 2, 2), sharding.AXES)
    shapes = jax.eval_shape(CellModel(c.model).init, jax.random.key(0))["params"]
    rules = sharding.specs(shapes, c.sharding, mesh)
    placed = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, s)),
        *(shapes, rules),
    )
    table = sharding.table(placed)
    lines = [f"{k} {tuple(v['shape'])} {axes_of(v)} {v['bytes']:,}" for k, v in table.items()]
    total = sum(v["bytes"] for v in table.values())
    whole = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    return "\n".join([*lines, f"{total:,} bytes of {whole:,} on each device", ""])


def axes_of(entry):
    return (
        "(" + ", ".join(axis or "-" for axis in entry["spec"]) + ")" if entry["spec"] else "whole"
    )


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_laid_out_as_in_the_golden_files(name):
    assert laid_out(name) == (GOLDEN / f"{name.replace(':', '_')}.txt").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_gene_tables_are_shared_out(name):
    """Tables of all genes over tensor and fsdp."""
    lines = [line.rsplit(" ", 1)[0] for line in laid_out(name).splitlines()[:-1]]
    tables = [left for left in lines if re.search(r"embedding|heads/\w+/rows", left)]
    assert tables
    assert all(left.endswith("(tensor, fsdp)") for left in tables)


def test_a_table_says_what_lies_where():
    mesh = mesh_of(data=2, fsdp=2, tensor=2)
    rows = jax.device_put(
        np.zeros((16, 6), np.float32), NamedSharding(mesh, jax.P("tensor", "fsdp"))
    )
    scale = jax.device_put(np.zeros(5, np.float32), sharding.replicated(mesh))
    assert sharding.table({"heads": {"rows": rows}, "scale": scale}) == {
        "heads/rows": {"shape": [16, 6], "spec": ["tensor", "fsdp"], "bytes": 8 * 3 * 4},
        "scale": {"shape": [5], "spec": [], "bytes": 20},
    }


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in NAMES:
        (GOLDEN / f"{name.replace(':', '_')}.txt").write_text(laid_out(name))

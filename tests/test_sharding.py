"""Meshes and rules: what they refuse."""

import jax
import pytest
from ml_collections import ConfigDict

from jaxcell import sharding


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

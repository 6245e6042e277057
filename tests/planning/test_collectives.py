"""Collectives of compiled programs: what CPU devices say, and the forms that a TPU's text has."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxcell.planning import hlo
from jaxcell.planning.collectives import by_kind, collectives

LAYERS, WIDTH, ROWS = 5, 64, 16


@functools.cache
def compiled(weights, out=None):
    """The text of a gradient step over five layers in a loop, on a mesh of 8 devices."""
    mesh = jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)

    def placed(*axes):
        return NamedSharding(mesh, PartitionSpec(*axes))

    def loss(w, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0].sum()

    step = jax.jit(
        jax.grad(loss),
        in_shardings=(placed(*weights), placed(("data", "fsdp"))),
        out_shardings=placed(*(weights if out is None else out)),
    )
    w, x = (jax.ShapeDtypeStruct(s, "float32") for s in ((LAYERS, WIDTH, WIDTH), (ROWS, WIDTH)))
    return step.lower(w, x).compile().as_text()


def test_a_data_parallel_step_reduces_each_layers_gradient():
    found = collectives(compiled(()))
    whole = 4 * WIDTH * WIDTH
    assert {one.kind for one in found} == {"all-reduce"}
    assert by_kind(found)["all-reduce"]["bytes"] == LAYERS * whole
    assert [(one.bytes, one.count, one.group) for one in found] in (
        [(whole, LAYERS, 8)],  # in the loop
        [(LAYERS * whole, 1, 8)],  # or once behind it
    )
    assert all("dot_general" in one.source or "while" in one.source for one in found)


def test_sharded_weights_are_gathered_in_every_trip_of_the_loop():
    found = collectives(compiled((None, "fsdp", None)))
    gathered = [one for one in found if one.kind == "all-gather"]
    assert gathered
    for one in gathered:
        assert (one.shape, one.group) == (f"f32[{WIDTH},{WIDTH}]", 2)
        assert (one.bytes, one.count) == (4 * WIDTH * WIDTH, LAYERS)


def test_one_device_says_nothing():
    text = jax.jit(lambda x: x @ x).lower(jax.ShapeDtypeStruct((8, 8), "float32")).compile()
    assert collectives(text.as_text()) == []


def test_a_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY computation"):
        collectives("HloModule nothing")


# Shortened from what libtpu 0.0.42 writes for v5e:2x2.
TPU = """\
HloModule jit_step, is_scheduled=true, num_partitions=4

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%a, %b)
}

%start.1 (p: bf16[1,16,128]) -> (bf16[1,16,128], bf16[1,32,128], /*index=2*/u32[]) {
  %p.1 = bf16[1,16,128]{2,1,0:T(8,128)(2,1)S(1)} parameter(0)
  %ag.1 = bf16[1,32,128]{2,1,0:T(8,128)(2,1)} all-gather(%p.1), channel_id=159, replica_groups=mesh['axis_0'=2,'axis_1'=1,'axis_2'=2], device_ids=([2,2]T(1,0)) {'axis_0'}, dimensions={1}, frontend_attributes={chain_id="1"}, metadata={op_name="jit(step)/mlp/in"}
  ROOT %c.1 = (bf16[1,16,128]{2,1,0}, bf16[1,32,128]{2,1,0}, u32[]{:S(2)}) custom-call(%ag.1), custom_call_target="AsyncCollectiveStart"
}

%during.1 (p: bf16[1,16,128]) -> bf16[1,32,128] {
  %p.2 = bf16[1,16,128]{2,1,0:T(8,128)(2,1)S(1)} parameter(0)
  ROOT %ag.2 = bf16[1,32,128]{2,1,0:T(8,128)(2,1)S(1)} all-gather(%p.2), channel_id=159, replica_groups=mesh['axis_0'=2,'axis_1'=1,'axis_2'=2], device_ids=([2,2]T(1,0)) {'axis_0'}, dimensions={1}, frontend_attributes={chain_id="1"}
}

%all-reduce-scatter.3 (i: f32[384,32]) -> f32[384,16] {
  %i = f32[384,32]{0,1:T(8,128)} parameter(0)
  %ar = f32[384,32]{0,1:T(8,128)} all-reduce(%i), channel_id=137, replica_groups={{0,1},{2,3}}, to_apply=%add
  %zero = s32[]{:T(128)} constant(0)
  ROOT %part = f32[384,16]{0,1:T(8,128)} dynamic-slice(%ar, %zero, %zero), dynamic_slice_sizes={384,16}
}

%body (carry: (s32[], bf16[1,16,128])) -> (s32[], bf16[1,16,128]) {
  %carry = (s32[]{:T(128)}, bf16[1,16,128]{2,1,0:T(8,128)(2,1)S(1)}) parameter(0)
  %x = bf16[1,16,128]{2,1,0:T(8,128)(2,1)S(1)} get-tuple-element(%carry), index=1
  %f.1 = (bf16[1,16,128]{2,1,0}, bf16[1,32,128]{2,1,0}, u32[]{:S(2)}) fusion(%x), kind=kCustom, calls=%start.1
  %f.2 = bf16[1,32,128]{2,1,0:T(8,128)(2,1)S(1)} fusion(%x), kind=kCustom, calls=%during.1
  %i.1 = s32[]{:T(128)} get-tuple-element(%carry), index=0
  ROOT %next = (s32[]{:T(128)}, bf16[1,16,128]{2,1,0:T(8,128)(2,1)S(1)}) tuple(%i.1, %x)
}

%condition (carry: (s32[], bf16[1,16,128])) -> pred[] {
  %eleven = s32[]{:T(128)} constant(11)
  %carry.1 = (s32[]{:T(128)}, bf16[1,16,128]{2,1,0:T(8,128)(2,1)S(1)}) parameter(0)
  %i.2 = s32[]{:T(128)} get-tuple-element(%carry.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i.2, %eleven), direction=LT
}

ENTRY %main (p0: (s32[], bf16[1,16,128]), p1: f32[384,32]) -> f32[384,16] {
  %p0 = (s32[]{:T(128)}, bf16[1,16,128]{2,1,0:T(8,128)(2,1)S(1)}) parameter(0)
  %p1 = f32[384,32]{0,1:T(8,128)} parameter(1)
  %w = (s32[]{:T(128)}, bf16[1,16,128]{2,1,0:T(8,128)(2,1)S(1)}) while(%p0), condition=%condition, body=%body
  %s = (bf16[384,16]{0,1}, bf16[384,16]{0,1}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%q), channel_id=2, source_target_pairs={{0,1},{1,0}}
  %q = bf16[384,16]{0,1} convert(%p1)
  %d = bf16[384,16]{0,1} collective-permute-done(%s)
  ROOT %r = f32[384,16]{0,1:T(8,128)S(1)} fusion(%p1), kind=kCustom, calls=%all-reduce-scatter.3
}
"""  # noqa: E501


def test_the_forms_of_a_tpu():
    found = [one[:5] for one in collectives(TPU)]
    assert sorted(found) == [
        # in three fusions of a loop whose condition tells the trips: once each
        ("all-gather", "bf16[1,32,128]", 2 * 32 * 128, 11, 2),
        ("collective-permute", "bf16[384,16]", 2 * 384 * 16, 1, None),
        ("reduce-scatter", "f32[384,32]", 4 * 384 * 32, 1, 2),
    ]
    assert by_kind(collectives(TPU))["all-gather"] == {"count": 11, "bytes": 11 * 2 * 32 * 128}


def test_arrays_take_what_their_tiles_take():
    # 2049 rows of 768 in tiles of 8 × 128; the other order pads the other dimension.
    (one,) = hlo.arrays("f32[2,2049,768]{2,1,0:T(8,128)}")
    assert one == ("f32", (2, 2049, 768), 4 * 2 * 2056 * 768, 0)
    (one,) = hlo.arrays("bf16[2049,10]{0,1:T(8,128)(2,1)S(1)}")
    assert one == ("bf16", (2049, 10), 2 * 16 * 2176, 1)
    assert hlo.plain_bytes("(pred[3]{0:T(512)}, s32[]{:T(128)})") == 3 + 4

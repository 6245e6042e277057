"""Every mesh trains as one device does, and its devices tell each other what they must, no more.

The references run once; a run's program is looked at by the tests behind it.
"""

import re
from collections import Counter

import jax
import numpy as np
import optax
import pytest

from jaxcell.planning.collectives import collectives
from jaxcell.training import optim
from tests.training.meshes import assert_same, run_on
from tests.training.test_systems import system

# V, of no other size of these programs, nor a multiple of one; eight devices share it evenly.
ROWS = 1048
CELLS = 24  # 3, 6 or 12 on a device, as no width of a layer
ONE, DATA, FSDP, ALL, TENSOR = (1, 1, 1), (8, 1, 1), (1, 8, 1), (2, 2, 2), (2, 1, 4)
TXFM, WCED, SCFORMER = "txfm_b:tiny", "bmfm_rna_wced:tiny", "scformer:tiny"
ZINB, BIOFORMER = "txfm_b:tiny,zinb,softmax", "bioformer:tiny"


@pytest.fixture(scope="module")
def ran(labelled):
    """(system, axes, with AdamW in float32?) → three steps of it, once for all tests."""
    known = {}

    def run(name, axes, adamw=False):
        if (name, axes, adamw) not in known:
            c, store, ontologies = system(labelled, name)
            c.dtype, c.model.vocab_multiple, c.train.batch_size = "float32", ROWS, CELLS
            c.model.encoder.heads, c.model.encoder.layers = 4, 3  # two blocks in a loop, then one
            if c.model.encoder.norm_first:
                c.model.encoder.drop_path = 0.1
            # What an adversary sends back grows with SGD where features are not normed.
            optimizer = optim.build(c, 6) if adamw else optax.sgd(1e-6 if "txfm" in name else 1e-4)
            with jax.enable_x64(not adamw):
                known[name, axes, adamw] = run_on(axes, c, store, optimizer, ontologies)
        return known[name, axes, adamw]

    return run


def cases(*some, slow=()):
    """(system, axes), and those that are compiled beside the default suite."""
    shown = lambda pair: f"{pair[0].replace(':tiny', '')}-{'x'.join(map(str, pair[1]))}"
    quick = [pytest.param(*pair, id=shown(pair)) for pair in some]
    return quick + [pytest.param(*p, id=shown(p), marks=pytest.mark.slow) for p in slow]


OFTEN = [(TXFM, ALL)]
MORE = [
    *((TXFM, axes) for axes in (DATA, FSDP, TENSOR)),
    *((WCED, axes) for axes in (DATA, FSDP, ALL, TENSOR)),
    *((SCFORMER, axes) for axes in (DATA, FSDP, ALL, TENSOR)),
    *((ZINB, ALL), (BIOFORMER, DATA), (BIOFORMER, ALL)),
]


@pytest.mark.parametrize(("name", "axes"), cases(*OFTEN, slow=MORE))
def test_a_mesh_trains_as_one_device_does(ran, name, axes):
    """Loss, gradient norm, parameters and statistics of three steps of SGD, in float64 to 1e-9."""
    one, many = ran(name, ONE), ran(name, axes)
    assert_same(many, one, 1e-9)
    assert one.metrics["loss"][2] != one.metrics["loss"][0]  # the steps do something
    assert (one.metrics["grad_norm"] > 0).all()


# Each system and each mesh once: all pairs are compared above, and closer.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "axes"), cases((TXFM, ALL), (WCED, FSDP), (SCFORMER, DATA)))
def test_with_adamw_in_float32_a_mesh_loses_as_one_device_does(ran, name, axes):
    """Not its parameters: Adam makes a step of full size of a gradient that is noise around 0."""
    one, many = ran(name, ONE, adamw=True), ran(name, axes, adamw=True)
    for metric in ("loss", "grad_norm"):
        np.testing.assert_allclose(many.metrics[metric], one.metrics[metric], rtol=1e-5)


# What a step on a mesh may hold. Where XLA makes a reduce-scatter of an all-reduce (not on CPUs),
# fsdp has that.
KINDS = {
    DATA: {"all-reduce"},
    FSDP: {"all-reduce", "all-gather", "reduce-scatter"},
    ALL: {"all-reduce", "all-gather", "reduce-scatter"},
    TENSOR: {"all-reduce"},
}
# Losses over pairs of cells see the vectors of all cells of the batch.
PAIRS = {DATA: {"all-gather"}, TENSOR: {"all-gather"}}


@pytest.mark.parametrize(("name", "axes"), cases(*OFTEN, slow=MORE))
def test_devices_tell_each_other_what_they_must(ran, name, axes):
    """Gradients are reduced; over fsdp weights are gathered, and never what they multiply."""
    many = ran(name, axes)
    found = collectives(many.program.as_text())
    pairs = "ecs" in many.metrics or "mecs" in many.metrics
    allowed = KINDS[axes] | (PAIRS.get(axes, set()) if pairs else set())
    assert {one.kind for one in found} <= allowed
    assert "all-reduce" in {one.kind for one in found}
    weights = [_gathered(leaf) for leaf in jax.tree.leaves(many.shapes.params)]
    for one in found:
        if one.kind == "all-gather":
            for sizes in re.findall(r"\[([\d,]*)\]", one.shape):
                sizes = Counter(int(n) for n in sizes.split(",") if n != "1")
                assert any(sizes <= w for w in weights) or (pairs and sizes[CELLS]), one


def _gathered(leaf):
    """Sizes of a parameter on a device that has gathered it over fsdp: a layer of it has fewer."""
    spec, mesh = leaf.sharding.spec, leaf.sharding.mesh
    sizes = Counter(leaf.shape[len(spec) :])
    for n, axis in zip(leaf.shape, spec, strict=False):
        sizes[n // mesh.shape["tensor"] if axis == "tensor" else n] += 1
    return sizes


# Of WCED's two numbers for each gene the halves are as many as there are genes.
WIDE = [case for case in (*OFTEN, *MORE) if case[1][2] > 1 and case != (WCED, ALL)]


@pytest.mark.parametrize(("name", "axes"), cases(*WIDE[:2], slow=WIDE[2:]))
def test_over_tensor_no_device_holds_all_genes(ran, name, axes):
    """Neither a table [V, D] nor logits, panel, masks or gradients [B, V], nor moments.

    But for vectors [V], and the sets of genes that were measured, [sets, V].
    """
    text = ran(name, axes).program.as_text()
    shapes = {m[0] for m in re.finditer(r"\w+\[[\d,]+\]", text)}
    assert any(f"[{ROWS // axes[2]}," in s or f",{ROWS // axes[2]}]" in s for s in shapes) or (
        "scformer" in name or "bioformer" in name
    )
    whole = {s for s in shapes if re.search(rf"\b{ROWS}\b", s) and "," in s}
    assert whole <= {f"pred[1,{ROWS}]"}


@pytest.mark.parametrize(("name", "axes"), cases((TXFM, ALL), slow=[(WCED, TENSOR), (TXFM, FSDP)]))
def test_the_old_state_is_the_new_ones_memory(ran, name, axes):
    """Each device's part of the state is donated, to the last byte."""
    many = ran(name, axes)
    held = [
        int(np.prod(s.sharding.shard_shape(s.shape))) * s.dtype.itemsize
        for s in jax.tree.leaves(many.shapes)
    ]
    assert many.program.memory_analysis().alias_size_in_bytes == sum(held)

"""Plans: what a compiled step needs, the largest batch, and what is refused."""

import importlib.util
import json
import re

import jax
import jax.numpy as jnp
import pytest

import jaxcell
from jaxcell import cli, overrides
from jaxcell.planning import compiled, fitting, topologies
from jaxcell.planning.trials import Trials, size
from jaxcell.verbs import plan as plan_verb
from tests.conftest import ROOT, config_of

GIB = 2**30


def small():
    c = config_of("txfm_b:tiny")
    c.model.encoder.layers, c.model.width, c.model.vocabulary = 1, 16, 128
    c.model.encoder.drop_path, c.model.heads.expression.blocks = 0.0, 1
    c.train.batch_size = 16
    # Named, so that a run is laid out on all eight devices of the tests.
    c.mesh.data = 8
    return c


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A plan for this machine that fits, what it said on the way, and the file it wrote."""
    out, said = tmp_path_factory.mktemp("plan") / "plan.json", []
    found = jaxcell.plan(small(), search=False, out=out, say=said.append)
    return found, said, out


def test_a_small_config_fits_on_this_machine(planned):
    found, said, out = planned
    asked = found["asked"]
    assert (asked["fits"], asked["batch"], asked["cells"]) == (True, 16, 2)
    assert sum(asked["split"].values()) == asked["needed"] > 0
    assert said[1] == "compiling txfm_b_tiny for local: 16 cells, 2 a device"
    assert "fits: " in said[2]
    assert "more compiles" not in said[2]
    assert json.loads(out.read_text()) == found
    assert found["largest"] is None  # nobody searched


def test_the_split_is_that_of_the_shapes(planned):
    found = planned[0]
    split = found["asked"]["split"]
    # Every device holds all parameters; padded rows of the gene tables are beyond the count.
    assert split["parameters"] >= 4 * found["parameters"]
    assert split["gradients"] == split["parameters"]
    assert 0 <= split["optimizer"] - 2 * split["parameters"] <= 64  # moments and a few counters
    assert split["activations"] > 0


def test_data_parallel_devices_reduce_every_gradient(planned):
    asked = planned[0]["asked"]
    assert set(asked["collectives"]) == {"all-reduce"}
    # All but of what has none, the bias of the last block's keys for one.
    sums = asked["collectives"]["all-reduce"]
    assert sums["bytes"] == pytest.approx(asked["split"]["gradients"], rel=0.05)
    assert asked["exchanges"][0]["group"] == 8


def test_a_config_that_does_not_fit_says_the_largest_batch_that_does(planned):
    limit = planned[0]["asked"]["needed"] - 1
    found = jaxcell.plan(small(), memory=limit)
    assert (found["asked"]["fits"], found["asked"]["batch"]) == (False, 16)
    assert (found["largest"]["fits"], found["largest"]["batch"]) == (True, 8)
    assert found["largest"]["needed"] <= limit
    assert found["fails"] == found["asked"]
    text = plan_verb.show(found)
    assert re.search(r"batch  16 cells, 2 a device: does not fit: .* of ", text)
    assert re.search(r"largest  8 cells, 1 a device: fits: .*; 16 do not", text)
    assert "hint  --config.train.accumulate=2 computes 16 cells in 2 micro-batches of 1" in text
    assert "bytes of a device, with 8 cells:" in text


def test_fsdp_shards_the_states_of_a_model_of_a_store(store):
    c = small()
    c.mesh.data, c.mesh.fsdp, c.data.store = 2, 4, str(store.path)
    found = jaxcell.plan(c, search=False)
    asked, c.model.vocabulary = found["asked"], found["genes"]
    assert found["genes"] == len(store.vocabulary) != small().model.vocabulary
    assert "all-gather" in asked["collectives"]
    whole = 4 * sum(x.size for x in jax.tree.leaves(_parameters(c)))
    assert whole / 4 <= asked["split"]["parameters"] < whole / 2


def _parameters(c):
    from jaxcell.models.cell import CellModel

    return jax.eval_shape(CellModel(c.model).init, jax.random.key(0))["params"]


def test_a_batch_that_the_mesh_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch_size: 12 cells do not divide over data × fsdp = 8"):
        jaxcell.plan(small(), batch=12)


def test_what_is_left_of_a_search_is_said():
    trials = Trials.__new__(Trials)
    trials.most, trials.seconds = 9, [60, 120]
    assert trials._left() == "; at most 7 more compiles, 10 min"
    trials.seconds *= 5
    trials.most = 10
    assert trials._left() == ""


# The search, on memories that no compiler has to be asked for.


def search(needed, first, limit, fixed=0, told=True, **more):
    asked = []

    def attempt(cells):
        asked.append(cells)
        fits = needed(cells) <= limit
        return fitting.Trial(cells, fits, needed(cells) if told or fits else None)

    found = fitting.largest(attempt, attempt(first), fixed, limit, **more)
    return *(t and t.cells for t in found), len(asked) - 1


@pytest.mark.parametrize("first", [1, 7, 64, 500])
def test_a_line_is_met_exactly_in_few_compiles(first):
    fits, fails, compiles = search(lambda n: 100 + 10 * n, first, 745, fixed=100)
    assert (fits, fails) == (64, 65)
    assert compiles <= 3


def test_a_line_that_bends_is_followed():
    # Where memory is short the compiler computes things again: half the slope from 40 cells on.
    fits, fails, compiles = search(lambda n: 100 + 10 * min(n, 40) + 5 * max(n - 40, 0), 8, 745)
    assert fits <= 89 < fails
    assert fails - fits <= 89 // fitting.FINE
    assert compiles <= fitting.COMPILES


def test_a_compiler_that_names_no_size_is_asked_in_halves():
    fits, fails, _ = search(lambda n: 100 + 10 * n, 100, 220, fixed=100, told=False)
    assert (fits, fails) == (12, 13)


def test_nothing_fits():
    assert search(lambda n: 1000 + n, 32, 100)[:2] == (None, 1)


# What compilers say.

EARLY = (
    "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries "
    "(41.37G) exceeds available HBM (15.75G)."
)


LATE = """\
RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 41.75G of 15.50G hbm.

Total hbm usage >= 41.80G:
    reserved        528.00M

  Largest program allocations in hbm:

  1. Size: 32.00G
     Operator: op_type="mul" op_name="jit(step)/encoder/mul" source_file="a.py" source_line=1
     Shape: s32[8388608,8,4]{2,1,0:T(8,128)}
     Unpadded size: 1.00G
     Allocation type: HLO temp
     ==========================

  2. Size: 64.00M
     Shape: bf16[4096,8192]{1,0:T(8,128)(2,1)}
     Unpadded size: 64.00M
"""


def test_refusals_for_memory_are_read():
    found = compiled.refusal(RuntimeError(EARLY))
    assert (size(found.needed), size(found.limit)) == ("41.37 GiB", "15.75 GiB")
    found = compiled.refusal(RuntimeError(LATE))
    assert (size(found.needed), size(found.limit)) == ("41.75 GiB", "15.50 GiB")
    assert found.buffers == [
        (32 * GIB, "s32[8388608,8,4]", "jit(step)/encoder/mul"),
        (GIB // 16, "bf16[4096,8192]", ""),
    ]
    with pytest.raises(RuntimeError, match="Mosaic failed"):
        compiled.refusal(RuntimeError("INTERNAL: Mosaic failed to compile TPU kernel"))


def test_the_largest_buffers_of_a_program():
    def f(x):
        return jnp.sort(x @ x.T, axis=0)[:3]

    x = jax.ShapeDtypeStruct((256, 8), "float32")
    largest = compiled.buffers(jax.jit(f).lower(x).compile().as_text(), 1)
    assert [(b.bytes, b.shape) for b in largest] == [(4 * 256 * 256, "f32[256,256]")]


# Topologies and the command line.


def test_topologies_that_do_not_exist_are_refused(monkeypatch):
    for name in ("v5e", "v5e:4", "v5e:2x2x2x2", "H100"):
        with pytest.raises(ValueError, match=f"--topology: found '{name}', expected a TPU slice"):
            topologies.machine_of(name)
    with pytest.raises(ValueError, match="sides of 16 at most: no larger v6e slice"):
        topologies.machine_of("v6e:16x32")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'jaxcell\[tpu\]'"):
        topologies.machine_of("v5e:2x2")


def test_fields_of_the_config_on_the_command_line():
    path = ROOT / "configs" / "txfm_b.py"
    c = overrides.read(f"{path}:tiny", ["--config.mesh.fsdp=4", "--config.dtype", "float32"])
    assert (c.mesh.fsdp, c.dtype, c.name) == (4, "float32", "txfm_b_tiny")
    for argument, said in (
        ("--config.mesh.fdsp=4", "fdsp"),
        ("--fields=4", "Unknown command line flag 'fields'"),
        ("more", "found more, expected --config.FIELD=VALUE"),
    ):
        with pytest.raises(ValueError, match=said):
            overrides.read(path, [argument])
    with pytest.raises(ValueError, match=r"none\.py: no such config"):
        overrides.read("none.py")


def test_the_verb(capsys):
    config = f"--config={ROOT / 'configs' / 'txfm_b.py'}:tiny"
    with pytest.raises(SystemExit, match="mesh: .*'data': 3.* does not lay out 8 devices"):
        cli.main(["plan", config, "--config.mesh.data=3"])
    with pytest.raises(SystemExit, match="error: --topology: found 'v9'"):
        cli.main(["plan", config, "--topology", "v9"])
    with pytest.raises(SystemExit):
        cli.main(["genes", "out.h5ad", "--checkpoint", "there", "--config.x=1"])
    assert "unrecognized arguments: --config.x=1" in capsys.readouterr().err


@pytest.mark.slow
def test_txfm_b_at_the_papers_size_on_four_v5e():
    pytest.importorskip("libtpu", reason="the extra tpu: 200 MB to download, 700 MB on the disk")
    c = config_of("txfm_b")
    c.model.encoder.remat = "full"
    found = jaxcell.plan(c, "v5e:2x2", 128, search=False)
    asked = found["asked"]
    assert found["device_kind"] == "TPU v5 lite"
    assert found["kernel"].startswith("attention: flash")
    assert found["dtype"] == "bfloat16"
    assert size(found["memory"]) == "15.75 GiB"
    assert asked["fits"]
    assert asked["split"]["parameters"] + asked["split"]["optimizer"] == pytest.approx(
        12 * found["parameters"], rel=0.01
    )
    assert set(asked["collectives"]) == {"all-reduce"}

"""Parameter paths and shapes of every system, as text files beside this one."""

from pathlib import Path

import jax
import pytest

from jaxcell.models.cell import CellModel
from jaxcell.sharding import path_of
from tests.conftest import config_of

GOLDEN = Path(__file__).parent / "golden"
TXFM = ("txfm_s", "txfm_b", "txfm_l", "txfm_b_cxg")
BMFM = ("bmfm_rna_wced", "bmfm_rna_mlm", "bmfm_rna_wced:bert", "bmfm_rna_wced:modern_bert")
BINNED = (
    *("scformer", "scformer:paper", "bioformer", "bioformers_encoder:external"),
    *("bioformers_decoder", "bioformers_decoder:by_value"),
    *("scformer:perturb", "scformer:perturb,affine", "scformer:perturb,ce", "bioformer:perturb"),
)


@pytest.mark.parametrize("name", [*TXFM, *BMFM, *BINNED])
def test_parameter_paths_and_shapes_are_the_golden_ones(name):
    """Checkpoints and converters build on these names: a change here is a new format version."""
    shapes = jax.eval_shape(CellModel(config_of(name).model).init, jax.random.key(0))["params"]
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    found = "".join(f"{path_of(keys)} {leaf.shape}\n" for keys, leaf in leaves)
    assert found == (GOLDEN / f"{name.replace(':', '_')}.txt").read_text()

"""Eight CPU devices, and no silent rank promotion where models, losses and training are tested."""

import importlib.util
import os
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _no_rank_promotion(request):
    room = Path(request.node.path).parent.name
    strict = room in ("models", "losses", "training")
    with jax.numpy_rank_promotion("raise" if strict else "allow"):
        yield


def config_of(name):
    """The config in configs/ of that name, with an optional ':variant'."""
    file, _, variant = name.partition(":")
    spec = importlib.util.spec_from_file_location(file, ROOT / "configs" / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)

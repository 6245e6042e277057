"""What a run computes in, by the device it finds."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from jaxcell.training.machine import compute_dtype, model_of
from tests.conftest import config_of


@pytest.fixture
def gpu(monkeypatch):
    def found(kind, capability):
        device = SimpleNamespace(platform="gpu", device_kind=kind, compute_capability=capability)
        monkeypatch.setattr(jax, "devices", lambda *_: [device])
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")

    return found


def test_a_gpu_without_bfloat16_gets_float32_and_is_told(gpu):
    gpu("Tesla T4", "7.5")
    assert compute_dtype("auto") == jnp.float32
    said = []
    model_of(config_of("txfm_s:tiny"), say=said.append)
    assert said[0] == "dtype: float32, since Tesla T4 is older than Ampere and has no bfloat16"
    assert said[1].startswith("attention: xla")


def test_a_newer_one_has_bfloat16(gpu):
    gpu("NVIDIA A100", "8.0")
    said = []
    assert compute_dtype("auto") == jnp.bfloat16
    model_of(config_of("txfm_s:tiny"), say=said.append)
    assert not any("dtype: float32" in line for line in said)

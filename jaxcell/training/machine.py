"""A config's model as this machine runs it, or another that is planned for."""

import jax
import jax.numpy as jnp

from jaxcell.models import kernels
from jaxcell.models.cell import CellModel


def compute_dtype(name, platform=None):
    """The dtype of matrix products: 'auto' is bfloat16 on TPU and Ampere or newer, else float32.

    platform : 'tpu', 'gpu' or 'cpu' that is not this process's own, for a plan
    """
    if name != "auto":
        return jnp.dtype(name)
    fast = has_bfloat16(jax.devices()[0])
    if platform not in (None, jax.default_backend()):
        fast = platform != "cpu"
    return jnp.dtype(jnp.bfloat16 if fast else jnp.float32)


def has_bfloat16(device):
    """Whether a device multiplies bfloat16 by hardware: a TPU, an NVIDIA GPU from Ampere on.

    Others emulate it, which is slower than float32: of a T4 training takes that by itself.
    """
    return device.platform == "tpu" or (kernels.capability(device) or 0) >= 8


def model_of(c, platform=None, say=None, train=True):
    """A config's model as this machine runs it: dtype of matrix products, attention kernel.

    Parameters
    ----------
    c : a settled config
    platform : 'tpu', 'gpu' or 'cpu', for a plan of another machine; this process's by default
    say : given a line that names the kernel and why it was taken
    train : whether it is to be trained, see `kernels.choose`

    Returns
    -------
    CellModel
    """
    dtype, platform = compute_dtype(c.dtype, platform), platform or jax.default_backend()
    kernel, reason = kernels.choose(c, dtype, platform, train)
    if say:
        if c.dtype == "auto" and platform == "gpu" and dtype == jnp.float32:
            device = jax.devices()[0].device_kind
            say(f"dtype: float32, since {device} is older than Ampere and has no bfloat16")
        say(f"attention: {kernel}, {reason}")
    spec = c.model.copy_and_resolve_references()
    if not spec.encoder.unroll and platform == "gpu":
        # A loop copies what it keeps of each layer into one array: a tenth of a step on an H200.
        spec.encoder.unroll = spec.encoder.layers
    return CellModel(spec, dtype, kernel)

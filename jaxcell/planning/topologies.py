"""Devices to compile for: a TPU slice that is not there, or what this machine has.

An absent slice comes from libtpu (extra tpu), whose compiler needs no TPU. Nothing of its runtime
starts: its devices can be compiled for and nothing else.
"""

import importlib.util
import os
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcell.planning.compiled import refusal

LOCAL = "local"
COMPILER = "the compiler"  # says what a program may use of an absent device
_NAME = re.compile(r"([a-z0-9]+):(\d+(?:x\d+){1,2})")
# libtpu ends the process (a failed check, no exception) for a flat slice that is wider.
_WIDEST = {"v5e": 16, "v6e": 16}


class Machine(NamedTuple):
    """Devices to compile for.

    devices : list
    platform : 'tpu', 'gpu' or 'cpu'
    memory : bytes that a program may use on each device
    told_by : who says so
    """

    devices: list[Any]
    platform: str
    memory: int
    told_by: str


def machine_of(topology=LOCAL, memory=None):
    """The devices of a topology, and the memory of each.

    Parameters
    ----------
    topology : a slice as Google names it (v5e:4x4, v5p:2x2x2, v6e:16x16), or 'local'
    memory : bytes of a device, in place of what the compiler or the machine says

    Raises
    ------
    ValueError
        For a topology that does not exist.
    ImportError
        Where libtpu is not installed.
    """
    if topology == LOCAL:
        devices = jax.devices()
        found, told_by = _local_memory(devices)
    else:
        devices = _slice(topology)
        found, told_by = _limit(devices[0]), COMPILER
    if memory:
        found, told_by = int(memory), "you"
    return Machine(list(devices), devices[0].platform, found, told_by)


def _slice(topology):
    """Devices of a TPU slice that is not there."""
    match = _NAME.fullmatch(topology)
    wanted = "expected a TPU slice as v5e:4x4, v6e:16x16 or v5p:2x2x2, or local"
    if not match:
        raise ValueError(f"--topology: found {topology!r}, {wanted}")
    sides = [int(n) for n in match[2].split("x")]
    if match[1] == "v4":
        raise ValueError(f"--topology: found {topology!r}, {wanted}: JAX makes no mesh of a v4")
    if (flat := match[1] in _WIDEST) != (len(sides) == 2):
        sides_of = "two sides" if flat else "three sides"
        raise ValueError(f"--topology: found {topology!r}, expected {sides_of} of a {match[1]}")
    widest = _WIDEST.get(match[1])
    if widest and max(sides) > widest:
        raise ValueError(
            f"--topology: found {topology!r}, expected sides of {widest} at most: no larger "
            f"{match[1]} slice exists"
        )
    if not importlib.util.find_spec("libtpu") and "TPU_LIBRARY_PATH" not in os.environ:
        raise ImportError(
            f"--topology {topology}: needs the compiler for TPUs, libtpu, which runs on any Linux "
            "machine: pip install 'jaxcell[tpu]'"
        )
    _alone()
    # A host has 2 × 2 chips, but for slices of one.
    bounds = {} if max(sides) > 1 else {"chips_per_host_bounds": (1, 1, 1)}
    try:
        found = topologies.get_topology_desc(topology, "tpu", **bounds)
    except jax.errors.JaxRuntimeError as error:
        said = str(error).splitlines()[0]
        raise ValueError(f"--topology: found {topology!r}, {wanted}; libtpu: {said}") from None
    return found.devices


def _alone():
    """Keep libtpu, before it is loaded, from asking what slice it is part of, and from its lock.

    JAX has set TPU_SKIP_MDS_QUERY where it found no TPU in this machine; there libtpu would still
    complain of variables that are not set, and let one process at a time load it.
    """
    if os.environ.get("TPU_SKIP_MDS_QUERY") == "1":
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")


def _limit(device):
    """Bytes of memory that the compiler gives a program on a device: it names them in refusing."""
    place = NamedSharding(Mesh([device], ("all",)), PartitionSpec())
    many = jax.ShapeDtypeStruct((2**30, 1024), jnp.float32)  # 4 TiB
    asked = jax.jit(lambda x: x + 1, in_shardings=place, out_shardings=place).lower(many)
    try:
        asked.compile()
    except jax.errors.JaxRuntimeError as error:
        found = refusal(error)
        if found.limit:
            return found.limit
        raise
    raise ValueError(
        f"--memory: found none, expected one: the compiler for {device.device_kind} sets no limit"
    )


def _local_memory(devices):
    """(Bytes of a device of this machine, who says so)."""
    stats = devices[0].memory_stats() or {}
    if limit := stats.get("bytes_limit"):
        return limit, "the device"
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return whole // len(devices), "the machine, shared by its devices"

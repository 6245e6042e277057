"""Programs that tests start as two processes, each with its own CPU devices."""

import os
import socket
import subprocess
import sys

from tests.conftest import ROOT

LAUNCHERS = ("JAX_COORDINATOR", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "SLURM_", "OMPI_")


def environment(devices=4, **more):
    """What a child of the tests runs in: so many devices, and nothing of another launcher."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
    flags = env["XLA_FLAGS"].replace("device_count=8", f"device_count={devices}")
    return {**env, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable, **more}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def two(code, *argv, devices=4, timeout=900, variables=None):
    """Run a program as two processes; what each printed, checked to have ended well.

    variables : (number of the process) -> its variables; explicit ones by default
    """
    address = f"127.0.0.1:{free_port()}"

    def explicit(i):
        return {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": "2",
            "JAX_PROCESS_ID": str(i),
        }

    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, argv)],
            env=environment(devices, **(variables or explicit)(i)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        for i in range(2)
    ]
    try:
        said = [one.communicate(timeout=timeout)[0] for one in started]
    finally:
        for one in started:
            one.kill()
    for one, text in zip(started, said, strict=True):
        assert one.returncode == 0, text[-6000:]
    return said

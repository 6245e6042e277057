"""The environment of all tests and of the processes that they start, before JAX is imported."""

import os
import tempfile
from importlib.metadata import version

# Tests compile much and compute little: without LLVM's optimisation they take a third less time,
# and XLA's older emitter compiles in half the time of the newer (jaxlib 0.11 has only that one).
FLAGS = ("force_host_platform_device_count=8", "backend_optimization_level=0")
if version("jaxlib") < "0.11":
    FLAGS += ("cpu_use_fusion_emitters=false", "cpu_parallel_codegen_split_count=1")
# A child has them already, perhaps with fewer devices (tests.many).
if "device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = " --xla_".join((os.environ.get("XLA_FLAGS", ""), *FLAGS))
os.environ["JAX_PLATFORMS"] = "cpu"
# The same tiny steps are compiled in many tests and in child processes: once is enough. Each worker
# of pytest-xdist has a folder, which its children share: JAX writes into it without a lock.
WORKER = f"JAXCELL_TESTS_CACHE_{os.environ.get('PYTEST_XDIST_WORKER', '')}"
OWN = None if WORKER in os.environ else tempfile.TemporaryDirectory(prefix="jaxcell-tests-")
os.environ.setdefault(WORKER, OWN and OWN.name)
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ[WORKER]
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

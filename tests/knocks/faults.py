"""`faults.c` in Python: compile it, and let the N-th call on files under a folder fail."""

import contextlib
import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CTRL_C, KILL = -1, -9
# What is tried: an error of the disk once, a disk that stays full, and the user's Ctrl-C.
KINDS = ((errno.EIO, False), (errno.ENOSPC, True), (CTRL_C, False))
NAMES = {errno.EIO: "EIO", errno.ENOSPC: "ENOSPC", CTRL_C: "Ctrl-C"}


def compiled(folder):
    """The library to put into LD_PRELOAD."""
    out = Path(folder) / "faults.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", out, source, "-ldl"], check=True
    )
    return out


def start(library, module, *argv):
    """A module of these tests as a process with the library; its stderr is kept."""
    quiet = {"TQDM_DISABLE": "1", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", f"tests.knocks.{module}", *map(str, argv)],
        cwd=ROOT,
        env={**os.environ, **quiet, "PYTHONPATH": str(ROOT), "LD_PRELOAD": str(library)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


class Faults:
    """The library that this process was started with."""

    def __init__(self):
        self._library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self._library.knocks_seen.restype = ctypes.c_long
        self._library.knocks_struck.restype = ctypes.c_char_p

    @contextlib.contextmanager
    def armed(self, folder, at=0, code=0, lasting=False):
        """Within it the at-th call fails; 0: they are counted alone."""
        folder = str(folder).encode()
        self._library.knocks_arm(folder, ctypes.c_long(at), code, int(lasting))
        try:
            yield self
        finally:
            self._library.knocks_disarm()

    @property
    def seen(self):
        """Calls so far."""
        return self._library.knocks_seen()

    @property
    def struck(self):
        """'write PATH' of the call that failed, '' if none was."""
        return self._library.knocks_struck().decode()

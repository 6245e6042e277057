"""The library of faults, and small disks."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.knocks.faults import compiled
from tests.knocks.verbs import make_inputs


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """`faults.c`, compiled."""
    if sys.platform != "linux" or not shutil.which("cc"):
        pytest.skip("needs Linux and a C compiler (cc)")
    return compiled(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """What the verbs read."""
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def disk(tmp_path):
    """A disk of 4 MB; skipped where nobody may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    asked = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    done = subprocess.run(asked, capture_output=True, text=True)
    if done.returncode:
        assert os.geteuid() or "permi" in done.stderr, done.stderr
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def make_read_only(disk):
    """Remount a disk read-only."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

"""Memory of this process, for benchmarks that need no accelerator."""

import re
import resource
import sys
from pathlib import Path


def peak_gb():
    """Most memory that this process has held so far, in GB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which under Linux begins at that of the process that started this one.
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9

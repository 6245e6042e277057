"""An XProf trace of a few steps, and its longest kernels."""

import collections
import glob
import os

import jax


def measure(made, folder, steps=3, most=25):
    """Trace some steps of a `step.Ready` into a folder.

    Returns
    -------
    dict with seconds (of a traced step), and the share of the device's time that each of its
    longest kernels takes, by name
    """
    _, _, made = made.run(2)
    with jax.profiler.trace(folder):
        seconds, _, _ = made.run(steps)
    print(f"trace: {folder}; open it with `xprof --logdir {folder}` (pip install xprof)")
    kernels = longest(folder)
    total = sum(kernels.values())
    for name, one in list(kernels.items())[:most]:
        print(f"{100 * one / total:6.2f} %  {one / steps / 1e6:9.3f} ms a step  {name}")
    return {"seconds": seconds, "device_ms": total / steps / 1e6}


def longest(folder):
    """{kernel: nanoseconds} on the accelerators of a trace, the longest first; {} on a CPU."""
    spent = collections.Counter()
    for path in glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True):
        for plane in jax.profiler.ProfileData.from_file(path).planes:
            if not plane.name.startswith("/device:"):
                continue
            for line in plane.lines:
                if line.name.startswith("Stream") or line.name == "XLA Ops":
                    for event in line.events:
                        spent[event.name] += event.duration_ns
    return dict(spent.most_common())

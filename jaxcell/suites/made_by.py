"""What a report says of its making: the command, and the machine."""

import os
import platform
import shlex

import jax


def command(name, asked, parser):
    """The line that asks for the same benchmark; options of the suite at their defaults left out.

    name : of the suite; asked : Asked; parser : argparse's, with the suite's own arguments
    """
    words = ["jaxcell", "benchmark", name, "--out", asked.out]
    if asked.checkpoints:
        words += ["--checkpoint", *(f"{k}={path}" for k, path in asked.checkpoints.items())]
    if asked.data:
        words += ["--data", *asked.data]
    words += ["--seeds", asked.seeds]
    if asked.baselines:
        words += ["--baselines", *asked.baselines]
    for action in parser._actions:
        value = asked.options.get(action.dest, action.default)
        if value == action.default:
            continue
        words.append(action.option_strings[0])
        if action.nargs == 0:  # a flag
            continue
        words += value if isinstance(value, list | tuple) else [value]
    return shlex.join(map(str, words))


def machine():
    """The machine in a few words: processor, cores, memory, accelerators, system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    kinds = [d.device_kind for d in jax.devices() if d.platform != "cpu"]
    found = [f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds)]
    memory = _memory()
    return ", ".join([
        _processor(), f"{cores} cores", *([f"{memory:.0f} GB of memory"] if memory else []),
        *(found or ["no accelerator"]), f"{platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}",
    ])  # fmt: skip


def _processor():
    """The processor's name; Python knows it on few systems."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return next(iter(names), "") or platform.processor() or "unknown processor"


def _memory():
    """GB, or None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (AttributeError, ValueError, OSError):
        return None

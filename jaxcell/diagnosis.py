"""Does jaxcell work on this machine, and what can a file be used for: ``jaxcell doctor``.

Not named as its verb: a module ``jaxcell.doctor`` would hide the function.
"""

import os
import platform
import shutil
import sys
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from jaxcell import __version__
from jaxcell.data.types import Cells, StrPath
from jaxcell.writing import size

CGROUP = Path("/sys/fs/cgroup")
LITTLE = 2e9  # bytes of memory or disk: what a first run takes
BESIDE = ("jaxlib", "scanpy", "torch")  # versions that are told beside the dependencies'
PLACES = {  # variables that name files, and what for
    "JAXCELL_DATA": "the folder of the benchmarks' data",
    "JAXCELL_GENES": "a gene map",
}


def doctor(
    source: Cells | None = None,
    *,
    checkpoint: StrPath | None = None,
    seconds: float = 10.0,
    progress: bool = True,
) -> dict[str, Any]:
    """Look at this machine and its packages, train for some seconds, and look into a file.

    Parameters
    ----------
    source : path, AnnData or name, optional
        Input of `prepare` or a store, see `jaxcell.file_advice.advise`.
    checkpoint : path, optional
        A model whose genes the source is matched with; of no use alone.
    seconds : float
        Of training; 0 leaves it out.
    progress : bool
        Show a progress bar while the source is read.

    Returns
    -------
    dict
        'versions', 'devices', 'memory', 'disk', 'extras', 'training' (None if left out), 'source'
        (None without one), 'problems' (what is wrong and what to do next, a line each: with none
        jaxcell is usable) and 'notes'.
    """
    problems, notes = [], []
    if seconds < 0:
        raise ValueError(f"seconds: found {seconds}, expected 0 (no training) or more")
    if checkpoint is not None and source is None:
        raise ValueError(
            f"checkpoint: found {checkpoint} alone, expected a file or a store beside it, whose "
            "genes are matched with the model's"
        )
    found = {"versions": _versions(problems), "devices": _devices(problems, notes)}
    found["memory"] = _memory(notes)
    found["disk"] = [_disk(path, notes) for path in (".", tempfile.gettempdir())]
    found["extras"] = _extras()
    _variables(problems)
    found["training"] = _training(seconds, problems) if seconds and found["devices"] else None
    found["source"] = None
    if source is not None:
        from jaxcell.file_advice import advise

        found["source"] = advise(source, checkpoint, problems, progress)
    return {**found, "problems": problems, "notes": notes}


def _versions(problems):
    """{package: version}, None where it is absent; those that do not fit are problems."""
    found = {"python": platform.python_version(), "jaxcell": __version__}
    if _version("jaxcell") is None:
        problems.append(
            "jaxcell: found a copy that is not installed, so that what it needs is not known; "
            "pip install -e . in the checkout"
        )
    for one in _requirements(""):
        version = found[one.name] = _version(one.name)
        if version is None or not one.specifier.contains(version, prereleases=True):
            problems.append(
                f"{one.name}: found {version or 'none'}, expected {one}; pip install -U '{one}'"
            )
    return {**found, **{name: _version(name) for name in BESIDE}}


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _requirements(extra):
    """Requirements that an extra adds on this machine; of '' those of jaxcell itself."""
    for text in (_version("jaxcell") and metadata.requires("jaxcell")) or ():
        one = Requirement(text)
        own = one.marker is None or one.marker.evaluate({"extra": ""})
        if own != bool(extra) and (not extra or one.marker.evaluate({"extra": extra})):
            if one.name == "jaxcell":  # an extra that contains others
                for other in one.extras:
                    yield from _requirements(other)
            else:
                yield one


def _extras():
    """{extra: {'missing': requirements, 'pip': the command}} by the package's metadata."""
    found = {}
    known = metadata.metadata("jaxcell") if _version("jaxcell") else None
    for extra in (known and known.get_all("Provides-Extra")) or ():
        lacking = [
            str(one).partition(";")[0].strip()
            for one in _requirements(extra)
            if (version := _version(one.name)) is None
            or not one.specifier.contains(version, prereleases=True)
            or _lacks_plugin(one)
        ]
        found[extra] = {"missing": lacking, "pip": f"pip install 'jaxcell[{extra}]'"}
    return found


def _lacks_plugin(requirement):
    """Whether an extra of another package is absent: jax[tpu] is jax with libtpu beside it."""
    for text in (metadata.requires(requirement.name) or ()) if requirement.extras else ():
        one = Requirement(text)
        wanted = (one.marker.evaluate({"extra": extra}) for extra in requirement.extras)
        brought = one.marker and not one.marker.evaluate({"extra": ""}) and any(wanted)
        if brought and _version(one.name) is None:
            return True
    return False


def _devices(problems, notes):
    """What JAX computes on, and in which dtype training multiplies there."""
    try:
        import jax

        from jaxcell.training.machine import compute_dtype, has_bfloat16

        devices = jax.devices()
    except (ImportError, RuntimeError) as error:  # jaxlib of another version; a broken driver
        problems.append(
            f"JAX does not start: {error}; install it anew (pip install -U jax jaxlib), or set "
            "JAX_PLATFORMS=cpu to leave an accelerator out"
        )
        return []
    if all(one.platform == "cpu" for one in devices) and shutil.which("nvidia-smi"):
        notes.append(
            "an NVIDIA driver is here, but JAX computes on the CPU: pip install 'jaxcell[cuda]', "
            "and see that JAX_PLATFORMS is not set to cpu"
        )
    training = str(compute_dtype("auto"))
    return [
        {
            "name": str(one),
            "kind": one.device_kind,
            "bfloat16": "by hardware" if has_bfloat16(one) else "emulated",
            "training": training,
            "free": _free(one),
        }
        for one in devices
    ]


def _free(device):
    """Bytes that are free on an accelerator; None where it does not tell."""
    found = device.memory_stats() if device.platform != "cpu" else None
    return found["bytes_limit"] - found["bytes_in_use"] if found else None


def _memory(notes):
    """{'free', 'total'} bytes of the machine, or of the container that this is; None: not known."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free, info = None, Path("/proc/meminfo")
    if info.exists():
        lines = dict(line.split(":") for line in info.read_text().splitlines())
        free = 1024 * int(lines["MemAvailable"].removesuffix("kB"))
    limit, used = (CGROUP / f"memory.{what}" for what in ("max", "current"))
    if limit.exists() and used.exists() and (most := limit.read_text().strip()).isdecimal():
        taken = int(used.read_text()) - _cached()
        total, free = min(total, int(most)), min(free, int(most) - taken)
    if free is not None and free < LITTLE:
        notes.append(f"memory: {size(free)} are free; other programs may have to end before a run")
    return {"free": free, "total": total}


def _cached():
    """Bytes of files that the container has read and the system lets go of when it needs room."""
    stat = CGROUP / "memory.stat"
    lines = dict(line.split() for line in stat.read_text().splitlines()) if stat.exists() else {}
    return int(lines.get("inactive_file", 0))


def _disk(path, notes):
    path, free = os.path.abspath(path), shutil.disk_usage(path).free
    if free < LITTLE:
        notes.append(f"disk: {size(free)} are free in {path}; free some, or work elsewhere")
    return {"path": path, "free": free, "writable": os.access(path, os.W_OK)}


def _variables(problems):
    for name, what in PLACES.items():
        path = os.environ.get(name)
        if path and not Path(path).exists():
            problems.append(f"{name}: found {path}, which does not exist; set it to {what}, or not")


def _training(seconds, problems):
    """What `training.trial` finds, or None where it fails, with the reason among the problems."""
    try:
        from jaxcell.training.trial import trial

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = trial(seconds)
    except Exception as error:  # whatever is broken in the installation is what is looked for
        problems.append(
            f"training: {type(error).__name__}: {str(error).strip()[:500]}; "
            "`jaxcell --debug train --config=configs/demo.py` shows where; is another program "
            "using the device? JAX_PLATFORMS=cpu leaves it out"
        )
        return None
    if not found["finite"]:
        problems.append(
            f"training: losses are NaN or infinite in {found['dtype']}; train with "
            "--config.dtype=float32, and report this device"
        )
    elif found["last"] >= found["first"] and found["steps"] > 50:
        problems.append(
            f"training: the loss did not fall ({found['first']:.6g} → {found['last']:.6g} in "
            f"{found['steps']} steps); report this device: {platform.platform()}, {sys.version}"
        )
    return found

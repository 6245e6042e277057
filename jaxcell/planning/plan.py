"""``plan`` compiles a config's real training step on shapes alone: no array is ever made.

For a TPU slice that is not there, or for this machine.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcell import config
from jaxcell.data.types import StrPath
from jaxcell.planning import fitting
from jaxcell.planning.topologies import LOCAL, machine_of
from jaxcell.planning.trials import Trials
from jaxcell.training import setup
from jaxcell.writing import write_text


def plan(
    c: ConfigDict | StrPath,
    topology: str = LOCAL,
    batch: int | None = None,
    *,
    memory: int | None = None,
    search: bool = True,
    out: StrPath | None = None,
    say: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Whether a config's training step fits on a machine, by compiling it: ``jaxcell.plan``.

    Parameters
    ----------
    c : ConfigDict, or the path of one: 'configs/txfm_b.py[:variant]'. With ``data.store`` the
        store's genes and classes count, without one the config's own
    topology : a TPU slice that need not be there (v5e:4x4, v5p:2x2x2, v6e:16x16; needs the extra
        tpu), or 'local': the devices of this process
    batch : cells of an optimizer step, over all devices; the config's by default
    memory : bytes of each device that a program may use; the compiler's or the machine's own
        limit by default
    search : also find the largest batch that fits, in up to eight more compiles
    out : JSON file to write
    say : given a line before and after each compile, `print` for instance

    Returns
    -------
    dict with 'asked' (the batch that was asked for), 'largest' (the largest that was seen to fit,
    None where not even one cell a device does or no search was made), 'fails' (the smallest that
    was seen not to fit) and the facts of model and machine. A batch has 'batch', 'cells' (of a
    device, in a micro-batch), 'fits', 'seconds' and 'needed' bytes of a device (None where the
    compiler does not tell); one that compiled also 'split' ({part: bytes}), 'buffers' (the
    largest), 'collectives' ({kind: {count, bytes}} of a step, on each device) and 'exchanges' (the
    largest of them)

    Raises
    ------
    ValueError
        For a config that does not hold, a topology that does not exist, a batch that the mesh does
        not divide.
    ImportError
        For a TPU slice without libtpu.
    """
    say = say or (lambda line: None)
    if out and not Path(out).absolute().parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {Path(out).parent}; make it first")
    if out and Path(out).is_dir():
        raise ValueError(f"--out {out}: found a folder, expected a file; name one in it")
    c = config.settled(config.load(c) if isinstance(c, str | Path) else c)
    if batch is not None:
        c.train.batch_size = int(batch)
    machine = machine_of(topology, memory)
    setup.check(c, machine.platform)
    step = Trials(c, topology, machine, say, 1 + fitting.COMPILES if search else 1)
    asked = step.attempt(step.per_device(c.train.batch_size))
    fits = fails = None
    if search:
        fits, fails = fitting.largest(step.attempt, asked, step.fixed, machine.memory)
    told = step.told
    found = {
        **step.facts(),
        "accumulates": _accumulates(c),
        "asked": told[asked.cells],
        "largest": told[fits.cells] if fits else None,
        "fails": told[fails.cells] if fails else None,
        "tried": [{k: told[n][k] for k in ("batch", "fits", "needed", "seconds")} for n in told],
    }
    if out:
        write_text(out, json.dumps(found, indent=1) + "\n")
    return found


def _accumulates(c):
    """Whether a config's steps may be computed in micro-batches."""
    other = c.copy_and_resolve_references()
    other.train.batch_size, other.train.accumulate = 4, 2
    try:
        config.check(other)
    except ValueError:
        return False
    return True

"""The call that began the work of a folder, kept there: ``jaxcell resume`` makes it again."""

import json
import os
from pathlib import Path

import numpy as np

from jaxcell import __version__

FILE = "command.json"


def keep(folder, verb, arguments):
    """Write ``FOLDER/command.json``: verb, arguments, and the folder that its paths start from.

    arguments : {name: value}; with values that JSON does not hold, as an AnnData, it says which
    """
    call = {"verb": verb, "jaxcell": __version__, "cwd": os.getcwd()}
    lost = [name for name, value in arguments.items() if not _written(value)]
    call |= {"in_memory": lost} if lost else {"arguments": arguments}
    path = Path(folder) / FILE
    new = path.with_name(FILE + ".new")
    new.write_text(json.dumps(call, indent=1, default=_plain) + "\n", encoding="utf-8")
    new.replace(path)


def read(folder):
    """What `keep` wrote there, or None."""
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        call = json.loads(path.read_text(encoding="utf-8"))
        return call if {"verb", "cwd"} <= call.keys() else None
    except (ValueError, AttributeError):
        return None


def _written(value):
    try:
        json.dumps(value, default=_plain)
    except (TypeError, ValueError):
        return False
    return True


def _plain(value):
    """What JSON holds of a path, a number of numpy's, or a set of names."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not written down")

"""The call that began the work of a folder, kept there: ``jaxcell resume`` makes it again."""

import json
import os
from pathlib import Path

import numpy as np

from jaxcell import __version__
from jaxcell.files import check_fields, read_json
from jaxcell.writing import write_text

FILE = "command.json"
ASKED = {  # of each verb: what is read of its arguments here or in jaxcell/resuming.py
    "prepare": {"files": (str, list)},
    "train": {"config.train": dict, "config.stages": list},
    "benchmark": {"name": str, "options": dict},
    "ablate": {"experiment": dict, "suite_name": str},
}
NEXT = "remove it, and give the command that began the work again"


def keep(folder, verb, arguments):
    """Write ``FOLDER/command.json``: verb, arguments, and the folder that its paths start from.

    arguments : {name: value}; with values that JSON does not hold, as an AnnData, it says which
    """
    call = {"verb": verb, "jaxcell": __version__, "cwd": os.getcwd()}
    lost = [name for name, value in arguments.items() if not _written(value)]
    call |= {"in_memory": lost} if lost else {"arguments": arguments}
    write_text(Path(folder) / FILE, json.dumps(call, indent=1, default=_plain) + "\n")


def read(folder):
    """What `keep` wrote there, or None.

    Raises
    ------
    ValueError
        The file is damaged.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    call = read_json(path, {"verb": str, "cwd": str}, NEXT)
    verb = call["verb"]
    if verb not in ASKED:
        raise ValueError(
            f"{path}: is damaged: verb: found {verb!r}, expected one of {', '.join(ASKED)}; {NEXT}"
        )
    if "in_memory" in call:
        check_fields(path, call, {"in_memory": list}, NEXT)
    else:
        within = {f"arguments.{name}": kind for name, kind in ASKED[verb].items()}
        check_fields(path, call, {"arguments": dict, **within}, NEXT)
    return call


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

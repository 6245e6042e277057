"""Which stages of a config are finished in a workdir, and with what: its ``stages.json``."""

import json
from pathlib import Path

from jaxcell.files import read_json
from jaxcell.writing import write_text

FILE = "stages.json"


def finished(workdir):
    """{stage: fingerprint} of the finished stages in a workdir.

    Raises
    ------
    ValueError
        The file is damaged.
    """
    path = Path(workdir) / FILE
    todo = "remove it, and the stages prepare, embed and evaluate are gone through again"
    return read_json(path, {}, todo) if path.is_file() else {}


def finish(workdir, stage, mark):
    """Note that a stage is finished."""
    done = {**finished(workdir), stage: mark}
    write_text(Path(workdir) / FILE, json.dumps(done, indent=1))

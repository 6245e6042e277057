"""``run.json`` and ``metrics.jsonl`` of a workdir, which `training.metrics` writes, read."""

import json
from pathlib import Path

from jaxcell.files import read_json

FILE, JOURNAL = "run.json", "metrics.jsonl"
FIELDS = {  # that its readers take for granted
    "config.train.batch_size": int,
    "config.best": list,
    "config.stages": list,
    "steps": int,
    "sessions": list,
    "data.store": str,
    "data.content_hash": str,
    "data.cells.train": int,
    "data.cells.valid": int,
}
NEXT = (
    "copy it again, or start anew in another --workdir; --config.train.init_from={0} begins with "
    "the weights of this one"
)


def read(workdir):
    """What ``WORKDIR/run.json`` holds, None where there is none.

    Raises
    ------
    ValueError
        The file is damaged.
    """
    path, todo = Path(workdir) / FILE, NEXT.format(workdir)
    if not path.is_file():
        return None
    found = read_json(path, FIELDS, todo)
    if not found["sessions"] or not isinstance(found["sessions"][-1], dict):
        raise ValueError(f"{path}: is damaged: sessions: expected one object at least; {todo}")
    return found


def journal(workdir):
    """[(text, what it says), …] of the lines of ``WORKDIR/metrics.jsonl``; [] where there is none.

    A line that a killed run left half-written is dropped.

    Raises
    ------
    ValueError
        Another line is damaged.
    """
    path, lines = Path(workdir) / JOURNAL, []
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if line.endswith("\n"):
            try:
                found = json.loads(line)
            except ValueError as error:
                found, why = None, f" ({error})"
            else:
                why = ""
            if not isinstance(found, dict) or "step" not in found:
                raise ValueError(
                    f"{path}: line {number} is damaged: expected an object with a step{why}; "
                    "remove the line: it holds numbers of one step alone"
                )
            lines.append((line, found))
    return lines

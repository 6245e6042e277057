"""Folders that are there whole or not at all."""

import contextlib
import shutil
from pathlib import Path


@contextlib.contextmanager
def whole(out):
    """A new folder, which becomes ``out`` at the end; after an error nothing is left of it.

    Raises
    ------
    ValueError
        ``out`` exists, or its folder does not.
    """
    out = Path(out)
    if out.exists():
        raise ValueError(f"{out}: exists already; remove it or name another output")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"{out}: its folder does not exist; make it first")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    try:
        partial.mkdir()
        yield partial
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)

"""Folders that are there whole or not at all."""

import contextlib
import os
import shutil
import tempfile
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
    free(out)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    try:
        folder = partial / out.name  # made as any folder is: the one around it is its owner's alone
        folder.mkdir()
        yield folder
        free(out)  # nobody has made it meanwhile
        folder.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def free(out):
    """Raise ValueError unless a folder can be made there."""
    if str(out).startswith("hf:"):
        raise ValueError(f"{out}: expected a folder here; upload it with hf upload")
    if os.path.lexists(out):
        raise ValueError(f"{out}: exists already; remove it or name another output")
    if not Path(out).absolute().parent.is_dir():
        raise ValueError(f"{out}: its folder does not exist; make it first")

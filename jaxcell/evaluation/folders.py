"""Folders of several files, which get all of them at the end or none."""

import contextlib
import os
import tempfile
from pathlib import Path


@contextlib.contextmanager
def filled(out, last=("results.json",)):
    """A folder to write files in, which are moved into ``out`` at the end.

    After an error or Ctrl-C nothing of it is left, and ``out`` is as it was before.

    out : folder, made if absent; files of the same names there are replaced
    last : names of the files that are moved behind the others: who finds them finds all
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        # Inside of it: who may write there need not be allowed to write beside it.
        with tempfile.TemporaryDirectory(dir=out, prefix=".partial-") as made:
            yield Path(made)
            files = [path for path in Path(made).rglob("*") if path.is_file()]
            for path in sorted(files, key=lambda path: (path.name in last, path)):
                target = out / path.relative_to(made)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
    finally:
        with contextlib.suppress(OSError):
            out.rmdir()  # where it is empty

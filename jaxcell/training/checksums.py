"""``SHA256SUMS`` of a saved step, since Orbax keeps no checksum of the numbers that it saves.

Without it a few spoiled bytes are other weights, and nobody is told. ``sha256sum -c SHA256SUMS``
in the step's folder checks it too.
"""

import hashlib
import os

NAME = "SHA256SUMS"


def write(step):
    """Hash all files in the folders of a step, before Orbax gives the step its name.

    Not those that lie beside the folders: Orbax writes them again when the step is complete.
    """
    lines = [f"{_sha256(step / name)}  {name}\n" for name in _names(step)]
    with open(step / NAME, "w", encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())


def check(step):
    """Raise ValueError when a file of a step is not what was saved; names the first.

    Steps of versions that kept no checksums are not checked.
    """
    path = step / NAME
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    saved = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = _names(step)
    for name in sorted({*saved, *there}):
        if name not in there:
            raise ValueError(f"{step / name}: is missing")
        if name not in saved:
            raise ValueError(f"{step / name}: is not in {NAME}")
        if _sha256(step / name) != saved[name]:
            raise ValueError(f"{step / name}: changed since the step was saved")


def _names(step):
    # What Orbax marks a complete folder by comes later.
    files = (p for p in step.glob("*/**/*") if p.is_file() and p.name != "commit_success.txt")
    return sorted(p.relative_to(step).as_posix() for p in files)


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

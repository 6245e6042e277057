"""Names in suites: of the parts' files and of the tables' rows."""

import hashlib
import re


def part_key(*parts):
    """A part's key: its pieces as ASCII, joined by points; a piece that loses letters has a hash.

    So that no two names have one file: 'PCA 4' -> 'PCA_4-1f3a9c', 'ü' -> '5a1b7d'.
    """
    return ".".join(map(_piece, map(str, parts)))


def _piece(text):
    clean = re.sub(r"[^A-Za-z0-9_.\-]+", "_", text)
    if clean == text:
        return text
    short = hashlib.sha256(text.encode()).hexdigest()[:6]
    return "-".join(filter(None, [clean.strip("_.-"), short]))


def check_rows(named, others, what="checkpoint"):
    """Refuse a checkpoint, or what else a user names, that is called as another row is.

    named : iterable of their names
    others : iterable of str, names of baselines, references and other models' rows

    Raises
    ------
    ValueError
    """
    others = set(others)
    if clash := [name for name in named if name in others]:
        raise ValueError(
            f"{what}: found the name {clash[0]!r}, which another row of the tables has; expected "
            "one of its own (NAME=RUN)"
        )

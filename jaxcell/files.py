"""Files that a user names: what is said of them in errors, and text that is read whole."""

import contextlib
import difflib
from pathlib import Path


def near(path):
    """The end of an error about a file that is not there: what may be meant, or where it is not."""
    path = Path(path)
    folder = path.absolute().parent
    if not folder.is_dir():
        return f"; the folder {folder} does not exist either: is the path right?"
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    meant = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f"; did you mean {path.with_name(meant[0])}?" if meant else "; is the path right?"


def read_text(path, what="a text file"):
    """The text of a UTF-8 file.

    Raises
    ------
    ValueError
        The file is none: a table of a spreadsheet, an h5ad, another encoding.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: found bytes that are no UTF-8 text (at byte {error.start}), expected {what}; "
            "is it another file, or packed? Save it as plain text"
        ) from None


@contextlib.contextmanager
def about(path):
    """Errors about what a file holds name it: those that are raised inside.

    path : of the file, or what the cells are otherwise called
    """
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error

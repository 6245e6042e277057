"""Files that a user names: what is said of them in errors, and text that is read whole."""

import contextlib
import difflib
import json
import os
import shlex
from pathlib import Path

MODEL = "format_version"  # a file of every model folder
KINDS = {  # of JSON
    str: "a text",
    int: "a whole number",
    list: "a list",
    dict: "an object",
    (str, list): "a text or a list",
}


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


def read_json(path, fields, todo):
    """What a JSON file holds, with all that its reader takes for granted.

    Parameters
    ----------
    path : of the file
    fields : {name: one of KINDS}, 'config.train' within an object; {} for any object
    todo : what to do where it is damaged, the end of the error

    Raises
    ------
    ValueError
        It is no JSON, no object, or lacks a field, which is named.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # also bytes that are no UTF-8
        raise ValueError(
            f"{path}: is damaged: found no JSON ({error}), expected an object; {todo}"
        ) from None
    check_fields(path, found, fields, todo)
    return found


def check_fields(path, found, fields, todo):
    """Raise ValueError unless what `read_json` found in a file is an object with these fields."""
    if not isinstance(found, dict):
        raise ValueError(f"{path}: is damaged: found {_shown(found)}, expected an object; {todo}")
    for name, kind in fields.items():
        one = found
        for part in name.split("."):
            one = one.get(part) if isinstance(one, dict) else None
        # Python takes true for the number 1.
        if not isinstance(one, kind) or isinstance(one, bool):
            what = "nothing" if one is None else _shown(one)
            raise ValueError(
                f"{path}: is damaged: {name}: found {what}, expected {KINDS[kind]}; {todo}"
            )


def _shown(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"


def holds(folder):
    """What a folder of ours is that holds no cells, and what takes it; '' of others.

    Of stores others speak, which are taken in place of cells.
    """
    folder = Path(folder)
    named = shlex.quote(str(folder))
    if (folder / "run.json").is_file():
        return (
            f"a training run (`jaxcell resume {named}` goes on with it; its model: "
            f"--checkpoint {named})"
        )
    steps = folder if folder.name == "checkpoints" else folder.parent
    if steps.name == "checkpoints" and (steps.parent / "run.json").is_file():
        one, run = (steps / "STEP", steps.parent) if steps == folder else (folder, steps.parent)
        return (
            f"{'the saved steps' if steps == folder else 'a saved step'} of a training run "
            f"(`jaxcell resume {shlex.quote(str(run))}` goes on with it; the model of a step: "
            f"--checkpoint {shlex.quote(str(one))})"
        )
    if (folder / MODEL).is_file() or (folder / "model" / MODEL).is_file():
        return f"a finished model (to embed and the like: --checkpoint {named})"
    return ""


def check_new(out, what, ending=""):
    """Refuse as an output no name at all, the folder that one works in, and another kind of file.

    out : path, as it was given; what : 'a file', 'a folder', 'a store'
    ending : of its name; what is written is of one kind, whatever it is called

    Raises
    ------
    ValueError
        Others say that an output is there and is to be removed, which no one should do here.
    """
    if not str(out):
        raise ValueError(f"found '' for an output, expected the path of {what} to be written")
    if Path.cwd().is_relative_to(os.path.abspath(out)):
        raise ValueError(
            f"{out}: is the folder that you are in, or one around it; expected the path of {what} "
            "to be written: name a new one"
        )
    if not str(out).endswith(ending):
        raise ValueError(f"{out}: expected {what} ending in {ending}; name it {out}{ending}")


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

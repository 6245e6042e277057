"""A table of wrong uses → a test that each ends with one clear message and changes nothing.

A row is a command, {t} the folder of `things` and {out} an empty one, and what its message says.
"""

import shlex
import warnings

import pytest

from jaxcell import cli
from tests.conftest import ROOT

VARIABLES = ("JAXCELL_DATA", "JAXCELL_GENES", "JAXCELL_DEBUG")


def slow(*row):
    """A row that takes long: something is computed before it is known to be wrong."""
    return pytest.param(*_split(row), marks=pytest.mark.slow, id=row[0])


def wrong_uses(rows, code=1):
    """The test of a table.

    rows : (command, part of the message, …), or `slow` ones; code : the exit status
    """
    cases = [
        row if isinstance(row, type(pytest.param())) else pytest.param(*_split(row), id=row[0])
        for row in rows
    ]

    @pytest.mark.parametrize(("command", "parts"), cases)
    def test(command, parts, folder, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(ROOT)
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        before = tree(folder)
        found, text = ended(command.format(t=folder, out=tmp_path), capsys)
        for part in parts:
            assert part.format(t=folder, out=tmp_path) in text, text
        assert found == code
        assert text.count("error: ") == 1
        assert "Traceback" not in text
        assert "defect" not in text
        assert tree(folder) == before
        assert not list(tmp_path.iterdir())

    return test


def ended(command, capsys):
    """Exit status and message of a command that must end with one."""
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as users have it
        with pytest.raises(SystemExit) as stop:
            cli.main(shlex.split(command))
    code = stop.value.code
    said = capsys.readouterr().err
    return (1, f"{said}{code}") if isinstance(code, str) else (code, said)


def tree(folder):
    """What a folder holds: size and time of each file; opening a file changes none of them."""
    found = {}
    for path in folder.rglob("*"):
        stat = path.stat()
        found[path] = (stat.st_size, stat.st_mtime_ns) if path.is_file() else None
    return found


def _split(row):
    command, *parts = row
    assert parts, row
    return command, tuple(parts)

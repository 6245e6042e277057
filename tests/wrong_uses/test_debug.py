"""--debug, defects, and what the machine refuses."""

import errno
import os

import pytest

from jaxcell import cli, failures, inspection
from tests.wrong_uses.table import ended

COMMAND = "inspect {t}/god.h5ad"


@pytest.mark.parametrize("argv", ["--debug inspect {t}/god.h5ad", "inspect {t}/god.h5ad --debug"])
def test_debug_lets_the_traceback_through(argv, folder):
    with pytest.raises(ValueError, match="did you mean"):
        cli.main(argv.format(t=folder).split())


def test_the_variable_does_as_the_flag(folder, monkeypatch, capsys):
    monkeypatch.setenv("JAXCELL_DEBUG", "1")
    with pytest.raises(ValueError, match="did you mean"):
        cli.main(COMMAND.format(t=folder).split())
    monkeypatch.setenv("JAXCELL_DEBUG", "0")
    assert ended(COMMAND.format(t=folder), capsys)[0] == 1


def test_train_and_the_suites_take_it_too(folder):
    with pytest.raises(ValueError, match="no such config"):
        cli.main(["train", "--config=no.py", "--debug"])
    with pytest.raises(FileNotFoundError):
        cli.main(["benchmark", "cells", "--out", "no", "--data", f"{folder}/no.h5ad", "--debug"])


def _raising(error, monkeypatch):
    def fail(*args, **more):
        raise error

    monkeypatch.setattr(inspection, "inspect", fail)


@pytest.mark.parametrize(
    "error", [KeyError("x"), AssertionError("x"), ValueError("of numpy"), RuntimeError("x\ny")]
)
def test_a_defect_says_that_it_is_one_and_keeps_its_traceback(
    error, folder, tmp_path, monkeypatch, capsys
):
    """What no ``raise`` of jaxcell's raised is not the user's mistake; here it is this test's."""
    monkeypatch.setattr(failures.tempfile, "tempdir", str(tmp_path))
    _raising(error, monkeypatch)
    code, text = ended(f"inspect {folder}/good.h5ad", capsys)
    assert code == 1
    (kept,) = tmp_path.iterdir()
    assert f"{type(error).__name__}: " in text
    assert "This is a defect of jaxcell" in text
    assert f"the traceback in {kept}, which --debug shows too" in text
    assert "Traceback" not in text
    assert len(text.strip().splitlines()) == 1
    assert "Traceback (most recent call last)" in kept.read_text()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "make room, and give the same command again"),
        (errno.EACCES, "change who may read and write there"),
        (errno.EROFS, "name another place, or make this one writable"),
        (errno.EISDIR, "a folder is there, expected a file"),
        (errno.EMFILE, "raise the number of open files"),
    ],
)
def test_what_the_machine_refuses_is_no_defect(number, said, folder, monkeypatch, capsys):
    _raising(OSError(number, os.strerror(number), "/there/a.h5ad"), monkeypatch)
    code, text = ended(f"inspect {folder}/good.h5ad", capsys)
    assert code == 1
    assert text.startswith(f"error: /there/a.h5ad: {os.strerror(number)}; ")
    assert said in text


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 1 PiB"), RuntimeError("RESOURCE_EXHAUSTED: 1 PiB")]
)
def test_no_memory_is_no_defect(error, folder, monkeypatch, capsys):
    _raising(error, monkeypatch)
    code, text = ended(f"inspect {folder}/good.h5ad", capsys)
    assert code == 1
    assert "1 PiB. Fewer cells at a time may fit (--batch-size" in text
    assert "jaxcell plan" in text


def test_a_package_that_is_absent_is_no_defect(folder, monkeypatch, capsys):
    _raising(ImportError("No module named 'scvi'"), monkeypatch)
    assert "which extra brings what" in ended(f"inspect {folder}/good.h5ad", capsys)[1]


def test_python_s_own_way_to_the_verbs_says_the_same(folder, capsys):
    assert ended("train --config=no.py", capsys) == ended("train --config no.py", capsys)

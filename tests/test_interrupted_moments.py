"""Ctrl-C where it gets lost: swallowed, made into errors, at any moment, among workers."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.test_interrupts import HERE, started, training
from tests.training.test_training import lines

HEARD = "\nstopping; Ctrl-C again ends at once\n"
ANEW = "stopped: nothing half-written is left; the same command starts anew\n"
PRESS = """
import os, threading
from jaxcell import failures, interrupts

def press():
    signal.raise_signal(signal.SIGINT)

class Kept:
    def __del__(self):
        press()

def collected(phase, info):  # JAX has such a callback
    if phase == "start" and not interrupts.heard():
        press()

def work():
    {work}
    time.sleep(60)

with interrupts.ending(own=True), failures.in_one_line(False):
    work()
"""


def pressed(work):
    """(status, stderr) of a command whose work presses Ctrl-C itself."""
    process = started(PRESS.replace("{work}", "\n    ".join(work.splitlines())))
    _, error = process.communicate(timeout=40)
    return process.returncode, error


SWALLOWED = {
    "by the collector": "import gc; gc.callbacks.append(collected); gc.collect()",
    "in __del__": "Kept()",
    "by a library": "try:\n    press()\nexcept BaseException:\n    pass",
    "in an import": "try:\n    press()\nexcept BaseException:\n    pass\nraise ImportError('x')",
    "into another error": "try:\n    press()\nfinally:\n    [][0]",
}


@pytest.mark.parametrize("how", SWALLOWED)
def test_a_swallowed_one_ends_the_command_all_the_same(how):
    assert pressed(SWALLOWED[how]) == (130, HEARD + ANEW)


def test_printed_by_an_extension_it_is_raised_again():
    """As of numpy's C code, by PyErr_Print."""
    run = "ctypes.pythonapi.PyRun_SimpleString(b'import signal; signal.raise_signal(2)')"
    work = f"import ctypes\n{run}"
    assert pressed(work) == (130, HEARD + ANEW)


def test_an_import_is_let_end(tmp_path):
    """Extensions that are interrupted as they load crash, or make an ImportError of it."""
    module = "import signal, time\nsignal.raise_signal(signal.SIGINT)\ntime.sleep(0.3)\n"
    (tmp_path / "slow_one.py").write_text(module + "print('imported', flush=True)\n")
    work = f"sys.path.append({str(tmp_path)!r})\nimport slow_one"
    process = started(PRESS.replace("{work}", "\n    ".join(work.splitlines())))
    assert process.communicate(timeout=40) == ("imported\n", HEARD + ANEW)
    assert process.returncode == 130


def test_what_has_a_reason_of_its_own_gives_it():
    work = "try:\n    press()\nfinally:\n    open('/no/such', 'w')"
    code, error = pressed(work)
    assert code == 130
    assert error.startswith(f"{HEARD}stopped: /no/such: No such file or directory; is the path")


def test_work_that_ends_before_it_is_raised_again_says_so():
    work = "try:\n    press()\nexcept BaseException as error:\n    interrupts.kept = error\nreturn"
    assert pressed(work) == (130, HEARD + "stopped: it came too late: all was done\n")


@pytest.mark.parametrize("after", [0.05, 0.1, 0.2, 0.4, 0.8])
def test_it_ends_a_command_in_its_first_second(after):
    """While numpy and jax are imported, above all."""
    code = "\nfrom jaxcell.cli import main\nprint('here', flush=True)\nmain()\n"
    process = started(code, "doctor", "--seconds", "20")
    assert process.stdout.readline() == "here\n"
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=40)
    assert (process.returncode, error) == (130, HEARD + ANEW)


def test_output_that_nobody_reads_ends_it_without_a_word():
    code = "\nfrom jaxcell.cli import main\nsys.stdin.read()\nmain()\n"
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    argv = [sys.executable, "-c", HERE + code, "doctor", "--seconds", "0"]
    process = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes)
    process.stdout.close()
    process.stdin.close()  # now it writes
    assert process.wait(timeout=40) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def struck(argv, after, cwd):
    """(status, stderr) of a command whose whole group gets Ctrl-C, as from a terminal."""
    code = HERE + "\nimport os; os.setsid()\nprint('here', flush=True)\n"
    code += "if __name__ == '__main__':\n    from jaxcell.cli import main\n    main()\n"
    (cwd / "command.py").write_text(code)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    argv = [sys.executable, "command.py", *argv]
    process = subprocess.Popen(argv, env=env, cwd=cwd, **pipes)
    assert process.stdout.readline() == "here\n"
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)  # its workers hold the pipes too
    return process.returncode, error


@pytest.mark.slow
@pytest.mark.parametrize("after", [2, 4, 5, 6, 7, 8, 10])
def test_it_ends_a_training_with_workers_at_any_moment(after, store, tmp_path):
    """Of imports, compiling, starting workers, and steps; none is told by where it stood."""
    argv = [*training(store, "run"), "--config.data.workers=2", "--config.steps=100000"]
    code, error = struck(argv, after, tmp_path)
    assert code == 130, error
    assert error.startswith(HEARD), error
    for bad in ("Traceback", "Warning", "Exception ignored", "error:"):
        assert bad not in error
    saved = list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))
    if saved:
        assert lines(tmp_path / "run")[-1]["step"] == max(int(p.name) for p in saved)

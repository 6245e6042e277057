"""What processes tell each other, by two of them; and that one by itself notices nothing."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxcell import processes
from jaxcell.training import loop
from tests.many import environment, free_port, two
from tests.training.test_training import tiny

TOGETHER = """
import sys
from jaxcell import processes
from jaxcell.training import workdir
from jaxcell.training.workdir import lock

workdir.PATIENCE = 1
processes.initialise(60)
me = processes.index()
assert processes.count() == 2 and processes.first() == (me == 0)

def fails(make):
    try:
        make()
    except Exception as error:
        return type(error).__name__, str(error)

def wrong(number):
    if me == number:
        raise OSError(f"no disk on {number}")
    return me

processes.say(f"said by {me}")
calls = []
print(processes.from_first(lambda: calls.append(me) or {"a": [0.1, None]}), calls)
print(fails(lambda: processes.from_first(lambda: wrong(0))))
print(processes.together(lambda: me))
print(fails(lambda: processes.together(lambda: wrong(1))))
processes.same("the number", 7)
print(fails(lambda: processes.same("the config", {"steps": 5, "seed": me})))
with lock(sys.argv[1]):  # one run: the second process of it is not refused
    print(fails(lambda: lock(sys.argv[1]).__enter__()))
print(fails(lambda: lock(sys.argv[1] + "/own" * me).__enter__()))
processes.wait()
from jax._src import xla_bridge
print(xla_bridge.backends_are_initialized())
"""


def test_what_goes_wrong_on_one_is_raised_on_both(tmp_path):
    (tmp_path / "own").mkdir()
    zero, one = (text.splitlines() for text in two(TOGETHER, tmp_path))
    assert zero.pop(0).startswith("2 processes by explicit variables")
    assert zero.pop(0) == "said by 0"
    assert zero[0] == "{'a': [0.1, None]} [0]"
    assert one[0] == "{'a': [0.1, None]} []"
    assert zero[1] == "('OSError', 'no disk on 0')"
    assert one[1] == "('OtherProcess', 'process 0: no disk on 0')"
    assert (zero[2], one[2]) == ("0", "1")
    assert zero[3] == "('OtherProcess', 'process 1: no disk on 1')"
    assert one[3] == "('OSError', 'no disk on 1')"
    assert "process 1: the config is {'seed': 1} here (" in zero[4]
    assert one[4].endswith(
        "{'seed': 0} on process 0; start every process with the same command, on files that all "
        'of them share")'
    )
    assert "another run (process" in zero[5]
    assert "another run (process" in one[5]
    assert "--workdir must be one folder that all processes share" in zero[6]
    assert "own: " in one[6]
    assert zero[7] == one[7] == "False"  # none of it has started a backend


def test_processes_that_do_not_come_are_said():
    """One of two is started: it ends by itself, and names what it has seen."""
    variables = {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
    variables["JAX_COORDINATOR_ADDRESS"] = f"127.0.0.1:{free_port()}"
    code = "from jaxcell import processes; processes.initialise(1)"
    argv, env = [sys.executable, "-c", code], environment(1, **variables)
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "error: process 1 of 2 by explicit variables: the others did not come" in done.stderr
    assert "JAX_NUM_PROCESSES=2, JAX_PROCESS_ID=1" in done.stderr


def test_processes_that_have_not_joined_are_refused(store, monkeypatch, tmp_path):
    monkeypatch.setattr(jax, "process_count", lambda: 4)  # as on a TPU slice
    with pytest.raises(ValueError, match=r"one of 4 processes .* call jaxcell\.processes\.initial"):
        loop.train(tiny(store), tmp_path)


def test_one_process_is_free_of_it(capsys):
    assert (processes.count(), processes.index(), processes.first()) == (1, 0, True)
    thing = object()
    assert processes.from_first(lambda: thing) is thing
    assert processes.together(lambda: thing) is thing
    processes.same("what", thing)
    processes.wait()
    with pytest.raises(KeyError):
        processes.from_first(lambda: {}["a"])
    processes.say("hello")
    assert capsys.readouterr().out == "hello\n"
    np.testing.assert_array_equal(processes.on_host({"a": np.arange(3)})["a"], [0, 1, 2])

"""Ctrl-C on the command line: real signals to real processes, at places that are told."""

import os
import signal
import subprocess
import sys

import anndata
import pytest

from jaxcell import interrupts, resume
from jaxcell.data.verification import verify
from jaxcell.training.checkpoint import load_model
from tests.conftest import ROOT, config_of, fresh
from tests.training.test_training import lines

# Waits at a place for the signal that the test sends.
HERE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in background
signal.alarm(300)  # no test waits for ever

def here(seconds=60):
    end = time.monotonic() + seconds
    heard = []
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda *a: (heard.append(a), before(*a)))
    print("here", flush=True)
    while not heard and time.monotonic() < end:
        time.sleep(0.01)
    if not heard:
        sys.exit("no signal came")
"""
COMMAND = "\nimport tests.conftest\nfrom jaxcell.cli import main\nmain()\n"


def started(code, *argv, cwd=None):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    argv = [sys.executable, "-c", HERE + code, *map(str, argv)]
    return subprocess.Popen(argv, env=env, cwd=cwd, **pipes)


def interrupted(code, *argv, cwd=None):
    """(status, stdout, stderr) of a process that gets a Ctrl-C when it is there."""
    process = started(code, *argv, cwd=cwd)
    said = []
    for line in process.stdout:
        said.append(line)
        if line == "here\n":
            process.send_signal(signal.SIGINT)
            break
    else:
        raise AssertionError(process.communicate()[1])
    out, error = process.communicate(timeout=200)
    assert "Traceback" not in error
    return process.returncode, "".join(said) + out, error


def finished(*argv, cwd=None):
    process = started(COMMAND, *argv, cwd=cwd)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return out


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


PREPARE = """
from jaxcell.data.preparing.writer import Writing
do = Writing.do
def doing(self, block, advance=None):
    if block.number == 2:
        here()
    do(self, block, advance)
Writing.do = doing
"""


@pytest.mark.slow
def test_prepare_keeps_its_blocks_and_resume_ends_with_the_same_bytes(sources, tmp_path):
    asked = [*sources, "--labels", "kind", "--hold-out-fraction", "0.2", "--shards", "4"]
    code, _, error = interrupted(PREPARE + COMMAND, "prepare", "made", *asked, cwd=tmp_path)
    assert code == 130
    assert error.splitlines()[1:] == [
        "stopping; Ctrl-C again ends at once",
        "stopped: go on with the same command, or: jaxcell resume made",
    ], error
    assert [p.name for p in tmp_path.iterdir()] == [".made.unfinished"]
    said = finished("resume", tmp_path / "made", cwd="/")
    assert "goes on with a store of which 2 blocks of cells are written" in said
    finished("prepare", "whole", *asked, cwd=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "whole"]
    assert files(tmp_path / "made") == files(tmp_path / "whole")
    assert verify(tmp_path / "made", progress=False) == []


EMBED = """
from jaxcell import {module} as module
plain = module.{name}
def waiting(*args, **options):
    {before}
    here()
    return plain(*args, **options)
module.{name} = waiting
"""
PLACES = {
    "while it computes": EMBED.format(module="forward", name="_select", before=""),
    "while it writes": EMBED.format(
        module="results", name="_add_to_file", before="args[0].create_dataset('half', data=[1])"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_embed_leaves_nothing_and_the_same_command_starts_anew(place, store, sources, tmp_path):
    c = config_of("txfm_b:tiny")
    c.data.store = str(store.path)
    fresh(store, c, tmp_path / "run")
    asked = ["embed", sources[0], tmp_path / "out.h5ad", "--checkpoint", tmp_path / "run"]
    code, _, error = interrupted(PLACES[place] + COMMAND, *asked)
    assert code == 130
    anew = "stopped: nothing half-written is left; the same command starts anew"
    assert error.splitlines()[-1] == anew
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    if place == "while it writes":
        finished(*asked)
        assert "X_txfm_b_tiny" in anndata.read_h5ad(tmp_path / "out.h5ad").obsm


TRAIN = """
from jaxcell.training import metrics
plain, taken = metrics.Progress.step, []
def step(self):
    plain(self)
    taken.append(1)
    if len(taken) == 3:
        here()
metrics.Progress.step = step
"""


def training(store, workdir):
    return [
        "train", f"--config={ROOT / 'configs' / 'txfm_b.py'}:tiny", f"--workdir={workdir}",
        f"--config.data.store={store.path}", "--config.steps=6", "--config.train.log_every=1",
        "--config.train.validate_every=3", "--config.optimizer.learning_rate=0.002",
    ]  # fmt: skip


@pytest.mark.slow
def test_train_saves_its_step_and_resume_goes_on_bit_for_bit(store, tmp_path):
    code, out, error = interrupted(TRAIN + COMMAND, *training(store, "halves"), cwd=tmp_path)
    assert code == 130
    assert "asked to stop: saved step 3 of 6\n" in out
    said = "stopped before the end; go on with the same command, or: jaxcell resume halves\n"
    assert out.endswith(said)
    assert "stopping; Ctrl-C again ends at once" in error
    said = finished("resume", tmp_path / "halves", cwd="/")  # another folder, no override
    assert "goes on with a training run at step 3 of 6" in said
    assert "goes on from step 3 of 6" in said
    finished(*training(store, "whole"), cwd=tmp_path)
    one, two = (load_model(tmp_path / name) for name in ("halves", "whole"))
    assert one.config.optimizer.learning_rate == 0.002
    assert one.sha256 == two.sha256
    one, two = (lines(tmp_path / name) for name in ("halves", "whole"))
    for line in (*one, *two):
        line.pop("cells_per_s", None)
    assert one == two
    assert not resume(tmp_path / "halves")  # it is complete


LISTENING = """
from jaxcell import interrupts, resume
def deaf(*_):  # as where the library that works does not let Python handle signals
    heard.append(1)
with interrupts.listening():
    signal.signal(signal.SIGINT, deaf)
    heard = []
    {inside}
    print("here", flush=True)
    while True:
        time.sleep(0.01)
        if heard and interrupts.heard():
            print(True, flush=True)
            heard.clear()
"""


@pytest.fixture
def listening():
    """Starts a process that listens; it does not outlive the test."""
    made = []

    def start(inside="", before=""):
        made.append(started(before + LISTENING.format(inside=inside)))
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.communicate()


def test_a_second_one_ends_at_once(listening):
    process = listening()
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "True\n"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert process.stderr.read() == "\nstopping; Ctrl-C again ends at once\n"


@pytest.mark.parametrize("late", [0, 0.5])
def test_what_a_forked_child_gets_is_not_a_second_one(listening, late):
    """Nor where it comes before the child knows that it is one."""
    before = f"""
import os
os.register_at_fork(after_in_child=lambda: time.sleep({late}))
"""
    inside = """
    child = os.fork()
    if not child:
        signal.alarm(60)
        while not heard:
            time.sleep(0.01)
        os._exit(7)
    os.kill(child, signal.SIGINT)
    print(os.waitpid(child, 0)[1] >> 8, flush=True)
"""
    process = listening(inside, before)
    assert process.stdout.readline() == "7\n"
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "True\n"  # the first
    assert process.poll() is None


def test_a_job_in_the_background_does_not_listen():
    code = """
from jaxcell import interrupts, resume
signal.signal(signal.SIGINT, signal.SIG_IGN)
with interrupts.listening():
    print(signal.set_wakeup_fd(-1))
"""
    assert started(code).communicate(timeout=60)[0] == "-1\n"


def test_what_it_says():
    with pytest.raises(KeyboardInterrupt) as plain, interrupts.told(lambda: ""):
        raise KeyboardInterrupt
    assert interrupts.says(plain.value) == (
        "stopped: nothing half-written is left; the same command starts anew"
    )
    goes_on = lambda: interrupts.goes_on("my run")
    with pytest.raises(KeyboardInterrupt) as told, interrupts.told(goes_on):
        raise KeyboardInterrupt("arm 1 is saved")
    assert interrupts.says(told.value) == (
        "stopped: arm 1 is saved; go on with the same command, or: jaxcell resume 'my run'"
    )

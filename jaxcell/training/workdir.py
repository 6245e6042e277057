"""A run's folder: whose it is, and whether it was begun."""

import contextlib
import fcntl
import os
import shutil
import time
from pathlib import Path

from jaxcell import processes
from jaxcell.writing import check_writable, writing

PATIENCE = 30  # seconds until a new file is seen on other machines: NFS takes some


def check_workdir(workdir):
    """Refuse a folder for a run that is none, or that holds something else than one."""
    path = Path(workdir)
    check_name(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path}: found a file, expected a folder for the run (--workdir)")
    above = next(p for p in path.absolute().parents if p.exists())
    if not above.is_dir():
        raise ValueError(f"{path}: {above} is a file; name another folder for the run (--workdir)")
    check_writable(path if path.exists() else above, path)
    holds = "a store" if (path / "store.json").exists() else ""
    if (path / "model.safetensors").exists():
        holds = "a model"
    elif (path / "model").exists() and not (path / "run.json").exists():
        holds = "a model that no run here has trained"
    if holds:
        raise ValueError(f"{path}: holds {holds}; name another folder for the run (--workdir)")


def check_name(workdir):
    """Refuse a path that TensorStore takes for a pattern when it restores a step."""
    if "[" in str(Path(workdir).absolute()):
        raise ValueError(
            f"{workdir}: found a [ in the path, with which saved steps cannot be read again "
            "(TensorStore); name another folder for the run (--workdir)"
        )


@contextlib.contextmanager
def lock(workdir):
    """Keep a second run out of ``workdir`` for as long as this one lives.

    Of many processes the first holds the lock, and the others see by it that they share the folder.
    """
    with contextlib.ExitStack() as held:
        text = processes.from_first(lambda: held.enter_context(_locked(workdir)))
        processes.together(lambda: _shares(workdir, text))
        yield


@contextlib.contextmanager
def _locked(workdir):
    path = Path(workdir)
    with writing(workdir):
        try:
            path.mkdir(parents=True)
            made = True
        except FileExistsError:  # perhaps by a run that was started with this one
            made = False
    with _held(path) as text:
        try:
            yield text
        except BaseException:
            # What was refused leaves nothing behind; removed while nobody else can be at work.
            known = {".lock", "command.json", "checkpoints"}
            if made and set(os.listdir(path)) <= known and not begun(path):
                shutil.rmtree(path)
            raise


@contextlib.contextmanager
def _held(workdir):
    with writing(workdir):
        file = _lock_file(workdir)
    try:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        text = f"process {os.getpid()} on {os.uname().nodename} since {now}"
        with writing(file.name):
            file.truncate(0)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # before other machines look
        yield text
    finally:
        with contextlib.suppress(OSError):  # a full disk, of which the run itself tells
            file.close()


def _lock_file(workdir):
    """``WORKDIR/.lock``, open and locked; ValueError where another process holds it."""
    while True:
        workdir.mkdir(parents=True, exist_ok=True)
        file = open(workdir / ".lock", "a+")  # noqa: SIM115, closed by _held
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise ValueError(
                f"{workdir}: another run ({holder}) works there; wait for it or name another folder"
            ) from None
        # Unless a run that was refused has removed the folder between the two.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(workdir / ".lock"), os.fstat(file.fileno())):
                return file
        file.close()


def _shares(workdir, text):
    """Raise when what process 0 wrote there cannot be read here."""
    path = Path(workdir) / ".lock"
    for _ in range(1 if processes.first() else PATIENCE):
        if path.exists() and path.read_text() == text:
            return
        time.sleep(1)
    raise ValueError(
        f"{workdir}: {os.uname().nodename} does not see what process 0 ({text}) wrote there; "
        "--workdir must be one folder that all processes share"
    )


def saved(workdir):
    """The steps that a run has saved there; asked without Orbax, which would make the folder."""
    return [int(p.name) for p in (Path(workdir) / "checkpoints").glob("*") if p.name.isdecimal()]


def begun(workdir):
    """Whether a run has saved a step there."""
    return bool(saved(workdir))

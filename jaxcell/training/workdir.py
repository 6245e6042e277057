"""A run's folder: whose it is, and whether it was begun."""

import contextlib
import fcntl
import os
import time
from pathlib import Path

from jaxcell import processes
from jaxcell.writing import writing

PATIENCE = 30  # seconds until a new file is seen on other machines: NFS takes some


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
    with writing(workdir):
        Path(workdir).mkdir(parents=True, exist_ok=True)
        file = open(Path(workdir) / ".lock", "a+")  # noqa: SIM115, closed below
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise ValueError(
                f"{workdir}: another run ({file.read().strip() or 'unknown'}) works there; "
                "wait for it or name another folder"
            ) from None
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


def begun(workdir):
    """Whether a run has saved a step there; asked without Orbax, which would make the folder."""
    return any(p.name.isdigit() for p in (Path(workdir) / "checkpoints").glob("*"))

"""Ctrl-C on the command line: the first one asks, the second one ends at once; status 130.

Python hands a signal to its handler between two of its own steps: not while XLA compiles, which may
take minutes. So a thread listens as well, which says at once that it was heard, and ends the
process when it is asked again.
"""

import contextlib
import multiprocessing
import os
import shlex
import signal
import sys
import threading

STATUS = 130  # as a shell has it of a command that was interrupted
HEARD = b"\nstopping; Ctrl-C again ends at once\n"
_heard = threading.Event()

# A forked child has its parent's pipe, and gets the terminal's Ctrl-C too: it would count twice.
os.register_at_fork(after_in_child=lambda: _listening and signal.set_wakeup_fd(-1))
_listening = False


def heard():
    """Whether Ctrl-C was pressed since `listening` began."""
    return _heard.is_set()


@contextlib.contextmanager
def listening():
    """Say that the first Ctrl-C was heard, and end at the second.

    Does nothing where Ctrl-C is ignored (a job in the background), and within itself.
    """
    global _listening
    mine = threading.current_thread() is threading.main_thread()
    if _listening or not mine or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        yield
        return
    _heard.clear()
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    thread = threading.Thread(target=_listen, args=[read], daemon=True)
    thread.start()
    _listening = True
    try:
        yield
    finally:
        _listening = False
        signal.set_wakeup_fd(before)
        os.close(write)
        thread.join()
        os.close(read)


@contextlib.contextmanager
def ending(debug=False):
    """Listen, and let Ctrl-C end the program with a line and its status; a traceback by ``debug``.

    Raises
    ------
    SystemExit
    """
    try:
        with listening():
            yield
    except KeyboardInterrupt as error:
        if debug:
            raise
        print(says(error), file=sys.stderr)
        sys.exit(getattr(error, "status", STATUS))


def hear():
    """Note a Ctrl-C, where its handler runs before the thread that listens."""
    _heard.set()


def _listen(read):
    before = False
    while number := os.read(read, 1):
        if number[0] != signal.SIGINT:
            continue
        if before:
            for child in multiprocessing.active_children():  # workers, which do not hear it
                child.kill()
            os._exit(STATUS)
        before = True
        _heard.set()
        os.write(2, HEARD)


@contextlib.contextmanager
def told(what):
    """Let a Ctrl-C within say what to do about it.

    what : () -> a line, or '' where there is nothing particular to do
    """
    try:
        yield
    except KeyboardInterrupt as error:
        error.args = tuple(filter(None, [*error.args, what()]))
        raise


def goes_on(folder):
    """What to do about work that is kept in a folder."""
    return f"go on with the same command, or: jaxcell resume {shlex.quote(str(folder))}"


def says(error):
    """The line of a KeyboardInterrupt."""
    what = "; ".join(map(str, error.args))
    return f"stopped: {what or 'nothing half-written is left; the same command starts anew'}"

"""Ctrl-C on the command line: the first one asks, the second one ends at once; status 130.

Python hands a signal to its handler between two of its own steps: not while XLA compiles, which may
take minutes. So a thread listens as well, which says at once that it was heard, and ends the
process when it is asked again.

The KeyboardInterrupt of the handler lands wherever Python is, and vanishes where nobody may let it
through: in a callback of the garbage collector (JAX has one), in ``__del__``, in an extension that
clears errors. One that is gone before it has ended the command is raised again; see `CtrlC`.
"""

import contextlib
import os
import shlex
import signal
import sys
import threading
import time
import traceback

STATUS = 130  # as a shell has it of a command that was interrupted
HEARD = b"\nstopping; Ctrl-C again ends at once\n"
AGAIN = b"\0"  # no signal's number
LATE = "it came too late: all was done"
PAUSE = 0.05  # seconds, until what swallowed a KeyboardInterrupt is over
_heard = threading.Event()
_pipe = None  # to the thread, while it listens
_before = 0  # frames of imports when it began


class CtrlC(KeyboardInterrupt):
    """Raised by the handler of `listening`; where it was swallowed, the thread has it raised again.

    An exception lives as long as somebody handles it, or has made another one of it.
    """

    def __del__(self):
        if _pipe is not None:
            with contextlib.suppress(OSError):
                os.write(_pipe, AGAIN)


_forking = threading.local()  # its mask: the signals that a thread which forks let wait before


def _fork():
    # What reached the child before `_forked` would be written to its parent's pipe, and be lost.
    if _pipe is not None:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


def _unblock():
    mask = vars(_forking).pop("mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _forked():
    global _pipe
    if _pipe is not None:
        # A child has its parent's pipe, and gets the terminal's Ctrl-C too: it would count twice.
        _pipe = None
        signal.set_wakeup_fd(-1)
    _unblock()


os.register_at_fork(before=_fork, after_in_parent=_unblock, after_in_child=_forked)


def heard():
    """Whether Ctrl-C was pressed since the command, or the last work of a library's user, began."""
    return _heard.is_set()


def hear():
    """Note a Ctrl-C, where its handler runs before the thread that listens."""
    _heard.set()


def forget():
    """Begin anew, where no command listens: a notebook's second call heard nothing yet."""
    if _pipe is None:
        _heard.clear()


@contextlib.contextmanager
def listening(own=False):
    """Say that the first Ctrl-C was heard, raise it until it is let through, end at the second.

    Does nothing where Ctrl-C is ignored (a job in the background), and within itself.

    own : whether the process ends behind it: then Ctrl-C kills it in the way that the system does

    Raises
    ------
    KeyboardInterrupt
        Also at the end of work that went on though Ctrl-C was heard.
    """
    global _pipe, _before
    mine = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if _pipe is not None or not mine or before in (signal.SIG_IGN, None):
        yield
        return
    _heard.clear()
    _before = _imports(sys._getframe())
    read, _pipe = os.pipe()
    write = _pipe
    os.set_blocking(write, False)
    woken = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    thread = threading.Thread(target=_listen, args=[read], daemon=True)
    with _silent():
        thread.start()
        try:
            signal.signal(signal.SIGINT, interrupt)
            yield
            if heard():
                raise KeyboardInterrupt(LATE)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_DFL if own else before)
            _pipe = None
            signal.set_wakeup_fd(woken)
            os.close(write)
            thread.join()
            os.close(read)


def interrupt(number=None, frame=None):
    """Raise what Ctrl-C raises, behind an import if one is under way; a signal handler."""
    hear()
    if _pipe is None:
        raise KeyboardInterrupt
    if _imports(frame) == _before:
        raise CtrlC
    os.write(_pipe, AGAIN)  # extensions that are interrupted as they load make errors of it, or die


def _imports(frame):
    """How many frames of imports are under a frame."""
    number = 0
    while frame is not None:
        number += frame.f_code.co_filename == "<frozen importlib._bootstrap>"
        frame = frame.f_back
    return number


@contextlib.contextmanager
def _silent():
    """Without the tracebacks that Python, or an extension, prints of a Ctrl-C that it swallows."""
    hooks = sys.unraisablehook, sys.excepthook

    def printed(kind, error, trace):
        if not issubclass(kind, CtrlC):
            return hooks[1](kind, error, trace)
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            vars(sys).pop(name, None)  # it would live on there

    sys.unraisablehook = lambda what: issubclass(what.exc_type, CtrlC) or hooks[0](what)
    sys.excepthook = printed
    try:
        yield
    finally:
        sys.unraisablehook, sys.excepthook = hooks


def _listen(read):
    asked, mine = False, 0
    while number := os.read(read, 1):
        if number == AGAIN:
            time.sleep(PAUSE)
            # By Python's own handler a run says that it saves first; see `training.stop`.
            waits = signal.getsignal(signal.SIGINT) is signal.default_int_handler
            if _pipe is not None and not waits:
                mine += 1
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        elif number[0] != signal.SIGINT:
            continue
        elif mine:
            mine -= 1
        elif asked:
            _kill_workers()
            os._exit(STATUS)
        else:
            asked = True
            _heard.set()
            os.write(2, HEARD)


def _kill_workers():
    """Kill the children that multiprocessing started, which do not hear Ctrl-C."""
    multiprocessing = sys.modules.get("multiprocessing")
    for child in multiprocessing.active_children() if multiprocessing else ():
        child.kill()


@contextlib.contextmanager
def ending(debug=False, own=False):
    """Listen, and let Ctrl-C end the program with a line and its status; a traceback by ``debug``.

    own : whether this is the process's own command. It then ends without Python's clearing up,
        under which XLA's threads that still compile would crash

    Raises
    ------
    SystemExit
        Where it is not ``own``.
    """
    try:
        with listening(own):
            yield
    except KeyboardInterrupt as error:
        if debug:
            traceback.print_exception(error)
        print(says(error), file=sys.stderr)
        status = getattr(error, "status", STATUS)
        if not own:
            sys.exit(status)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        _kill_workers()
        os._exit(status)


def caused(error):
    """The KeyboardInterrupt that an error was made of, or None.

    Libraries do that: one that Ctrl-C met in its import raises an ImportError.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


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
